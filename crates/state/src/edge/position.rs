//! How far an edge is written or read, by key group.
//!
//! A key group's elements are numbered densely from 0: its rows, and the marks (watermarks, ends) that cover it. A position
//! is the number of the next one. Numbers say nothing of files or writers, so both sides may change their parallelism, and
//! positions are state by key group like any other.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::row::RowId;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use crate::checkpoint::{Manifest, Started};

const VERSION: u8 = 1;

/// A position in each key group; a group that is not named is at 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Positions(pub BTreeMap<KeyGroup, u64>);

/// What tells one row of an edge from all others: its id and its kind's number, because an update's two halves share the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The row's id.
    pub id: RowId,
    /// The row's kind, as a number.
    pub kind: u8,
}

/// What a writer keeps for one key group at a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct WriterState {
    /// The position behind everything written before the barrier.
    pub end: u64,
    /// Rows that an earlier attempt wrote and this one has not come to yet. Empty under commit-read.
    pub unconfirmed: BTreeSet<RowKey>,
}

/// What a reader keeps for one key group at a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ReaderState {
    /// The position behind everything given out before the barrier.
    pub position: u64,
    /// The last watermark that covered the group.
    pub watermark: Option<EventTime>,
    /// Whether the group's input has ended.
    pub ended: bool,
}

/// The right of a new attempt of the producer to write: it has claimed its restart epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The attempt, greater than every earlier one.
    pub attempt: u64,
    /// The checkpoint whose state it goes on from; `None` for none.
    pub base: Option<Epoch>,
    /// The number of its first checkpoint.
    pub next_epoch: Epoch,
    /// What the writers kept in `base`, of all their key groups.
    pub writers: BTreeMap<KeyGroup, WriterState>,
}

/// What an epoch record of the producer says: which checkpoint's rows may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Published {
    /// The record's number.
    pub epoch: Epoch,
    /// The checkpoint whose state it holds; `None` for the empty state.
    pub state_of: Option<Epoch>,
}

// === impl Positions ===

impl Positions {
    /// The position of `group`.
    pub fn of(&self, group: KeyGroup) -> u64 {
        self.0.get(&group).copied().unwrap_or(0)
    }

    /// In every group the least of `all`; nothing is read where `all` is empty.
    #[must_use]
    pub fn least(all: &[Positions]) -> Self {
        let groups: BTreeSet<KeyGroup> = all.iter().flat_map(|positions| positions.0.keys().copied()).collect();
        let least = |group: KeyGroup| all.iter().map(|positions| positions.of(group)).min().unwrap_or(0);
        Self(groups.into_iter().map(|group| (group, least(group))).collect())
    }

    /// How far writers had written, by the state that [`WriterState::of`] read.
    pub fn written(writers: &BTreeMap<KeyGroup, WriterState>) -> Self {
        Self(writers.iter().map(|(group, state)| (*group, state.end)).collect())
    }

    /// How far readers had read, by their entries in a checkpoint.
    ///
    /// # Errors
    /// `Corrupt` if an entry is no reader's.
    pub fn read<'a>(entries: impl IntoIterator<Item = (KeyGroup, &'a [u8])>) -> Result<Self> {
        let position = |(group, bytes)| Ok((group, ReaderState::decode(bytes)?.position));
        entries.into_iter().map(position).collect::<Result<_>>().map(Self)
    }

    /// From where readers need the log, by their entries in a checkpoint. Of a group that has ended they need nothing: what a later
    /// attempt of the writers says of it, such as its end once more, is not read.
    ///
    /// # Errors
    /// `Corrupt` if an entry is no reader's.
    pub fn needed<'a>(entries: impl IntoIterator<Item = (KeyGroup, &'a [u8])>) -> Result<Self> {
        let position = |(group, bytes)| Ok((group, ReaderState::decode(bytes)?.needs_from()));
        entries.into_iter().map(position).collect::<Result<_>>().map(Self)
    }

    /// Whether in every group `read` is at most this.
    pub fn covers(&self, read: &Positions) -> bool {
        read.0.iter().all(|(group, position)| *position <= self.of(*group))
    }
}

// === impl Claim ===

impl Claim {
    /// The claim of an attempt whose checkpoint folder has [started](crate::CheckpointFolder::restart) it, which is the proof
    /// that its restart epoch is claimed. `writers` is decoded from the restored state of the edge's writers.
    pub fn of(started: &Started, writers: BTreeMap<KeyGroup, WriterState>) -> Self {
        let base = started.restored.as_ref().and_then(|manifest| manifest.state_of);
        Self { attempt: started.attempt, base, next_epoch: started.next_epoch, writers }
    }
}

