//! Giving disk space back: the oldest segments, once every consumer is past them in every checkpoint it may go back to.

use std::collections::BTreeMap;

use super::super::position::Positions;
use super::super::protocol::{Action, EdgeMode, PlantedBug};
use super::{EdgeCore, Record};

// === impl EdgeCore ===

impl EdgeCore {
    /// Removes the longest run of oldest segments that nobody needs any more; never the one that is written, nor, before that one
    /// is durable, the one before it: after a crash there would be none that says where key groups end.
    pub(super) fn trim(&mut self, actions: &mut Vec<Action>) {
        if self.removing || self.failed.is_some() {
            return;
        }
        let Some(limit) = self.trim_limit() else { return };
        // What nobody may see yet is not given back, also behind the end of a key group, after which its reader needs nothing: the
        // next attempt may have to cut it off, and finds out by the record how far back that goes.
        let needed = |record: &Record| !self.is_visible(record) || is_needed(record, &limit);
        let mut oldest_needed: BTreeMap<u32, bool> = BTreeMap::new();
        for record in self.records.values() {
            *oldest_needed.entry(record.place.segment.0).or_default() |= needed(record);
        }
        let begun = self.folder_changed && self.settings.bug != Some(PlantedBug::TrimBeforeSync);
        let last = self.segments.len().saturating_sub(if begun { 2 } else { 1 });
        let free =
            self.segments.iter().take(last).take_while(|segment| oldest_needed.get(&segment.number) != Some(&true));
        let files: Vec<String> = free.map(|segment| segment.file()).collect();
        let count = files.len();
        if self.settings.bug == Some(PlantedBug::TrimPastFailure) {
            self.unneeded.clear();
        }
        self.unneeded.extend(files);
        let spare = self.spare_of_last(&limit);
        if spare > self.spare {
            actions.push(Action::WakeWriters);
        }
        self.spare = spare;
        if self.unneeded.is_empty() {
            return;
        }
        if count > 0 {
            let kept_from = self.segments[count].number;
            self.segments.drain(..count);
            let durable = self.durable;
            self.records.retain(|_, record| record.sequence >= durable || record.place.segment.0 >= kept_from);
        }
        self.removing = true;
        actions.push(Action::Remove { files: self.unneeded.clone() });
    }

    /// Bytes of the segment that is written, if nobody needs any of it: one write may fill a segment beyond the quota, and the
    /// next one, which would close it, waits for room.
    fn spare_of_last(&self, limit: &Positions) -> u64 {
        let Some(last) = self.segments.back() else { return 0 };
        let mut of_last = self.records.values().filter(|record| record.place.segment.0 == last.number);
        if of_last.any(|record| record.sequence >= self.durable || is_needed(record, limit)) { 0 } else { last.bytes }
    }

    pub(super) fn removed(&mut self, actions: &mut Vec<Action>) {
        self.removing = false;
        self.unneeded.clear();
        actions.push(Action::WakeWriters);
        self.trim(actions);
    }

    /// Up to where nobody needs the log; `None` while someone has not said.
    fn trim_limit(&self) -> Option<Positions> {
        if self.consumers.len() < self.settings.consumers.len() {
            return None;
        }
        let mut all: Vec<Positions> = self.consumers.values().cloned().collect();
        if self.settings.mode == EdgeMode::IdDedupe {
            // The ids of what an older checkpoint would write again must be read back after a restart of the host.
            all.push(self.producer_retained.clone()?);
        }
        if self.settings.bug == Some(PlantedBug::TrimToFurthest) {
            let furthest = all.iter().max_by_key(|positions| positions.0.values().sum::<u64>())?;
            return Some(furthest.clone());
        }
        Some(Positions::least(&all))
    }
}

fn is_needed(record: &Record, limit: &Positions) -> bool {
    record.spans.iter().any(|span| span.end() > limit.of(span.group))
}
