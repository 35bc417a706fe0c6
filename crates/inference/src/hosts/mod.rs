//! Local models: a [`Host`] starts replicas of one model, a [`Replica`] answers request batches.
//!
//! A replica is a child process ([`process`]), so a crash, an out-of-memory kill or a hang of a model costs the request
//! batch it was running and nothing else. Small rows cross its socket ([`protocol`]), large ones lie in memory that both
//! see ([`shared`]). (A Python function may ask for threads of the interpreter that runs the job; `crates/python` has that
//! host.) Those that need GPUs are given theirs ([`gpus`]). Hosts never retry, never batch and never remember answers: the
//! [service](crate::service) does.

mod answers;
mod child;
pub mod fake;
pub mod gpus;
mod line;
pub mod onnx;
pub mod process;
pub mod protocol;
pub mod python;
pub mod shared;
pub mod signature;

use std::sync::Arc;

use forebay_core::Result;
use futures::future::BoxFuture;

pub use answers::{Answers, Refused};
pub use signature::{Signature, Slot};

use crate::protocols::Observed;
use crate::request::RequestBatch;

/// Runs one model: says what it takes and gives, and starts copies of it.
///
/// # Order of calls
/// Any, from any thread. `signature` is asked at plan time, `start` when rows come.
pub trait Host: Send + Sync {
    /// What the model takes and gives. May load the model to find out, so it can take seconds.
    ///
    /// # Errors
    /// `Invalid` if the model cannot be loaded as it is, `Unavailable` or `Timeout` if its process could not be started.
    fn signature(&self) -> BoxFuture<'static, Result<Signature>>;

    /// Finds a place for so many replicas, in place of as many as were wanted before; asked before more are started. What one
    /// that leaves has, it has until it is gone.
    ///
    /// # Errors
    /// `Invalid` if this machine has no place for them; then as many have one as before.
    fn reserve(&self, _replicas: u16) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Starts replica `replica`, `0..replicas`; resolves when it is loaded and takes calls.
    ///
    /// # Errors
    /// As [`Host::signature`]. `Invalid` is not tried again.
    fn start(&self, replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>>;

    /// Calls that one replica takes at a time. More than one also means that the model is elsewhere: its calls fail one by
    /// one, and nobody here can start it again.
    fn calls_max(&self) -> usize {
        1
    }

    /// A replica may be given one call more than it takes at a time, and begins it by itself when the one before ends: short
    /// calls then follow each other without a pause.
    fn takes_ahead(&self) -> bool {
        false
    }

    /// The model gathers rows of several calls by itself: each row is best sent alone, and only how many are in flight
    /// matters.
    fn batches(&self) -> bool {
        false
    }

    /// Each row is asked of a server of its own, so that a call's failure says nothing of other rows: it moves no limit, opens
    /// no breaker, and counts as a try of its row.
    fn many_servers(&self) -> bool {
        false
    }

    /// Names the model's content, for example a hash of its file. Request ids hang on it: the same rows asked of another
    /// revision are other inferences.
    fn revision(&self) -> String;
}

/// One loaded copy of a model. Dropping it ends the copy.
pub trait Replica: Send + Sync {
    /// Answers every row of `batch`, in its order, with columns named by the model's outputs; rows that the model refuses
    /// while it answers others are named beside them.
    ///
    /// At most [`Host::calls_max`] calls overlap, and one more where the host [takes one ahead](Host::takes_ahead); that is the
    /// one whose `call` came last, whichever future is polled first. Dropping the future gives the call up and may end the
    /// replica, which then answers `Unavailable`.
    ///
    /// # Errors
    /// - `Unavailable`: the process died, and the replica is of no more use; of a remote model: it cannot be reached now.
    /// - `Overload`, `Timeout`: a remote model had no room, or no answer in time.
    /// - `Data`: the model refuses some of these rows, and would again; which ones is found out by asking for each alone.
    /// - `Exhausted`: too much for its memory; fewer rows may do.
    /// - `Invalid`: rows do not have the type the model takes.
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>>;

    /// What the answers of its address told besides rows, so far; nothing for a model of this machine.
    fn observed(&self) -> Observed {
        Observed::default()
    }
}
