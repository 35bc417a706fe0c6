//! One model as its callers see it: give rows, get one outcome a row, never pay twice.
//!
//! [`Service`] owns the replicas and stands between callers and journal. Every decision is made by a pure core
//! (`service/core.rs`); this file only carries its actions out: it asks the journal, calls replicas, and tells callers.
//! It lives outside every task and region: when a caller goes away, running calls go on and their answers become
//! durable, and the restored caller is given them.

mod copies;
mod core;
mod events;
mod latency;
mod shell;
mod slots;
mod waiting;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::{Error, Result};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;

pub use self::events::{Counters, Planted, Replicas};
pub use self::latency::Latencies;

use self::core::Core;
use self::events::{CoreSettings, Event, Failure};
use self::shell::Shell;
use crate::call::Permit;
use crate::hosts::Host;
use crate::journal::Journal;
use crate::request::{Outcome, RequestBatch};

/// How a service treats its replicas and rows.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// How many replicas, at least 1. A local one runs one call at a time; while its calls are short it is sent the next one
    /// ahead.
    pub replicas: u16,
    /// How often a row is tried when replicas die or hang, at least 1.
    pub attempts_max: u32,
    /// Longest wait for one call; then its replica is ended and its rows are tried again.
    pub timeout: Duration,
    /// Running a row twice does no harm. If not, a remote model's row that may have been worked on is final when its call fails.
    pub idempotent: bool,
    /// Bugs for the simulation to find; all off in production.
    #[doc(hidden)]
    pub planted: Planted,
}

/// A model's replicas, its open rows and its journal; clones share them. The replicas end with the last clone, once no
/// call is running.
#[derive(Clone)]
pub struct Service {
    shell: Arc<Shell>,
}

// === impl ServiceSettings ===

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            attempts_max: 3,
            timeout: Duration::from_secs(60),
            idempotent: true,
            planted: Planted::default(),
        }
    }
}

// === impl Service ===

impl Service {
    /// A service of `host`'s model. Starts nothing yet. Without a journal, answers are told at once and a replay runs
    /// them again.
    pub fn new(env: Arc<dyn Env>, host: Arc<dyn Host>, journal: Option<Journal>, settings: ServiceSettings) -> Self {
        let core = Core::new(CoreSettings {
            replicas: settings.replicas,
            calls_max: host.calls_max(),
            remote: host.calls_max() > 1,
            ahead: host.calls_max() == 1 && host.takes_ahead(),
            attempts_max: settings.attempts_max,
            journal: journal.is_some(),
            planted: settings.planted,
        });
        let state = Mutex::new(shell::State::new(core));
        Self {
            shell: Arc::new(Shell {
                env,
                host,
                journal,
                timeout: settings.timeout,
                idempotent: settings.idempotent,
                state,
            }),
        }
    }

    /// Starts the replicas in the background, so that the first rows need not wait for them.
    pub fn warm(&self) {
        self.shell.drive(Event::Warm);
    }

    /// Has the model have so many replicas from now on, at least one. New ones are started at once and take rows when they are
    /// loaded; the last ones take no more, and end when they have answered what they run. Not for a remote model.
    pub fn scale(&self, replicas: u16) {
        self.shell.drive(Event::Scale { replicas });
    }

    /// How many replicas it has.
    pub fn replicas(&self) -> Replicas {
        self.shell.replicas()
    }

    /// Gives rows to the model; one outcome a row, in their order.
    ///
    /// Work begins with this call, not with the first poll, and dropping the future stops nothing: what runs becomes
    /// durable, and asking again for the same ids joins it. `permit` goes back as soon as the model is done with the
    /// rows, before they are durable, so that making them durable overlaps with the next call.
    ///
    /// An outcome `Failed` with kind `Data` is durable, as an answer is; with another kind it is not, and
    /// another attempt of the job tries the row again.
    ///
    /// # Errors
    /// The journal cannot keep answers any more: nobody may be told anything, the region has to restart.
    pub fn submit(&self, batch: RequestBatch, permit: Permit) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        let (tell, told) = oneshot::channel();
        let replica = permit.replica();
        let submission = self.shell.register(permit, tell);
        self.shell.drive(Event::Submit { submission, batch, replica });
        let guard = self.shell.cancel_on_drop(submission);
        Box::pin(told.map(move |result| {
            if let Some(guard) = guard {
                guard.disarm();
            }
            match result {
                Ok(Ok(outcomes)) => Ok(outcomes),
                Ok(Err(Failure { kind, reason, .. })) => Err(Error::new(kind, "answer rows").source(reason)),
                Err(_) => Err(Error::new(forebay_core::Kind::Cancelled, "answer rows").source("the service ended")),
            }
        }))
    }

    /// Drops work: who waits is told `Cancelled`, running calls are given up, and the replicas end. Nothing more is taken.
    pub fn end(&self) {
        self.shell.end();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.shell.counters()
    }

    /// Rows taken and not yet told.
    pub fn open_rows(&self) -> usize {
        self.shell.open_rows()
    }
}

#[cfg(test)]
mod tests;
