//! What changed since the last barrier: the list from which the next snapshot writes a delta.
//!
//! Nearly every row changes an entry, so noting must be cheap. An entry in memory carries a [`Mark`] that says whether it is on
//! the list and where; only addresses without such an entry (removed, or gone to disk) are kept in a hash set.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash};

use super::slots::KeyHasher;

/// Set in [`Mark::place`] where no snapshot can know the entry.
const MADE: u32 = 1 << 31;

/// The entry is not on the list, although it changed: changes were not noted then, or the list was full.
const NOWHERE: u32 = MADE - 1;

/// What an entry knows of its place on the list of changes. A new one was never on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The interval between barriers in which the place was given; they count from 1.
    interval: u32,
    place: u32,
}

/// What changed since the last barrier.
#[derive(Debug)]
pub(super) struct Changes<A> {
    /// Counts barriers, from 1.
    interval: u32,
    /// Those whose entries carry a mark.
    listed: Vec<Option<A>>,
    /// Places of `listed` that hold nothing.
    free: Vec<u32>,
    /// Those that had no entry in memory when they were noted; they stay when one comes into being again, which is listed too.
    absent: HashSet<A, BuildHasherDefault<KeyHasher>>,
    /// Nothing is noted before the next barrier: no checkpoint holds anything yet that it would be a change of.
    paused: bool,
}

// === impl Changes ===

impl<A> Default for Changes<A> {
    fn default() -> Self {
        Self { interval: 1, listed: Vec::new(), free: Vec::new(), absent: HashSet::default(), paused: false }
    }
}

impl<A: Ord + Hash> Changes<A> {
    /// Notes nothing until the next [`Changes::take`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// An entry came into being; the mark is its own from now on.
    pub fn made(&mut self, address: impl FnOnce() -> A) -> Mark {
        let place = if self.paused { NOWHERE | MADE } else { self.list(address, MADE) };
        Mark { interval: self.interval, place }
    }

    /// An entry was changed.
    pub fn changed(&mut self, mark: &mut Mark, address: impl FnOnce() -> A) {
        if mark.interval != self.interval {
            let place = if self.paused { NOWHERE } else { self.list(address, 0) };
            *mark = Mark { interval: self.interval, place };
        }
    }

    /// An entry was removed. One that no snapshot can know never was.
    pub fn ended(&mut self, mark: Mark, address: impl FnOnce() -> A) {
        if self.paused {
            return;
        }
        if mark.interval != self.interval {
            self.absent.insert(address());
        } else if let Some(address) = self.unlist(mark)
            && mark.place & MADE == 0
        {
            self.absent.insert(address);
        }
    }

    /// An entry left memory without being removed.
    pub fn left(&mut self, mark: Mark) {
        if mark.interval == self.interval {
            let address = self.unlist(mark);
            self.absent.extend(address);
        }
    }

    /// Each changed address, in order; none is noted afterwards.
    pub fn take(&mut self) -> Vec<A> {
        self.interval += 1;
        self.paused = false;
        self.free = Vec::new();
        let mut list: Vec<A> = std::mem::take(&mut self.listed).into_iter().flatten().collect();
        list.extend(std::mem::take(&mut self.absent));
        list.sort_unstable();
        list.dedup();
        list
    }

    /// The place of an address that is now on the list, with `made` where no snapshot can know it.
    fn list(&mut self, address: impl FnOnce() -> A, made: u32) -> u32 {
        if let Some(place) = self.free.pop() {
            self.listed[place as usize] = Some(address());
            return place | made;
        }
        let place = self.listed.len() as u32;
        if place >= NOWHERE {
            self.absent.insert(address());
            return NOWHERE;
        }
        self.listed.push(Some(address()));
        place | made
    }

    fn unlist(&mut self, mark: Mark) -> Option<A> {
        let place = mark.place & !MADE;
        let address = self.listed.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_between_two_barriers_is_not_listed() {
        let mut changes = Changes::default();
        for number in 0..1000 {
            let mark = changes.made(|| number);
            changes.ended(mark, || number);
        }
        assert!(changes.listed.len() <= 1 && changes.absent.is_empty(), "{changes:?}");
        assert_eq!(changes.take(), Vec::<i32>::new());
    }

    #[test]
    fn what_a_snapshot_may_know_is_listed_however_often_it_comes_and_goes() {
        let mut changes = Changes::default();
        let known = changes.made(|| 7);
        assert_eq!(changes.take(), [7]);
        let mut mark = known;
        for _ in 0..3 {
            changes.ended(mark, || 7);
            mark = changes.made(|| 7);
        }
        assert_eq!(changes.take(), [7]);
        changes.ended(mark, || 7);
        assert_eq!(changes.take(), [7]);
    }

    #[test]
    fn an_entry_that_goes_to_disk_and_comes_back_is_listed_once() {
        let mut changes = Changes::default();
        let mark = changes.made(|| 7);
        changes.left(mark);
        let mut back = Mark::default();
        changes.changed(&mut back, || 7);
        changes.left(back);
        changes.ended(Mark::default(), || 7);
        assert_eq!(changes.take(), [7]);
    }

    #[test]
    fn a_place_that_is_free_again_serves_another() {
        let mut changes = Changes::default();
        let first = changes.made(|| 1);
        let second = changes.made(|| 2);
        changes.ended(first, || 1);
        let third = changes.made(|| 3);
        changes.ended(second, || 2);
        changes.ended(third, || 3);
        let fourth = changes.made(|| 4);
        assert_eq!(changes.take(), [4]);
        changes.ended(fourth, || 4);
        assert_eq!(changes.take(), [4], "a mark of an earlier interval names no place");
    }

    #[test]
    fn nothing_is_noted_while_paused() {
        let mut changes = Changes::default();
        changes.pause();
        let kept = changes.made(|| 1);
        let gone = changes.made(|| 2);
        changes.ended(gone, || 2);
        changes.left(kept);
        assert_eq!(changes.take(), Vec::<i32>::new());
        changes.ended(kept, || 1);
        assert_eq!(changes.take(), [1]);
    }
}
