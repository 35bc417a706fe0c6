//! The state of one key group over updates: what [`codec`] writes of rows and inferences, what each of those rows
//! does, and the kept answers.
//!
//! Layout, little-endian: format `u8`; length `u32` of the first part, and that part; one byte a row, its kind; the rest is the
//! keyed state. A group whose keyed state is only what changed is always written, because the rows that wait now are
//! those of the newest entry and no other. Over rows that only add [`codec`] alone is used.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Restored, Snapshot};
use forebay_core::row_kind::RowKind;
use forebay_core::{Batch, Result};

use super::codec::{self, GroupState};

const FORMAT: u8 = 3;

/// Puts `states` beside the keyed state of the key groups `owned`.
///
/// # Errors
/// `Internal` only.
pub(super) fn encode(
    mut states: BTreeMap<KeyGroup, GroupState>,
    mut keyed: Snapshot,
    owned: Range<u16>,
) -> Result<Snapshot> {
    let is_delta = |group: &KeyGroup| keyed.lineage.as_ref().is_some_and(|lineage| lineage.deltas.contains(group));
    let mut groups = BTreeMap::new();
    for group in owned.map(KeyGroup) {
        let (state, kept) = (states.remove(&group), keyed.groups.remove(&group));
        if state.is_some() || kept.is_some() || is_delta(&group) {
            groups.insert(group, encode_group(&state.unwrap_or_default(), &kept.unwrap_or_default())?);
        }
    }
    Ok(Snapshot { groups, ..keyed })
}

fn encode_group(state: &GroupState, kept: &[u8]) -> Result<Bytes> {
    let rows = codec::encode_group(state)?;
    let mut out = vec![FORMAT];
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    out.extend_from_slice(&rows);
    out.extend(state.rows.iter().map(|row| row.batch.kind(row.place).to_byte()));
    out.extend_from_slice(kept);
    Ok(out.into())
}

/// Takes apart what [`encode`] wrote: rows and inferences of each group, and the keyed state.
///
/// # Errors
/// `Corrupt`, naming the key group.
pub(super) fn decode(restored: Restored) -> Result<(Vec<GroupState>, Restored)> {
    let (mut states, mut kept) = (BTreeMap::new(), Vec::new());
    for (group, bytes) in restored.groups {
        let (state, keyed) = decode_group(&bytes).map_err(|reason| codec::corrupt(group, reason))?;
        // Of the entries of a group the last one is the newest.
        states.insert(group, state);
        if !keyed.is_empty() {
            kept.push((group, keyed));
        }
    }
    Ok((states.into_values().collect(), Restored { epoch: restored.epoch, groups: kept }))
}

fn decode_group(bytes: &Bytes) -> Result<(GroupState, Bytes), String> {
    let early = || "the state ends early".to_string();
    let (format, rest) = bytes.split_first().ok_or_else(early)?;
    if *format != FORMAT {
        return Err(format!("format {format} is not that of rows which are also taken back"));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(early)?;
    let (rows, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(early)?;
    let state = codec::decode_group(&bytes.slice_ref(rows))?;
    let (kinds, kept) = rest.split_at_checked(state.rows.len()).ok_or_else(early)?;
    Ok((with_kinds(state, kinds).map_err(|error| error.chain())?, bytes.slice_ref(kept)))
}

/// All rows of a group are in one batch, in its order.
fn with_kinds(mut state: GroupState, kinds: &[u8]) -> Result<GroupState> {
    let Some(first) = state.rows.first() else { return Ok(state) };
    let kinds = kinds.iter().map(|kind| RowKind::from_byte(*kind)).collect::<Result<Vec<_>>>()?;
    let batch = Arc::new(Batch::clone(&first.batch).with_kinds(kinds)?);
    state.rows.iter_mut().for_each(|row| row.batch = Arc::clone(&batch));
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_cut_anywhere_in_its_first_part_is_refused() {
        let bytes = encode_group(&GroupState::default(), b"kept").unwrap();
        assert_eq!(&decode_group(&bytes).unwrap().1[..], b"kept");
        for end in 0..bytes.len() - 4 {
            assert!(decode_group(&bytes.slice(..end)).is_err(), "{end}");
        }
        let plain = codec::encode_group(&GroupState::default()).unwrap();
        assert!(decode_group(&plain).is_err(), "a state of rows that only add");
    }
}
