//! The frame of operators that keep nothing between batches: a [`Transform`] applied to each batch, outputs in order.

use std::collections::VecDeque;

use forebay_core::dead_letter::DeadLetter;
use forebay_core::operator::{Context, Drained, Operator, Out, Restored, Room};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};

/// What a batch became.
#[derive(Debug, Default)]
pub struct Applied {
    /// The rows that go on, `None` or empty if there are none.
    pub batch: Option<Batch>,
    /// The rows that cannot be processed.
    pub dead_letters: Vec<DeadLetter>,
}

/// A function of one batch.
pub trait Transform: Send {
    /// Applies it.
    ///
    /// # Errors
    /// Fails the region; bad rows are [`Applied::dead_letters`].
    fn apply(&mut self, batch: Batch, context: &Context) -> Result<Applied>;
}

/// A [`Transform`] as an operator. It has room when everything it made was taken, so it never holds more than the outputs
/// of one batch, and nothing at a barrier.
pub struct Stateless<T> {
    transform: T,
    context: Option<Context>,
    outs: VecDeque<Out>,
}

// === impl Stateless ===

impl<T: Transform> Stateless<T> {
    /// The operator over `transform`.
    pub fn new(transform: T) -> Self {
        Self { transform, context: None, outs: VecDeque::new() }
    }
}

impl<T: Transform> Operator for Stateless<T> {
    fn open(&mut self, context: Context, _restored: Restored) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let context = self.context.as_ref().expect("open comes before on_batch");
        let applied = self.transform.apply(batch, context)?;
        if !applied.dead_letters.is_empty() {
            self.outs.push_back(Out::DeadLetters(applied.dead_letters));
        }
        if let Some(batch) = applied.batch.filter(|batch| !batch.is_empty()) {
            self.outs.push_back(Out::Batch(batch));
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.outs.push_back(Out::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(self.outs.pop_front())
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() { Drained::Done } else { Drained::Pending })
    }
}
