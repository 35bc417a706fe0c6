//! Fair share of one backend between those who call it: deficit round robin with weights.
//!
//! Each caller has a queue of its own; turns go round, and a turn is worth the same cost to everybody, times the weight.
//! A caller with expensive rows saves up turns until it can pay for one, so nobody starves and nobody gains by sending
//! large rows. Rows of one caller stay in order. Never drops a row.

use std::collections::{BTreeMap, VecDeque};

/// Who calls: a subtask, a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CallerId(pub u32);

/// Queues of rows by caller, emptied in turns.
#[derive(Debug)]
pub struct Share<T> {
    callers: BTreeMap<CallerId, Caller<T>>,
    /// Callers with rows, in the order of their turns.
    turns: VecDeque<CallerId>,
    /// The highest cost seen: what a turn of weight 1 is worth, so that every turn sends something.
    quantum: u64,
    len: usize,
    /// A bug for tests to find: whoever has the turn keeps it.
    greedy: bool,
}

#[derive(Debug)]
struct Caller<T> {
    rows: VecDeque<(T, u64)>,
    weight: u32,
    /// Cost it may still send in this turn.
    deficit: u64,
    /// Its turn has begun, and its quantum was added.
    begun: bool,
}

// === impl Share ===

impl<T> Default for Share<T> {
    fn default() -> Self {
        Self { callers: BTreeMap::new(), turns: VecDeque::new(), quantum: 1, len: 0, greedy: false }
    }
}

impl<T> Share<T> {
    /// No callers; each has weight 1 until told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    #[doc(hidden)]
    pub fn greedy(mut self, planted: bool) -> Self {
        self.greedy = planted;
        self
    }

    /// Gives `caller` `weight` times the share of a caller of weight 1; 0 is taken as 1, since nobody may starve.
    pub fn set_weight(&mut self, caller: CallerId, weight: u32) {
        self.callers.entry(caller).or_default().weight = weight.max(1);
    }

    /// Forgets a caller that left, if it has no rows.
    pub fn forget(&mut self, caller: CallerId) {
        if self.callers.get(&caller).is_some_and(|caller| caller.rows.is_empty()) {
            self.callers.remove(&caller);
        }
    }

    /// Queues a row behind those of its caller.
    pub fn push(&mut self, caller: CallerId, item: T, cost: u64) {
        let cost = cost.max(1);
        self.quantum = self.quantum.max(cost);
        self.len += 1;
        let queue = self.callers.entry(caller).or_default();
        if queue.rows.is_empty() {
            self.turns.push_back(caller);
        }
        queue.rows.push_back((item, cost));
    }

    /// The next row by fair share.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let turn = *self.turns.front()?;
            let caller = self.callers.get_mut(&turn)?;
            if !caller.begun {
                caller.begun = true;
                caller.deficit += self.quantum.saturating_mul(u64::from(caller.weight));
            }
            let cost = caller.rows.front().map_or(0, |(_, cost)| *cost);
            if cost > caller.deficit && !self.greedy {
                caller.begun = false;
                self.turns.rotate_left(1);
                continue;
            }
            let (item, _) = caller.rows.pop_front()?;
            caller.deficit = caller.deficit.saturating_sub(cost);
            self.len -= 1;
            if caller.rows.is_empty() {
                (caller.begun, caller.deficit) = (false, 0);
                self.turns.pop_front();
            }
            return Some(item);
        }
    }

    /// Rows queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no row is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

// === impl Caller ===

impl<T> Default for Caller<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), weight: 1, deficit: 0, begun: false }
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
