//! What crosses the socket between a host and its child process: framed messages, rows as Arrow IPC.
//!
//! A frame is the payload's length (`u32`, little-endian, at most [`FRAME_BYTES_MAX`]), a kind byte, and the payload. The
//! host sends [`Message::Open`] once and then calls, one at a time; the child answers `Ready` or `Failure`, then `Answer`,
//! `Mixed` or `Failure` to each call. Rows are decoded in place: the received buffer becomes the columns. Large rows lie in
//! [shared memory](super::shared) instead, and their frames only say where. Nothing is ever pickled, and nothing that a model
//! prints can get between frames.

use std::io::{Read, Write};

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::shared::{AnswerTable, CallTable, Held};
use super::{Answers, Refused, Signature};
use crate::request::{RequestBatch, RequestId};

/// Longest payload. A request batch of 64 decoded full-HD images has 400 MB; what is above is damage, not data.
pub const FRAME_BYTES_MAX: usize = 1 << 30;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

const ID_BYTES: usize = 16;
/// About what schema and framing of some rows take beside their values, so that a frame is allocated once.
const ROWS_FRAMING_BYTES: usize = 2 << 10;

/// One frame, decoded.
#[derive(Debug)]
pub enum Message {
    /// Host to child: load the model that these settings (JSON of the child's kind) name.
    Open(String),
    /// Child to host: loaded; this is what the model takes and gives.
    Ready(Signature),
    /// Host to child: answer these rows.
    Call(RequestBatch),
    /// Child to host: the answers, one a row.
    Answer(RecordBatch),
    /// Child to host: it did not work out.
    Failure {
        /// Who must act.
        kind: Kind,
        /// Why, for people.
        reason: String,
    },
    /// Child to host: answers, some rows of which are refused. Only those failed.
    Mixed(Answers),
    /// Host to child: answer these rows, which lie in shared memory.
    CallShared {
        /// Where.
        call: CallTable,
        /// As many as there are rows.
        ids: Vec<RequestId>,
    },
    /// Child to host: the answers, which lie in shared memory.
    AnswerShared {
        /// Where.
        answer: AnswerTable,
        /// The rows that are refused.
        refused: Vec<Refused>,
    },
    /// Child to host, before an answer: the calls, this or earlier ones, whose memory something still looks at. It is said
    /// anew whenever there are any, and once when there are none any more.
    Held(Vec<Held>),
}

#[derive(Serialize, Deserialize)]
struct FailureBody {
    kind: Kind,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct RefusedBody {
    row: usize,
    kind: Kind,
    reason: String,
}

// === impl Message ===

impl Message {
    /// The frame of this message, header included.
    ///
    /// # Errors
    /// `Exhausted` if it is longer than [`FRAME_BYTES_MAX`], so that the request batch is halved.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut frame = vec![0; HEADER_BYTES];
        match self {
            Message::Open(settings) => frame.extend_from_slice(settings.as_bytes()),
            Message::Ready(signature) => write_json(&mut frame, signature)?,
            Message::Call(batch) => {
                write_rows(&mut frame, &batch.rows)?;
                write_ids(&mut frame, &batch.ids);
                frame.extend_from_slice(&(batch.ids.len() as u32).to_le_bytes());
            }
            Message::Answer(rows) => write_rows(&mut frame, rows)?,
            Message::Failure { kind, reason } => {
                write_json(&mut frame, &FailureBody { kind: *kind, reason: reason.clone() })?;
            }
            Message::Mixed(answers) => write_mixed(&mut frame, answers)?,
            Message::CallShared { call, ids } => {
                call.write(&mut frame);
                write_ids(&mut frame, ids);
            }
            Message::AnswerShared { answer, refused } => {
                answer.write(&mut frame);
                write_refused(&mut frame, refused)?;
            }
            Message::Held(held) => Held::write(held, &mut frame),
        }
        let length = frame.len() - HEADER_BYTES;
        if length > FRAME_BYTES_MAX {
            return Err(Error::new(Kind::Exhausted, "frame rows for model process")
                .with("bytes", length)
                .with("bytes_max", FRAME_BYTES_MAX));
        }
        frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        frame[4] = self.code();
        Ok(frame)
    }

