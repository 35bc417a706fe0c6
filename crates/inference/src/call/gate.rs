//! How many calls of one model may be in flight, for all subtasks and steps that ask it, and when a failed one comes back.
//!
//! The numbers come from a [`Limiter`]: one that never moves, or one that follows what the model can take. Asking never
//! waits: who is refused keeps its rows and is woken when it is worth asking again. The limiter is told the time whenever
//! somebody asks or answers, and by a timer only while somebody was refused: a job without rows costs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_gate::chance::Chance;
use forebay_gate::limiter::{Class, Fixed, Gauges, Hint, Knobs, Limiter};
use forebay_gate::permits::{self, Caps, Permits, Refused, Size, TICK};
use forebay_gate::retry::{Backoff, Budget, BudgetSettings};

/// Earned by time alone: rows wait for the budget rather than fail, and without rows that are new nothing else refills it.
const BUDGET_PER_SECOND: f64 = 1.0;
/// First pause before a call that failed is made again; doubles with every failure of its rows.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The gate of one model. Shared by everyone who asks it.
pub struct ModelGate {
    env: Arc<dyn Env>,
    /// Time alone may make room.
    moves: bool,
    state: Mutex<State>,
}

struct State {
    permits: Permits,
    budget: Budget,
    chance: Chance,
    refused: Vec<Waker>,
    timer: bool,
}

/// The right to one request batch in flight. Giving it back wakes everyone who was refused; a permit that is dropped is
/// given back as [`Class::Cancelled`], which tells the limiter nothing.
pub struct Permit {
    held: Option<(Arc<ModelGate>, permits::Permit)>,
}

// === impl ModelGate ===

impl ModelGate {
    /// A gate that `limiter` moves, within `caps`.
    pub fn new(env: Arc<dyn Env>, limiter: Box<dyn Limiter>, caps: Caps) -> Arc<Self> {
        Self::make(env, limiter, caps, true)
    }

    fn make(env: Arc<dyn Env>, limiter: Box<dyn Limiter>, caps: Caps, moves: bool) -> Arc<Self> {
        let budget = Budget::new(BudgetSettings { per_second: BUDGET_PER_SECOND, ..BudgetSettings::default() });
        let chance = Chance::new(env.random());
        let permits = Permits::new(limiter, caps);
        let state = State { permits, budget, chance, refused: Vec::new(), timer: false };
        Arc::new(Self { env, moves, state: Mutex::new(state) })
    }

    /// A gate for `calls_max` calls of `rows_max` rows that wait up to `linger` for company, whatever happens.
    pub fn fixed(env: Arc<dyn Env>, calls_max: usize, rows_max: usize, linger: Duration) -> Arc<Self> {
        let fixed = Fixed::new(calls_max, rows_max, linger.as_secs_f64());
        Self::make(env, Box::new(fixed), Caps::default(), false)
    }

    /// A permit for a call of `size`, or `None`; then `waker` is woken once when it is worth asking again. Being woken
    /// promises nothing: another caller may have been faster.
    pub fn try_acquire(self: &Arc<Self>, size: Size, waker: &Waker) -> Option<Permit> {
        let now = self.now();
        let mut state = self.lock();
        state.permits.on_time(now, true);
        let refused = match state.permits.try_acquire(size, now) {
            Ok(permit) => return Some(Permit { held: Some((Arc::clone(self), permit)) }),
            Err(refused) => refused,
        };
        self.wait(&mut state, refused, waker);
        None
    }

    /// Whether a small call would get a permit now; if not, `waker` is woken as by [`ModelGate::try_acquire`].
    pub fn has_room(self: &Arc<Self>, waker: &Waker) -> bool {
        let now = self.now();
        let mut state = self.lock();
        state.permits.on_time(now, true);
        let Err(refused) = state.permits.room(now) else { return true };
        self.wait(&mut state, refused, waker);
        false
    }

    /// What is allowed now: calls in flight, rows a call, and how long a row waits for company.
    pub fn knobs(&self) -> Knobs {
        self.lock().permits.knobs()
    }

    /// Calls in flight. Above the limit for a while after the limit shrank.
    pub fn in_flight(&self) -> usize {
        self.lock().permits.calls()
    }

    /// Rows were sent for the first time: a part of a retry is earned.
    pub fn earn(&self) {
        self.lock().budget.earn();
    }

    /// When rows may be sent again after failure number `failures` in a row, from 1: at what the model asked for, or after a
    /// random pause under a bound that doubles.
    pub fn retry_at(&self, failures: u32, retry_after: Option<Duration>) -> Instant {
        let backoff = Backoff { first: BACKOFF_FIRST, longest: BACKOFF_MAX };
        self.env.now() + backoff.pause(failures, retry_after, &mut self.lock().chance)
    }

    /// Pays for sending rows again that the model may have worked on; false if the budget for that is spent. It is shared,
    /// so that a model in trouble is not asked to do everything twice.
    pub fn pay(&self) -> bool {
        let now = self.now();
        self.lock().budget.try_spend(now)
    }

    /// The model's own gauges were read.
    pub fn on_gauges(&self, gauges: Gauges) {
        self.lock().permits.on_gauges(gauges, self.now());
    }

    /// What was learned, to begin with after a restart.
    pub fn hint(&self) -> Option<Hint> {
        self.lock().permits.limiter().hint()
    }

    /// Why the limit is what it is, for people; empty for a limit that never moves.
    pub fn why(&self) -> String {
        self.lock().permits.limiter().why()
    }

    fn give_back(&self, permit: permits::Permit, class: Class) {
        let now = self.now();
        let refused = {
            let mut state = self.lock();
            state.permits.give_back(permit, class, now);
            let waiting = !state.refused.is_empty();
            state.permits.on_time(now, waiting);
            std::mem::take(&mut state.refused)
        };
        refused.into_iter().for_each(Waker::wake);
    }

    fn wait(self: &Arc<Self>, state: &mut State, refused: Refused, waker: &Waker) {
        if !state.refused.iter().any(|other| other.will_wake(waker)) {
            state.refused.push(waker.clone());
        }
        let pause = match refused {
            _ if state.timer => return,
            Refused::Full if !self.moves => return,
            Refused::Full => TICK,
            Refused::Until(at) => at.saturating_sub(self.now()).min(TICK),
        };
        state.timer = true;
        let gate = Arc::clone(self);
        self.env.spawn(Box::pin(async move {
            gate.env.sleep(pause.max(Duration::from_micros(100))).await;
            gate.on_timer();
        }));
    }

    /// Wakes those who wait if there is room by now; otherwise they wait on.
    fn on_timer(self: &Arc<Self>) {
        let now = self.now();
        let refused = {
            let mut state = self.lock();
            state.timer = false;
            state.permits.on_time(now, true);
            match (state.permits.room(now), state.refused.pop()) {
                (_, None) => return,
                (Ok(()), Some(last)) => {
                    state.refused.push(last);
                    std::mem::take(&mut state.refused)
                }
                (Err(refused), Some(last)) => return self.wait(&mut state, refused, &last),
            }
        };
        refused.into_iter().for_each(Waker::wake);
    }

    fn now(&self) -> Duration {
        self.env.now().since(Instant(0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Permit ===

impl Permit {
    /// A permit that nobody counts, for callers without a gate.
    pub fn unlimited() -> Self {
        Self { held: None }
    }

    /// Gives the permit back, saying how the call ended.
    pub fn finish(mut self, class: Class) {
        self.give_back(class);
    }

    fn give_back(&mut self, class: Class) {
        if let Some((gate, permit)) = self.held.take() {
            gate.give_back(permit, class);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Class::Cancelled);
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
