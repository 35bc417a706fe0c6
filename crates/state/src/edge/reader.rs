//! The consumer's end of an edge: the head of a chain that reads what is visible, from restored positions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Frozen, Restored, Snapshot};
use forebay_core::source::{Read, Reader, Split};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

use super::core::Record;
use super::log::{EdgeLog, Inner};
use super::position::{Positions, ReaderState};
use super::protocol::Mark;
use super::record::{self, Span};
use super::{body, replay};

/// Bytes of one read from disk, unless a single record is longer: enough to make the seek cheap.
const READ_BYTES: u64 = 1 << 20;
/// Records read ahead of the chain: hides the disk's latency, bounds memory to a few reads.
const READ_AHEAD_MAX: usize = 64;

/// Reads the key groups of its subtask from an edge. Takes no splits.
///
/// Its state by key group is [`ReaderState`]. A watermark is given out when every key group of the subtask has one, the end when
/// every key group has ended.
pub struct EdgeReader {
    log: Arc<Inner>,
    states: BTreeMap<KeyGroup, ReaderState>,
    /// Where reading from disk stands, ahead of `states`.
    fetched: BTreeMap<KeyGroup, u64>,
    /// No record before this one is wanted.
    from: u64,
    inbox: Arc<Mutex<Inbox>>,
    watermark: Option<EventTime>,
    waker: Option<Waker>,
}

/// What was read from disk.
#[derive(Default)]
struct Inbox {
    ready: VecDeque<Result<(Arc<Record>, Option<Batch>)>>,
    reading: bool,
}

// === impl EdgeReader ===

impl EdgeReader {
    /// A reader of `log`.
    pub fn new(log: &EdgeLog) -> Self {
        Self {
            log: Arc::clone(&log.inner),
            states: BTreeMap::new(),
            fetched: BTreeMap::new(),
            from: 0,
            inbox: Arc::default(),
            watermark: None,
            waker: None,
        }
    }

    /// From where it needs the log: what [`EdgeLog::consumer_retained`] wants of each retained checkpoint, of all subtasks.
    pub fn positions(&self) -> Positions {
        Positions(self.states.iter().map(|(group, state)| (*group, state.needs_from())).collect())
    }

    /// Starts the next read, if none is under way, little is ready and something is visible.
    fn fill(&mut self) {
        {
            let mut inbox = lock(&self.inbox);
            if inbox.reading || inbox.ready.len() >= READ_AHEAD_MAX {
                return;
            }
            inbox.reading = true;
        }
        let records = self.plan();
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            lock(&self.inbox).reading = false;
            return;
        };
        let (path, start) = (self.log.path(&first.place.file()), first.place.start);
        let length = last.place.start + u64::from(last.place.length) - start;
        let read = self.log.disk.read_at(&path, start, length as usize);
        let (inbox, waker, limit) = (Arc::clone(&self.inbox), self.waker.clone(), self.log.settings.record_bytes_max);
        self.log.env.spawn(Box::pin(async move {
            let ready: Vec<_> = match read.await {
                Ok(bytes) => {
                    let bytes = bytes.unwrap_or_default();
                    records.into_iter().map(|record| decode(&path, start, &bytes, record, limit)).collect()
                }
                Err(error) => vec![Err(error)],
            };
            let mut inbox = lock(&inbox);
            inbox.ready.extend(ready);
            inbox.reading = false;
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }));
    }

    /// The next visible records that lie together.
    fn plan(&mut self) -> Vec<Arc<Record>> {
        let mut state = self.log.lock();
        let mut records: Vec<Arc<Record>> = Vec::new();
        let fetched = &mut self.fetched;
        let wanted = |fetched: &BTreeMap<KeyGroup, u64>, record: &Record| {
            record.spans.iter().any(|span| fetched.get(&span.group).is_some_and(|position| span.end() > *position))
        };
        self.from = state.core.first_wanted(self.from, |record| wanted(fetched, record));
        let mut sequence = self.from;
        while records.len() < READ_AHEAD_MAX {
            let Some(next) = state.core.next_visible(sequence, |record| wanted(fetched, record)) else { break };
            if records.first().is_some_and(|first| !lie_together(first, next)) {
                break;
            }
            sequence = next.sequence + 1;
            for span in &next.spans {
                fetched.entry(span.group).and_modify(|position| *position = span.end().max(*position));
            }
            records.push(Arc::clone(next));
        }
        if records.is_empty() {
            self.waker.iter().for_each(|waker| state.wake_reader(waker));
        }
        records
    }

    /// Gives out `record`; `None` if it says nothing to this subtask yet.
    fn take(&mut self, record: &Record, batch: Option<Batch>) -> Result<Option<Read>> {
        self.check(record)?;
        let states = &self.states;
        let skipped = |span: &Span| {
            let position = states.get(&span.group)?.needs_from();
            (span.end() > position).then_some(position.saturating_sub(span.start) as usize)
        };
        let rows = match batch {
            Some(batch) => body::select(&batch, &record.spans, skipped)?,
            None => None,
        };
        for span in &record.spans {
            let state = self.states.get_mut(&span.group).filter(|state| !state.ended);
            let Some(state) = state else { continue };
            state.position = state.position.max(span.end());
            match record.mark {
                Some(Mark::Watermark(watermark)) => state.watermark = state.watermark.max(Some(watermark)),
                Some(Mark::End) => state.ended = true,
                None => {}
            }
        }
        match rows {
            Some(rows) => Ok(Some(Read::Batch(rows))),
            None => Ok(self.advance().map(Read::Watermark)),
        }
    }

    /// Whether `record` follows in each of its key groups on what was given out.
    fn check(&self, record: &Record) -> Result<()> {
        let gap = |span: &&Span| self.states.get(&span.group).is_some_and(|state| state.needs_from() < span.start);
        let Some(span) = record.spans.iter().find(gap) else { return Ok(()) };
        let (group, start) = (span.group.0, span.start);
        let reason = format!("rows of key group {group} before {start} are wanted and no longer there");
        Err(replay::corrupt(&self.log.path(&record.place.file()), record.place.start, &reason))
    }

    /// The watermark, if it has moved. A group that has ended does not hold it back.
    fn advance(&mut self) -> Option<EventTime> {
        let of_group = |state: &ReaderState| if state.ended { Some(EventTime::MAX) } else { state.watermark };
        let least = self.states.values().map(of_group).min().flatten()?;
        let moved = Some(least) > self.watermark && !self.has_ended();
        moved.then(|| *self.watermark.insert(least))
    }

    fn has_ended(&self) -> bool {
        self.states.values().all(|state| state.ended)
    }

    /// Restored positions that the log does not hold.
    fn check_restored(&self) -> Result<()> {
        let state = self.log.lock();
        for (group, read) in self.states.iter().filter(|(_, read)| !read.ended) {
            let extent = state.core.extent(*group);
            if read.position < extent.start || read.position > extent.end {
                return Err(Error::new(Kind::Corrupt, "read edge")
                    .with("edge", &self.log.folder)
                    .with("key group", group.0)
                    .with("position", read.position)
                    .with("log holds", format!("{} to {}", extent.start, extent.end))
                    .source("the log does not hold what the restored checkpoint goes on from"));
            }
        }
        Ok(())
    }
}

