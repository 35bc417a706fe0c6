//! Bytes of the journal: the segment header, and records framed by length and checksum.
//!
//! A record is `length u32 | crc32c u32 | kind u8 | body`, little-endian; `length` counts the body, the checksum covers
//! length, kind and body. Limits are checked before anything is allocated. Damage is never searched for the next record
//! byte by byte: answers are other people's bytes, and one of them could look like a record.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use crate::request::RequestId;

/// Bytes before the body of a record.
pub(super) const FRAME_BYTES: usize = 9;

/// Longest reason kept with a failure, in bytes; the rest is cut.
const REASON_BYTES_MAX: usize = 4096;

const KIND_ANSWER: u8 = 1;
const KIND_FAILURE: u8 = 2;
const KIND_CLOSED: u8 = 3;

/// Added to the code of a failure's kind: those who asked gave the rows up.
const GIVEN_UP: u8 = 0x80;

/// A record as read back.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    /// Answers of one request batch: row i of the one Arrow IPC stream belongs to id i.
    Answer { ids: Vec<RequestId>, stream: Bytes },
    /// Rows that failed for good.
    /// `given_up` if it was those who asked who decided so.
    Failure { ids: Vec<RequestId>, given_up: bool, kind: Kind, reason: String },
    /// Rows emitted in epochs up to this one, which is published.
    Closed { epoch: Epoch, ids: Vec<RequestId> },
}

/// What the bytes at a place are, if not a sound record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// They end before the record does.
    Cut,
    /// Their length is beyond the limit, or the kind is unknown.
    Implausible,
    /// Length and kind could be right, the checksum is not; the next record would begin so many bytes on.
    Mismatch(usize),
}

// === impl Unsound ===

impl Unsound {
    /// What is wrong, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Unsound::Cut => "the record ends before its length",
            Unsound::Implausible => "the record's length or kind cannot be right",
            Unsound::Mismatch(_) => "checksum of the record does not match, and no sound record follows",
        }
    }
}

// === Frame ===

/// The whole length, frame included, of the sound record at the start of `bytes`.
pub(super) fn check(bytes: &[u8], record_bytes_max: u32) -> Result<usize, Unsound> {
    let total = plausible(bytes, record_bytes_max)?;
    if total > bytes.len() {
        return Err(Unsound::Cut);
    }
    let sound = crc(&bytes[..4], &bytes[8..total]) == read_u32(&bytes[4..]);
    if sound { Ok(total) } else { Err(Unsound::Mismatch(total)) }
}

/// The whole length that the frame at the start of `bytes` claims, whatever its checksum.
pub(super) fn plausible(bytes: &[u8], record_bytes_max: u32) -> Result<usize, Unsound> {
    if bytes.len() < FRAME_BYTES {
        return Err(Unsound::Cut);
    }
    let length = read_u32(bytes);
    let known = matches!(bytes[8], KIND_ANSWER | KIND_FAILURE | KIND_CLOSED);
    if length > record_bytes_max || !known {
        return Err(Unsound::Implausible);
    }
    Ok(FRAME_BYTES + length as usize)
}

fn crc(length: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), rest)
}

fn begin(kind: u8, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + capacity);
    bytes.extend_from_slice(&[0; 8]);
    bytes.push(kind);
    bytes
}

fn seal(mut bytes: Vec<u8>, record_bytes_max: u32) -> Result<Bytes> {
    let length = u32::try_from(bytes.len() - FRAME_BYTES).unwrap_or(u32::MAX);
    if length > record_bytes_max {
        return Err(Error::new(Kind::Exhausted, "append to journal: record is larger than the limit")
            .with("bytes", bytes.len())
            .with("record_bytes_max", record_bytes_max));
    }
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let sum = crc(&bytes[..4], &bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    Ok(Bytes::from(bytes))
}

// === Records ===

/// The record of answers: `rows` holds one row an id.
///
/// # Errors
/// `Internal` if the counts differ or Arrow cannot write the rows, `Exhausted` beyond the limit.
pub(super) fn answer(ids: &[RequestId], rows: &RecordBatch, record_bytes_max: u32) -> Result<Bytes> {
    if ids.len() != rows.num_rows() {
        return Err(Error::new(Kind::Internal, "append to journal: rows and ids differ in count")
            .with("ids", ids.len())
            .with("rows", rows.num_rows()));
    }
    let wrong = |source| Error::new(Kind::Internal, "write answers as Arrow IPC").source(source);
    let mut bytes = begin(KIND_ANSWER, ids.len() * 16 + rows.get_array_memory_size() + 1024);
    put_ids(&mut bytes, ids);
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).map_err(wrong)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(wrong)?;
    drop(writer);
    seal(bytes, record_bytes_max)
}

/// The record of rows that failed for good.
///
/// # Errors
/// `Exhausted` beyond the limit.
pub(super) fn failure(
    ids: &[RequestId],
    given_up: bool,
    kind: Kind,
    reason: &str,
    record_bytes_max: u32,
) -> Result<Bytes> {
    let mut bytes = begin(KIND_FAILURE, ids.len() * 16 + reason.len() + 8);
    put_ids(&mut bytes, ids);
    bytes.push(kind_code(kind) | if given_up { GIVEN_UP } else { 0 });
    bytes.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)]);
    seal(bytes, record_bytes_max)
}

