//! A call over gRPC: the codec, and outcomes as the statuses that real services send. [`protobuf`](super::protobuf) has the
//! messages of `service forebay.bench.Backend { rpc Answer(Call) returns (Answered); }`.
//!
//! RESOURCE_EXHAUSTED means throttled, or too large where the text names memory; `grpc-retry-pushback-ms` asks to wait.
//! UNAVAILABLE means overloaded, or down where the text says so.

use std::marker::PhantomData;

use forebay_gate::limiter::Class;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::message::{Answer, Outcome};
use super::protobuf::Message;

/// The one method.
pub const METHOD: &str = "/forebay.bench.Backend/Answer";

const PUSHBACK: &str = "grpc-retry-pushback-ms";
const MEMORY: &str = "out of memory";
const DOWN: &str = "backend is down";

/// Encodes `Out` and decodes `In`.
#[derive(Debug)]
pub struct HandCodec<Out, In>(PhantomData<(Out, In)>);

/// The status that carries `outcome`; `Ok` with the answer where there is one.
pub fn reply(outcome: Outcome) -> Result<Answer, Status> {
    let (code, text) = match outcome.class {
        Class::Answered => return Ok(Answer { rows: outcome.rows }),
        Class::Throttled => (Code::ResourceExhausted, "quota is used up"),
        Class::TooLarge => (Code::ResourceExhausted, MEMORY),
        Class::Overloaded => (Code::Unavailable, "queue is full"),
        Class::Down => (Code::Unavailable, DOWN),
        Class::Timeout | Class::Cancelled => (Code::DeadlineExceeded, "too late"),
    };
    let mut metadata = MetadataMap::new();
    if outcome.retry_after > 0.0 {
        metadata.insert(PUSHBACK, ((outcome.retry_after * 1e3).ceil() as u64).into());
    }
    Err(Status::with_metadata(code, text, metadata))
}

/// What a reply says.
pub fn outcome(reply: Result<Answer, Status>) -> Outcome {
    let status = match reply {
        Ok(answer) => return Outcome::answered(answer.rows),
        Err(status) => status,
    };
    let class = match status.code() {
        Code::ResourceExhausted if status.message().contains("memory") => Class::TooLarge,
        Code::ResourceExhausted => Class::Throttled,
        Code::Unavailable if status.message() == DOWN => Class::Down,
        Code::Unavailable => Class::Overloaded,
        Code::DeadlineExceeded => Class::Timeout,
        _ => Class::Down,
    };
    let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok());
    let milliseconds = pushback.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    Outcome::failed(class, f64::from(milliseconds) / 1e3)
}

// === impl HandCodec ===

impl<Out, In> Default for HandCodec<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Codec for HandCodec<Out, In>
where
    Out: Message + Send + 'static,
    In: Message + Send + 'static,
{
    type Encode = Out;
    type Decode = In;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<Out: Message, In> Encoder for HandCodec<Out, In> {
    type Item = Out;
    type Error = Status;

    fn encode(&mut self, item: Out, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(out);
        Ok(())
    }
}

impl<Out, In: Message> Decoder for HandCodec<Out, In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        In::take(input).map(Some).ok_or_else(|| Status::invalid_argument("the message is broken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_way_through_a_status() {
        let table = [
            Outcome::answered(16),
            Outcome::failed(Class::Throttled, 1.5),
            Outcome::failed(Class::Throttled, 0.0),
            Outcome::failed(Class::Overloaded, 0.0),
            Outcome::failed(Class::TooLarge, 0.0),
            Outcome::failed(Class::Down, 0.0),
            Outcome::failed(Class::Timeout, 0.0),
        ];
        for expected in table {
            assert_eq!(outcome(reply(expected)), expected);
        }
    }
}
