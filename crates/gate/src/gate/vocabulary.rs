//! What goes into a gate and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use crate::fallback::{Rung, Why};
use crate::limiter::Gauges;
pub use crate::replicas::ReplicaId;
use crate::retry::{Failure, Fault};
use crate::share::CallerId;

/// A row that a gate holds. Never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub(super) u64);

/// One attempt of one call. Never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u64);

/// A row on its way into a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<T> {
    /// Whatever is sent. Cloned at each attempt: where that is dear, give a number or an `Arc`.
    pub item: T,
    /// Its bytes.
    pub bytes: usize,
    /// Its cost, for example tokens.
    pub cost: u64,
    /// Rows of one key are never in two calls at once, and go in the order in which their caller offered them. Between
    /// callers there is no order.
    pub key: Option<u64>,
    /// When it has to have its outcome, since the caller's origin; `None`: as the settings say.
    pub deadline: Option<Duration>,
    /// When it happened, as it says itself.
    pub event_time: Option<i64>,
    /// Who offers it, for the fair share.
    pub caller: CallerId,
    /// Lower ones are shed first.
    pub priority: u8,
    /// First rung of the ladder that it may take: those before failed it already.
    pub rung: usize,
}

/// What a gate is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<T, V> {
    /// Rows came. Those beyond the bound are taken too, or shed where allowed.
    Offer(Vec<Row<T>>),
    /// A call was answered: one result a row, in the order sent.
    Answered {
        /// Which call.
        call: CallId,
        /// One for each row.
        outcomes: Vec<Result<V, Failure>>,
    },
    /// A call failed as a whole.
    Failed {
        /// Which call.
        call: CallId,
        /// How.
        failure: Failure,
    },
    /// Time passed: the moment of the last [`Action::Wake`] came. Harmless at any other.
    Timer,
    /// A replica's gauges were read.
    Gauges {
        /// Whose.
        replica: ReplicaId,
        /// What they said.
        gauges: Gauges,
    },
    /// No earlier row is expected than this event time.
    Watermark(i64),
    /// No more rows will come: nothing waits for others to join it.
    End,
    /// Nobody wants this row's answer any more. It is settled as cancelled at once.
    Cancel(RowId),
}

/// What a gate wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<T, V> {
    /// Send this call and report its end once, by [`Event::Answered`] or [`Event::Failed`].
    Send {
        /// Which call.
        call: CallId,
        /// To whom.
        replica: ReplicaId,
        /// Its rows, never empty.
        rows: Vec<T>,
        /// How long the gate will wait for it; it cancels the call by itself then.
        timeout: Duration,
    },
    /// Nobody waits for this call any more. Its end may still be reported, and should be where it is seen.
    Cancel {
        /// Which call.
        call: CallId,
    },
    /// A row has its outcome; the gate forgets it.
    Settle {
        /// Which row.
        row: RowId,
        /// What was offered.
        item: T,
        /// What became of it.
        outcome: Outcome<V>,
    },
    /// Come back with [`Event::Timer`] at this moment. Replaces the wake before.
    Wake(Duration),
    /// Rows may be offered again.
    Room,
    /// Offer no more rows until [`Action::Room`].
    Full,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<V> {
    /// The model's answer.
    Answered(V),
    /// It failed, and there is no rung left for it.
    Failed {
        /// The last failure.
        fault: Fault,
        /// The last failure's reason.
        reason: Arc<str>,
        /// How often it was sent.
        attempts: u32,
    },
    /// It takes another answer.
    Fallback {
        /// Which, by its place on the ladder: if it fails too, the next one is tried with [`Row::rung`] one higher.
        rung: usize,
        /// Which.
        to: Rung,
        /// Why it did not get the model's.
        why: Why,
        /// How often it was sent.
        attempts: u32,
    },
    /// Refused, because too many rows wait and it mattered least.
    Shed,
    /// Its deadline passed, and there is no rung left for it.
    Expired,
    /// Cancelled by [`Event::Cancel`].
    Cancelled,
}

/// In which order rows get their outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Unordered,
    /// Rows of one key in the order offered; others as they come.
    PerKey,
    /// All rows in the order offered.
    Ordered,
}

/// What a gate did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows offered.
    pub offered: u64,
    /// Rows settled, however.
    pub settled: u64,
    /// Calls sent for the first time.
    pub first: u64,
    /// Retries paid for by the budget.
    pub retried: u64,
    /// Calls cut in two, at no charge.
    pub split: u64,
    /// Second copies sent.
    pub hedged: u64,
    /// Calls that ran out of time.
    pub timed_out: u64,
}

// === impl Row ===

impl<T> Row<T> {
    /// A row of cost 1 and without bytes, key or deadline of its own.
    pub fn new(item: T) -> Self {
        let caller = CallerId::default();
        Self { item, bytes: 0, cost: 1, key: None, deadline: None, event_time: None, caller, priority: 0, rung: 0 }
    }
}
