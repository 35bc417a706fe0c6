//! The producer's end of an edge: an operator without output that appends what it is given.

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

use super::body;
use super::log::{EdgeLog, Inner};
use super::position::WriterState;
use super::protocol::{Content, EdgeMode, Fact, Mark};

/// The key group of each row of a batch, of so many groups in all.
pub type Grouping = Arc<dyn Fn(&Batch, u16) -> Result<Vec<KeyGroup>> + Send + Sync>;

/// Appends rows to an edge. Every row must belong to a key group that its subtask owns: the region routes rows by key group in
/// front of it, so that each key group has one writer.
///
/// Its state by key group is [`WriterState`]. Its snapshot is done when everything before the barrier is durable; consumers see
/// it when the epoch record exists. Under commit-read a watermark is written at the next barrier: nobody could see it before.
pub struct EdgeWriter {
    log: Arc<Inner>,
    grouping: Grouping,
    /// Set by `open`.
    groups: Range<u16>,
    groups_all: u16,
    waker: Option<Waker>,
    attempt: u64,
    epoch: Epoch,
    watermark: Option<EventTime>,
    ended: bool,
}

/// Groups rows of an unkeyed stream: by the split that each row was read from, or that its key stands for. A row that takes back
/// another has its split, so it lies behind it.
pub fn by_row() -> Grouping {
    Arc::new(|batch, groups| Ok(batch.ids().iter().map(|id| id.key_group(groups)).collect()))
}

/// Groups rows of a keyed stream: by their key.
pub fn by_key(columns: KeyColumns) -> Grouping {
    Arc::new(move |batch, groups| columns.groups(batch.rows(), groups))
}

// === impl EdgeWriter ===

impl EdgeWriter {
    /// A writer of `log`, to be opened once the log is [taken over](EdgeLog::take_over) by its attempt.
    pub fn new(log: &EdgeLog, grouping: Grouping) -> Self {
        Self {
            log: Arc::clone(&log.inner),
            grouping,
            groups: 0..0,
            groups_all: 0,
            waker: None,
            attempt: 0,
            epoch: Epoch(0),
            watermark: None,
            ended: false,
        }
    }

    fn groups_of(&self, batch: &Batch) -> Result<Vec<KeyGroup>> {
        let groups = (self.grouping)(batch, self.groups_all)?;
        let wrong =
            |reason: String| Error::new(Kind::Internal, "write edge").with("edge", &self.log.folder).source(reason);
        if groups.len() != batch.len() {
            return Err(wrong(format!("{} key groups for {} rows", groups.len(), batch.len())));
        }
        match groups.iter().find(|group| !self.groups.contains(&group.0)) {
            Some(group) => Err(wrong(format!("key group {} is another writer's", group.0))),
            None => Ok(groups),
        }
    }

    fn append(&self, content: Content, body: bytes::Bytes) -> Result<()> {
        let (attempt, epoch) = (self.attempt, self.epoch);
        let answer = self.log.ask(|ticket| Fact::Append { ticket, attempt, epoch, content, body });
        self.log.told_now("write edge", answer)
    }

    fn mark(&self, mark: Mark) -> Result<()> {
        self.append(Content::Mark { groups: self.groups.clone(), mark }, bytes::Bytes::new())
    }

    fn write_watermark(&mut self) -> Result<()> {
        match self.watermark.take() {
            Some(watermark) => self.mark(Mark::Watermark(watermark)),
            None => Ok(()),
        }
    }
}

impl Operator for EdgeWriter {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        let identity = &context.identity;
        let (newest, next_epoch) = self.log.lock().core.attempt();
        if newest != identity.attempt {
            return Err(Error::new(
                if newest > identity.attempt { Kind::Fenced } else { Kind::Internal },
                "open edge writer",
            )
            .with("edge", &self.log.folder)
            .with("attempt", identity.attempt)
            .with("taken over by", newest));
        }
        for (_, bytes) in &restored.groups {
            WriterState::decode(bytes)?;
        }
        (self.groups, self.groups_all) = (identity.key_groups(), identity.groups);
        (self.attempt, self.epoch) = (identity.attempt, next_epoch);
        self.waker = Some(context.waker);
        Ok(())
    }

    fn room(&self) -> Room {
        let mut state = self.log.lock();
        if state.core.has_room() {
            return Room::Room;
        }
        self.waker.iter().for_each(|waker| state.wake_writer(waker));
        Room::Full
    }

    /// A full edge does not hold up barriers: without them nothing becomes visible, and nothing is ever trimmed.
    fn absorbs(&self) -> bool {
        true
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let groups = self.groups_of(&batch)?;
        let keys = body::keys(&batch);
        let rows: Vec<_> = groups.iter().copied().zip(keys.iter().copied()).collect();
        let fresh = self.log.lock().core.admit(self.attempt, &rows);
        if fresh.is_empty() {
            return Ok(());
        }
        let grouped = body::group(&batch, &fresh, &groups, &keys)?;
        let bytes = body::encode(grouped.batch.rows())?;
        self.append(Content::Rows { groups: grouped.groups, keys: grouped.keys }, bytes)
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.watermark = self.watermark.max(Some(watermark));
        match self.log.settings.mode {
            EdgeMode::CommitRead => Ok(()),
            EdgeMode::IdDedupe => self.write_watermark(),
        }
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(None)
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        self.write_watermark()?;
        let states = self.log.lock().core.writer_states(self.groups.clone());
        let attempt = self.attempt;
        let durable = self.log.ask(|ticket| Fact::Flush { ticket, attempt });
        let durable = self.log.told("make edge durable", durable);
        self.epoch = epoch.next();
        Ok(Box::pin(async move {
            durable.await?;
            let groups = states.into_iter().map(|(group, state)| (group, state.encode())).collect();
            Ok(Snapshot { groups, ..Snapshot::default() })
        }))
    }

    fn drain(&mut self) -> Result<Drained> {
        if !std::mem::replace(&mut self.ended, true) {
            self.write_watermark()?;
            self.mark(Mark::End)?;
        }
        Ok(Drained::Done)
    }

    /// A stop is no end of input: nothing is written.
    fn suspend(&mut self) -> Result<Drained> {
        Ok(Drained::Done)
    }
}
