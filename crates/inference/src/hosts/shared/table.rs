//! What crosses the socket in the place of rows: their types, and where each buffer lies.
//!
//! A table is a row of 64-bit words and the schema as Arrow encodes it. For each part of each column the words have its
//! length and, for each of its buffers, a [`Place`]. The other side of this file is `python/forebay/_layout.py`.

use arrow::buffer::Buffer;
use forebay_core::{Error, Kind, Result};

/// Rows in shared memory, as they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// How many rows, then parts.
    pub words: Vec<u64>,
    /// Their schema, encoded.
    pub schema: Buffer,
}

/// A call whose rows lie in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTable {
    /// Which call of its replica it is; the child names it while it holds on to its memory.
    pub call: u64,
    /// Where the child may write its answers, and how many bytes; none if there are no bytes.
    pub answers: (u64, u64),
    /// The rows.
    pub rows: Table,
}

/// Answers in shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerTable {
    /// How many bytes at the front of its span the child used; the others are free again.
    pub bytes: u64,
    /// The rows.
    pub rows: Table,
}

/// A call whose memory something in the child still looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which call.
    pub call: u64,
    /// Its rows.
    pub rows: bool,
    /// What it was given for answers.
    pub answers: bool,
}

/// Where a buffer lies: in which slab, from where on, how long. A slab is 0 for a buffer that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Of which slab: [`REQUESTS`] or [`ANSWERS`].
    pub slab: u64,
    /// The first byte.
    pub start: u64,
    /// How many.
    pub bytes: u64,
}

/// The slab that this process writes and all children of a host read.
pub const REQUESTS: u64 = 1;
/// The slab that one child writes and this process reads.
pub const ANSWERS: u64 = 2;

const WORD_BYTES: usize = size_of::<u64>();
const CALL_WORDS: usize = 3;
const ANSWER_WORDS: usize = 1;

// === impl Table ===

impl Table {
    /// Adds it to a frame, its words after `before`.
    pub fn write(&self, before: &[u64], frame: &mut Vec<u8>) {
        let words = before.len() + self.words.len();
        frame.extend_from_slice(&(words as u32).to_le_bytes());
        frame.extend_from_slice(&(self.schema.len() as u32).to_le_bytes());
        before.iter().chain(&self.words).for_each(|word| frame.extend_from_slice(&word.to_le_bytes()));
        frame.extend_from_slice(&self.schema);
    }

    /// The table at the front of `payload`, and what follows it.
    ///
    /// # Errors
    /// `Corrupt` if there is none.
    pub fn read(payload: &Buffer) -> Result<(Self, Buffer)> {
        let count = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).ok_or_else(corrupt)?;
            Ok(u32::from_le_bytes(*bytes) as usize)
        };
        let (words, schema) = (count(0)?, count(4)?);
        let words_end = words.saturating_mul(WORD_BYTES).saturating_add(8);
        let end = words_end.saturating_add(schema);
        let words = payload.get(8..words_end).filter(|_| end <= payload.len());
        let words = words.ok_or_else(|| corrupt().with("bytes", end).with("bytes_max", payload.len()))?;
        let table = Self { words: read_words(words), schema: payload.slice_with_length(words_end, schema) };
        Ok((table, payload.slice(end)))
    }
}

// === impl CallTable ===

impl CallTable {
    /// Adds it to a frame.
    pub fn write(&self, frame: &mut Vec<u8>) {
        self.rows.write(&[self.call, self.answers.0, self.answers.1], frame);
    }

    /// The call at the front of `payload`, and what follows it.
    ///
    /// # Errors
    /// `Corrupt` if there is none.
    pub fn read(payload: &Buffer) -> Result<(Self, Buffer)> {
        let (mut rows, rest) = Table::read(payload)?;
        let Some(&[call, start, bytes]) = rows.words.first_chunk::<CALL_WORDS>() else { return Err(corrupt()) };
        rows.words.drain(..CALL_WORDS);
        Ok((Self { call, answers: (start, bytes), rows }, rest))
    }
}

// === impl AnswerTable ===

impl AnswerTable {
    /// Adds it to a frame.
    pub fn write(&self, frame: &mut Vec<u8>) {
        self.rows.write(&[self.bytes], frame);
    }

    /// The answer at the front of `payload`, and what follows it.
    ///
    /// # Errors
    /// `Corrupt` if there is none.
    pub fn read(payload: &Buffer) -> Result<(Self, Buffer)> {
        let (mut rows, rest) = Table::read(payload)?;
        let Some(&[bytes]) = rows.words.first_chunk::<ANSWER_WORDS>() else { return Err(corrupt()) };
        rows.words.drain(..ANSWER_WORDS);
        Ok((Self { bytes, rows }, rest))
    }
}

// === impl Held ===

impl Held {
    /// Adds some to a frame.
    pub fn write(held: &[Self], frame: &mut Vec<u8>) {
        for Held { call, rows, answers } in held {
            let what = u64::from(*rows) | u64::from(*answers) << 1;
            frame.extend([*call, what].iter().flat_map(|word| word.to_le_bytes()));
        }
    }

    /// Those in `payload`.
    pub fn read(payload: &[u8]) -> Vec<Self> {
        let words = read_words(payload);
        let held = |pair: &[u64]| Self { call: pair[0], rows: pair[1] & 1 > 0, answers: pair[1] & 2 > 0 };
        words.chunks_exact(2).map(held).collect()
    }
}

// === impl Place ===

impl Place {
    /// As words of a table.
    pub fn words(self) -> [u64; 3] {
        [self.slab, self.start, self.bytes]
    }
}

fn read_words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "read table of model process")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallTable {
        let schema = Buffer::from_slice_ref(b"schema");
        CallTable { call: 7, answers: (4096, 8192), rows: Table { words: vec![2, 2, 0, 0, 0, 1, 64, 16], schema } }
    }

    #[test]
    fn a_call_and_what_follows_it_come_back() {
        let mut frame = Vec::new();
        call().write(&mut frame);
        frame.extend_from_slice(b"rest");
        let (read, rest) = CallTable::read(&frame.into()).unwrap();
        assert_eq!((read, rest.as_slice()), (call(), &b"rest"[..]));
    }

    #[test]
    fn every_cut_of_a_table_is_an_error() {
        let mut frame = Vec::new();
        call().write(&mut frame);
        for cut in 0..frame.len() {
            assert!(CallTable::read(&Buffer::from_slice_ref(&frame[..cut])).is_err(), "{cut}");
        }
        frame[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(CallTable::read(&frame.into()).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn what_is_held_comes_back() {
        let held = [Held { call: 1, rows: true, answers: false }, Held { call: u64::MAX, rows: true, answers: true }];
        let mut frame = Vec::new();
        Held::write(&held, &mut frame);
        assert_eq!(Held::read(&frame), held);
    }
}
