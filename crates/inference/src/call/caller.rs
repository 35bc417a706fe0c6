//! One of those who ask a model: a subtask, with its share and its own bound.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use forebay_core::time::Instant;
use forebay_gate::blame::Tally;
use forebay_gate::limiter::Knobs;
use forebay_gate::permits::Size;
use forebay_gate::share::CallerId;

use super::gate::ModelGate;
use super::permit::Permit;

/// A place at a [`ModelGate`]. Dropping it leaves the gate; permits that are out stay valid.
pub struct Caller {
    gate: Arc<ModelGate>,
    id: CallerId,
}

// === impl Caller ===

impl Caller {
    pub(super) fn new(gate: Arc<ModelGate>, id: CallerId) -> Self {
        Self { gate, id }
    }

    /// A permit for a call of `size`, or `None`; then `waker` is woken once when it is worth asking again. Being woken
    /// promises nothing, but whoever had the smallest share so far comes first for 10 ms.
    pub fn try_acquire(&self, size: Size, waker: &Waker) -> Option<Permit> {
        self.gate.try_acquire(self.id, size, waker)
    }

    /// Whether a small call would get a permit now; if not, `waker` is woken as by [`Caller::try_acquire`].
    pub fn has_room(&self, waker: &Waker) -> bool {
        self.gate.has_room(self.id, waker)
    }

    /// What is allowed now: calls in flight, rows a call, and how long a row waits for company.
    pub fn knobs(&self) -> Knobs {
        self.gate.knobs_of(self.id)
    }

    /// Rows were sent for the first time: a part of a retry is earned.
    pub fn earn(&self) {
        self.gate.earn();
    }

    /// When rows may be sent again after failure number `failures` in a row, from 1: at what the model asked for, or after a
    /// random pause under a bound that doubles.
    pub fn retry_at(&self, failures: u32, retry_after: Option<Duration>) -> Instant {
        self.gate.retry_at(failures, retry_after)
    }

    /// How the calls of all who ask the model ended so far: those that are answered from the journal are none.
    pub fn tally(&self) -> Tally {
        self.gate.tally()
    }

    /// Pays for sending rows again that the model may have worked on; false if the budget for that is spent. It is shared,
    /// so that a model in trouble is not asked to do everything twice.
    pub fn pay(&self) -> bool {
        self.gate.pay()
    }
}

impl From<Arc<ModelGate>> for Caller {
    /// One of weight 1 without a bound of its own.
    fn from(gate: Arc<ModelGate>) -> Self {
        gate.caller(1, None)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.gate.leave(self.id);
    }
}
