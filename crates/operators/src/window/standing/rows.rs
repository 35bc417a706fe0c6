//! The rows that are there: each time with what is kept of its rows, and how often that is there.
//!
//! A row has an entry of its own, so that one that comes or goes costs the same in a long session as in a short one, and a
//! checkpoint takes the entries that changed. Entries lie in order of time; within one time by a hash of their content, which
//! is wide enough to stand for it.

use std::ops::Bound;

use forebay_core::hash::hash128;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::{Space, StatePart, StateTable, StateValue};

use super::extent::Extent;

/// See the module.
pub(super) struct Rows {
    table: StateTable<Copies>,
}

/// Rows that nothing tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copies {
    /// How many; never none.
    pub count: u64,
    /// As [`Columns`](super::columns::Columns) wrote it.
    pub content: Vec<u8>,
}

// === impl Rows ===

impl Rows {
    /// Those of `table`.
    pub fn new(table: StateTable<Copies>) -> Self {
        Self { table }
    }

    /// What goes into the snapshot.
    pub fn part(&mut self) -> &mut dyn StatePart {
        &mut self.table
    }

    /// Adds a row.
    pub fn add(&mut self, key: &Key, time: EventTime, content: &[u8]) -> Result<()> {
        let space = space_of(time, content);
        match self.table.get_mut(key, &space)? {
            Some(copies) => copies.count += 1,
            None => self.table.insert(key, &space, Copies { count: 1, content: content.to_vec() })?,
        }
        Ok(())
    }

    /// Takes a row back; false if it is not there.
    pub fn take_back(&mut self, key: &Key, time: EventTime, content: &[u8]) -> Result<bool> {
        let space = space_of(time, content);
        let Some(count) = self.table.get(key, &space)?.map(|copies| copies.count) else { return Ok(false) };
        if count == 1 {
            self.table.remove(key, &space)?;
        } else if let Some(copies) = self.table.get_mut(key, &space)? {
            copies.count -= 1;
        }
        Ok(true)
    }

    /// Whether there is a row at `time`.
    pub fn is_any_at(&mut self, key: &Key, time: EventTime) -> Result<bool> {
        Ok(self.table.scan_range(key, between(time, time))?.next().is_some())
    }

    /// The time of the last row before `time`, and of the first one behind it, each at most `gap` away.
    pub fn beside(&mut self, key: &Key, time: EventTime, gap: i64) -> Result<(Option<EventTime>, Option<EventTime>)> {
        let (from, to) = (EventTime(time.0.saturating_sub(gap)), EventTime(time.0.saturating_add(gap)));
        let before = self.table.scan_range(key, Space::of_time(from)..Space::of_time(time))?.next_back();
        let before = before.and_then(|(space, _)| space.time());
        let behind = self.table.scan_range(key, between(EventTime(time.0.saturating_add(1)), to))?.next();
        Ok((before, behind.and_then(|(space, _)| space.time())))
    }

    /// The rows of `extent`, in order.
    pub fn of(&mut self, key: &Key, extent: Extent) -> Result<impl Iterator<Item = &Copies>> {
        Ok(self.table.scan_range(key, between(extent.first, extent.last))?.map(|(_, copies)| copies))
    }

    /// Removes the entries of `extent`; answers how many there were.
    pub fn remove(&mut self, key: &Key, extent: Extent) -> Result<usize> {
        Ok(self.table.remove_range(key, between(extent.first, extent.last))?.len())
    }
}

fn space_of(time: EventTime, content: &[u8]) -> Space {
    Space::of_time_and(time, &hash128(content).to_be_bytes())
}

/// Spaces of rows from `first` to `last`. No row is at the end of time: its session would end behind it.
fn between(first: EventTime, last: EventTime) -> (Bound<Space>, Bound<Space>) {
    let behind = EventTime(last.0.saturating_add(1));
    (Bound::Included(Space::of_time(first)), Bound::Excluded(Space::of_time(behind)))
}

impl StateValue for Copies {
    const CODEC: &'static str = "session-rows-1";

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.content);
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let found = bytes.split_first_chunk::<8>().map(|(head, content)| (u64::from_le_bytes(*head), content));
        match found {
            Some((count, content)) if count > 0 => Ok(Self { count, content: content.to_vec() }),
            _ => Err(Error::new(Kind::Corrupt, "decode rows of a session").with("bytes", bytes.len())),
        }
    }

    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.content.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back_and_broken_bytes_refused() {
        let copies = Copies { count: 3, content: vec![1, 2] };
        let mut out = Vec::new();
        copies.encode(&mut out);
        assert_eq!(Copies::decode(&out).unwrap(), copies);
        for broken in [&out[..7], &[0; 9]] {
            assert_eq!(Copies::decode(broken).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