impl Reader for EdgeReader {
    fn open(&mut self, context: Context, _splits: Vec<Split>, restored: Restored) -> Result<()> {
        let owned: Range<u16> = context.identity.key_groups();
        self.states = owned.map(|group| (KeyGroup(group), ReaderState::default())).collect();
        for (group, bytes) in &restored.groups {
            if let Some(state) = self.states.get_mut(group) {
                *state = ReaderState::decode(bytes)?;
            }
        }
        self.check_restored()?;
        self.fetched = self.positions().0;
        self.waker = Some(context.waker);
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        loop {
            if self.has_ended() {
                return Ok(Read::End);
            }
            self.fill();
            let next = lock(&self.inbox).ready.pop_front();
            match next {
                Some(read) => {
                    let (record, batch) = read?;
                    if let Some(read) = self.take(&record, batch)? {
                        return Ok(read);
                    }
                }
                None => {
                    if let Some(failure) = self.log.lock().core.failure() {
                        return Err(failure.to_error("read edge", &self.log.folder));
                    }
                    return Ok(Read::Pending);
                }
            }
        }
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let groups = self.states.iter().map(|(group, state)| (*group, state.encode())).collect();
        Ok(Box::pin(async move { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }
}

fn lie_together(first: &Record, next: &Record) -> bool {
    let end = next.place.start + u64::from(next.place.length);
    first.place.segment == next.place.segment && end.saturating_sub(first.place.start) <= READ_BYTES
}

/// The rows of `record`, out of bytes of its file from `start` on.
fn decode(
    path: &str,
    start: u64,
    bytes: &bytes::Bytes,
    record: Arc<Record>,
    limit: u32,
) -> Result<(Arc<Record>, Option<Batch>)> {
    let wrong = |reason: &str| replay::corrupt(path, record.place.start, reason);
    let offset = (record.place.start - start) as usize;
    let rest = bytes.get(offset..).ok_or_else(|| wrong("the file ends before the record"))?;
    let (head, body_place, total) = record::parse(rest, limit).map_err(|unsound| wrong(unsound.reason()))?;
    if head.spans != record.spans || total != record.place.length as usize {
        return Err(wrong("another record lies there"));
    }
    if record.mark.is_some() {
        return Ok((record, None));
    }
    let batch = body::decode(&rest[body_place..total], &head.keys)
        .map_err(|error| error.with("file", path).with("byte", record.place.start))?;
    Ok((record, Some(batch)))
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}
