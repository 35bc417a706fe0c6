//! Operators fused in one subtask without channels between them, and the writer of their dead letters.
//!
//! Rows move from the tail backwards: an operator is polled only when the next one has room, so nothing is buffered
//! between operators and backpressure reaches the head of the chain by itself.

use std::sync::Arc;

use forebay_core::dead_letter::{self, DeadLetter};
use forebay_core::element::Epoch;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Error, Kind, Result};

use crate::counters::Counters;
use crate::outlet::Outlet;

/// How many outputs of one operator are moved before the others get their turn.
const OUTS_PER_TURN: usize = 32;

/// An operator in its place: its context and the state it is opened with.
pub struct Stage {
    /// The operator.
    pub operator: Box<dyn Operator>,
    /// Who it is.
    pub context: Context,
    /// What it goes on from.
    pub restored: Restored,
}

/// What a turn of the chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something moved; call again.
    Moved,
    /// Nothing moved because something downstream is full.
    Blocked,
    /// Every operator was asked and has nothing to give now; nothing waits for credit.
    Quiet,
}

/// The operators of one subtask, in order.
pub struct Chain {
    stages: Vec<Stage>,
    dead_letters: Option<Stage>,
    counters: Arc<Counters>,
    ends_in_sink: bool,
}

// === impl Stage ===

impl Stage {
    fn open(&mut self) -> Result<()> {
        self.operator.open(self.context.clone(), std::mem::take(&mut self.restored))
    }

    fn has_room(&self) -> bool {
        self.operator.room() == Room::Room
    }
}

// === impl Chain ===

impl Chain {
    /// A chain; `dead_letters` writes the rows that its operators give up on, `ends_in_sink` says that the last stage is a
    /// sink writer, whose input is counted as written.
    pub fn new(stages: Vec<Stage>, dead_letters: Option<Stage>, ends_in_sink: bool, counters: Arc<Counters>) -> Self {
        Self { stages, dead_letters, counters, ends_in_sink }
    }

    /// Opens every operator.
    ///
    /// # Errors
    /// Those of [`Operator::open`].
    pub fn open(&mut self) -> Result<()> {
        self.stages.iter_mut().chain(&mut self.dead_letters).try_for_each(Stage::open)
    }

    /// Whether the head takes a batch and a dead letter now.
    pub fn has_room(&self, outlet: &Outlet) -> bool {
        self.takes(0, outlet) && self.dead_letters.as_ref().is_none_or(Stage::has_room)
    }

    /// Whether the head takes a batch now so that a barrier behind it can pass; see [`Operator::absorbs`].
    pub fn absorbs(&self) -> bool {
        self.stages.first().is_some_and(|stage| stage.operator.absorbs())
    }

    /// Whether an operator still holds rows that it will give out, so that the chain is not idle although its input is.
    pub fn holds_rows(&self) -> bool {
        self.stages.iter().any(|stage| stage.operator.holds_rows())
    }

