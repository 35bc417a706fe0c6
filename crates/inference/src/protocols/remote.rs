//! A model elsewhere as a [`Host`]: any number of overlapping calls, nothing to load and nothing to end.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use forebay_core::{Error, Kind, Result};
use forebay_gate::usage::Used;
use futures::future::BoxFuture;

use super::refusal::RateLimits;
use crate::hosts::{Answers, Host, Replica, Signature};
use crate::request::RequestBatch;

/// One way of speaking to one remote model.
///
/// # Order of calls
/// Any, from any thread, overlapping. Dropping a future closes its request; a server that watches its connections stops
/// working on it.
pub trait Protocol: Send + Sync + 'static {
    /// What the model takes and gives, from settings or asked of the server.
    ///
    /// # Errors
    /// `Invalid` if settings and server do not agree, `Unavailable` and the like if it cannot be asked.
    fn signature(self: Arc<Self>) -> BoxFuture<'static, Result<Signature>>;

    /// Resolves if the server says that the model is ready.
    ///
    /// # Errors
    /// `Unavailable` if not; `Invalid` if it does not know the model.
    fn ready(self: Arc<Self>) -> BoxFuture<'static, Result<()>>;

    /// Answers every row of `rows`, in its order, by one request or by one a row, each sent when the one before was answered.
    /// An answer that is bad for some rows only may refuse these and answer the others, so that nobody asks for them again.
    ///
    /// # Errors
    /// See [`Replica::call`].
    fn call(self: Arc<Self>, rows: RecordBatch) -> BoxFuture<'static, Result<Answers>>;

    /// Rows that one request can carry. Rows beyond that are sent one after the other by the same call.
    fn rows_max(&self) -> usize;

    /// See [`Host::batches`].
    fn batches(&self) -> bool {
        false
    }

    /// See [`Host::many_servers`].
    fn many_servers(&self) -> bool {
        false
    }

    /// Names what is asked: address, model, templates and parameters. A model that changes behind its address goes unseen.
    fn revision(&self) -> String;

    /// What was seen so far.
    fn observed(&self) -> Observed;
}

/// What answers told besides rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observed {
    /// The newest rate limits told with an answer.
    pub rate_limits: Option<RateLimits>,
    /// The newest ORCA utilization; above 1 the server is over its capacity.
    pub utilization: Option<f64>,
    /// Tokens of all answers.
    pub tokens: Used,
    /// Answers that told of rate limits or utilization: tells what is new from what was known.
    pub told: u64,
}

/// [`Observed`], shared by overlapping calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Observed>>);

/// A remote model as a host.
pub struct RemoteHost<P> {
    /// The same model at one address or several, at least one.
    replicas: Vec<Arc<P>>,
}

struct RemoteReplica<P> {
    protocol: Arc<P>,
}

// === impl Watch ===

impl Watch {
    pub(super) fn seen(&self) -> Observed {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

// === impl RemoteHost ===

impl<P: Protocol> RemoteHost<P> {
    /// A host that speaks `protocol`.
    pub fn new(protocol: P) -> Self {
        Self { replicas: vec![Arc::new(protocol)] }
    }

    /// The same model at another address: its next replica.
    pub fn and(mut self, other: Self) -> Self {
        self.replicas.extend(other.replicas);
        self
    }

    /// A replica without asking whether the server is ready: the first call will tell.
    pub fn start_unasked(&self, replica: u16) -> Arc<dyn Replica> {
        let protocol = self.replicas.get(usize::from(replica)).unwrap_or(self.first());
        Arc::new(RemoteReplica { protocol: Arc::clone(protocol) })
    }

    fn first(&self) -> &Arc<P> {
        self.replicas.first().expect("a host is made with one")
    }
}

impl<P: Protocol> Host for RemoteHost<P> {
    /// What the first address says that answers.
    fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
        let replicas = self.replicas.clone();
        Box::pin(async move {
            let mut told = Err(Error::new(Kind::Internal, "ask for signature"));
            for replica in replicas {
                told = replica.signature().await;
                if told.is_ok() {
                    break;
                }
            }
            told
        })
    }

    /// Of several replicas none is asked whether it is ready: one that is down must not hold up the others, and its breaker
    /// will find out.
    fn start(&self, replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
        let started = self.start_unasked(replica);
        if self.replicas.len() > 1 {
            return Box::pin(async move { Ok(started) });
        }
        let ready = Arc::clone(self.first()).ready();
        Box::pin(async move {
            ready.await?;
            Ok(started)
        })
    }

    fn calls_max(&self) -> usize {
        usize::MAX
    }

    fn batches(&self) -> bool {
        self.first().batches() || self.first().rows_max() == 1
    }

    fn many_servers(&self) -> bool {
        self.first().many_servers()
    }

    /// That of the first address: the others are taken to have the same model, and may come and go.
    fn revision(&self) -> String {
        self.first().revision()
    }
}

// === impl RemoteReplica ===

impl<P: Protocol> Replica for RemoteReplica<P> {
    fn call(&self, batch: RequestBatch) -> BoxFuture<'static, Result<Answers>> {
        Arc::clone(&self.protocol).call(batch.rows)
    }

    fn observed(&self) -> Observed {
        self.protocol.observed()
    }
}
