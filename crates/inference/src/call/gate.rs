//! How many calls of one model may be in flight, for all subtasks and steps that ask it, which replica takes the next one,
//! and when a failed one comes back.
//!
//! Each replica has a [`Limiter`]: one that never moves, or one that follows what the replica can take. Above them stand the
//! limits that all share (`Quota`) and whose turn it is (`Turns`). Asking never waits: who is refused keeps its rows and
//! is woken when it is worth asking again. Limiters are told the time whenever somebody asks or answers, and by a timer
//! only while somebody was refused: a job without rows costs nothing.

mod bounds;
mod copies;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_gate::blame::Tally;
use forebay_gate::hedge::HedgeSettings;
use forebay_gate::limiter::{Class, Fixed, Gauges, Hint, Knobs, Limiter};
use forebay_gate::permits::{Caps, Refused, Size, TICK};
use forebay_gate::quota::Limits;
use forebay_gate::replicas::ReplicaId;
use forebay_gate::retry::Backoff;
use forebay_gate::share::CallerId;

pub use self::bounds::Bound;

use self::state::{Refusal, State};
use super::caller::Caller;
use super::permit::{Held, Permit};
use crate::protocols::Observed;

/// First pause before a call that failed is made again; doubles with every failure of its rows.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a gate is told of its model.
#[derive(Debug, Clone, Copy)]
pub struct GateSettings {
    /// Hard caps of each replica.
    pub caps: Caps,
    /// What all who ask share.
    pub limits: Limits,
    /// How long a call shall take; for breakers of several replicas.
    pub objective: Duration,
    /// Limiters move by time alone, so that it may make room.
    pub moves: bool,
    /// Second copies of slow calls on other replicas.
    pub hedge: HedgeSettings,
    /// Cost is tokens, and an answer to one row has so many: then cost is estimated here and settled by what answers tell.
    pub answer_tokens: Option<f64>,
    /// Replicas of a local model behind it, which callers' bounds may be shares of; see [`ModelGate::scale`].
    pub pool: u16,
}

/// The gate of one model. Shared by everyone who asks it.
pub struct ModelGate {
    env: Arc<dyn Env>,
    moves: bool,
    state: Mutex<State>,
}

/// What a model told besides rows, of all calls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Heard {
    /// The newest of each, and tokens of all answers.
    pub observed: Observed,
    /// Second copies sent.
    pub hedged: u64,
}

// === impl GateSettings ===

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            caps: Caps::default(),
            limits: Limits::default(),
            objective: Duration::from_secs(1),
            moves: false,
            hedge: HedgeSettings::OFF,
            answer_tokens: None,
            pool: 1,
        }
    }
}

// === impl ModelGate ===

impl ModelGate {
    /// A gate before one replica for each limiter, at least one.
    ///
    /// # Panics
    /// Without a limiter.
    pub fn new(env: Arc<dyn Env>, limiters: Vec<Box<dyn Limiter>>, settings: GateSettings) -> Arc<Self> {
        assert!(!limiters.is_empty(), "a gate needs a limiter");
        let state = State::new(env.random(), limiters, &settings);
        Arc::new(Self { env, moves: settings.moves, state: Mutex::new(state) })
    }

    /// A gate for `calls_max` calls of `rows_max` rows that wait up to `linger` for company, whatever happens.
    pub fn fixed(env: Arc<dyn Env>, calls_max: usize, rows_max: usize, linger: Duration) -> Arc<Self> {
        let fixed = Fixed::new(calls_max, rows_max, linger.as_secs_f64());
        Self::new(env, vec![Box::new(fixed)], GateSettings::default())
    }

    /// Somebody who asks, with `weight` times the share of others and no more than `calls_max` calls in flight.
    pub fn caller(self: &Arc<Self>, weight: u32, calls_max: Option<usize>) -> Caller {
        self.bounded_caller(weight, Bound::Own(calls_max.unwrap_or(usize::MAX)))
    }

    /// Somebody who asks, with `weight` times the share of others and no more calls in flight than `bound` says.
    pub fn bounded_caller(self: &Arc<Self>, weight: u32, bound: Bound) -> Caller {
        let id = self.lock().join(weight, bound);
        Caller::new(Arc::clone(self), id)
    }

    /// The model has so many replicas from now on: bounds that are shares follow. Calls that are out come back as ever.
    pub fn scale(&self, replicas: u16) {
        let woken = self.lock().scale(replicas);
        woken.into_iter().for_each(Waker::wake);
    }

    /// What is allowed now, all replicas together: calls in flight, rows a call, and how long a row waits for company.
    pub fn knobs(&self) -> Knobs {
        self.lock().knobs()
    }

    /// True if the limit follows what the model can take.
    pub fn moves(&self) -> bool {
        self.moves
    }

    /// Calls in flight. Above the limit for a while after the limit shrank.
    pub fn in_flight(&self) -> usize {
        self.lock().replicas.calls()
    }

    /// The gauges of a model of one replica were read.
    pub fn on_gauges(&self, gauges: Gauges) {
        let now = self.now();
        if let Some(replica) = self.lock().replicas.find_mut(ReplicaId(0)) {
            replica.permits.on_gauges(gauges, now);
        }
    }

