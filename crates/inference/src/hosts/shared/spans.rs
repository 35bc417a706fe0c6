//! Which bytes of a slab are lent. Pure bookkeeping: first fit, whole pages, neighbours joined when they are given back.
//!
//! First fit keeps what is lent at the front, so that pages which were touched once are used again.

use std::collections::BTreeMap;

/// Spans begin and end at whole pages, so that two never share one.
pub(super) const GRAIN_BYTES: usize = 4096;

/// The free bytes of a slab.
#[derive(Debug)]
pub(super) struct Spans {
    /// Length of each free span by its start; no two touch.
    free: BTreeMap<usize, usize>,
}

// === impl Spans ===

impl Spans {
    /// All of `bytes`, nothing lent.
    pub fn new(bytes: usize) -> Self {
        Self { free: BTreeMap::from([(0, bytes)]) }
    }

    /// Takes the first free span of at least `bytes`, which are whole pages; where it starts.
    pub fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&start, &length) = self.free.iter().find(|(_, length)| **length >= bytes)?;
        self.free.remove(&start);
        if length > bytes {
            self.free.insert(start + bytes, length - bytes);
        }
        Some(start)
    }

    /// Gives back what was taken, or an end of it.
    pub fn give(&mut self, mut start: usize, mut bytes: usize) {
        if let Some(after) = self.free.remove(&(start + bytes)) {
            bytes += after;
        }
        if let Some((&before, &length)) = self.free.range(..start).next_back()
            && before + length == start
        {
            (start, bytes) = (before, bytes + length);
        }
        self.free.insert(start, bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut spans = Spans::new(10);
        assert_eq!([spans.take(4), spans.take(4), spans.take(4)], [Some(0), Some(4), None]);
        spans.give(0, 4);
        assert_eq!(spans.take(3), Some(0));
        spans.give(4, 4);
        assert_eq!(spans.take(7), Some(3));
        spans.give(0, 3);
        spans.give(3, 7);
        assert_eq!(spans.take(10), Some(0));
    }

    proptest! {
        #[test]
        fn no_two_spans_overlap_and_none_is_lost(steps in prop::collection::vec((1usize..40, any::<bool>()), 1..80)) {
            let mut spans = Spans::new(200);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (bytes, give) in steps {
                if give && !taken.is_empty() {
                    let (start, length) = taken.swap_remove(bytes % taken.len());
                    spans.give(start, length);
                } else if let Some(start) = spans.take(bytes) {
                    prop_assert!(start + bytes <= 200);
                    prop_assert!(taken.iter().all(|(other, length)| start >= other + length || start + bytes <= *other));
                    taken.push((start, bytes));
                }
            }
            taken.into_iter().for_each(|(start, bytes)| spans.give(start, bytes));
            prop_assert_eq!(spans.take(200), Some(0));
        }
    }
}
