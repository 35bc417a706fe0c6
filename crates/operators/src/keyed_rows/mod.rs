//! What operators that keep rows by key have in common: joins of streams, `deduplicate`, `top`, `feedback`.
//!
//! A batch is taken apart into keys, times and stored rows ([`input`]), the operator's own [`Rules`] say what comes of each row,
//! and what they put out becomes batches again ([`output`]). Rules never see Arrow and never wait. There are one or two inputs;
//! rows of the first are the left ones.
//!
//! Ids of rows that are put out are made from the operator's uid, the key and the ids of the rows they consist of, so that they
//! are the same in every run and a row that is taken back has the id under which it was given; those of one key stay together
//! and in order.

mod input;
pub(crate) mod order;
pub(crate) mod output;

use std::collections::VecDeque;

use arrow::datatypes::SchemaRef;
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Context, Drained, Frozen, Identity, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};

use input::{Input, Work};
use order::OrderColumn;
use output::{Mark, Output};

/// Stored rows that are looked at, or put out, before the host gets its turn: about a millisecond.
const ROWS_PER_TURN: usize = 4096;

/// Which input a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Port 0.
    Left,
    /// Port 1.
    Right,
}

/// One input.
#[derive(Debug, Clone)]
pub struct InputShape {
    /// Its rows.
    pub schema: SchemaRef,
    /// Its key columns. Of two inputs both have the same number, in the same order and of the same types.
    pub keys: Vec<usize>,
    /// Its event-time column; required where the rules go by event time.
    pub time: Option<usize>,
}

/// What goes in and what comes out.
#[derive(Debug, Clone)]
pub(crate) struct FrameShape {
    /// One or two.
    pub inputs: Vec<InputShape>,
    /// Whether rows with a null in their key have a key like any other.
    pub nulls_are_keys: bool,
    /// What rows of the first input are ordered by, if anything.
    pub order: Vec<OrderColumn>,
    /// The columns of the first input, `appended` of the second one, the mark.
    pub output: SchemaRef,
    /// Places of the second input's columns that are put out.
    pub appended: Vec<usize>,
    /// What the last column holds if it is of no input.
    pub mark: Option<Mark>,
}

/// A row that has come in.
pub(crate) struct Row<'a> {
    pub side: Side,
    pub id: RowId,
    pub kind: RowKind,
    /// `None` if a key column is null and that is no key.
    pub key: Option<&'a Key>,
    /// The least time where its stream has none.
    pub time: EventTime,
    /// What it is ordered by, as bytes in that order; empty without.
    pub order: &'a [u8],
    /// As `stored_rows` writes it.
    pub bytes: &'a [u8],
}

/// What comes of the rows.
pub(crate) trait Rules: Send {
    /// Takes back state.
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()>;

    /// Whether a row comes too late; it then leaves by a side output, 1 for the left input, 2 for the right one.
    fn is_late(&mut self, _side: Side, _key: Option<&Key>, _time: EventTime) -> Result<bool> {
        Ok(false)
    }

    /// Takes a row that is not late; answers how many stored rows it looked at.
    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize>;

    /// Every row up to `watermark` has come; answers the watermark of the output.
    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime>;

    /// Freezes state.
    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot>;

    /// The checkpoint of `epoch` is published.
    fn on_checkpoint_complete(&mut self, epoch: Epoch);
}

/// Rules as an operator: it has room when the batch it got is worked off and what came of it was taken.
pub(crate) struct Frame<R> {
    rules: R,
    inputs: Vec<Input>,
    output: Output,
    work: Option<Work>,
    outs: VecDeque<Out>,
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
            other => Err(Error::new(Kind::Internal, "find input").with("port", other)),
        }
    }

    /// 0 for the left one, 1 for the right one.
    pub(crate) fn place(self) -> usize {
        self as usize
    }
}

// === impl Frame ===

impl<R: Rules> Frame<R> {
    /// `rules` over rows of `shape`.
    ///
    /// # Errors
    /// `Invalid` for a column that cannot be a key or cannot be stored.
    pub fn new(shape: &FrameShape, rules: R) -> Result<Self> {
        let input = |(place, input): (usize, &InputShape)| {
            let order = if place == 0 { shape.order.clone() } else { Vec::new() };
            Input::new(input, shape.nulls_are_keys, order)
        };
        Ok(Self {
            rules,
            inputs: shape.inputs.iter().enumerate().map(input).collect::<Result<_>>()?,
            output: Output::new(shape)?,
            work: None,
            outs: VecDeque::new(),
        })
    }

    /// Works rows of the batch at hand off until there is enough to put out.
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
        let mut work = self.inputs[side.place()].work(side, &batch)?;
        let late = work.put_aside(|key, time| self.rules.is_late(side, key, time))?;
        if !late.is_empty() {
            self.outs.push_back(Out::Side(side as u8 + 1, batch.take(&late)?));
        }
        self.work = Some(work);
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
