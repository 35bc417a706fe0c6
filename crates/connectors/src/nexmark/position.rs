//! Positions of a reader by key group: for each split of the group, the place from which on nothing was read.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use forebay_core::row::SplitId;
use forebay_core::{Error, Kind, Result};

/// First byte of every stored position; a new layout gets a new one.
const VERSION: u8 = 1;
/// Bytes of one split's entry: its id and its place.
const ENTRY: usize = 16;

/// The next place of each split of one key group.
pub(super) type Places = BTreeMap<SplitId, u64>;

/// The stored form, little-endian.
pub(super) fn encode(places: &Places) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + places.len() * ENTRY);
    out.put_u8(VERSION);
    for (split, place) in places {
        out.put_u64_le(split.0);
        out.put_u64_le(*place);
    }
    out.freeze()
}

/// Takes over a stored form into `places`, which names the splits.
///
/// # Errors
/// `Corrupt` if it is malformed or belongs to other splits.
pub(super) fn restore(places: &mut Places, mut stored: &[u8]) -> Result<()> {
    let corrupt = |why: &str| Error::new(Kind::Corrupt, "restore nexmark positions").source(why);
    if !stored.has_remaining() || stored.get_u8() != VERSION {
        return Err(corrupt("unknown version"));
    }
    if stored.len() != places.len() * ENTRY {
        return Err(corrupt("another number of splits"));
    }
    while stored.has_remaining() {
        let (split, place) = (SplitId(stored.get_u64_le()), stored.get_u64_le());
        *places.get_mut(&split).ok_or_else(|| corrupt("another split").with("split", split.0))? = place;
    }
    Ok(())
}