// === impl Published ===

impl Published {
    /// What `manifest`, read from the producer's newest epoch record, lets consumers see.
    pub fn of(manifest: &Manifest) -> Self {
        Self { epoch: manifest.epoch, state_of: manifest.state_of }
    }
}

// === impl WriterState ===

impl WriterState {
    /// The state of an edge's writers, by their entries in a checkpoint: what a [`Claim`] wants.
    ///
    /// # Errors
    /// `Corrupt` if an entry is no writer's.
    pub fn of<'a>(entries: impl IntoIterator<Item = (KeyGroup, &'a [u8])>) -> Result<BTreeMap<KeyGroup, Self>> {
        entries.into_iter().map(|(group, bytes)| Ok((group, Self::decode(bytes)?))).collect()
    }

    /// As bytes of the writer's snapshot.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(9 + self.unconfirmed.len() * 17);
        out.put_u8(VERSION);
        out.put_u64_le(self.end);
        for key in &self.unconfirmed {
            out.put_slice(&key.to_bytes());
        }
        out.freeze()
    }

    /// Reads what [`WriterState::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::new(Kind::Corrupt, "read state of edge writer").with("bytes", bytes.len());
        let (end, keys) = numbered(bytes).ok_or_else(wrong)?;
        let (keys, rest) = keys.as_chunks::<17>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Self { end, unconfirmed: keys.iter().map(RowKey::from_bytes).collect() })
    }
}

// === impl ReaderState ===

impl ReaderState {
    /// The position from which the log is needed.
    pub fn needs_from(self) -> u64 {
        if self.ended { u64::MAX } else { self.position }
    }

    /// As bytes of the reader's snapshot.
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(19);
        out.put_u8(VERSION);
        out.put_u64_le(self.position);
        out.put_u8(u8::from(self.watermark.is_some()) | u8::from(self.ended) << 1);
        out.put_i64_le(self.watermark.map_or(0, |watermark| watermark.0));
        out.freeze()
    }

    /// Reads what [`ReaderState::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let wrong = || Error::new(Kind::Corrupt, "read state of edge reader").with("bytes", bytes.len());
        let (position, rest) = numbered(bytes).ok_or_else(wrong)?;
        let Ok([flags @ 0..4, watermark @ ..]) = <[u8; 9]>::try_from(rest) else { return Err(wrong()) };
        let watermark = (flags & 1 != 0).then_some(EventTime(i64::from_le_bytes(watermark)));
        Ok(Self { position, watermark, ended: flags & 2 != 0 })
    }
}

// === impl RowKey ===

impl RowKey {
    /// 17 bytes whose order is the order of keys.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [self.kind; 17];
        bytes[..16].copy_from_slice(&self.id.to_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; 17]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        Self { id: RowId::from_bytes(id), kind: bytes[16] }
    }
}

/// The position after the version, and the rest; `None` if it is cut or of another version.
fn numbered(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (version, rest) = bytes.split_first()?;
    let (position, rest) = rest.split_first_chunk::<8>()?;
    (*version == VERSION).then_some((u64::from_le_bytes(*position), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::row::SplitId;

    fn positions(of: &[(u16, u64)]) -> Positions {
        Positions(of.iter().map(|(group, position)| (KeyGroup(*group), *position)).collect())
    }

    #[test]
    fn least_counts_a_missing_group_as_unread() {
        let least = Positions::least(&[positions(&[(0, 5), (1, 2)]), positions(&[(0, 3)])]);
        assert_eq!((least.of(KeyGroup(0)), least.of(KeyGroup(1)), least.of(KeyGroup(9))), (3, 0, 0));
        assert!(positions(&[(0, 5)]).covers(&positions(&[(0, 5)])));
        assert!(!positions(&[(0, 5)]).covers(&positions(&[(0, 5), (1, 1)])));
    }

    #[test]
    fn states_read_back_and_other_bytes_are_refused() {
        let key = RowKey { id: RowId::new(SplitId(7), 9), kind: 2 };
        let writer = WriterState { end: 1 << 40, unconfirmed: [key].into() };
        assert_eq!(WriterState::decode(&writer.encode()).unwrap(), writer);
        let reader = ReaderState { position: 3, watermark: Some(EventTime(-5)), ended: true };
        assert_eq!(ReaderState::decode(&reader.encode()).unwrap(), reader);
        for bytes in [&b""[..], b"\x02aaaaaaaa", b"\x01aaa", b"\x01aaaaaaaab"] {
            assert_eq!(WriterState::decode(bytes).unwrap_err().kind(), Kind::Corrupt);
            assert_eq!(ReaderState::decode(bytes).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