    /// What was learned of each replica, to begin with after a restart.
    pub fn hints(&self) -> Vec<Option<Hint>> {
        self.lock().replicas.iter().map(|replica| replica.permits.limiter().hint()).collect()
    }

    /// Why the limit is what it is, for people; empty for a limit that never moves.
    pub fn why(&self) -> String {
        let state = self.lock();
        let whys: Vec<String> = state.replicas.iter().map(|replica| replica.permits.limiter().why()).collect();
        whys.join(" · ")
    }

    /// What the model told besides rows, so far.
    pub fn heard(&self) -> Heard {
        self.lock().heard()
    }

    /// How the calls of all who ask ended so far.
    pub(super) fn tally(&self) -> Tally {
        self.lock().tally
    }

    pub(super) fn earn(&self) {
        self.lock().budget.earn();
    }

    pub(super) fn pay(&self) -> bool {
        let now = self.now();
        self.lock().budget.try_spend(now)
    }

    pub(super) fn retry_at(&self, failures: u32, retry_after: Option<Duration>) -> Instant {
        let backoff = Backoff { first: BACKOFF_FIRST, longest: BACKOFF_MAX };
        self.env.now() + backoff.pause(failures, retry_after, &mut self.lock().chance)
    }

    pub(super) fn knobs_of(&self, caller: CallerId) -> Knobs {
        let state = self.lock();
        let knobs = state.knobs();
        Knobs { calls_max: knobs.calls_max.min(state.calls_max(caller)), ..knobs }
    }

    pub(super) fn try_acquire(self: &Arc<Self>, caller: CallerId, size: Size, waker: &Waker) -> Option<Permit> {
        let now = self.now();
        let mut state = self.lock();
        state.replicas.on_time(now, true);
        match state.acquire(caller, size, now) {
            Ok(taken) => {
                // Who was refused because it was not its turn may have it now.
                let woken = if state.is_room(now) { state.take_wakers(now, None) } else { Vec::new() };
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                Some(Permit::new(Arc::clone(self), taken))
            }
            Err(refusal) => {
                self.wait(&mut state, caller, refusal, waker);
                None
            }
        }
    }

    pub(super) fn has_room(self: &Arc<Self>, caller: CallerId, waker: &Waker) -> bool {
        let now = self.now();
        let mut state = self.lock();
        state.replicas.on_time(now, true);
        match state.room(caller, now) {
            Ok(_) => true,
            Err(refusal) => {
                self.wait(&mut state, caller, refusal, waker);
                false
            }
        }
    }

    pub(super) fn leave(&self, caller: CallerId) {
        let now = self.now();
        let woken = {
            let mut state = self.lock();
            state.leave(caller);
            state.take_wakers(now, None)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(super) fn give_back(&self, held: Held, class: Class) {
        let now = self.now();
        let woken = {
            let mut state = self.lock();
            let caller = held.caller;
            state.give_back(held, class, now);
            let waiting = state.is_anybody_waiting();
            state.replicas.on_time(now, waiting);
            state.take_wakers(now, caller)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(super) fn hear(&self, replica: ReplicaId, size: Size, observed: Observed) {
        let now = self.now();
        self.lock().hear(replica, size, observed, now);
    }

    pub(super) fn copy_id(&self) -> u64 {
        self.lock().copies.next_id()
    }

    /// A second copy asks for a permit on any replica but one; `id` is its place among those that wait.
    pub(super) fn hedge(self: &Arc<Self>, id: u64, but: ReplicaId, size: Size, waker: &Waker) -> Poll<Option<Held>> {
        let now = self.now();
        let mut state = self.lock();
        let answer = state.hedge(but, size, now);
        if answer.is_pending() {
            state.copies.wait(id, but, size.rows, waker);
            self.set_timer(&mut state, &Refusal::Shared(Refused::Full));
        }
        answer
    }

    /// A second copy has its permit, or needs none any more: others need not stand back for it.
    pub(super) fn leave_copies(&self, id: u64) {
        let now = self.now();
        let woken = {
            let mut state = self.lock();
            if state.copies.leave(id) && state.is_room(now) { state.take_wakers(now, None) } else { Vec::new() }
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn wait(self: &Arc<Self>, state: &mut State, caller: CallerId, refusal: Refusal, waker: &Waker) {
        state.wait(caller, &refusal, waker);
        self.set_timer(state, &refusal);
    }

    fn set_timer(self: &Arc<Self>, state: &mut State, refusal: &Refusal) {
        let pause = match refusal {
            _ if state.timer => return,
            Refusal::Own => return,
            Refusal::Shared(Refused::Full) if !self.moves => return,
            Refusal::Shared(Refused::Full) | Refusal::Turn => TICK,
            Refusal::Shared(Refused::Until(at)) => at.saturating_sub(self.now()).min(TICK),
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
        let woken = {
            let mut state = self.lock();
            state.timer = false;
            state.replicas.on_time(now, true);
            if !state.is_anybody_waiting() {
                return;
            }
            match state.shared_room(now) {
                Ok(_) => state.take_wakers(now, None),
                Err(refused) => return self.set_timer(&mut state, &Refusal::Shared(refused)),
            }
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn now(&self) -> Duration {
        self.env.now().since(Instant(0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
