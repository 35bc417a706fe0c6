//! A gate around any async call, for tokio: the one place of this crate with a clock and with tasks.
//!
//! Decides nothing: it hands what happens to a [`Gate`] and does what that says. Rows are offered by [`Gated::call`], which
//! waits for the row's outcome; calls run as tasks of their own; one more task sleeps until the gate wants to be woken
//! and ends with the last [`Gated`].
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use std::time::Duration;
//! use forebay_gate::{GateSettings, wrap};
//!
//! // Any client: here, one that answers with the length of each text.
//! let lengths = |texts: Vec<String>| async move { Ok(texts.iter().map(String::len).collect()) };
//!
//! let gate = wrap(GateSettings::objective(Duration::from_millis(200)).rows(64), lengths);
//! let answer = gate.call("how long is this?".to_string()).await?;
//! assert_eq!(answer, 17);
//! # Ok::<(), forebay_gate::Unanswered>(()) }).unwrap();
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::fallback::{Rung, Why};
use crate::gate::{Action, CallId, Counts, Event, Gate, GateSettings, Outcome, ReplicaId, Row, RowId};
use crate::limiter::{Gauges, Limiter};
use crate::retry::{Failure, Fault};

/// What a call comes to: one result a row, or a failure of the whole.
pub type Answers<V> = Result<Vec<Result<V, Failure>>, Failure>;

type Call<R, V> = Box<dyn Fn(ReplicaId, Vec<R>) -> Pin<Box<dyn Future<Output = Answers<V>> + Send>> + Send + Sync>;

/// A call behind a gate. Clones share the gate.
pub struct Gated<R, V> {
    shared: Arc<Shared<R, V>>,
}

/// Why a row has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// It failed, and is not tried again.
    Failed {
        /// The last failure.
        fault: Fault,
        /// The last failure's reason.
        reason: Arc<str>,
        /// How often it was sent.
        attempts: u32,
    },
    /// It shall get this other answer instead.
    Fallback {
        /// Which, by its place on the ladder.
        rung: usize,
        /// Which.
        to: Rung,
        /// Why.
        why: Why,
    },
    /// Too many rows wait and it mattered least.
    Shed,
    /// Its deadline passed.
    Expired,
}

struct Shared<R, V> {
    state: Mutex<State<R, V>>,
    call: Call<R, V>,
    origin: Instant,
    room: Notify,
    wake: Arc<Notify>,
}

struct State<R, V> {
    gate: Gate<R, V>,
    actions: Vec<Action<R, V>>,
    waiting: BTreeMap<RowId, oneshot::Sender<Outcome<V>>>,
    running: BTreeMap<CallId, AbortHandle>,
    wake: Option<Duration>,
}

/// Puts `call` behind a gate with one LATCH limiter: rows in, as many answers out, in the same order.
///
/// # Panics
/// Outside of a tokio runtime with time enabled.
pub fn wrap<R, V, F, A>(settings: GateSettings, call: F) -> Gated<R, V>
where
    R: Clone + Send + Sync + 'static,
    V: Send + 'static,
    F: Fn(Vec<R>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Vec<V>, Failure>> + Send + 'static,
{
    let limiters = vec![settings.limiter()];
    wrap_replicas(settings, limiters, move |_, rows| {
        let answers = call(rows);
        async move { Ok(answers.await?.into_iter().map(Ok).collect()) }
    })
}

/// Puts `call` behind a gate with one replica for each limiter; rows may fail one by one.
///
/// # Panics
/// Without a limiter, or outside of a tokio runtime with time enabled.
pub fn wrap_replicas<R, V, F, A>(settings: GateSettings, limiters: Vec<Box<dyn Limiter>>, call: F) -> Gated<R, V>
where
    R: Clone + Send + Sync + 'static,
    V: Send + 'static,
    F: Fn(ReplicaId, Vec<R>) -> A + Send + Sync + 'static,
    A: Future<Output = Answers<V>> + Send + 'static,
{
    let (waiting, running) = (BTreeMap::new(), BTreeMap::new());
    let state = State { gate: Gate::new(settings, limiters), actions: Vec::new(), waiting, running, wake: None };
    let wake = Arc::new(Notify::new());
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        call: Box::new(move |replica, rows| Box::pin(call(replica, rows))),
        origin: clock(),
        room: Notify::new(),
        wake: Arc::clone(&wake),
    });
    tokio::spawn(keep_time(Arc::downgrade(&shared), wake));
    Gated { shared }
}

// === impl Gated ===

