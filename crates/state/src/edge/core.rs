//! The edge's protocol without I/O and clock: `step(fact) -> actions`, run alike by production and model checks.
//!
//! One piece of disk work is in flight at a time; what is appended meanwhile goes with the next. Actions of one step are
//! carried out in their order.

mod disk;
mod entry;
mod known;
mod take_over;
mod trim;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::Kind;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;

use super::position::{Positions, Published, RowKey, WriterState};
use super::protocol::{Action, Content, CoreSettings, EdgeMode, Fact, Failure, PlantedBug, Ticket, Told};
use super::record::{Head, Span};
use super::replay::Found;
pub(super) use entry::Segment;
pub use entry::{Place, Record};
use known::Known;

/// The state of one edge: what its log holds, who may write it and who may see what. See the [module header](super).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EdgeCore {
    settings: CoreSettings,
    /// The newest attempt that has taken over, 0 for none, and the number of its first checkpoint.
    attempt: u64,
    next_epoch: Epoch,
    take_over: Option<TakeOver>,
    /// Everything accepted that counts, by sequence number.
    records: BTreeMap<u64, Arc<Record>>,
    /// Sequence numbers: of the next record, behind what is written, and behind what is durable.
    next: u64,
    written: u64,
    durable: u64,
    ends: BTreeMap<KeyGroup, u64>,
    known: Known,
    published: Option<Published>,
    consumers: BTreeMap<String, Positions>,
    producer_retained: Option<Positions>,
    segments: VecDeque<Segment>,
    /// The highest segment number ever used, also by those who were fenced.
    number_max: u32,
    pending: Vec<(u64, Bytes)>,
    flight: Option<Flight>,
    unsynced_bytes: u64,
    /// The last segment is begun, and not yet durable with its name.
    folder_changed: bool,
    flushes: Vec<(u64, Ticket)>,
    removing: bool,
    /// Files that are not part of the log any more and are to be removed, oldest first. Those that could not be are removed
    /// before any newer one: a log read back has no gaps.
    unneeded: Vec<String>,
    /// Bytes of the segment that is written which nobody needed when it was last looked at.
    spare: u64,
    failed: Option<Failure>,
}

/// Disk work in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    Write { behind: u64, bytes: u64 },
    Sync,
    SyncFolder,
}

/// A new attempt on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum TakeOver {
    /// Waits for the disk.
    Waiting { ticket: Ticket, base: Option<Epoch> },
    /// Its segment is begun and not yet durable.
    Begun { ticket: Ticket },
}

// === impl EdgeCore ===

impl EdgeCore {
    /// An edge whose folder holds `found`, durably. Nothing is visible before the first [`Fact::Published`] under
    /// commit-read, and nothing is written before the first [`Fact::TakeOver`].
    pub fn open(settings: CoreSettings, found: Found) -> Self {
        let records: BTreeMap<u64, Arc<Record>> =
            found.records.into_iter().map(|record| (record.sequence, Arc::new(record))).collect();
        let next = records.keys().next_back().map_or(0, |last| last + 1);
        Self {
            settings,
            attempt: found.attempt,
            next_epoch: Epoch(0),
            take_over: None,
            records,
            next,
            written: next,
            durable: next,
            ends: found.ends,
            known: Known::new(found.keys),
            published: None,
            consumers: BTreeMap::new(),
            producer_retained: None,
            segments: found.segments.into(),
            number_max: found.number_max,
            pending: Vec::new(),
            flight: None,
            unsynced_bytes: 0,
            folder_changed: false,
            flushes: Vec::new(),
            removing: false,
            unneeded: Vec::new(),
            spare: 0,
            failed: None,
        }
    }

