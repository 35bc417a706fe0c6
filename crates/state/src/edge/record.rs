//! Records of the log: what they hold by key group, framed by length and checksum.
//!
//! ```text
//! record = length:u32 crc32c:u32 kind:u8 epoch:u64 count:u32 (group:u16 start:u64 count:u32)*  rest
//! rest   = rows:u32 (id:16 kind:u8)* body | watermark:i64 | nothing          by kind: 1 rows, 2 watermark, 3 end
//! ```
//!
//! `length` counts what follows the checksum, which covers length and all of that. Counts are checked against what is left
//! before anything is allocated. The body is not read here.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::row::RowId;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::position::RowKey;
use super::protocol::Mark;

/// Bytes before what the length counts.
pub(super) const FRAME_BYTES: usize = 8;

const ROWS: u8 = 1;
const WATERMARK: u8 = 2;
const END: u8 = 3;
const SPAN_BYTES: usize = 14;
const KEY_BYTES: usize = 17;

/// Elements of one key group in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The key group.
    pub group: KeyGroup,
    /// Number of its first element here.
    pub start: u64,
    /// How many, never 0.
    pub count: u32,
}

/// A record without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub epoch: Epoch,
    pub spans: Vec<Span>,
    /// `None` for rows.
    pub mark: Option<Mark>,
    /// One a row, in the order of spans; empty for a mark.
    pub keys: Vec<RowKey>,
}

/// What the bytes at a place are, if not a sound record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsound {
    /// They end before the record does.
    Cut,
    /// Their length is beyond the limit.
    TooLong,
    /// The checksum does not match, or the content is malformed.
    Damaged,
}

/// Reads numbers from bytes without trusting them.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    place: usize,
}

// === impl Span ===

impl Span {
    /// The number after its last element.
    pub fn end(self) -> u64 {
        self.start + u64::from(self.count)
    }
}

// === impl Unsound ===

impl Unsound {
    pub fn reason(self) -> &'static str {
        match self {
            Unsound::Cut => "the record ends before its length",
            Unsound::TooLong => "the record's length is beyond the limit",
            Unsound::Damaged => "checksum or content of the record is wrong",
        }
    }
}

// === impl Head ===

impl Head {
    /// The record of this head and `body`.
    ///
    /// # Errors
    /// `Exhausted` beyond `record_bytes_max`.
    pub fn to_record(&self, body: &[u8], record_bytes_max: u32) -> Result<Bytes> {
        let size = 32 + self.spans.len() * SPAN_BYTES + self.keys.len() * KEY_BYTES + body.len();
        let mut out = BytesMut::with_capacity(FRAME_BYTES + size);
        out.put_u64_le(0);
        out.put_u8(match self.mark {
            None => ROWS,
            Some(Mark::Watermark(_)) => WATERMARK,
            Some(Mark::End) => END,
        });
        out.put_u64_le(self.epoch.0);
        out.put_u32_le(self.spans.len() as u32);
        for span in &self.spans {
            out.put_u16_le(span.group.0);
            out.put_u64_le(span.start);
            out.put_u32_le(span.count);
        }
        match self.mark {
            None => {
                out.put_u32_le(self.keys.len() as u32);
                self.keys.iter().for_each(|key| out.put_slice(&key.to_bytes()));
                out.put_slice(body);
            }
            Some(Mark::Watermark(time)) => out.put_i64_le(time.0),
            Some(Mark::End) => {}
        }
        let length = u32::try_from(out.len() - FRAME_BYTES).unwrap_or(u32::MAX);
        if length > record_bytes_max {
            return Err(Error::new(Kind::Exhausted, "append to edge: record is larger than the limit")
                .with("bytes", out.len())
                .with("record_bytes_max", record_bytes_max));
        }
        out[..4].copy_from_slice(&length.to_le_bytes());
        let sum = crc(&out[..4], &out[FRAME_BYTES..]);
        out[4..8].copy_from_slice(&sum.to_le_bytes());
        Ok(out.freeze())
    }
}

/// The record at the start of `bytes`: its head, where its body begins, and its whole length.
pub(super) fn parse(bytes: &[u8], record_bytes_max: u32) -> Result<(Head, usize, usize), Unsound> {
    let mut cursor = Cursor::new(bytes);
    let (length, sum) = (cursor.u32().ok_or(Unsound::Cut)?, cursor.u32().ok_or(Unsound::Cut)?);
    if length > record_bytes_max {
        return Err(Unsound::TooLong);
    }
    let total = FRAME_BYTES + length as usize;
    let bytes = bytes.get(..total).ok_or(Unsound::Cut)?;
    if crc(&bytes[..4], &bytes[FRAME_BYTES..]) != sum {
        return Err(Unsound::Damaged);
    }
    let mut cursor = Cursor { bytes, place: FRAME_BYTES };
    let head = head(&mut cursor).ok_or(Unsound::Damaged)?;
    Ok((head, cursor.place, total))
}

