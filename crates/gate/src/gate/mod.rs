//! The gate: rows in, calls and outcomes out, everything between decided here and nothing done.
//!
//! Composes the machines of this crate: the bound on what waits ([`crate::shed`]), fair share ([`crate::share`]), request
//! batches ([`crate::batcher`]), permits and limiters for each replica, two tiers of breakers, timeouts and deadlines,
//! retries under one budget, hedges and fallbacks. [`Gate::step`] takes what happened and the moment it did, and returns
//! what to do; it has no clock, no I/O and no randomness but its seed. So production, simulation and benchmark run the
//! same code, and every order of events can be tried.
//!
//! What holds in any order of events, however late, repeated or lost: every row gets exactly one outcome; permits are
//! conserved; retries stay within the budget; rows of one key are never in two calls at once; ordered means ordered; no
//! call is above its limits. A row waits in a queue, in a call, or in a pause before a retry, never in two of them.

mod answers;
mod order;
mod sending;
mod settings;
mod settling;
mod timers;
mod vocabulary;

use std::time::Duration;

pub use self::settings::{Bug, GateSettings};
pub use self::vocabulary::{Action, CallId, Counts, Event, Order, Outcome, ReplicaId, Row, RowId};

use self::order::Queues;
use self::timers::{Timers, What};
use crate::batcher::{Batcher, Entry};
use crate::chance::Chance;
use crate::hedge::{Hedge, HedgeSettings};
use crate::limiter::Limiter;
use crate::permits::{Permit, Permits};
use crate::quota::Quota;
use crate::replicas::Replicas;
use crate::retry::Budget;
use crate::share::{CallerId, Share};
use crate::shed::Backlog;
use crate::slab::Slab;

/// A gate for rows `T` that are answered with `V`. See the module's header, and [`Event`] and [`Action`] for the contract.
///
/// # Order of calls
/// `step` whenever something happened and at every [`Action::Wake`], with moments that never go back; `offer` in between.
#[derive(Debug)]
pub struct Gate<T, V> {
    settings: GateSettings,
    now: Duration,
    rows: Slab<Held<T, V>>,
    offered: u64,
    share: Share<RowId>,
    batcher: Batcher<RowId>,
    calls: Slab<Call>,
    replicas: Replicas,
    quota: Quota,
    timers: Timers,
    queues: Queues,
    budget: Budget,
    hedge: Hedge,
    backlog: Backlog<RowId>,
    chance: Chance,
    counts: Counts,
    /// The wake last asked for.
    armed: Option<Duration>,
    /// When the next call may be possible that is not now, for want of pace or of a closed breaker.
    blocked: Option<Duration>,
    /// The end of the model breaker's pause for which rows were looked through.
    looked: Option<Duration>,
}

/// A row until it has its outcome.
#[derive(Debug)]
struct Held<T, V> {
    row: Row<T>,
    seq: u64,
    offered: Duration,
    /// How often it was sent.
    sent: u32,
    /// How often that failed, half-open calls and cut calls not counted.
    failures: u32,
    /// A call of it was cut in two.
    split: bool,
    place: Place,
    /// Settled, but earlier rows are not.
    outcome: Option<Outcome<V>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Queued,
    Pausing,
    Sent(CallId),
    Settled,
}

/// A call until its permit is back.
#[derive(Debug)]
struct Call {
    rows: Vec<RowId>,
    /// Rows that wait for this call.
    live: usize,
    /// Key and place of rows that got their outcome meanwhile: the backend may still work on them, so that their keys
    /// are not free before the call is over.
    left: Vec<(u64, u64)>,
    replica: ReplicaId,
    permit: Permit,
    /// The other copy, if it was hedged.
    twin: Option<CallId>,
    /// Nobody waits for it; only its permit is still out.
    abandoned: bool,
    /// It is the one call of a half-open breaker.
    asks: bool,
}

// === impl Gate ===

impl<T: Clone, V> Gate<T, V> {
    /// An empty gate before one replica for each limiter, at least one.
    ///
    /// # Panics
    /// Without a limiter.
    pub fn new(settings: GateSettings, limiters: Vec<Box<dyn Limiter>>) -> Self {
        assert!(!limiters.is_empty(), "a gate needs a limiter");
        let mut batcher = settings.batcher.clone();
        batcher.planted.keys_overtake |= settings.has(Bug::KeysOvertake);
        batcher.planted.shrunk_limit_ignored |= settings.has(Bug::ShrunkLimitIgnored);
        let hedges = limiters.len() > 1 && settings.retry.idempotent;
        Self {
            now: Duration::ZERO,
            rows: Slab::new(),
            offered: 0,
            share: Share::new(),
            batcher: Batcher::new(batcher),
            calls: Slab::new(),
            replicas: Replicas::new(&settings.replicas(), limiters),
            quota: Quota::new(settings.limits),
            timers: Timers::default(),
            queues: Queues::new(settings.order),
            budget: Budget::new(settings.retry.budget),
            hedge: Hedge::new(if hedges { settings.hedge } else { HedgeSettings::OFF }),
            backlog: Backlog::new(settings.backlog),
            chance: Chance::new(settings.seed),
            counts: Counts::default(),
            armed: None,
            blocked: None,
            looked: None,
            settings,
        }
    }