    /// The message in `payload` of a frame of kind `code`.
    ///
    /// # Errors
    /// `Corrupt` if it cannot be read.
    pub fn decode(code: u8, payload: Buffer) -> Result<Self> {
        match code {
            1 => Ok(Message::Open(String::from_utf8_lossy(&payload).into_owned())),
            2 => Ok(Message::Ready(read_json(&payload)?)),
            3 => Ok(Message::Call(read_call(payload)?)),
            4 => Ok(Message::Answer(read_rows(payload)?)),
            5 => {
                let FailureBody { kind, reason } = read_json(&payload)?;
                Ok(Message::Failure { kind, reason })
            }
            6 => Ok(Message::Mixed(read_mixed(payload)?)),
            7 => {
                let (call, ids) = CallTable::read(&payload)?;
                Ok(Message::CallShared { call, ids: read_ids(&ids) })
            }
            8 => {
                let (answer, refused) = AnswerTable::read(&payload)?;
                let rows = answer.rows.words.first().map_or(0, |rows| *rows as usize);
                Ok(Message::AnswerShared { refused: read_refused(&refused, rows)?, answer })
            }
            9 => Ok(Message::Held(Held::read(&payload))),
            other => Err(corrupt().with("kind", other)),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Message::Open(_) => 1,
            Message::Ready(_) => 2,
            Message::Call(_) => 3,
            Message::Answer(_) => 4,
            Message::Failure { .. } => 5,
            Message::Mixed(_) => 6,
            Message::CallShared { .. } => 7,
            Message::AnswerShared { .. } => 8,
            Message::Held(_) => 9,
        }
    }
}

/// Kind and payload length of a frame from its header.
///
/// # Errors
/// `Corrupt` if the length is above [`FRAME_BYTES_MAX`].
pub fn read_header(header: [u8; HEADER_BYTES]) -> Result<(u8, usize)> {
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(corrupt().with("bytes", length).with("bytes_max", FRAME_BYTES_MAX));
    }
    Ok((header[4], length))
}

/// Reads one message, blocking; `None` if the other side closed between frames.
///
/// # Errors
/// `Corrupt` if it cannot be read, `Unavailable` if the socket fails.
pub fn read_blocking(socket: &mut impl Read) -> Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    match socket.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(socket_failed("read frame", error)),
    }
    let (code, length) = read_header(header)?;
    let mut payload = MutableBuffer::from_len_zeroed(length);
    socket.read_exact(&mut payload).map_err(|error| socket_failed("read frame", error))?;
    Message::decode(code, payload.into()).map(Some)
}

/// Writes one message, blocking.
///
/// # Errors
/// As [`Message::encode`]; `Unavailable` if the socket fails.
pub fn write_blocking(socket: &mut impl Write, message: &Message) -> Result<()> {
    socket.write_all(&message.encode()?).map_err(|error| socket_failed("write frame", error))
}

fn write_rows(frame: &mut Vec<u8>, rows: &RecordBatch) -> Result<()> {
    frame.reserve(rows_bytes(rows) + ROWS_FRAMING_BYTES);
    let failed = |source| Error::new(Kind::Internal, "encode rows for model process").source(source);
    let mut writer = StreamWriter::try_new(frame, &rows.schema()).map_err(failed)?;
    writer.write(rows).map_err(failed)?;
    writer.finish().map_err(failed)
}

/// The bytes of the values of `rows`, whatever else their buffers hold.
pub(super) fn rows_bytes(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(slice_bytes).sum()
}

fn slice_bytes(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_default()
}

fn read_rows(mut payload: Buffer) -> Result<RecordBatch> {
    let mut decoder = StreamDecoder::new();
    while !payload.is_empty() {
        if let Some(rows) = decoder.decode(&mut payload).map_err(|source| corrupt().source(source))? {
            return Ok(rows);
        }
    }
    Err(corrupt().source("no rows in it"))
}

fn read_call(payload: Buffer) -> Result<RequestBatch> {
    let (rest, count) = payload.split_last_chunk().ok_or_else(corrupt)?;
    let ids_bytes = (u32::from_le_bytes(*count) as usize).saturating_mul(ID_BYTES);
    let rows_bytes = rest.len().checked_sub(ids_bytes).ok_or_else(corrupt)?;
    RequestBatch::new(read_ids(&rest[rows_bytes..]), read_rows(payload.slice_with_length(0, rows_bytes))?)
}

fn write_ids(frame: &mut Vec<u8>, ids: &[RequestId]) {
    ids.iter().for_each(|id| frame.extend_from_slice(&id.0.to_le_bytes()));
}

fn read_ids(bytes: &[u8]) -> Vec<RequestId> {
    bytes.as_chunks::<ID_BYTES>().0.iter().map(|id| RequestId(u128::from_le_bytes(*id))).collect()
}

