//! The moments a gate waits for: one heap, in which what became pointless is left until it comes or there is too much of it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use super::vocabulary::{CallId, RowId};

/// What happens at a moment.
#[derive(Debug)]
pub(super) enum What {
    /// The call ran out of time.
    Timeout(CallId),
    /// Nobody counts on an answer of this abandoned call any more.
    Release(CallId),
    /// The call is slow enough to be hedged.
    Hedge(CallId),
    /// The row's deadline.
    Deadline(RowId),
    /// The pause of these rows is over. `paid`: the budget has covered it.
    Retry { rows: Vec<RowId>, paid: bool },
}

/// Moments, the earliest first; equal ones in the order set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    set_total: u64,
    swept: usize,
}

#[derive(Debug)]
struct Timer {
    at: Duration,
    number: u64,
    what: What,
}

/// Pointless timers are swept out when there are this many more than after the last sweep.
const SWEEP: usize = 1024;

// === impl Timers ===

impl Timers {
    pub(super) fn set(&mut self, at: Duration, what: What) {
        self.set_total += 1;
        self.heap.push(Reverse(Timer { at, number: self.set_total, what }));
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    pub(super) fn pop(&mut self, now: Duration) -> Option<What> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(timer)| timer.what)
    }

    /// Drops what `is_wanted` refuses, but only once there is so much that the work is paid for by what was set since.
    pub(super) fn sweep(&mut self, is_wanted: impl Fn(&What) -> bool) {
        if self.heap.len() > 2 * self.swept + SWEEP {
            self.heap.retain(|Reverse(timer)| is_wanted(&timer.what));
            self.swept = self.heap.len();
        }
    }
}

// === impl Timer ===

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