    /// Takes in what happened; answers what to do.
    pub fn step(&mut self, fact: Fact) -> Vec<Action> {
        let mut actions = Vec::new();
        match fact {
            Fact::TakeOver { ticket, claim } => self.on_take_over(ticket, claim, &mut actions),
            Fact::Append { ticket, attempt, epoch, content, body } => {
                let result = self.append(attempt, epoch, content, &body).map(|()| Told::Accepted);
                actions.push(Action::Tell { ticket, result });
            }
            Fact::Flush { ticket, attempt } => self.on_flush(ticket, attempt, &mut actions),
            Fact::Published(published) => self.on_published(published, &mut actions),
            Fact::ConsumerRetained { consumer, positions } => {
                if self.settings.consumers.contains(&consumer) {
                    self.consumers.insert(consumer, positions);
                }
                self.trim(&mut actions);
            }
            Fact::ProducerRetained(positions) => {
                self.known.forget_before(&positions);
                self.producer_retained = Some(positions);
                self.trim(&mut actions);
            }
            Fact::Wrote(Ok(())) => self.wrote(&mut actions),
            Fact::Synced(Ok(())) => self.synced(&mut actions),
            Fact::FolderSynced(Ok(())) => self.made_durable(&mut actions),
            Fact::Removed(Ok(())) => self.removed(&mut actions),
            Fact::Wrote(Err(failure)) | Fact::Synced(Err(failure)) | Fact::FolderSynced(Err(failure)) => {
                self.fail(failure, &mut actions);
            }
            // Tried again when the log is trimmed next, or listed by the next opening; nothing else depends on it.
            Fact::Removed(Err(_)) => self.removing = false,
        }
        self.start(&mut actions);
        actions
    }

    /// Which of these rows, given in order, `attempt` has to write: under id-dedupe those that the log does not hold yet.
    /// The others count as written by it from here on. Call before [`Fact::Append`] of the rest.
    pub fn admit(&mut self, attempt: u64, rows: &[(KeyGroup, RowKey)]) -> Vec<usize> {
        let stale = attempt != self.attempt && self.settings.bug != Some(PlantedBug::AcceptStaleAttempt);
        if self.settings.mode == EdgeMode::CommitRead || stale {
            return (0..rows.len()).collect();
        }
        let by_count = self.settings.bug == Some(PlantedBug::DedupeByCount);
        let fresh = |place: &usize| {
            let (group, key) = rows[*place];
            if by_count { !self.known.confirm_any(group) } else { !self.known.confirm(group, key) }
        };
        (0..rows.len()).filter(fresh).collect()
    }

    /// What a writer of these key groups keeps in its snapshot.
    pub fn writer_states(&self, groups: Range<u16>) -> BTreeMap<KeyGroup, WriterState> {
        let forgets = self.settings.bug == Some(PlantedBug::ForgetUnconfirmed);
        let state = |group: KeyGroup| WriterState {
            end: self.end(group),
            unconfirmed: if forgets { Default::default() } else { self.known.unconfirmed(group) },
        };
        groups.map(KeyGroup).map(|group| (group, state(group))).collect()
    }

    /// The first record from `sequence` on that consumers may see and `wanted` chooses.
    ///
    /// Records of one key group become visible in their order, so whoever takes all that it wants reads each group in order.
    pub fn next_visible(&self, sequence: u64, wanted: impl Fn(&Record) -> bool) -> Option<&Arc<Record>> {
        self.records
            .range(sequence..)
            .map(|(_, record)| record)
            .find(|record| self.is_visible(record) && wanted(record))
    }

    /// The first record from `sequence` on that `wanted` chooses, seen or not, or the end of the log: nobody who wants the
    /// same needs to look before it again.
    pub fn first_wanted(&self, sequence: u64, wanted: impl Fn(&Record) -> bool) -> u64 {
        let mut records = self.records.range(sequence..);
        records.find(|(_, record)| wanted(record)).map_or(self.next, |(sequence, _)| *sequence)
    }

    /// Whether consumers may see `record`.
    fn is_visible(&self, record: &Record) -> bool {
        let shown = match self.settings.mode {
            EdgeMode::CommitRead => self.published.is_some_and(|published| {
                let upto = match self.settings.bug {
                    Some(PlantedBug::ShowUpToClaim) => Some(published.epoch),
                    _ => published.state_of,
                };
                Some(record.epoch) <= upto
            }),
            EdgeMode::IdDedupe => true,
        };
        match self.settings.bug {
            Some(PlantedBug::ShowUnpublished) => record.sequence < self.durable,
            Some(PlantedBug::ShowBeforeSync) => record.sequence < self.written,
            _ => shown && record.sequence < self.durable,
        }
    }

