//! The journal's protocol without I/O and clock: `step(event, now) -> actions`, run alike by production and simulation.
//!
//! One group of records is in flight at a time: written, synced, (for a new segment) named durably, then told. What
//! arrives meanwhile forms the next group. Actions of one step are carried out in their order.

use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::time::Instant;

use super::event::{Action, Event, Failure, Ticket, Told};
use super::index::{Entry, Index, RecordPlace};
use super::segment::{HEADER_BYTES, Header, file_name};
use super::{Appended, JournalSettings, JournalStats, PlantedBug, record};
use crate::request::RequestId;

/// The journal's state.
#[derive(Debug, Clone)]
pub(super) struct Core {
    settings: JournalSettings,
    attempt: u64,
    folder: String,
    index: Index,
    /// The segment that new records go to, and its bytes once all of them are written.
    end: (u32, u64),
    /// Everything before this place is durable.
    durable: (u32, u64),
    pending: Group,
    in_flight: Option<Group>,
    last_start: Option<Instant>,
    failed: Option<Failure>,
    groups: u64,
    duplicates: u64,
    corrupt: u64,
}

/// Records that become durable together, all in one segment.
#[derive(Debug, Clone, Default)]
struct Group {
    number: u64,
    segment: u32,
    end: u64,
    /// Whether it begins its segment.
    fresh: bool,
    chunks: Vec<Bytes>,
    bytes: usize,
    tickets: Vec<(Ticket, Appended)>,
    closings: Vec<(Epoch, Vec<RequestId>)>,
    timer_set: bool,
}

// === impl Core ===

impl Core {
    /// A journal that holds `index` durably and appends to segment `end.0`, which has `end.1` durable bytes.
    pub fn new(settings: JournalSettings, folder: &str, attempt: u64, index: Index, end: (u32, u64)) -> Self {
        Self {
            settings,
            attempt,
            folder: folder.to_string(),
            index,
            end,
            durable: end,
            pending: Group::default(),
            in_flight: None,
            last_start: None,
            failed: None,
            groups: 0,
            duplicates: 0,
            corrupt: 0,
        }
    }

