//! Joins of two streams: rows of both are kept as state by key until they can meet no other.
//!
//! - [`timed`]: rows that meet within an interval of event time, or in the same tumbling window.
//! - [`as_of`]: each row with the version of the other stream that holds at its time.
//! - [`regular`]: all rows of a key, with updates on both sides, kept for good or for a time to live.
//!
//! Port 0 is the left stream, port 1 the right one; both come keyed by the columns they are joined on. What the three have in
//! common is here: a batch is taken apart into keys, times and stored rows (`input`), the join's own rules say what meets
//! (`Rules`), pairs of stored rows become output batches (`output`). Rules never see Arrow and never wait.
//!
//! A row whose key has a null meets nothing. Ids of pairs are made from the operator's uid, the key and the ids of both rows, so
//! that they are the same in every run; those of one key stay together and in order.

pub mod as_of;
mod input;
mod output;
pub mod regular;
pub mod timed;

use std::collections::VecDeque;

use arrow::datatypes::SchemaRef;
use forebay_core::element::Epoch;
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::operator::{Context, Drained, Frozen, Identity, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};

use crate::clock::Clock;
use input::{Input, Work};
use output::Output;

/// Stored rows that are looked at, or put out, before the host gets its turn: about a millisecond.
const ROWS_PER_TURN: usize = 4096;

/// Which rows without a partner are kept, their other columns null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// None.
    Inner,
    /// Those of the left stream.
    Left,
    /// Those of the right stream.
    Right,
    /// Those of both.
    Full,
}

/// A side of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Port 0.
    Left,
    /// Port 1.
    Right,
}

/// One input of a join.
#[derive(Debug, Clone)]
pub struct InputShape {
    /// Its rows.
    pub schema: SchemaRef,
    /// The columns it is joined on, in the same order and of the same types as those of the other.
    pub keys: Vec<usize>,
    /// Its event-time column; required by joins in event time.
    pub time: Option<usize>,
}

/// What a join takes and gives.
#[derive(Debug, Clone)]
pub struct JoinShape {
    /// Port 0.
    pub left: InputShape,
    /// Port 1.
    pub right: InputShape,
    /// All columns of the left stream, then `appended` of the right one.
    pub output: SchemaRef,
    /// Places of the right stream's columns that are appended.
    pub appended: Vec<usize>,
    /// Rows without a partner. Where a row of the right stream stands alone, the key columns hold its key.
    pub keeps: Keeps,
}

/// A row that has come in.
struct Row<'a> {
    side: Side,
    id: RowId,
    kind: RowKind,
    /// `None` if a key column is null.
    key: Option<&'a Key>,
    /// The least time where its stream has none.
    time: EventTime,
    /// As `stored_rows` writes it.
    bytes: &'a [u8],
}

/// What meets what.
trait Rules: Send {
    /// Takes back state.
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()>;

    /// What rows of `side` are late by; they then leave by a side output. `None`: none is.
    fn clock(&self, side: Side) -> Option<&Clock>;

    /// Takes a row that is not late; answers how many stored rows it looked at.
    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize>;

    /// Every row up to `watermark` has come; answers the watermark of the output.
    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime>;

    /// Freezes state.
    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot>;

    /// The checkpoint of `epoch` is published.
    fn on_checkpoint_complete(&mut self, epoch: Epoch);
}

/// A join as an operator: it has room when the batch it got is joined and what came of it was taken.
struct Frame<R> {
    rules: R,
    inputs: [Input; 2],
    output: Output,
    work: Option<Work>,
    outs: VecDeque<Out>,
}

// === impl Keeps ===

impl Keeps {
    /// Whether rows of `side` are kept without a partner.
    pub fn keeps(self, side: Side) -> bool {
        match self {
            Self::Inner => false,
            Self::Left => side == Side::Left,
            Self::Right => side == Side::Right,
            Self::Full => true,
        }
    }
}

// === impl Side ===

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn of_port(port: u8) -> Result<Self> {
        match port {
            0 => Ok(Self::Left),
            1 => Ok(Self::Right),
            other => Err(Error::new(Kind::Internal, "find input of join").with("port", other)),
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

// === impl Frame ===

impl<R: Rules> Frame<R> {
    fn new(shape: &JoinShape, rules: R) -> Result<Self> {
        let input = |shape: &InputShape| Input::new(shape);
        Ok(Self {
            rules,
            inputs: [input(&shape.left)?, input(&shape.right)?],
            output: Output::new(shape)?,
            work: None,
            outs: VecDeque::new(),
        })
    }

    /// Joins rows of the batch at hand until there is enough to put out.
    fn go_on(&mut self) -> Result<()> {
        let Some(work) = &mut self.work else { return Ok(()) };
        let mut turn = 0;
        while turn < ROWS_PER_TURN && self.output.rows() < ROWS_PER_TURN {
            let Some(row) = work.next() else {
                self.work = None;
                break;
            };
            turn += 1 + self.rules.row(&row, &mut self.output)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.outs.extend(self.output.finish()?.into_iter().map(Out::Batch));
        Ok(())
    }

    /// What of `batch` is not late; the rest leaves by the side output of its port.
    fn in_time(&mut self, side: Side, batch: Batch, times: &[EventTime]) -> Result<Option<Batch>> {
        let Some(clock) = self.rules.clock(side) else { return Ok(Some(batch)) };
        let watermarks = match clock.of_all() {
            Some(watermark) => vec![watermark; batch.len()],
            None => self.inputs[side.place()].watermarks(&batch, clock)?,
        };
        let is_late = |place: &usize| times[*place] <= watermarks[*place];
        let late: Vec<usize> = (0..batch.len()).filter(is_late).collect();
        if late.is_empty() {
            return Ok(Some(batch));
        }
        self.outs.push_back(Out::Side(side as u8 + 1, batch.take(&late)?));
        let kept: Vec<usize> = (0..batch.len()).filter(|place| !is_late(place)).collect();
        if kept.is_empty() { Ok(None) } else { batch.take(&kept).map(Some) }
    }
}

impl<R: Rules> Operator for Frame<R> {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        self.output.name(&context.identity.uid);
        self.rules.open(&context.identity, restored)
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() && self.work.is_none() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        self.on_batch_at(0, batch)
    }

    fn on_batch_at(&mut self, port: u8, batch: Batch) -> Result<()> {
        while self.work.is_some() {
            self.go_on()?;
        }
        let side = Side::of_port(port)?;
        let times = self.inputs[side.place()].times(&batch)?;
        if let Some(batch) = self.in_time(side, batch, &times)? {
            self.work = Some(self.inputs[side.place()].work(side, &batch)?);
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        while self.work.is_some() {
            self.go_on()?;
        }
        let told = self.rules.watermark(watermark, &mut self.output)?;
        self.flush()?;
        self.outs.push_back(Out::Watermark(told));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        while self.outs.is_empty() && self.work.is_some() {
            self.go_on()?;
        }
        Ok(self.outs.pop_front())
    }

    fn holds_rows(&self) -> bool {
        self.room() == Room::Full
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let snapshot = self.rules.snapshot(epoch)?;
        Ok(Box::pin(async { Ok(snapshot) }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.rules.on_checkpoint_complete(epoch);
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.room() == Room::Room { Drained::Done } else { Drained::Pending })
    }
}

/// The keys of `shape`, checked against each other.
fn keys(shape: &InputShape) -> Result<KeyColumns> {
    KeyColumns::new(shape.keys.clone(), &shape.schema)
}