impl<R: Clone + Send + Sync + 'static, V: Send + 'static> Gated<R, V> {
    /// Offers a row and waits for its answer. Waits for room first. Dropping the future cancels the row.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call(&self, row: R) -> Result<V, Unanswered> {
        self.call_row(Row::new(row)).await
    }

    /// As [`Gated::call`], for a row with a key, a deadline (since [`Gated::now`]'s origin) or a cost.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call_row(&self, row: Row<R>) -> Result<V, Unanswered> {
        loop {
            let room = self.shared.room.notified();
            if !self.shared.lock().gate.is_full() {
                break;
            }
            room.await;
        }
        let (sender, receiver) = oneshot::channel();
        let id = self.shared.offer(row, sender);
        let mut cancel = CancelOnDrop { shared: &self.shared, row: Some(id) };
        let outcome = receiver.await;
        cancel.row = None;
        match outcome {
            Ok(Outcome::Answered(value)) => Ok(value),
            Ok(Outcome::Failed { fault, reason, attempts }) => Err(Unanswered::Failed { fault, reason, attempts }),
            Ok(Outcome::Fallback { rung, to, why, .. }) => Err(Unanswered::Fallback { rung, to, why }),
            Ok(Outcome::Shed) => Err(Unanswered::Shed),
            Ok(Outcome::Expired | Outcome::Cancelled) | Err(_) => Err(Unanswered::Expired),
        }
    }

    /// A replica's gauges were read.
    pub fn on_gauges(&self, replica: ReplicaId, gauges: Gauges) {
        self.shared.turn(Event::Gauges { replica, gauges });
    }

    /// What the gate did so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().gate.counts()
    }

    /// Time since the gate was made: deadlines count from the same origin.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }
}

impl<R, V> Clone for Gated<R, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<R, V> fmt::Debug for Gated<R, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}

// === impl Shared ===

impl<R: Clone + Send + Sync + 'static, V: Send + 'static> Shared<R, V> {
    fn offer(self: &Arc<Self>, row: Row<R>, sender: oneshot::Sender<Outcome<V>>) -> RowId {
        let mut state = self.lock();
        let id = state.gate.offer(row, self.now());
        state.waiting.insert(id, sender);
        self.turn_locked(&mut state, Event::Timer);
        id
    }

    fn turn(self: &Arc<Self>, event: Event<R, V>) {
        self.turn_locked(&mut self.lock(), event);
    }

    /// Hands what happened to the gate and does what it says.
    fn turn_locked(self: &Arc<Self>, state: &mut State<R, V>, event: Event<R, V>) {
        let mut actions = std::mem::take(&mut state.actions);
        state.gate.step(event, self.now(), &mut actions);
        for action in actions.drain(..) {
            self.act(state, action);
        }
        state.actions = actions;
    }

    fn act(self: &Arc<Self>, state: &mut State<R, V>, action: Action<R, V>) {
        match action {
            Action::Send { call, replica, rows, .. } => {
                let (shared, answers) = (Arc::clone(self), (self.call)(replica, rows));
                let task = tokio::spawn(async move {
                    let event = match answers.await {
                        Ok(outcomes) => Event::Answered { call, outcomes },
                        Err(failure) => Event::Failed { call, failure },
                    };
                    shared.lock().running.remove(&call);
                    shared.turn(event);
                });
                state.running.insert(call, task.abort_handle());
            }
            Action::Cancel { call } => {
                state.running.remove(&call).iter().for_each(AbortHandle::abort);
            }
            Action::Settle { row, outcome, .. } => {
                // Whoever dropped the receiver has no use for it.
                let _ = state.waiting.remove(&row).map(|sender| sender.send(outcome));
            }
            Action::Wake(at) => {
                state.wake = Some(at);
                self.wake.notify_one();
            }
            Action::Room => self.room.notify_waiters(),
            Action::Full => {}
        }
    }
}

impl<R, V> Shared<R, V> {
    fn now(&self) -> Duration {
        clock().saturating_duration_since(self.origin)
    }

    fn lock(&self) -> MutexGuard<'_, State<R, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R, V> Drop for Shared<R, V> {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// Cancels a row whose future was dropped.
struct CancelOnDrop<'a, R: Clone + Send + Sync + 'static, V: Send + 'static> {
    shared: &'a Arc<Shared<R, V>>,
    row: Option<RowId>,
}

impl<R: Clone + Send + Sync + 'static, V: Send + 'static> Drop for CancelOnDrop<'_, R, V> {
    fn drop(&mut self) {
        if let Some(row) = self.row {
            self.shared.turn(Event::Cancel(row));
        }
    }
}

/// Wakes the gate when it asked for it, for as long as there is one.
async fn keep_time<R, V>(shared: Weak<Shared<R, V>>, wake: Arc<Notify>)
where
    R: Clone + Send + Sync + 'static,
    V: Send + 'static,
{
    loop {
        let Some(at) = shared.upgrade().map(|shared| shared.lock().wake.map(|at| shared.origin + at)) else { return };
        let Some(at) = at else {
            wake.notified().await;
            continue;
        };
        tokio::select! {
            () = wake.notified() => continue,
            () = sleep_until(at) => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.lock().wake = None;
        shared.turn(Event::Timer);
    }
}

// === impl Unanswered ===

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { reason, attempts, .. } => write!(f, "failed after {attempts} attempts: {reason}"),
            Self::Fallback { to, .. } => write!(f, "takes its fallback {to:?}"),
            Self::Shed => f.write_str("shed: too many rows wait"),
            Self::Expired => f.write_str("no answer before the deadline"),
        }
    }
}

impl std::error::Error for Unanswered {}

#[expect(clippy::disallowed_methods, reason = "the one clock of this crate; tests pause it")]
fn clock() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this crate; tests pause it")]
fn sleep_until(at: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(at)
}

#[cfg(test)]
#[path = "wrap_tests.rs"]
mod tests;