    /// Takes what happened at `now` and adds what to do to `actions`, to be done in that order.
    pub fn step(&mut self, event: Event<T, V>, now: Duration, actions: &mut Vec<Action<T, V>>) {
        self.now = self.now.max(now);
        self.replicas.on_time(self.now, self.backlog.rows() > 0);
        match event {
            Event::Offer(rows) => {
                for row in rows {
                    self.offer(row, now);
                }
            }
            Event::Answered { call, outcomes } => self.answered(call, outcomes, actions),
            Event::Failed { call, failure } => self.failed(call, failure, actions),
            Event::Timer => {}
            Event::Gauges { replica, gauges } => {
                if let Some(replica) = self.replicas.find_mut(replica) {
                    replica.permits.on_gauges(gauges, self.now);
                }
            }
            Event::Watermark(watermark) => {
                self.fill();
                self.batcher.on_watermark(watermark);
            }
            Event::End if self.settings.has(Bug::EndForgotten) => {}
            Event::End => self.batcher.end(),
            Event::Cancel(row) => self.cancel(row, actions),
        }
        self.on_timers(actions);
        self.shed(actions);
        self.look_out_of_reach(actions);
        self.pump(actions);
        if let Some(full) = self.backlog.changed() {
            actions.push(if full { Action::Full } else { Action::Room });
        }
        self.arm(actions);
    }

    /// Takes one row and says what it is called. Nothing is sent before the next [`Gate::step`], so that rows which come
    /// together can leave together.
    pub fn offer(&mut self, mut row: Row<T>, now: Duration) -> RowId {
        self.now = self.now.max(now);
        row.deadline = self.settings.deadlines.of_row(row.deadline, self.now);
        let (bytes, cost, key, deadline) = (row.bytes, row.cost, row.key, row.deadline);
        let (caller, priority) = (row.caller, row.priority);
        let (seq, offered) = (self.offered, self.now);
        self.offered += 1;
        let place = Place::Queued;
        let held = Held { row, seq, offered, sent: 0, failures: 0, split: false, place, outcome: None };
        let id = RowId(self.rows.insert(held));
        self.counts.offered += 1;
        self.queues.push(id, key);
        self.backlog.accept();
        self.backlog.enqueue(id, bytes, priority, deadline);
        self.share.push(caller, id, cost);
        if let Some(deadline) = deadline {
            self.timers.set(deadline, What::Deadline(id));
            // A pause of the breaker that is under way was looked through already, without this row.
            self.looked = None;
        }
        id
    }

    /// Gives a caller `weight` times the share of others.
    pub fn set_weight(&mut self, caller: CallerId, weight: u32) {
        self.share.set_weight(caller, weight);
    }

    /// True from [`Action::Full`] to [`Action::Room`].
    pub fn is_full(&self) -> bool {
        self.backlog.is_full()
    }

    /// Rows without an outcome.
    pub fn held(&self) -> usize {
        self.backlog.held()
    }

    /// Rows accepted and not in flight.
    pub fn queued(&self) -> usize {
        self.backlog.rows()
    }

    /// Calls whose permits are out.
    pub fn in_flight(&self) -> usize {
        self.replicas.calls()
    }

    /// The permits of a replica, for its limit, its limiter's hint and reasons.
    pub fn permits(&self, replica: ReplicaId) -> &Permits {
        &self.replicas.get(replica).permits
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The row that was offered under this name, until it has its outcome.
    pub fn row(&self, row: RowId) -> Option<&Row<T>> {
        self.rows.get(row.0).map(|held| &held.row)
    }

    fn on_timers(&mut self, actions: &mut Vec<Action<T, V>>) {
        while let Some(what) = self.timers.pop(self.now) {
            match what {
                What::Timeout(call) => self.timed_out(call, actions),
                What::Release(call) => self.release(call),
                What::Hedge(call) => self.hedge(call, actions),
                What::Deadline(row) => self.deadline_passed(row, actions),
                What::Retry { rows, paid } => self.pause_over(rows, paid),
            }
        }
        let (rows, calls) = (&self.rows, &self.calls);
        self.timers.sweep(|what| match what {
            What::Timeout(call) | What::Hedge(call) => calls.get(call.0).is_some_and(|call| !call.abandoned),
            What::Release(call) => calls.get(call.0).is_some(),
            What::Deadline(row) => rows.get(row.0).is_some(),
            What::Retry { .. } => true,
        });
    }

    /// Asks to be woken, if that is earlier than asked before.
    fn arm(&mut self, actions: &mut Vec<Action<T, V>>) {
        let due = self.batcher.next_due().filter(|due| *due > self.now);
        let busy = self.replicas.calls() > 0 || self.backlog.rows() > 0;
        let tick = self.replicas.next_tick().filter(|_| busy);
        let Some(next) = [self.timers.next(), due, self.blocked, tick].into_iter().flatten().min() else { return };
        let next = next.max(self.now);
        if self.armed.is_none_or(|armed| next < armed || armed <= self.now) && !self.settings.has(Bug::WakeForgotten) {
            self.armed = Some(next);
            actions.push(Action::Wake(next));
        }
    }
}

// === impl Held ===

impl<T, V> Held<T, V> {
    fn entry(&self, id: RowId) -> Entry<RowId> {
        let Row { bytes, cost, key, deadline, event_time, .. } = self.row;
        Entry { item: id, seq: self.seq, bytes, cost, key, bucket: 0, deadline, event_time }
    }
}

#[cfg(test)]
mod tests;
