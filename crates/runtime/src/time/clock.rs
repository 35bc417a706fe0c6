//! From the event times of rows to a watermark: bounded out-of-orderness for each split of one reader.
//!
//! After Flink's strategy of that name: a split's watermark stays `out_of_order` and one microsecond behind its latest row, and
//! a reader's is the least over its splits that are not at their end. A split whose first row has not come says nothing, so it
//! holds everything back unless something is known of it; see [`Splits`].
//!
//! Nothing here depends on which reader has a split: what is known of each is state of the split, so that a restore at another
//! parallelism never puts the watermark ahead of a row that is still to come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forebay_core::row::SplitId;
use forebay_core::time::EventTime;

/// What is known of the event times of a reader's splits beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// Nothing: a split holds the watermark back until its first row.
    AnyOrder,
    /// They follow each other in reading order: a split has no row that is more than `out_of_order` earlier than the latest of
    /// the splits before it.
    InOrder,
    /// The reader always goes on where it is earliest: no split has a row that is more than `out_of_order` earlier than one
    /// already given since it was opened.
    Merged,
}

/// What a reader knows of event time. Pure: rows and ends in, watermark out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    splits: Splits,
    out_of_order: Duration,
    /// Place of each split in reading order.
    places: BTreeMap<SplitId, usize>,
    /// Splits that gave no row yet, by place.
    unread: BTreeSet<usize>,
    /// Latest row of each split in between, by place.
    begun: BTreeMap<usize, (SplitId, EventTime)>,
    /// Latest rows of ended splits, as far as they say something of unread ones.
    ended: BTreeMap<usize, (SplitId, EventTime)>,
    /// Latest row of all.
    latest: EventTime,
    told: Option<EventTime>,
}

// === impl Clock ===

impl Clock {
    /// A clock that has seen no row of the splits in `owned`, which are in reading order.
    pub fn new(splits: Splits, out_of_order: Duration, owned: impl IntoIterator<Item = SplitId>) -> Self {
        let places: BTreeMap<SplitId, usize> = owned.into_iter().zip(0..).collect();
        Self {
            splits,
            out_of_order,
            unread: places.values().copied().collect(),
            places,
            begun: BTreeMap::new(),
            ended: BTreeMap::new(),
            latest: EventTime::MIN,
            told: None,
        }
    }

    /// A split is read after all those known so far.
    pub fn add(&mut self, split: SplitId) {
        let place = self.places.len();
        if self.places.insert(split, place).is_none() {
            self.unread.insert(place);
        }
    }

    /// Goes on from what another clock knew of `split`, which is one of its own. To be called before any row is seen.
    pub fn restore(&mut self, split: SplitId, latest: EventTime) {
        if self.splits != Splits::Merged {
            self.see(split, latest);
        }
    }

    /// A row of `split`, which has not ended, has this event time.
    pub fn see(&mut self, split: SplitId, time: EventTime) {
        self.latest = self.latest.max(time);
        let Some(place) = self.places.get(&split).filter(|_| self.splits != Splits::Merged) else { return };
        self.unread.remove(place);
        let (_, latest) = self.begun.entry(*place).or_insert((split, time));
        *latest = time.max(*latest);
    }

    /// The split was read to its end: it holds nothing back.
    pub fn end(&mut self, split: SplitId) {
        let Some(place) = self.places.get(&split) else { return };
        self.unread.remove(place);
        let last = self.begun.remove(place);
        if let Some(last) = last.filter(|_| self.splits == Splits::InOrder) {
            self.ended.insert(*place, last);
            self.forget_outdone();
        }
    }

    /// Of the ended splits before the first unread one, only the latest says something.
    fn forget_outdone(&mut self) {
        let first = self.unread.first().copied().unwrap_or(usize::MAX);
        let keep = self.ended.range(..first).max_by_key(|(_, (_, time))| *time).map(|(place, _)| *place);
        self.ended.retain(|place, _| *place >= first || Some(*place) == keep);
    }

    /// The latest event time of splits, for the reader's state.
    pub fn latest(&self) -> impl Iterator<Item = (SplitId, EventTime)> {
        self.begun.values().chain(self.ended.values()).copied()
    }

    /// How far this reader has come: what alignment compares. Splits not begun do not count, so it may go back.
    pub fn progress(&self) -> EventTime {
        self.begun.values().map(|(_, time)| *time).min().unwrap_or(self.latest)
    }

    /// The watermark that may be told now, if it grew since the last time.
    pub fn advance(&mut self) -> Option<EventTime> {
        let bound = self.bound()?;
        let watermark = EventTime(bound.minus(self.out_of_order).0.saturating_sub(1));
        (self.told.is_none_or(|told| told < watermark)).then(|| {
            self.told = Some(watermark);
            watermark
        })
    }

    /// The event time that no further row is earlier than by more than `out_of_order`; `None` if nothing is known.
    fn bound(&self) -> Option<EventTime> {
        let begun = self.begun.values().map(|(_, time)| *time).min();
        let bound = match (self.splits, self.unread.first()) {
            (Splits::Merged, _) => Some(self.latest),
            (_, None) => begun.or(Some(self.latest)),
            (Splits::AnyOrder, Some(_)) => None,
            (Splits::InOrder, Some(first)) => {
                let before = self.begun.range(..first).chain(self.ended.range(..first));
                let unread = before.map(|(_, (_, time))| *time).max()?;
                Some(begun.map_or(unread, |begun| begun.min(unread)))
            }
        };
        bound.filter(|bound| *bound > EventTime::MIN)
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