    /// Gives `batch`, from input `port`, to the head.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn push_batch(&mut self, port: u8, batch: Batch, outlet: &mut Outlet) -> Result<()> {
        match self.stages.first_mut() {
            Some(head) if port > 0 => head.operator.on_batch_at(port, batch),
            _ => self.deliver(0, Out::Batch(batch), outlet),
        }
    }

    /// Gives a watermark to the head.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn push_watermark(&mut self, watermark: EventTime, outlet: &mut Outlet) -> Result<()> {
        self.deliver(0, Out::Watermark(watermark), outlet)
    }

    /// Gives dead letters to their writer.
    ///
    /// # Errors
    /// `Invalid` if the plan has no dead-letter output.
    pub fn push_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let Some(writer) = &mut self.dead_letters else {
            return Err(Error::new(Kind::Invalid, "write dead letter")
                .with("row", letters[0].row)
                .with("reason", &letters[0].reason)
                .source("this job has no dead-letter output"));
        };
        Counters::add(&self.counters.dead_letters, letters.len());
        writer.operator.on_batch(dead_letter::to_batch(letters)?)
    }

    /// Moves what can move, from the tail backwards.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn turn(&mut self, outlet: &mut Outlet) -> Result<Progress> {
        let mut moved = outlet.flush();
        let mut blocked = false;
        for place in (0..self.stages.len()).rev() {
            let mut outs = 0;
            loop {
                let letters_room = self.dead_letters.as_ref().is_none_or(Stage::has_room);
                let sides_room = !outlet.has_sides() || outlet.is_clear();
                if !letters_room || !sides_room || !self.takes(place + 1, outlet) {
                    blocked = true;
                    break;
                }
                let Some(out) = self.stages[place].operator.poll()? else { break };
                moved = true;
                self.deliver(place + 1, out, outlet)?;
                outs += 1;
                if outs == OUTS_PER_TURN {
                    break;
                }
            }
        }
        if let Some(writer) = &mut self.dead_letters {
            writer.operator.poll()?;
        }
        Ok(match (moved, blocked || !outlet.is_clear()) {
            (true, _) => Progress::Moved,
            (false, true) => Progress::Blocked,
            (false, false) => Progress::Quiet,
        })
    }

    /// Calls the timers that are due.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn on_timer(&mut self, now: Instant) -> Result<()> {
        for stage in self.stages.iter_mut().chain(&mut self.dead_letters) {
            if stage.operator.next_timer().is_some_and(|due| due <= now) {
                stage.operator.on_timer(now)?;
            }
        }
        Ok(())
    }

    /// When the earliest timer is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.stages.iter().chain(&self.dead_letters).filter_map(|stage| stage.operator.next_timer()).min()
    }

    /// Asks the operators, head first, to let go of everything; true when all did.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn drain(&mut self) -> Result<bool> {
        for stage in self.stages.iter_mut().chain(&mut self.dead_letters) {
            if stage.operator.drain()? == Drained::Pending {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the operators, head first, to begin nothing new; true when all that was begun has come to its end.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn suspend(&mut self) -> Result<bool> {
        for stage in self.stages.iter_mut().chain(&mut self.dead_letters) {
            if stage.operator.suspend()? == Drained::Pending {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Freezes every operator, by uid. The chain must be quiet.
    ///
    /// # Errors
    /// Those of the operators.
    pub fn snapshot(&mut self, epoch: Epoch) -> Result<Vec<(String, Frozen)>> {
        let stages = self.stages.iter_mut().chain(&mut self.dead_letters);
        stages.map(|stage| Ok((stage.context.identity.uid.clone(), stage.operator.snapshot(epoch)?))).collect()
    }

    /// Tells every operator that the checkpoint of `epoch` is published.
    pub fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        for stage in self.stages.iter_mut().chain(&mut self.dead_letters) {
            stage.operator.on_checkpoint_complete(epoch);
        }
    }

    /// Closes every operator.
    pub fn close(&mut self) {
        for stage in self.stages.iter_mut().chain(&mut self.dead_letters) {
            stage.operator.close();
        }
    }

    fn takes(&self, place: usize, outlet: &Outlet) -> bool {
        match self.stages.get(place) {
            Some(stage) => stage.has_room(),
            None => outlet.is_clear(),
        }
    }

    fn deliver(&mut self, place: usize, out: Out, outlet: &mut Outlet) -> Result<()> {
        let last = place + 1 == self.stages.len();
        match (out, self.stages.get_mut(place)) {
            (Out::DeadLetters(letters), _) => self.push_dead_letters(&letters),
            (Out::Side(port, batch), _) => outlet.send_batch(port, batch),
            (Out::Batch(batch), Some(stage)) => {
                if last && self.ends_in_sink {
                    Counters::add(&self.counters.rows_written, batch.len());
                }
                stage.operator.on_batch_at(0, batch)
            }
            (Out::Watermark(watermark), Some(stage)) => stage.operator.on_watermark(watermark),
            (Out::Batch(batch), None) => outlet.send_batch(0, batch),
            (Out::Watermark(watermark), None) => {
                outlet.send_watermark(watermark);
                Ok(())
            }
        }
    }
}