/// The record of rows emitted in epochs up to `epoch`.
///
/// # Errors
/// `Exhausted` beyond the limit.
pub(super) fn closed(epoch: Epoch, ids: &[RequestId], record_bytes_max: u32) -> Result<Bytes> {
    let mut bytes = begin(KIND_CLOSED, ids.len() * 16 + 12);
    bytes.extend_from_slice(&epoch.0.to_le_bytes());
    put_ids(&mut bytes, ids);
    seal(bytes, record_bytes_max)
}

/// Reads the record of `bytes`, frame included. Trusts nothing but the length of `bytes`.
///
/// # Errors
/// `Corrupt`, naming what is wrong.
pub(super) fn parse(bytes: &Bytes) -> Result<Record> {
    let wrong = || Error::new(Kind::Corrupt, "read journal record: its body is malformed");
    let kind = *bytes.get(FRAME_BYTES - 1).ok_or_else(wrong)?;
    let body = bytes.slice(FRAME_BYTES..);
    match kind {
        KIND_ANSWER => {
            let ids = take_ids(&body).ok_or_else(wrong)?;
            let stream = body.slice(4 + ids.len() * 16..);
            Ok(Record::Answer { ids, stream })
        }
        KIND_FAILURE => {
            let ids = take_ids(&body).ok_or_else(wrong)?;
            let rest = &body[4 + ids.len() * 16..];
            let code = *rest.first().ok_or_else(wrong)?;
            let (given_up, kind) = (code & GIVEN_UP != 0, kind_of(code & !GIVEN_UP).ok_or_else(wrong)?);
            Ok(Record::Failure { ids, given_up, kind, reason: String::from_utf8_lossy(&rest[1..]).into_owned() })
        }
        KIND_CLOSED => {
            let (epoch, rest) = body.split_first_chunk::<8>().ok_or_else(wrong)?;
            let ids = take_ids(rest).ok_or_else(wrong)?;
            Ok(Record::Closed { epoch: Epoch(u64::from_le_bytes(*epoch)), ids })
        }
        _ => Err(wrong()),
    }
}

/// Decodes and validates the answers of a record: exactly `count` rows.
///
/// # Errors
/// `Corrupt`.
pub(super) fn decode_rows(stream: &Bytes, count: usize) -> Result<RecordBatch> {
    let wrong = || Error::new(Kind::Corrupt, "decode journaled answers").with("rows", count);
    let mut reader =
        StreamReader::try_new(std::io::Cursor::new(stream), None).map_err(|source| wrong().source(source))?;
    let rows = reader.next().ok_or_else(wrong)?.map_err(|source| wrong().source(source))?;
    if rows.num_rows() == count { Ok(rows) } else { Err(wrong().with("found", rows.num_rows())) }
}

fn put_ids(bytes: &mut Vec<u8>, ids: &[RequestId]) {
    bytes.extend_from_slice(&(ids.len() as u32).to_le_bytes());
    ids.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
}

fn take_ids(bytes: &[u8]) -> Option<Vec<RequestId>> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let ids = rest.get(..(u32::from_le_bytes(*count) as usize).checked_mul(16)?)?;
    let (ids, _) = ids.as_chunks::<16>();
    Some(ids.iter().map(|id| RequestId(u128::from_le_bytes(*id))).collect())
}

pub(super) fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// Kinds by their stored code, which is their place here plus one. Only ever grows at the end: it is a file format.
const KINDS: [Kind; 10] = [
    Kind::Invalid,
    Kind::Data,
    Kind::Unavailable,
    Kind::Overload,
    Kind::Timeout,
    Kind::Exhausted,
    Kind::Fenced,
    Kind::Cancelled,
    Kind::Corrupt,
    Kind::Internal,
];

fn kind_code(kind: Kind) -> u8 {
    KINDS.iter().position(|other| *other == kind).map_or(0, |place| place as u8 + 1)
}

fn kind_of(code: u8) -> Option<Kind> {
    KINDS.get(usize::from(code).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_as_itself() {
        for (kind, given_up) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let bytes = failure(&[RequestId(7)], given_up, kind, "no such digit", 1024).unwrap();
            assert_eq!(check(&bytes, 1024), Ok(bytes.len()));
            let expected = Record::Failure { ids: vec![RequestId(7)], given_up, kind, reason: "no such digit".into() };
            assert_eq!(parse(&bytes).unwrap(), expected);
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = closed(Epoch(3), &[RequestId(1), RequestId(2)], 1024).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, 1024).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_and_a_longer_length_is_implausible() {
        let error = failure(&[RequestId(7)], false, Kind::Data, &"x".repeat(100), 64).unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted);
        let bytes = failure(&[RequestId(7)], false, Kind::Data, &"x".repeat(100), 1024).unwrap();
        assert_eq!(check(&bytes, 64), Err(Unsound::Implausible));
    }

    #[test]
    fn a_count_beyond_the_body_is_malformed_without_allocating() {
        let mut bytes = closed(Epoch(1), &[RequestId(1)], 1024).unwrap().to_vec();
        bytes[FRAME_BYTES + 8..FRAME_BYTES + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&Bytes::from(bytes)).unwrap_err().kind(), Kind::Corrupt);
    }
}
