//! Which request is finished where, and what each segment still owes: pure bookkeeping, rebuilt from disk at opening.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use forebay_core::element::Epoch;

use super::{JournalStats, TrimReport};
use crate::request::RequestId;

/// Where a finished row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The record that holds it.
    pub place: RecordPlace,
    /// Which row of the record it is.
    pub row: u32,
    /// Whether it failed for good instead of being answered.
    pub failed: bool,
    /// The latest epoch in which it was emitted, once that is published.
    pub closed: Option<Epoch>,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordPlace {
    /// Number of the segment.
    pub segment: u32,
    /// First byte.
    pub start: u64,
    /// Bytes, frame included.
    pub length: u32,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its path below the disk's root.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// Rows in it that are not closed.
    open: u64,
    /// The latest epoch of a closed row in it.
    closed_max: Option<Epoch>,
}

/// Finished rows by request, and segments by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    entries: HashMap<RequestId, Entry, BuildHasherDefault<IdHasher>>,
    segments: BTreeMap<u32, Segment>,
    failures: u64,
    closed: u64,
}

/// A [`RequestId`] is a hash already.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

// === impl Index ===

impl Index {
    /// The entry of `id`.
    pub fn get(&self, id: RequestId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Every finished row, in the order of its id.
    pub fn ids(&self) -> Vec<RequestId> {
        let mut ids: Vec<RequestId> = self.entries.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The segment `number`.
    pub fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(&number)
    }

    /// Begins segment `number`.
    pub fn add_segment(&mut self, number: u32, file: String, bytes: u64) {
        self.segments.insert(number, Segment { file, bytes, open: 0, closed_max: None });
    }

    /// Counts `bytes` more in segment `number`.
    pub fn grow(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes += bytes;
        }
    }

    /// Says that segment `number` has only `bytes` bytes; none at all means that it is gone.
    pub fn cut(&mut self, number: u32, bytes: u64) {
        if bytes == 0 {
            self.segments.remove(&number);
        } else if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes = bytes;
        }
    }

    /// Adds a row unless it is there already; false if so. `replace` is a planted bug.
    pub fn insert(&mut self, id: RequestId, entry: Entry, replace: bool) -> bool {
        if self.entries.contains_key(&id) {
            if !replace {
                return false;
            }
            self.remove(id);
        }
        if let Some(segment) = self.segments.get_mut(&entry.place.segment) {
            segment.open += 1;
        }
        self.failures += u64::from(entry.failed);
        self.entries.insert(id, entry);
        true
    }

    /// Marks `id` as emitted in `epoch`; nothing happens if it is unknown or was emitted later.
    pub fn close(&mut self, id: RequestId, epoch: Epoch) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(segment) = self.segments.get_mut(&entry.place.segment) else { return };
        if entry.closed.is_none() {
            segment.open -= 1;
            self.closed += 1;
        }
        entry.closed = entry.closed.max(Some(epoch));
        segment.closed_max = segment.closed_max.max(entry.closed);
    }

    /// Opens again what was closed in epochs after `restored`: that timeline was given up.
    pub fn void_after(&mut self, restored: Epoch) {
        for entry in self.entries.values_mut().filter(|entry| entry.closed > Some(restored)) {
            entry.closed = None;
            self.closed -= 1;
            if let Some(segment) = self.segments.get_mut(&entry.place.segment) {
                segment.open += 1;
            }
        }
        for segment in self.segments.values_mut() {
            segment.closed_max = segment.closed_max.min(Some(restored));
        }
    }

    /// Forgets every row of the record at `place`; false if none was known.
    pub fn drop_record(&mut self, place: RecordPlace) -> bool {
        let lost: Vec<RequestId> =
            self.entries.iter().filter(|(_, entry)| entry.place == place).map(|(id, _)| *id).collect();
        lost.iter().for_each(|id| self.remove(*id));
        !lost.is_empty()
    }

    /// Forgets the longest run of oldest segments before `before` whose every row is closed in an epoch up to
    /// `oldest_retained`, and returns their files, oldest first. `emitted_is_enough` is a planted bug.
    pub fn trim(&mut self, oldest_retained: Epoch, before: u32, emitted_is_enough: bool) -> (Vec<String>, TrimReport) {
        let done =
            |segment: &Segment| segment.open == 0 && (emitted_is_enough || segment.closed_max <= Some(oldest_retained));
        let numbers: Vec<u32> = self
            .segments
            .iter()
            .take_while(|(number, segment)| **number < before && done(segment))
            .map(|(number, _)| *number)
            .collect();
        let removed: Vec<Segment> = numbers.iter().filter_map(|number| self.segments.remove(number)).collect();
        let held = self.entries.len();
        if !removed.is_empty() {
            let segments = &self.segments;
            let (failures, closed) = (&mut self.failures, &mut self.closed);
            self.entries.retain(|_, entry| {
                let kept = segments.contains_key(&entry.place.segment);
                *failures -= u64::from(!kept && entry.failed);
                *closed -= u64::from(!kept && entry.closed.is_some());
                kept
            });
        }
        let report = TrimReport {
            segments: removed.len() as u64,
            bytes: removed.iter().map(|segment| segment.bytes).sum(),
            rows: (held - self.entries.len()) as u64,
        };
        (removed.into_iter().map(|segment| segment.file).collect(), report)
    }

    /// Fills in what the index knows of the counts.
    pub fn count(&self, stats: &mut JournalStats) {
        stats.segments = self.segments.len() as u64;
        stats.bytes = self.segments.values().map(|segment| segment.bytes).sum();
        stats.failures = self.failures;
        stats.answers = self.entries.len() as u64 - self.failures;
        stats.closed = self.closed;
    }

    fn remove(&mut self, id: RequestId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.failures -= u64::from(entry.failed);
        self.closed -= u64::from(entry.closed.is_some());
        if let Some(segment) = self.segments.get_mut(&entry.place.segment) {
            segment.open -= u64::from(entry.closed.is_none());
        }
    }
}

// === impl IdHasher ===

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = forebay_core::hash::hash64(bytes) ^ self.0.rotate_left(1);
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64 ^ value as u64;
    }
}
