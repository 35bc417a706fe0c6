//! What runs in the subtasks of the model: a reader, a slow model, an operator that hands on, a sink. Each shows what it holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::source::{Read, Reader, Split};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};

use crate::testing::batch;

/// The rows of a batch, which are numbered one after the other.
pub type Rows = (i64, i64);

/// What an operator or a reader holds, for the model to see and to steer.
#[derive(Debug, Default)]
pub struct Shown {
    /// Batches that were taken and not given out.
    pub held: VecDeque<Rows>,
    /// How many of them were answered.
    pub answered: usize,
    /// What reached the sink, with its input.
    pub written: Vec<(u8, i64)>,
    /// The sink takes nothing.
    pub stalled: bool,
    /// How many batches were read.
    pub read: usize,
    watermark: Option<EventTime>,
}

/// Shared with the model.
pub type Seen = Arc<Mutex<Shown>>;

/// Holds rows until they are answered, and takes one batch at a time unless a barrier stands behind more: like inference.
pub struct Slow(pub Seen);

/// Hands on, one batch at a time.
pub struct Pass(pub Seen);

/// Writes what comes on two inputs, unless it is stalled.
pub struct Sink(pub Seen);

/// Reads batches of these numbers of rows.
pub struct Source {
    pub batches: Vec<i64>,
    pub seen: Seen,
}

/// Numbers of the first and the last row.
pub fn rows_of(batch: &Batch) -> Rows {
    let ids = batch.ids();
    (ids[0].ordinal as i64, ids[ids.len() - 1].ordinal as i64)
}

/// What `seen` shows now.
pub fn look<T>(seen: &Seen, look: impl FnOnce(&mut Shown) -> T) -> T {
    look(&mut seen.lock().unwrap())
}

/// State that is the numbers of rows.
fn frozen(rows: impl Iterator<Item = i64>) -> Frozen {
    let text = rows.map(|row| row.to_string()).collect::<Vec<_>>().join(" ");
    let groups = [(KeyGroup(0), text.into())].into();
    Box::pin(async { Ok(Snapshot { groups, ..Snapshot::default() }) })
}

fn give(shown: &mut Shown, may: bool) -> Option<Out> {
    if let Some((first, last)) = may.then(|| shown.held.pop_front()).flatten() {
        shown.answered = shown.answered.saturating_sub(1);
        return Some(Out::Batch(batch(first..last + 1)));
    }
    if shown.held.is_empty() { shown.watermark.take().map(Out::Watermark) } else { None }
}

impl Operator for Slow {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn room(&self) -> Room {
        look(&self.0, |shown| if shown.held.is_empty() { Room::Room } else { Room::Full })
    }

    fn absorbs(&self) -> bool {
        true
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        look(&self.0, |shown| shown.held.push_back(rows_of(&batch)));
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        look(&self.0, |shown| shown.watermark = Some(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(look(&self.0, |shown| give(shown, shown.answered > 0)))
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(look(&self.0, |shown| if shown.held.is_empty() { Drained::Done } else { Drained::Pending }))
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        Ok(look(&self.0, |shown| frozen(shown.held.iter().flat_map(|(first, last)| *first..=*last))))
    }
}

impl Operator for Pass {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn room(&self) -> Room {
        look(&self.0, |shown| if shown.held.is_empty() { Room::Room } else { Room::Full })
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        look(&self.0, |shown| shown.held.push_back(rows_of(&batch)));
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        look(&self.0, |shown| shown.watermark = Some(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(look(&self.0, |shown| give(shown, true)))
    }
}

impl Operator for Sink {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn room(&self) -> Room {
        look(&self.0, |shown| if shown.stalled { Room::Full } else { Room::Room })
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        self.on_batch_at(0, batch)
    }

    fn on_batch_at(&mut self, port: u8, batch: Batch) -> Result<()> {
        let (first, last) = rows_of(&batch);
        look(&self.0, |shown| shown.written.extend((first..=last).map(|row| (port, row))));
        Ok(())
    }

    fn on_watermark(&mut self, _watermark: EventTime) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(None)
    }

    /// Rows of the second input are below zero: `-1` is row 0.
    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let written = look(&self.0, |shown| shown.written.clone());
        Ok(frozen(written.into_iter().map(|(port, row)| if port == 0 { row } else { -1 - row })))
    }
}

impl Reader for Source {
    fn open(&mut self, _context: Context, _splits: Vec<Split>, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        let at = look(&self.seen, |shown| shown.read);
        let Some(rows) = self.batches.get(at) else { return Ok(Read::End) };
        let first: i64 = self.batches[..at].iter().sum();
        look(&self.seen, |shown| shown.read += 1);
        Ok(Read::Batch(batch(first..first + rows)))
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let read: i64 = look(&self.seen, |shown| self.batches[..shown.read].iter().sum());
        Ok(frozen(0..read))
    }
}
