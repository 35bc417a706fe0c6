//! Id-dedupe: which rows the log holds, and which of them the present attempt has not come to yet.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::key_group::KeyGroup;

use super::super::position::{Positions, RowKey, WriterState};
use super::super::record::Span;

/// Rows of the log by key. Empty under commit-read.
///
/// A row is *unconfirmed* while an earlier attempt has written it and the present one, coming from an older state, has not.
/// Its number says nothing about that: a checkpoint may be taken when the present attempt is half through its predecessor's
/// rows. So the set is part of the writer's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Known {
    places: BTreeMap<RowKey, (KeyGroup, u64)>,
    unconfirmed: BTreeMap<KeyGroup, BTreeSet<RowKey>>,
}

// === impl Known ===

impl Known {
    pub fn new(keys: Vec<(RowKey, KeyGroup, u64)>) -> Self {
        let places = keys.into_iter().map(|(key, group, number)| (key, (group, number))).collect();
        Self { places, unconfirmed: BTreeMap::new() }
    }

    /// Whether the log holds the row; from here on the present attempt has come to it.
    pub fn confirm(&mut self, group: KeyGroup, key: RowKey) -> bool {
        if let Some(keys) = self.unconfirmed.get_mut(&group) {
            keys.remove(&key);
        }
        self.places.contains_key(&key)
    }

    /// A planted bug: takes any row of the predecessor for this one.
    pub fn confirm_any(&mut self, group: KeyGroup) -> bool {
        self.unconfirmed.get_mut(&group).is_some_and(|keys| keys.pop_first().is_some())
    }

    /// Rows were appended: `keys` in the order of `spans`.
    pub fn written(&mut self, spans: &[Span], keys: &[RowKey]) {
        let numbers = spans.iter().flat_map(|span| (span.start..span.end()).map(|number| (span.group, number)));
        self.places.extend(keys.iter().copied().zip(numbers));
    }

    /// Rows were taken back before they were written.
    pub fn unwritten(&mut self, spans: &[Span]) {
        let gone = |group: KeyGroup, number: u64| {
            spans.iter().any(|span| span.group == group && (span.start..span.end()).contains(&number))
        };
        self.places.retain(|_, (group, number)| !gone(*group, *number));
    }

    /// An attempt goes on from `writers`: everything it wrote later is to come again.
    pub fn take_over(&mut self, writers: &BTreeMap<KeyGroup, WriterState>) {
        self.unconfirmed.clear();
        for (key, (group, number)) in &self.places {
            if *number >= writers.get(group).map_or(0, |state| state.end) {
                self.unconfirmed.entry(*group).or_default().insert(*key);
            }
        }
        for (group, state) in writers {
            for key in &state.unconfirmed {
                self.places.entry(*key).or_insert((*group, 0));
                self.unconfirmed.entry(*group).or_default().insert(*key);
            }
        }
    }

    /// Whether rows of a predecessor are still to come again.
    pub fn any_unconfirmed(&self) -> bool {
        self.unconfirmed.values().any(|keys| !keys.is_empty())
    }

    pub fn unconfirmed(&self, group: KeyGroup) -> BTreeSet<RowKey> {
        self.unconfirmed.get(&group).cloned().unwrap_or_default()
    }

    /// No checkpoint is kept that would write rows before `positions` again, apart from those that it names itself.
    pub fn forget_before(&mut self, positions: &Positions) {
        let unconfirmed = &self.unconfirmed;
        let waited_for = |key: &RowKey, group: &KeyGroup| unconfirmed.get(group).is_some_and(|keys| keys.contains(key));
        self.places.retain(|key, (group, number)| *number >= positions.of(*group) || waited_for(key, group));
    }
}
