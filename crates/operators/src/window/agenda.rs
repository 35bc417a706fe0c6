//! Which keys have something in state that ends at a time, so that what ends together is found together.
//!
//! It follows from the tables and is in no snapshot: a restore makes it anew. A timer for each key would cost more than the rest of
//! a small window.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use forebay_core::keys::Key;
use forebay_core::time::EventTime;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    ends: BTreeMap<EventTime, Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    list: Vec<Key>,
    is_sorted: bool,
}

// === impl Agenda ===

impl Agenda {
    /// Notes that `key` has something that ends at `end`; called once for each.
    pub fn add(&mut self, end: EventTime, key: Key) {
        let keys = self.ends.entry(end).or_default();
        keys.list.push(key);
        keys.is_sorted = false;
    }

    /// The ends at which there is anything, in order.
    pub fn ends(&self, range: impl RangeBounds<EventTime>) -> impl Iterator<Item = EventTime> {
        self.ends.range(range).map(|(end, _)| *end)
    }

    /// Adds to `out` the keys of the ends in `range`, end by end and each end's in order.
    pub fn collect(&mut self, range: impl RangeBounds<EventTime>, out: &mut Vec<(Key, EventTime)>) {
        for (end, keys) in self.ends.range_mut(range) {
            if !keys.is_sorted {
                keys.list.sort_unstable();
                keys.is_sorted = true;
            }
            out.extend(keys.list.iter().map(|key| (key.clone(), *end)));
        }
    }

    /// Takes out what ends first, if `is_over` says so of its end.
    pub fn pop(&mut self, is_over: impl Fn(EventTime) -> bool) -> Option<(EventTime, Vec<Key>)> {
        let first = self.ends.first_entry().filter(|first| is_over(*first.key()))?;
        let (end, keys) = first.remove_entry();
        Some((end, keys.list))
    }
}
