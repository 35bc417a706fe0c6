//! From the event times of rows to a watermark: bounded out-of-orderness, for one reader.
//!
//! After Flink's bounded-out-of-orderness strategy: the watermark stays `out_of_order` and one microsecond behind the latest
//! row. Splits that are read one after the other share one clock; splits that are read side by side have one each, and the
//! slowest counts.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::row::SplitId;
use forebay_core::time::EventTime;

/// How the splits of a reader are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// One after the other, like files.
    InTurn,
    /// Side by side, like the parts of a log: each may be at another time.
    SideBySide,
}

/// What a reader knows of event time. Pure: rows in, watermark out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    splits: Splits,
    out_of_order: Duration,
    latest: BTreeMap<SplitId, EventTime>,
    told: Option<EventTime>,
}

// === impl Clock ===

impl Clock {
    /// A clock that has seen nothing. Side by side, every split of `owned` holds the watermark back until its first row.
    pub fn new(splits: Splits, out_of_order: Duration, owned: impl IntoIterator<Item = SplitId>) -> Self {
        let latest = match splits {
            Splits::InTurn => BTreeMap::new(),
            Splits::SideBySide => owned.into_iter().map(|split| (split, EventTime::MIN)).collect(),
        };
        Self { splits, out_of_order, latest, told: None }
    }

    /// A row of `split` has this event time.
    pub fn see(&mut self, split: SplitId, time: EventTime) {
        let latest = self.latest.entry(split).or_insert(time);
        *latest = time.max(*latest);
    }

    /// The split was read to its end: it holds nothing back.
    pub fn end(&mut self, split: SplitId) {
        if self.splits == Splits::SideBySide {
            self.latest.remove(&split);
        }
    }

    /// The latest event time of each split seen, for the reader's state.
    pub fn latest(&self) -> impl Iterator<Item = (SplitId, EventTime)> {
        self.latest.iter().map(|(split, time)| (*split, *time)).filter(|(_, time)| *time > EventTime::MIN)
    }

    /// How far this reader has come: what alignment compares.
    pub fn now(&self) -> EventTime {
        let times = self.latest.values().copied();
        let latest = match self.splits {
            Splits::InTurn => times.max(),
            Splits::SideBySide => times.min(),
        };
        latest.unwrap_or(EventTime::MIN)
    }

    /// The watermark that may be told now, if it grew since the last time.
    pub fn advance(&mut self) -> Option<EventTime> {
        let now = self.now();
        if now == EventTime::MIN {
            return None;
        }
        let watermark = EventTime(now.minus(self.out_of_order).0.saturating_sub(1));
        (self.told.is_none_or(|told| told < watermark)).then(|| {
            self.told = Some(watermark);
            watermark
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SplitId = SplitId(1);
    const B: SplitId = SplitId(2);

    fn clock(splits: Splits) -> Clock {
        Clock::new(splits, Duration::from_micros(10), [A, B])
    }

    #[test]
    fn splits_in_turn_share_one_clock_that_never_goes_back() {
        let mut clock = clock(Splits::InTurn);
        assert_eq!(clock.advance(), None);
        clock.see(A, EventTime(100));
        clock.see(A, EventTime(95));
        assert_eq!(clock.advance(), Some(EventTime(89)));
        assert_eq!(clock.advance(), None);
        clock.see(B, EventTime(50));
        assert_eq!(clock.advance(), None);
        clock.see(B, EventTime(120));
        assert_eq!(clock.advance(), Some(EventTime(109)));
    }

    #[test]
    fn the_slowest_of_splits_side_by_side_counts_until_it_ends() {
        let mut clock = clock(Splits::SideBySide);
        clock.see(A, EventTime(100));
        assert_eq!(clock.advance(), None, "nothing is known of the other");
        clock.see(B, EventTime(30));
        assert_eq!(clock.advance(), Some(EventTime(19)));
        clock.end(B);
        assert_eq!(clock.advance(), Some(EventTime(89)));
    }

    #[test]
    fn times_at_the_ends_of_the_range_do_not_overflow() {
        let mut clock = clock(Splits::InTurn);
        clock.see(A, EventTime(i64::MIN + 1));
        assert_eq!(clock.advance(), Some(EventTime::MIN));
        clock.see(A, EventTime::MAX);
        assert_eq!(clock.advance(), Some(EventTime(i64::MAX - 11)));
    }
}
