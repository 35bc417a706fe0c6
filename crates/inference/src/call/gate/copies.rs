//! Second copies of slow calls that wait for room on another replica, in the order in which they asked.

use std::collections::BTreeMap;
use std::task::Waker;

use forebay_gate::replicas::ReplicaId;

/// Those that wait. Wakes nobody.
#[derive(Default)]
pub(super) struct Copies {
    waiting: BTreeMap<u64, Copy>,
    last: u64,
}

struct Copy {
    /// Where the first copy is.
    but: ReplicaId,
    rows: usize,
    waker: Option<Waker>,
}

// === impl Copies ===

impl Copies {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn wait(&mut self, id: u64, but: ReplicaId, rows: usize, waker: &Waker) {
        self.waiting.insert(id, Copy { but, rows, waker: Some(waker.clone()) });
    }

    /// True if it was waiting.
    pub(super) fn leave(&mut self, id: u64) -> bool {
        self.waiting.remove(&id).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where each may not go, and its rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ReplicaId, usize)> {
        self.waiting.values().map(|copy| (copy.but, copy.rows))
    }

    /// Those to be woken; they wait on until they leave.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.waiting.values_mut().filter_map(|copy| copy.waker.take()).collect()
    }
}
