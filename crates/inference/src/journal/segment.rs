//! Names and headers of segment files.
//!
//! A name is `00000012-3.fbj`: number in the log and attempt that wrote it. The header repeats both and says how many
//! bytes of the segment before were there when this one was begun. What a fenced attempt appends later lies beyond that
//! and is never read, and a segment that it begins carries a lower attempt than one before it: neither can come in front
//! of what the newer attempt has told.

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind, Result};

use super::record::read_u32;

/// Bytes of the header: magic 6, version 2, attempt 8, number 4, previous number 4, previous bytes 8, restored 8, crc 4.
pub(super) const HEADER_BYTES: usize = 44;

const MAGIC: &[u8; 6] = b"FBJRNL";
const VERSION: u16 = 1;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Who wrote it.
    pub attempt: u64,
    /// Its number, from 1.
    pub number: u32,
    /// The segment before it and how many of its bytes count; number 0 if there was none.
    pub previous: (u32, u64),
    /// The epoch that the writer was restored from; closings of later epochs in earlier segments are void.
    pub restored: Option<Epoch>,
}

/// The file name of segment `number` by `attempt`.
pub(super) fn file_name(number: u32, attempt: u64) -> String {
    format!("{number:08}-{attempt}.fbj")
}

/// Number and attempt in a file name; `None` for other files.
pub(super) fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (number, attempt) = name.strip_suffix(".fbj")?.split_once('-')?;
    Some((number.parse().ok()?, attempt.parse().ok()?))
}

// === impl Header ===

impl Header {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..6].copy_from_slice(MAGIC);
        bytes[6..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous.1.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.restored.map_or(u64::MAX, |epoch| epoch.0).to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`; `None` if it is cut or damaged.
    ///
    /// # Errors
    /// `Invalid` if a newer Forebay wrote it.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        if &bytes[..6] != MAGIC || crc32c::crc32c(&bytes[..40]) != read_u32(&bytes[40..]) {
            return Ok(None);
        }
        let version = u16::from_le_bytes([bytes[6], bytes[7]]);
        if version != VERSION {
            return Err(Error::new(Kind::Invalid, "read journal: its format is of another version of Forebay")
                .with("format", version)
                .with("known", VERSION));
        }
        let long = |place: usize| u64::from(read_u32(&bytes[place..])) | u64::from(read_u32(&bytes[place + 4..])) << 32;
        let restored = Some(long(32)).filter(|epoch| *epoch != u64::MAX).map(Epoch);
        let previous = (read_u32(&bytes[20..]), long(24));
        Ok(Some(Self { attempt: long(8), number: read_u32(&bytes[16..]), previous, restored }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_reads_back_and_any_flipped_bit_is_noticed() {
        let header = Header { attempt: 1 << 40, number: 7, previous: (6, 1 << 33), restored: Some(Epoch(5)) };
        let bytes = header.to_bytes();
        assert_eq!(Header::parse(&bytes).unwrap(), Some(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::parse(&flipped).unwrap(), None, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let mut bytes = Header { attempt: 1, number: 1, previous: (0, 0), restored: None }.to_bytes();
        bytes[6] = 2;
        let sum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::parse(&bytes).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn names_carry_number_and_attempt() {
        assert_eq!(parse_name(&file_name(12, 3)), Some((12, 3)));
        assert_eq!(parse_name("notes.txt"), None);
    }
}
