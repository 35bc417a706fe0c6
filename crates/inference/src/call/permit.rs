//! The right to one request batch in flight; `hedger` has the right to a second copy of it.

use std::sync::Arc;
use std::time::Duration;

use forebay_gate::limiter::Class;
use forebay_gate::permits;
use forebay_gate::replicas::ReplicaId;
use forebay_gate::share::CallerId;

use super::gate::ModelGate;
use super::hedger::Hedger;
use crate::protocols::Observed;

/// The right to one request batch in flight. Giving it back wakes everyone who was refused; a permit that is dropped is
/// given back as [`Class::Cancelled`], which tells the limiter nothing.
pub struct Permit {
    held: Option<(Arc<ModelGate>, Held)>,
}

/// What a gate gave out.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) permit: permits::Permit,
    pub(super) replica: ReplicaId,
    /// The model has other replicas.
    pub(super) several: bool,
    /// Who asked; nobody asks for a second copy.
    pub(super) caller: Option<CallerId>,
    pub(super) hedge_after: Option<Duration>,
    /// The other copy was answered first.
    pub(super) lost: bool,
}

// === impl Permit ===

impl Permit {
    pub(super) fn new(gate: Arc<ModelGate>, held: Held) -> Self {
        Self { held: Some((gate, held)) }
    }

    /// A permit that nobody counts, for callers without a gate.
    pub fn unlimited() -> Self {
        Self { held: None }
    }

    /// Which of several replicas it is for; `None` where the model has one, or looks after several by itself.
    pub fn replica(&self) -> Option<u16> {
        let (_, held) = self.held.as_ref().filter(|(_, held)| held.several)?;
        u16::try_from(held.replica.0).ok()
    }

    /// How to send a second copy, if one may ever be sent.
    pub fn hedger(&self) -> Option<Hedger> {
        let (gate, held) = self.held.as_ref()?;
        let (gate, replica, size) = (Arc::clone(gate), held.replica, held.permit.size());
        held.hedge_after.map(|after| Hedger::new(gate, replica, size, after))
    }

    /// What the model's address has told besides rows, by the end of the call.
    pub fn hear(&self, observed: Observed) {
        if let Some((gate, held)) = &self.held {
            gate.hear(held.replica, held.permit.size(), observed);
        }
    }

    /// The other copy of the call was answered first: this one tells nothing.
    pub fn lose(&mut self) {
        if let Some((_, held)) = &mut self.held {
            held.lost = true;
        }
    }

    /// Gives the permit back, saying how the call ended.
    pub fn finish(mut self, class: Class) {
        self.give_back(class);
    }

    fn give_back(&mut self, class: Class) {
        if let Some((gate, held)) = self.held.take() {
            gate.give_back(held, class);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Class::Cancelled);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}
