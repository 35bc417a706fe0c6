//! The stable identity of a row: made from where it was read, never from a clock or a random number.
//!
//! Everything that must survive a replay hangs on it: the inference journal, dead letters, exactly-once checks, key
//! groups of unkeyed streams. A row read again after a restore has the same id.

use std::fmt;

use crate::hash::hash64_parts;
use crate::key_group::KeyGroup;

/// Identity of a row: the split it was read from and its place in it.
///
/// `split` is a 64-bit hash of source uid, split name and split version, so a changed file gives new ids. `ordinal` is
/// the row's place inside the split as the format counts it (row index, byte position); it grows in reading order.
///
/// ```
/// use forebay_core::row::{RowId, SplitId};
/// let split = SplitId::new("images", "digits/00001.png", "len=412");
/// let id = RowId::new(split, 0);
/// assert_eq!(RowId::from_bytes(id.to_bytes()), id);
/// assert_eq!(id.to_string().parse::<RowId>().unwrap(), id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The split that the row was read from.
    pub split: SplitId,
    /// The row's place inside the split.
    pub ordinal: u64,
}

/// Identity of a split: a hash of source uid, name and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SplitId(pub u64);

// === impl SplitId ===

impl SplitId {
    /// The id of the split `name` at `version` (length, etag, ...) of the source `source_uid`.
    pub fn new(source_uid: &str, name: &str, version: &str) -> Self {
        Self(hash64_parts(&[source_uid.as_bytes(), name.as_bytes(), version.as_bytes()]))
    }

    /// The key group of every row of this split, of `groups` in all.
    pub fn key_group(self, groups: u16) -> KeyGroup {
        KeyGroup::of_hash(self.0, groups)
    }
}

// === impl RowId ===

impl RowId {
    /// The id of the row at `ordinal` of `split`.
    pub fn new(split: SplitId, ordinal: u64) -> Self {
        Self { split, ordinal }
    }

    /// The key group of the row in an unkeyed stream: that of its split, so rows of one split stay together.
    pub fn key_group(self, groups: u16) -> KeyGroup {
        self.split.key_group(groups)
    }

    /// 16 bytes, big-endian, whose order is the order of ids.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.split.0) << 64) | u128::from(self.ordinal)).to_be_bytes()
    }

    /// The inverse of [`RowId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { split: SplitId((value >> 64) as u64), ordinal: value as u64 }
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}", self.split.0, self.ordinal)
    }
}

impl std::str::FromStr for RowId {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let bad = || crate::Error::new(crate::Kind::Invalid, "parse row id").with("id", text);
        let (split, ordinal) = text.split_once('-').ok_or_else(bad)?;
        let split = u64::from_str_radix(split, 16).map_err(|_| bad())?;
        let ordinal = u64::from_str_radix(ordinal, 16).map_err(|_| bad())?;
        Ok(Self::new(SplitId(split), ordinal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_file_gives_other_ids() {
        let before = SplitId::new("images", "a.png", "len=1");
        let after = SplitId::new("images", "a.png", "len=2");
        assert_ne!(RowId::new(before, 0), RowId::new(after, 0));
    }

    #[test]
    fn bytes_keep_the_order_of_ids() {
        let split = SplitId(7);
        assert!(RowId::new(split, 1).to_bytes() < RowId::new(split, 256).to_bytes());
    }
}
