//! What happens to the open table, what it asks for, what it counts and how it is set. The machine itself is
//! [`core`](super::core).

use std::time::Duration;

use arrow::array::RecordBatch;
use forebay_core::Kind;
use forebay_core::time::Instant;
use forebay_gate::limiter::Class;

use super::latency::Latencies;
use crate::hosts::Answers;
use crate::request::{Outcome, RequestBatch, RequestId};

/// One request batch as it was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionId(pub u64);

/// One call of a replica, or outcomes on their way into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DispatchId(pub u64);

/// Why something failed: who must act, and the reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, by kind.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// What it says about the model's load.
    pub class: Class,
    /// How long the model asked to be left alone, where it did.
    pub retry_after: Option<Duration>,
    /// The model forbids another try of these rows.
    pub final_: bool,
}

// === impl Failure ===

impl Failure {
    /// What a row is told that failed so in a call of `rows` rows.
    pub(super) fn outcome(&self, rows: usize) -> Outcome {
        let Self { kind, reason, retry_after, final_, .. } = self.clone();
        Outcome::Failed { kind, reason, retry_after, final_, together: rows > 1 }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Replicas are wanted before rows come.
    Warm,
    /// So many replicas are wanted from now on, at least one. Those with the highest numbers leave once their calls have
    /// ended; new ones are started.
    Scale { replicas: u16 },
    /// Rows came. `submission` is new; `replica` is the one they are for, if that was chosen before.
    Submit { submission: SubmissionId, batch: RequestBatch, replica: Option<u16> },
    /// The journal answered [`Action::Lookup`], in the order of its ids.
    Known { submission: SubmissionId, known: Vec<Option<Outcome>> },
    /// A replica is loaded.
    ReplicaReady { replica: u16 },
    /// A replica could not be started.
    ReplicaFailed { replica: u16, failure: Failure },
    /// A replica is gone, with all its calls; the oldest of them is what ended it.
    ReplicaLost { replica: u16, failure: Failure },
    /// A call ended.
    Answered { dispatch: DispatchId, result: Result<Answers, Failure> },
    /// The journal holds what [`Action::Append`] or [`Action::AppendFailure`] of `dispatch` gave it. `first` are the rows,
    /// by place, that someone else had finished before: their outcome is the truth.
    Durable { dispatch: DispatchId, first: Vec<(usize, Outcome)> },
    /// The journal refuses work, now and from now on.
    JournalFailed { failure: Failure },
    /// The job is over: nothing is worth an answer any more.
    End { failure: Failure },
    /// The submitter is gone. Only a planted bug sends this: running calls are worth their answer to the journal.
    Cancel { submission: SubmissionId },
}

/// What to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Start a replica after a pause; then `ReplicaReady` or `ReplicaFailed`.
    Start { replica: u16, after: Duration },
    /// Let go of a replica that is of no more use, with the call it may be running.
    Discard { replica: u16 },
    /// Ask the journal; then `Known` or `JournalFailed`.
    Lookup { submission: SubmissionId, ids: Vec<RequestId> },
    /// Call a replica for a submission; then `Answered`. Of two calls of a local replica that both end badly, the older is told
    /// of first.
    Dispatch { dispatch: DispatchId, replica: u16, submission: SubmissionId, batch: RequestBatch },
    /// Make answers durable; then `Durable` or `JournalFailed`.
    Append { dispatch: DispatchId, ids: Vec<RequestId>, rows: RecordBatch },
    /// Make the permanent failure of rows durable; then `Durable` or `JournalFailed`.
    AppendFailure { dispatch: DispatchId, ids: Vec<RequestId>, failure: Failure },
    /// The model is done with the rows of a submission, as `class` says; its permit goes back.
    Release { submission: SubmissionId, class: Class },
    /// Every row of a submission is settled, or the journal failed.
    Tell { submission: SubmissionId, result: Result<Vec<Outcome>, Failure> },
}

/// How many replicas a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicas {
    /// That it shall have.
    pub wanted: u16,
    /// Of those, how many are loaded and take calls.
    pub ready: u16,
}

/// What the core counts since it was made.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Calls of replicas, repeated ones included.
    pub calls: u64,
    /// Rows in those calls.
    pub rows: u64,
    /// Rows answered from the journal.
    pub journal_hits: u64,
    /// Rows that joined one already open.
    pub attached: u64,
    /// Replicas started again after they had been ready.
    pub replica_restarts: u64,
    /// Answers of calls that had been given up.
    pub late_dropped: u64,
    /// How long answered calls took.
    pub latencies: Latencies,
    /// When the first call was sent.
    pub first_sent: Option<Instant>,
    /// When the last submission was told.
    pub last_told: Option<Instant>,
}

// === impl Counters ===

impl Counters {
    /// Counts all that `later` has counted, of the same model in a service that came after.
    pub fn add(&mut self, later: &Self) {
        self.calls += later.calls;
        self.rows += later.rows;
        self.journal_hits += later.journal_hits;
        self.attached += later.attached;
        self.replica_restarts += later.replica_restarts;
        self.late_dropped += later.late_dropped;
        self.latencies.add(&later.latencies);
        self.first_sent = self.first_sent.or(later.first_sent);
        self.last_told = later.last_told.or(self.last_told);
    }
}

/// Bugs that the simulation plants to see that it finds them; all off in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    /// Answers are told before they are durable.
    pub tell_before_durable: bool,
    /// The journal is not asked before rows are sent.
    pub no_lookup: bool,
    /// A submitter that goes away takes its running calls along.
    pub cancel_on_drop: bool,
    /// All calls of a replica that is gone count as a try, not only the one that ended it.
    pub blame_all: bool,
    /// A replica that is not wanted any more leaves at once, with the call that it runs.
    pub cut_short: bool,
}

/// The settings of [`Core`].
#[derive(Debug, Clone)]
pub struct CoreSettings {
    /// How many replicas, at least 1.
    pub replicas: u16,
    /// Calls that one replica takes at a time, at least 1.
    pub calls_max: usize,
    /// The model is elsewhere: a call that fails says nothing about the others, and nobody starts the model again. Failures
    /// that may pass are told at once, to be tried again by those who know how loaded it is.
    pub remote: bool,
    /// A replica whose calls are short is given one more than `calls_max`, see [`Host::takes_ahead`](crate::hosts::Host::takes_ahead).
    /// Not for a remote model.
    pub ahead: bool,
    /// How often a row is tried when replicas die, at least 1.
    pub attempts_max: u32,
    /// Whether there is a journal.
    pub journal: bool,
    /// See [`Planted`].
    #[doc(hidden)]
    pub planted: Planted,
}
