//! What happens next: a clock, a heap, and a queue for each delay that is always the same.
//!
//! Most of what is planned lies a fixed time ahead (the link, the timeout, the tick), so it comes due in the order in which
//! it was planned and needs no heap. Of things due at one moment, the one planned first comes first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::calls::CallId;

/// Something that happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A row arrives at a client.
    Arrival { client: u32, plan: u32 },
    /// Another tenant calls.
    Tenant { plan: u32 },
    /// A call reaches the gateway.
    Entry(CallId),
    /// A slot of a replica is done with a call.
    SlotDone { replica: u32, call: CallId },
    /// A device is done with its batch.
    DeviceDone { device: u32 },
    /// A language model server makes its next step.
    Step,
    /// An answer reaches the client.
    Answer(CallId),
    /// A client's patience with a call is over.
    Timeout(CallId),
    /// A call is slow enough for a second copy.
    Hedge(CallId),
    /// A client's limiters are told the time.
    Tick { client: u32 },
    /// A client has something to look after: a linger, a pace, a retry.
    Wake { client: u32 },
    /// A phase begins.
    Phase,
    /// Numbers moved on a ramp.
    Ramp,
    /// A client begins.
    Start { client: u32 },
}

/// A delay that is always the same, and so keeps order.
#[derive(Debug, Clone, Copy)]
pub enum Delay {
    /// Half a round trip.
    Link,
    /// A refusal: the backend's 2 ms and half a round trip.
    Refusal,
    /// The timeout of attempts.
    Timeout,
    /// Between two ticks.
    Tick,
}

const DELAYS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Planned {
    at: f64,
    order: u64,
    occasion: Occasion,
}

/// Clock and plan of one run.
#[derive(Debug)]
pub struct Agenda {
    now: f64,
    order: u64,
    delays: [f64; DELAYS],
    queues: [VecDeque<Planned>; DELAYS],
    heap: BinaryHeap<Planned>,
}

// === impl Planned ===

impl Planned {
    fn is_before(&self, other: &Self) -> bool {
        (self.at, self.order) < (other.at, other.order)
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// Reversed, because the heap hands out the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

// === impl Agenda ===

impl Agenda {
    /// An empty plan at second 0. `delays` in the order of [`Delay`].
    pub fn new(delays: [f64; DELAYS]) -> Self {
        Self { now: 0.0, order: 0, delays, queues: Default::default(), heap: BinaryHeap::new() }
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// When something is due next.
    pub fn due(&self) -> Option<f64> {
        let fronts = self.queues.iter().filter_map(VecDeque::front).chain(self.heap.peek());
        fronts.map(|planned| planned.at).min_by(f64::total_cmp)
    }

    /// Moves the clock to `now`, which a real clock says; everything due by then must have been handed out.
    pub fn catch_up(&mut self, now: f64) {
        self.now = self.now.max(now);
    }

    /// Plans `occasion` at second `at`, or now if that is over.
    pub fn at(&mut self, at: f64, occasion: Occasion) {
        let planned = self.planned(at.max(self.now), occasion);
        self.heap.push(planned);
    }

    /// Plans `occasion` one `delay` from now.
    pub fn after(&mut self, delay: Delay, occasion: Occasion) {
        let planned = self.planned(self.now + self.delays[delay as usize], occasion);
        self.queues[delay as usize].push_back(planned);
    }

    fn planned(&mut self, at: f64, occasion: Occasion) -> Planned {
        self.order += 1;
        Planned { at, order: self.order, occasion }
    }

    /// Moves the clock to what is due next and hands it out; `None` when nothing is due by `end`.
    pub fn next(&mut self, end: f64) -> Option<Occasion> {
        let mut first = self.heap.peek().copied();
        let mut source = DELAYS;
        for (index, queue) in self.queues.iter().enumerate() {
            if let Some(front) = queue.front()
                && first.is_none_or(|first| front.is_before(&first))
            {
                (first, source) = (Some(*front), index);
            }
        }
        let due = first.filter(|due| due.at <= end)?;
        match self.queues.get_mut(source) {
            Some(queue) => drop(queue.pop_front()),
            None => drop(self.heap.pop()),
        }
        self.now = due.at;
        Some(due.occasion)
    }
}