fn head(cursor: &mut Cursor<'_>) -> Option<Head> {
    let (kind, epoch) = (cursor.u8()?, Epoch(cursor.u64()?));
    let count = cursor.u32()? as usize;
    if count > cursor.left() / SPAN_BYTES {
        return None;
    }
    let span = |cursor: &mut Cursor<'_>| {
        let span = Span { group: KeyGroup(cursor.u16()?), start: cursor.u64()?, count: cursor.u32()? };
        (span.count > 0 && span.start.checked_add(u64::from(span.count)).is_some()).then_some(span)
    };
    let spans = (0..count).map(|_| span(cursor)).collect::<Option<Vec<Span>>>()?;
    let rows: u64 = spans.iter().map(|span| u64::from(span.count)).sum();
    let (mark, keys) = match kind {
        ROWS => (None, keys(cursor, rows)?),
        WATERMARK => (Some(Mark::Watermark(EventTime(cursor.u64()? as i64))), Vec::new()),
        END => (Some(Mark::End), Vec::new()),
        _ => return None,
    };
    Some(Head { epoch, spans, mark, keys })
}

fn keys(cursor: &mut Cursor<'_>, rows: u64) -> Option<Vec<RowKey>> {
    let count = cursor.u32()? as usize;
    if count as u64 != rows || count > cursor.left() / KEY_BYTES {
        return None;
    }
    let (keys, _) = cursor.take(count * KEY_BYTES)?.as_chunks::<KEY_BYTES>();
    let key = |bytes: &[u8; KEY_BYTES]| {
        let id = bytes.first_chunk::<16>().copied().map(RowId::from_bytes)?;
        Some(RowKey { id, kind: bytes[16] })
    };
    keys.iter().map(key).collect()
}

fn crc(length: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), rest)
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0 }
    }

    pub fn place(&self) -> usize {
        self.place
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.place
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.place..self.place.checked_add(length)?)?;
        self.place += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::row::SplitId;

    fn heads() -> Vec<Head> {
        let key = |ordinal| RowKey { id: RowId::new(SplitId(7), ordinal), kind: 0 };
        let span = |group, count| Span { group: KeyGroup(group), start: 1 << 40, count };
        let rows =
            Head { epoch: Epoch(3), spans: vec![span(1, 2), span(5, 1)], mark: None, keys: (0..3).map(key).collect() };
        let mark = |mark| Head { epoch: Epoch(3), spans: vec![span(1, 1)], mark: Some(mark), keys: Vec::new() };
        vec![rows, mark(Mark::Watermark(EventTime(-7))), mark(Mark::End)]
    }

    #[test]
    fn records_read_back_and_any_flipped_bit_or_cut_is_noticed() {
        for head in heads() {
            let body: &[u8] = if head.mark.is_none() { b"body" } else { b"" };
            let bytes = head.to_record(body, 1024).unwrap();
            let (found, place, total) = parse(&bytes, 1024).unwrap();
            assert_eq!((found, &bytes[place..total]), (head, body));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(parse(&flipped, 1024).is_err(), "bit {bit}");
            }
            assert!((0..bytes.len()).all(|cut| parse(&bytes[..cut], 1024) == Err(Unsound::Cut)));
        }
    }

    #[test]
    fn limits_hold_before_anything_is_allocated() {
        let head = &heads()[0];
        assert_eq!(head.to_record(&[0; 100], 64).unwrap_err().kind(), Kind::Exhausted);
        let mut bytes = head.to_record(b"", 1024).unwrap().to_vec();
        assert_eq!(parse(&bytes, 64), Err(Unsound::TooLong));
        let counts = [17, 17 + 4 + 2 * SPAN_BYTES];
        for place in counts {
            let mut wrong = bytes.clone();
            wrong[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            let sum = crc(&wrong[..4], &wrong[FRAME_BYTES..]).to_le_bytes();
            wrong[4..8].copy_from_slice(&sum);
            assert_eq!(parse(&wrong, 1024), Err(Unsound::Damaged));
        }
        bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&bytes, 1024), Err(Unsound::TooLong));
    }
}
