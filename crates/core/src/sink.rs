//! The sink contract: a writer stages output in each subtask, a committer publishes it after the checkpoint exists.
//!
//! A writer is an [`Operator`](crate::operator::Operator) that emits nothing; what it staged for an epoch leaves as
//! committables in its snapshot. The committables are part of the checkpoint, so no commit depends on a notice: a restore
//! that finds a published epoch commits it again before anything runs.

use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::element::Epoch;
use crate::error::Result;

/// What a sink promises, printed with the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Output appears only when its checkpoint is published, once.
    Transactional,
    /// Rows may be written again, under the same id.
    IdempotentById,
    /// Rows may be written again.
    AtLeastOnce,
}

/// Publishes what writers prepared. Runs in the coordinator, never in two attempts at once that are both current.
pub trait Committer: Send + Sync {
    /// Publishes the committables of `epoch`, of all subtasks. Idempotent: repeated after every restore that finds the
    /// epoch published, also when an earlier call finished or was cut short.
    ///
    /// # Errors
    /// `Corrupt` if something staged is gone; retryable kinds are tried again.
    fn commit(&self, epoch: Epoch, committables: Vec<Bytes>) -> BoxFuture<'static, Result<()>>;

    /// Removes what attempts before `attempt` staged and no published epoch names. Called after a restore, once the
    /// restart epoch is claimed and the published epoch is committed.
    ///
    /// # Errors
    /// Retryable kinds are tried again.
    fn abort_before(&self, attempt: u64) -> BoxFuture<'static, Result<()>>;

    /// Whether nobody committed here before. Called by a start that was to go on from the latest checkpoint and finds that there
    /// never was one, before it claims anything.
    ///
    /// # Errors
    /// `Invalid` if somebody did: it is another job's output, and its epochs would be taken for this job's.
    fn check_fresh(&self) -> BoxFuture<'static, Result<()>>;

    /// Takes back what was committed for epochs after `state_of` and before `next`: a start from an older checkpoint writes
    /// those rows again. Called at every start, after the restart epoch `next` is claimed and before anything runs; finds
    /// nothing to do unless the user chose an older checkpoint. Idempotent.
    ///
    /// # Errors
    /// Retryable kinds are tried again.
    fn roll_back(&self, state_of: Epoch, next: Epoch) -> BoxFuture<'static, Result<()>>;

    /// What this sink promises.
    fn guarantee(&self) -> Guarantee;
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::Transactional => "exactly-once, transactional",
            Guarantee::IdempotentById => "exactly-once by row id, idempotent",
            Guarantee::AtLeastOnce => "at-least-once",
        })
    }
}