    /// Where each of `groups` begins and ends in the log.
    pub fn extent(&self, group: KeyGroup) -> Range<u64> {
        let starts = self.records.values().flat_map(|record| &record.spans).find(|span| span.group == group);
        starts.map_or(self.end(group), |span| span.start)..self.end(group)
    }

    /// The attempt that may write, and the number of its first checkpoint.
    pub fn attempt(&self) -> (u64, Epoch) {
        (self.attempt, self.next_epoch)
    }

    /// The newest epoch record that was told.
    pub fn published(&self) -> Option<Published> {
        self.published
    }

    /// Whether writers may go on: the log holds less than its quota, apart from what nobody needs; or rows that it holds are
    /// still to come again, which cost nothing and must not wait behind themselves.
    pub fn has_room(&self) -> bool {
        self.known.any_unconfirmed() || self.held_bytes().saturating_sub(self.spare) < self.settings.quota_bytes
    }

    /// Bytes of the log, accepted ones included.
    pub fn held_bytes(&self) -> u64 {
        let pending: u64 = self.pending.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + pending
    }

    /// Records that count, and segments that hold them.
    pub fn counts(&self) -> (usize, usize) {
        (self.records.len(), self.segments.len())
    }

    /// What made the edge refuse everything.
    pub fn failure(&self) -> Option<&Failure> {
        self.failed.as_ref()
    }

    fn end(&self, group: KeyGroup) -> u64 {
        self.ends.get(&group).copied().unwrap_or(0)
    }

    fn append(&mut self, attempt: u64, epoch: Epoch, content: Content, body: &[u8]) -> Result<(), Failure> {
        self.may_write(attempt)?;
        let spans: Vec<Span> =
            content.counts().into_iter().map(|(group, count)| Span { group, start: self.end(group), count }).collect();
        let (mark, keys) = match content {
            Content::Rows { keys, .. } => (None, keys),
            Content::Mark { mark, .. } => (Some(mark), Vec::new()),
        };
        let head = Head { epoch, spans, mark, keys };
        let bytes = head.to_record(body, self.settings.record_bytes_max).map_err(|error| Failure::of(&error))?;
        self.ends.extend(head.spans.iter().map(|span| (span.group, span.end())));
        if self.settings.mode == EdgeMode::IdDedupe {
            self.known.written(&head.spans, &head.keys);
        }
        let record = Record { sequence: self.next, epoch, spans: head.spans, mark, place: Place::default() };
        self.pending.push((self.next, bytes));
        self.records.insert(self.next, Arc::new(record));
        self.next += 1;
        Ok(())
    }

    fn may_write(&self, attempt: u64) -> Result<(), Failure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let newest = self.attempt;
        if attempt > newest {
            let chain = format!("attempt {attempt} has not taken the edge over; {newest} has");
            return Err(Failure { kind: Kind::Internal, chain });
        }
        if attempt < newest && self.settings.bug != Some(PlantedBug::AcceptStaleAttempt) {
            return Err(fenced(attempt, newest));
        }
        Ok(())
    }

    fn on_flush(&mut self, ticket: Ticket, attempt: u64, actions: &mut Vec<Action>) {
        match self.may_write(attempt) {
            Err(failure) => actions.push(Action::Tell { ticket, result: Err(failure) }),
            Ok(()) => {
                self.flushes.push((self.next, ticket));
                let early = self.settings.bug == Some(PlantedBug::FlushBeforeSync);
                self.tell_flushed(if early { self.written } else { self.durable }, actions);
            }
        }
    }

    /// Epoch records never change, so the one with the highest number says it all, in whatever order they are read.
    fn on_published(&mut self, published: Published, actions: &mut Vec<Action>) {
        if self.published.is_none_or(|known| known.epoch < published.epoch) {
            self.published = Some(published);
            actions.push(Action::WakeReaders);
        }
    }
}

fn fenced(attempt: u64, newest: u64) -> Failure {
    Failure { kind: Kind::Fenced, chain: format!("attempt {newest} has taken the edge over; this is {attempt}") }
}