/// The rows, then the refusals as JSON, then the length of that JSON.
fn write_mixed(frame: &mut Vec<u8>, answers: &Answers) -> Result<()> {
    write_rows(frame, &answers.rows)?;
    let before = frame.len();
    write_refused(frame, &answers.refused)?;
    let length = (frame.len() - before) as u32;
    frame.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn read_mixed(payload: Buffer) -> Result<Answers> {
    let (rest, length) = payload.split_last_chunk().ok_or_else(corrupt)?;
    let rows_bytes = rest.len().checked_sub(u32::from_le_bytes(*length) as usize).ok_or_else(corrupt)?;
    let rows = read_rows(payload.slice_with_length(0, rows_bytes))?;
    let refused = read_refused(&rest[rows_bytes..], rows.num_rows())?;
    Ok(Answers { refused, rows })
}

fn write_refused(frame: &mut Vec<u8>, refused: &[Refused]) -> Result<()> {
    let body = |refused: &Refused| RefusedBody { row: refused.row, kind: Kind::Data, reason: refused.reason.clone() };
    write_json(frame, &refused.iter().map(body).collect::<Vec<_>>())
}

fn read_refused(json: &[u8], rows: usize) -> Result<Vec<Refused>> {
    let refused: Vec<RefusedBody> = read_json(json)?;
    let refused = refused.into_iter().map(|RefusedBody { row, kind, reason }| match kind {
        // Every other kind says that the call as a whole did not work out.
        Kind::Data if row < rows => Ok(Refused { row, reason }),
        _ => Err(corrupt().with("row", row).with("row_kind", kind.name())),
    });
    refused.collect()
}

fn write_json(frame: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(frame, value)
        .map_err(|source| Error::new(Kind::Internal, "encode frame for model process").source(source))
}

fn read_json<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|source| corrupt().source(source))
}

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "read frame of model process")
}

fn socket_failed(attempted: &str, error: std::io::Error) -> Error {
    Error::new(Kind::Unavailable, attempted).source(error)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use arrow::array::{Float32Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: usize) -> RequestBatch {
        let text: ArrayRef =
            Arc::new((0..rows).map(|row| (row % 3 > 0).then(|| row.to_string())).collect::<StringArray>());
        let number: ArrayRef = Arc::new(Float32Array::from_iter_values((0..rows).map(|row| row as f32)));
        let ids = (0..rows as u128).map(|id| RequestId(id << 64 | 7)).collect();
        RequestBatch::new(ids, RecordBatch::try_from_iter([("text", text), ("number", number)]).unwrap()).unwrap()
    }

    fn passed(message: &Message) -> Message {
        read_blocking(&mut Cursor::new(message.encode().unwrap())).unwrap().unwrap()
    }

    #[test]
    fn rows_and_ids_come_through_and_slices_carry_only_their_rows() {
        let whole = batch(100);
        let part = RequestBatch { ids: whole.ids[40..43].to_vec(), rows: whole.rows.slice(40, 3) };
        let Message::Call(read) = passed(&Message::Call(part.clone())) else { panic!("another kind") };
        assert_eq!((read.ids, &read.rows), (part.ids.clone(), &part.rows));
        let (few, many) = (Message::Call(part).encode().unwrap(), Message::Call(whole).encode().unwrap());
        assert!(few.len() < many.len() / 2, "{} bytes for 3 rows, {} for 100", few.len(), many.len());
    }

    #[test]
    fn answers_and_refusals_travel_together() {
        let refused = |row, reason: &str| Refused { row, reason: reason.to_string() };
        let answers = Answers { rows: batch(5).rows, refused: vec![refused(4, "no"), refused(1, "nor \"this\"")] };
        let Message::Mixed(read) = passed(&Message::Mixed(answers.clone())) else { panic!("another kind") };
        assert_eq!(read, answers);
        let outside = Answers { refused: vec![refused(5, "no")], ..answers };
        let frame = Message::Mixed(outside).encode().unwrap();
        assert_eq!(read_blocking(&mut Cursor::new(frame)).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn columns_lie_in_the_received_buffer() {
        let rows = batch(64).rows;
        let frame = Message::Answer(rows).encode().unwrap();
        let mut payload = MutableBuffer::from_len_zeroed(frame.len() - HEADER_BYTES);
        payload.copy_from_slice(&frame[HEADER_BYTES..]);
        let payload: Buffer = payload.into();
        let range = payload.as_ptr() as usize..payload.as_ptr() as usize + payload.len();
        let Message::Answer(read) = Message::decode(4, payload).unwrap() else { panic!("another kind") };
        let values = read.column(1).to_data().buffers()[0].as_ptr() as usize;
        assert!(range.contains(&values), "copied");
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_anything_is_allocated() {
        let mut header = [0xff; HEADER_BYTES];
        header[4] = 4;
        assert_eq!(read_header(header).unwrap_err().kind(), Kind::Corrupt);
        assert!(read_blocking(&mut Cursor::new(Vec::new())).unwrap().is_none(), "closed between frames");
    }

    proptest! {
        #[test]
        fn damaged_frames_are_errors(code in 0u8..11, payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(code, Buffer::from_vec(payload));
        }

        #[test]
        fn a_cut_frame_is_an_error(cut in 1usize..400) {
            let frame = Message::Call(batch(3)).encode().unwrap();
            let cut = cut.min(frame.len() - 1);
            if cut >= HEADER_BYTES {
                prop_assert!(read_blocking(&mut Cursor::new(&frame[..cut])).is_err());
            }
        }
    }
}