    /// Takes in what happened; answers what to do.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        if let (Some(failure), Some(ticket)) = (&self.failed, event.ticket()) {
            return vec![Action::Tell { ticket, result: Err(failure.clone()) }];
        }
        let mut actions = Vec::new();
        match event {
            Event::Append { ticket, ids, failed, bytes } => self.append(ticket, ids, failed, bytes, &mut actions),
            Event::Close { ticket, epoch, ids } => self.close(ticket, epoch, ids, &mut actions),
            Event::Trim { ticket, oldest_retained } => self.trim(ticket, oldest_retained, &mut actions),
            Event::Wrote(Ok(())) => self.wrote(&mut actions),
            Event::FolderSynced(Ok(())) => self.finish(&mut actions),
            Event::Wrote(Err(failure)) | Event::FolderSynced(Err(failure)) => self.poison(failure, &mut actions),
            Event::Removed { ticket, report, result } => {
                actions.push(Action::Tell { ticket, result: result.map(|()| Told::Trimmed(report)) });
            }
            Event::Lost { place } => self.corrupt += u64::from(self.index.drop_record(place)),
            Event::Timer { group } => self.pending.timer_set &= group != self.pending.number,
        }
        self.start(now, &mut actions);
        actions
    }

    /// Whether `id` is finished, be it durably or not yet.
    pub fn holds(&self, id: RequestId) -> bool {
        self.index.get(id).is_some()
    }

    /// The durable entry of `id` and its file.
    ///
    /// # Errors
    /// What made the journal refuse everything.
    pub fn find(&self, id: RequestId) -> Result<Option<(Entry, &str)>, Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let Some(entry) = self.index.get(id) else { return Ok(None) };
        let end = entry.place.start + u64::from(entry.place.length);
        if (entry.place.segment, end) > self.durable {
            return Ok(None);
        }
        Ok(self.index.segment(entry.place.segment).map(|segment| (*entry, segment.file.as_str())))
    }

    /// Counts, as of now.
    pub fn stats(&self) -> JournalStats {
        let mut stats = JournalStats {
            duplicates_dropped: self.duplicates,
            corrupt_records: self.corrupt,
            groups: self.groups,
            ..JournalStats::default()
        };
        self.index.count(&mut stats);
        stats
    }

    /// Counts what opening found.
    pub fn found(&mut self, duplicates: u64, corrupt: u64) {
        self.duplicates += duplicates;
        self.corrupt += corrupt;
    }

    /// Whether a write or sync failed, after which nothing is accepted any more.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn append(&mut self, ticket: Ticket, ids: Vec<RequestId>, failed: bool, bytes: Bytes, actions: &mut Vec<Action>) {
        let replace = self.settings.planted == Some(PlantedBug::LastWriterWins);
        if !replace && ids.iter().all(|id| self.index.get(*id).is_some()) {
            self.duplicates += ids.len() as u64;
            let appended = Appended { duplicates: (0..ids.len()).collect() };
            return self.wait(ticket, appended, actions);
        }
        let place = self.push(bytes);
        let mut appended = Appended::default();
        for (row, id) in ids.into_iter().enumerate() {
            let entry = Entry { place, row: row as u32, failed, closed: None };
            if !self.index.insert(id, entry, replace) {
                appended.duplicates.push(row);
            }
        }
        self.duplicates += appended.duplicates.len() as u64;
        self.pending.tickets.push((ticket, appended));
    }

    fn close(&mut self, ticket: Ticket, epoch: Epoch, ids: Vec<RequestId>, actions: &mut Vec<Action>) {
        let useful = |id: &RequestId| self.index.get(*id).is_some_and(|entry| entry.closed < Some(epoch));
        let ids: Vec<RequestId> = ids.into_iter().filter(useful).collect();
        if ids.is_empty() {
            return self.wait(ticket, Appended::default(), actions);
        }
        match record::closed(epoch, &ids, self.settings.record_bytes_max) {
            Ok(bytes) => {
                self.push(bytes);
                self.pending.closings.push((epoch, ids));
                self.pending.tickets.push((ticket, Appended::default()));
            }
            Err(error) => actions.push(Action::Tell { ticket, result: Err(Failure::of(&error)) }),
        }
    }

    /// Answers `ticket`, which wrote nothing, once all that was accepted before it is durable.
    fn wait(&mut self, ticket: Ticket, appended: Appended, actions: &mut Vec<Action>) {
        if !self.pending.chunks.is_empty() {
            self.pending.tickets.push((ticket, appended));
        } else if let Some(group) = &mut self.in_flight {
            group.tickets.push((ticket, appended));
        } else {
            actions.push(Action::Tell { ticket, result: Ok(Told::Durable(appended)) });
        }
    }

    /// Adds a record to the pending group, in a new segment if this one is full.
    fn push(&mut self, bytes: Bytes) -> RecordPlace {
        if self.pending.chunks.is_empty() {
            self.pending.segment = self.end.0;
            if self.end.1 >= self.settings.segment_bytes_max {
                self.roll();
            }
        }
        let place = RecordPlace { segment: self.end.0, start: self.end.1, length: bytes.len() as u32 };
        self.put(bytes);
        place
    }

    fn roll(&mut self) {
        let number = self.end.0 + 1;
        let header = Header { attempt: self.attempt, number, previous: self.end, restored: None };
        self.end = (number, 0);
        self.pending.segment = number;
        self.pending.fresh = true;
        let name = file_name(number, self.attempt);
        self.index.add_segment(number, format!("{}/{name}", self.folder), 0);
        self.put(Bytes::copy_from_slice(&header.to_bytes()));
        debug_assert_eq!(self.end.1, HEADER_BYTES as u64);
    }

    fn put(&mut self, bytes: Bytes) {
        self.end.1 += bytes.len() as u64;
        self.index.grow(self.end.0, bytes.len() as u64);
        self.pending.bytes += bytes.len();
        self.pending.end = self.end.1;
        self.pending.chunks.push(bytes);
    }

    /// Sends the pending group if the disk is free and the group is due, or sets the timer that makes it due.
    fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.in_flight.is_some() || self.pending.chunks.is_empty() || self.failed.is_some() {
            return;
        }
        let waited = self.last_start.map_or(Duration::MAX, |start| now.since(start));
        if waited < self.settings.group_linger && self.pending.bytes < self.settings.group_bytes_max {
            if !self.pending.timer_set {
                self.pending.timer_set = true;
                let after = self.settings.group_linger - waited;
                actions.push(Action::SetTimer { group: self.pending.number, after });
            }
            return;
        }
        self.last_start = Some(now);
        let next = Group { number: self.pending.number + 1, ..Group::default() };
        let mut group = std::mem::replace(&mut self.pending, next);
        let bytes = join(std::mem::take(&mut group.chunks));
        actions.push(Action::Write { file: self.file(group.segment), bytes });
        self.in_flight = Some(group);
    }

    fn wrote(&mut self, actions: &mut Vec<Action>) {
        let fresh = self.in_flight.as_ref().is_some_and(|group| group.fresh);
        if fresh && self.settings.planted != Some(PlantedBug::SkipFolderSync) {
            actions.push(Action::SyncFolder);
        } else {
            self.finish(actions);
        }
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        self.tell(actions);
        self.groups += u64::from(self.in_flight.take().is_some());
    }

    /// The group in flight is durable: its rows can be found, its closings count, its appenders are told.
    fn tell(&mut self, actions: &mut Vec<Action>) {
        let Some(group) = &mut self.in_flight else { return };
        self.durable = (group.segment, group.end);
        for (epoch, ids) in group.closings.drain(..) {
            ids.into_iter().for_each(|id| self.index.close(id, epoch));
        }
        let told = |(ticket, appended)| Action::Tell { ticket, result: Ok(Told::Durable(appended)) };
        actions.extend(group.tickets.drain(..).map(told));
    }

    fn poison(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        let flying = self.in_flight.take().map(|group| group.tickets).unwrap_or_default();
        let pending = std::mem::take(&mut self.pending).tickets;
        let refused = |(ticket, _)| Action::Tell { ticket, result: Err(failure.clone()) };
        actions.extend(flying.into_iter().chain(pending).map(refused));
        self.failed.get_or_insert(failure);
    }

    fn trim(&mut self, ticket: Ticket, oldest_retained: Epoch, actions: &mut Vec<Action>) {
        let before = self.in_flight.as_ref().map_or(self.end.0, |group| group.segment.min(self.end.0));
        let emitted_is_enough = self.settings.planted == Some(PlantedBug::TrimAtEmit);
        let (files, report) = self.index.trim(oldest_retained, before, emitted_is_enough);
        if files.is_empty() {
            actions.push(Action::Tell { ticket, result: Ok(Told::Trimmed(report)) });
        } else {
            actions.push(Action::Remove { ticket, files, report });
        }
    }

    fn file(&self, segment: u32) -> String {
        self.index.segment(segment).map(|segment| segment.file.clone()).unwrap_or_default()
    }
}

/// One buffer of all chunks; a single chunk is not copied.
fn join(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() == 1 {
        return chunks.remove(0);
    }
    Bytes::from(chunks.concat())
}
