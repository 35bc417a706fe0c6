//! Names and headers of segment files.
//!
//! A name is `00000012-3.fbe`: number in the log and attempt that wrote it. The header repeats both. One that *begins* its
//! attempt is the attempt's takeover: it names the checkpoint that the attempt goes on from, how many bytes of the segment
//! before count, and where every key group stands. Being one synced write, it truncates all key groups at once or not at all.
//!
//! ```text
//! header = "FBEDGE" version:u16 attempt:u64 number:u32 begins:u8 base:u64 previous:u32 previous_bytes:u64
//!          count:u32 (group:u16 end:u64)* crc32c:u32           numbers little-endian, base u64::MAX for none
//! ```

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};

use super::record::Cursor;

const MAGIC: &[u8; 6] = b"FBEDGE";
const VERSION: u16 = 1;

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Who wrote it.
    pub attempt: u64,
    /// Its number, from 1.
    pub number: u32,
    /// Whether it begins its attempt, and then the checkpoint that the attempt goes on from.
    pub begins: Option<Option<Epoch>>,
    /// The segment before it and how many of its bytes count; number 0 if there was none.
    pub previous: (u32, u64),
    /// Where each key group stands at its start.
    pub ends: BTreeMap<KeyGroup, u64>,
}

/// The file name of segment `number` by `attempt`.
pub(super) fn file_name(number: u32, attempt: u64) -> String {
    format!("{number:08}-{attempt}.fbe")
}

/// Number and attempt in a file name; `None` for other files.
pub(super) fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (number, attempt) = name.strip_suffix(".fbe")?.split_once('-')?;
    Some((number.parse().ok()?, attempt.parse().ok()?))
}

// === impl Header ===

impl Header {
    /// The header's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(64 + self.ends.len() * 10);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u64_le(self.attempt);
        out.put_u32_le(self.number);
        out.put_u8(u8::from(self.begins.is_some()));
        out.put_u64_le(self.begins.flatten().map_or(u64::MAX, |epoch| epoch.0));
        out.put_u32_le(self.previous.0);
        out.put_u64_le(self.previous.1);
        out.put_u32_le(self.ends.len() as u32);
        for (group, end) in &self.ends {
            out.put_u16_le(group.0);
            out.put_u64_le(*end);
        }
        let sum = crc32c::crc32c(&out);
        out.put_u32_le(sum);
        out.to_vec()
    }

    /// Reads the header at the start of `bytes`, and its length; `None` if it is cut or damaged.
    ///
    /// # Errors
    /// `Invalid` if a newer Forebay wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some((header, length, version)) = Self::read(bytes) else { return Ok(None) };
        if version != VERSION {
            return Err(Error::new(Kind::Invalid, "read edge log: its format is of another version of Forebay")
                .with("format", version)
                .with("known", VERSION));
        }
        Ok(Some((header, length)))
    }

    fn read(bytes: &[u8]) -> Option<(Self, usize, u16)> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let version = cursor.u16()?;
        let (attempt, number, begins, base) = (cursor.u64()?, cursor.u32()?, cursor.u8()?, cursor.u64()?);
        let previous = (cursor.u32()?, cursor.u64()?);
        let count = cursor.u32()? as usize;
        if count > cursor.left() / 10 {
            return None;
        }
        let mut ends = BTreeMap::new();
        for _ in 0..count {
            ends.insert(KeyGroup(cursor.u16()?), cursor.u64()?);
        }
        let covered = cursor.place();
        if cursor.u32()? != crc32c::crc32c(&bytes[..covered]) {
            return None;
        }
        let begins = (begins != 0).then_some((base != u64::MAX).then_some(Epoch(base)));
        Some((Self { attempt, number, begins, previous, ends }, cursor.place(), version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let ends = [(KeyGroup(0), 7), (KeyGroup(9), 1 << 40)].into();
        Header { attempt: 1 << 40, number: 7, begins: Some(Some(Epoch(5))), previous: (6, 1 << 33), ends }
    }

    #[test]
    fn header_reads_back_and_any_flipped_bit_is_noticed() {
        for header in [header(), Header { begins: None, ..header() }, Header { begins: Some(None), ..header() }] {
            let bytes = header.to_bytes();
            assert_eq!(Header::parse(&bytes).unwrap(), Some((header, bytes.len())));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::parse(&flipped).unwrap(), None, "bit {bit}");
            }
            assert!((0..bytes.len()).all(|cut| Header::parse(&bytes[..cut]).unwrap().is_none()));
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let mut bytes = header().to_bytes();
        bytes[6] = 2;
        let place = bytes.len() - 4;
        let sum = crc32c::crc32c(&bytes[..place]).to_le_bytes();
        bytes[place..].copy_from_slice(&sum);
        assert_eq!(Header::parse(&bytes).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn names_carry_number_and_attempt() {
        assert_eq!(parse_name(&file_name(12, 3)), Some((12, 3)));
        assert_eq!(parse_name("notes.txt"), None);
    }
}
