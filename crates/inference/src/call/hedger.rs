//! The right to a second copy of a request batch that is slow: waited for, and taken before any call that is not sent yet.
//!
//! A backlog leaves no permit unused, so a copy that only took what lies idle would never be sent just where one slow
//! replica holds rows up. What copies cost is bounded by their budget, which [`ModelGate`] keeps.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use forebay_gate::permits::Size;
use forebay_gate::replicas::ReplicaId;

use super::gate::ModelGate;
use super::permit::Permit;

/// How a slow call is sent a second time.
pub struct Hedger {
    gate: Arc<ModelGate>,
    but: ReplicaId,
    size: Size,
    after: Duration,
}

/// A place among the copies that wait; given up when dropped.
struct Place {
    gate: Arc<ModelGate>,
    id: u64,
}

// === impl Hedger ===

impl Hedger {
    pub(super) fn new(gate: Arc<ModelGate>, but: ReplicaId, size: Size, after: Duration) -> Self {
        Self { gate, but, size, after }
    }

    /// How long the first copy is waited for.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// A permit on another replica as soon as one has room within the limits that all share; `None` if too many copies
    /// were sent lately.
    pub async fn permit(&self) -> Option<Permit> {
        let place = Place { gate: Arc::clone(&self.gate), id: self.gate.copy_id() };
        poll_fn(|context| match self.gate.hedge(place.id, self.but, self.size, context.waker()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(held) => Poll::Ready(held.map(|held| Permit::new(Arc::clone(&self.gate), held))),
        })
        .await
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.leave_copies(self.id);
    }
}
