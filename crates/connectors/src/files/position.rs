//! Positions of a reader by key group: how many of the group's splits are done, and where it stands in the next.
//!
//! The splits of a group are always read in list order, and the list only grows at its end after the job's first start, so a
//! count says it all. The id of the current split is stored beside it: a state that meets another list is refused.

use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::row::SplitId;
use forebay_core::{Error, Kind, Result};

use super::format::Position;

/// First byte of every stored position; a new layout gets a new one.
const VERSION: u8 = 1;
const LENGTH: usize = 1 + 4 * 8;

/// The splits of one key group and how far they are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GroupPosition {
    /// Ids of the group's splits, in list order.
    pub splits: Vec<SplitId>,
    /// How many of them are done.
    pub finished: usize,
    /// Where reading stands in the split after those.
    pub current: Position,
}

// === impl GroupPosition ===

impl GroupPosition {
    /// Goes on to the next split.
    pub fn finish_split(&mut self) {
        self.finished += 1;
        self.current = Position::default();
    }

    /// The stored form, little-endian.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(LENGTH);
        out.put_u8(VERSION);
        out.put_u64_le(self.finished as u64);
        out.put_u64_le(self.current_split());
        out.put_u64_le(self.current.bytes);
        out.put_u64_le(self.current.rows);
        out.freeze()
    }

    /// Takes over a stored form.
    ///
    /// # Errors
    /// `Corrupt` if it is malformed or belongs to another list of splits.
    pub fn restore(&mut self, stored: &[u8]) -> Result<()> {
        let corrupt = |why: &str| Error::new(Kind::Corrupt, "restore file positions").source(why);
        if stored.first() != Some(&VERSION) {
            return Err(corrupt("unknown version").with("version", stored.first().copied().unwrap_or_default()));
        }
        if stored.len() != LENGTH {
            return Err(corrupt("wrong length").with("length", stored.len()));
        }
        let number = |place: usize| {
            let bytes = stored[1 + place * 8..][..8].try_into().expect("eight bytes were just cut out");
            u64::from_le_bytes(bytes)
        };
        self.finished = usize::try_from(number(0)).unwrap_or(usize::MAX);
        self.current = Position { bytes: number(2), rows: number(3) };
        // Where all were done, others may have been found since.
        let all_done = number(1) == 0 && self.current == Position::default();
        let fits = number(1) == self.current_split() || all_done;
        if self.finished > self.splits.len() || !fits {
            return Err(corrupt("the state belongs to another list of files").with("finished", number(0)));
        }
        Ok(())
    }

    /// Id of the split being read, 0 if all are done.
    fn current_split(&self) -> u64 {
        self.splits.get(self.finished).map_or(0, |split| split.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupPosition {
        GroupPosition {
            splits: vec![SplitId(5), SplitId(6)],
            finished: 1,
            current: Position { bytes: 1 << 40, rows: 9 },
        }
    }

    #[test]
    fn stored_form_round_trips() {
        let mut back = GroupPosition { finished: 0, current: Position::default(), ..group() };
        back.restore(&group().encode()).unwrap();
        assert_eq!(back, group());
    }

    #[test]
    fn a_list_may_be_longer_than_it_was_when_all_was_read() {
        let done = GroupPosition { finished: 2, current: Position::default(), ..group() };
        let longer = GroupPosition { splits: vec![SplitId(5), SplitId(6), SplitId(7)], ..GroupPosition::default() };
        let mut back = longer.clone();
        back.restore(&done.encode()).unwrap();
        assert_eq!(back, GroupPosition { finished: 2, ..longer });
    }

    #[test]
    fn broken_and_foreign_states_are_corrupt() {
        let stored = group().encode();
        let mut versioned = stored.to_vec();
        versioned[0] = 9;
        for bytes in [&stored[..10], &versioned, &[]] {
            assert_eq!(group().restore(bytes).unwrap_err().kind(), Kind::Corrupt);
        }
        let mut other = GroupPosition { splits: vec![SplitId(5), SplitId(7)], ..group() };
        assert_eq!(other.restore(&stored).unwrap_err().kind(), Kind::Corrupt);
        let nowhere = GroupPosition { splits: vec![SplitId(5)], ..group() };
        assert_eq!(group().restore(&nowhere.encode()).unwrap_err().kind(), Kind::Corrupt);
    }
}
