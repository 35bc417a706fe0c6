//! gRPC: code, message and trailers.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;

use super::after::seconds;
use super::text;
use crate::protocols::refusal::{Meaning, Refusal};

/// What a gRPC call ended with, as its trailers tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrpcStatus {
    /// 0 is OK; see `google.rpc.Code`.
    pub code: u32,
    /// For people.
    pub message: String,
    /// `google.rpc.RetryInfo`, where the status carries one.
    pub retry_after: Option<Duration>,
    /// `grpc-retry-pushback-ms`: wait so long, or never try again if it is negative.
    pub pushback_ms: Option<i64>,
}

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What `status` says; `None` for OK.
///
/// RESOURCE_EXHAUSTED is a quota if the server tells when to come back, too large if the text names a message's size,
/// else overload. UNAVAILABLE is overload if the text names a queue, else down. ABORTED may be tried again. NOT_FOUND,
/// UNIMPLEMENTED, PERMISSION_DENIED and UNAUTHENTICATED are the settings' fault. Everything else is the rows'.
pub fn of_grpc(status: &GrpcStatus) -> Option<Refusal> {
    let name = match usize::try_from(status.code).ok().and_then(|code| NAMES.get(code)) {
        Some(&"OK") => return None,
        Some(name) => (*name).to_string(),
        None => format!("code {}", status.code),
    };
    let told = text::of_message(&status.message);
    let pushed_back = status.pushback_ms.and_then(|pause| u64::try_from(pause).ok()).map(Duration::from_millis);
    let retry_after = pushed_back.or(status.retry_after);
    let meaning = match status.code {
        _ if told.is_out_of_memory() => Meaning::TooLarge,
        8 if is_about_size(&status.message) => Meaning::TooLarge,
        8 if retry_after.is_some() => Meaning::Throttled,
        8 => Meaning::Overloaded,
        14 if told.is_full() || status.message.contains("Request timeout expired") => Meaning::Overloaded,
        14 | 10 => Meaning::Down,
        1 | 4 => Meaning::Timeout,
        5 | 7 | 12 | 16 => Meaning::Settings,
        _ => Meaning::BadRow,
    };
    let mut refusal = Refusal::new(meaning, format!("grpc {name}"), &status.message);
    refusal.retry_after = retry_after;
    refusal.retry_allowed = status.pushback_ms.is_none_or(|pause| pause >= 0);
    Some(refusal)
}

fn is_about_size(message: &str) -> bool {
    let lower = message.to_lowercase();
    lower.contains("message") && (lower.contains("larger than max") || lower.contains("too large"))
}

// === impl GrpcStatus ===

impl GrpcStatus {
    /// Reads trailers, or the headers of an answer without a body. `None` without a `grpc-status`.
    pub fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
        let details = text("grpc-status-details-bin").and_then(base64_bytes);
        Some(Self {
            // A status that is no number is UNKNOWN, as the specification says.
            code: text("grpc-status")?.parse().unwrap_or(2),
            message: text("grpc-message").map(unescaped).unwrap_or_default(),
            retry_after: details.and_then(|details| retry_info(&details)),
            pushback_ms: text("grpc-retry-pushback-ms").map(|pause| pause.parse().unwrap_or(-1)),
        })
    }
}

/// Percent-decodes as gRPC encodes messages; bytes that are no UTF-8 become `�`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

/// `google.rpc.Status`, of which only the details are read.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let pause = RetryInfo::decode(info.value).ok()?.retry_delay?;
    seconds(pause.seconds as f64 + f64::from(pause.nanos) * 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_info_is_found_in_the_details() {
        let info = RetryInfo { retry_delay: Some(RpcDuration { seconds: 2, nanos: 500_000_000 }) };
        let any = RpcAny {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_string(),
            value: info.encode_to_vec().into(),
        };
        let details = RpcStatus { details: vec![any] }.encode_to_vec();
        assert_eq!(retry_info(&details), Some(Duration::from_millis(2_500)));
        assert_eq!(retry_info(&[0xff, 0xff]), None);
    }

    #[test]
    fn escapes_and_base64_are_undone() {
        assert_eq!(unescaped("100%25 of %C3%A9 %zz %"), "100% of é %zz %");
        assert_eq!(base64_bytes("aGVsbG8").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64_bytes("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64_bytes("a*b"), None);
    }
}
