//! A client: what one job does with its rows, its permits and its limiters.
//!
//! `send.rs` decides what leaves when, `end.rs` what becomes of it. Nothing here knows the backend.

mod end;
mod hedge;
mod later;
mod route;
mod send;

use std::collections::{BinaryHeap, VecDeque};

use forebay_gate::limiter::{Gauges, Limiter, Load};

use self::later::Later;
use self::route::Route;
use super::agenda::{Delay, Occasion};
use super::calls::Row;
use super::dice::Dice;
use super::record::ClientRecord;
use super::world::World;
use crate::scenario::{Hedge, Retry, Scenario};

/// Attempts in a second that one client's processor can send.
const ATTEMPTS_PER_SECOND_MAX: f64 = 10_000.0;

/// Rows that wait at one client; more are not taken in.
const QUEUE_MAX: usize = 200_000;

/// Retries that a client may make before it earned any.
const RETRY_BUDGET_START: f64 = 5.0;

/// Hedges that a client may make before it earned any.
const HEDGE_BUDGET_START: f64 = 2.0;

/// One client and its limiters, one for each replica that it sees.
pub struct Client {
    index: u32,
    span: (f64, f64),
    rows_max: usize,
    settings: Settings,
    on: bool,
    routes: Vec<Route>,
    flow_at: f64,
    queue: VecDeque<Row>,
    retries: BinaryHeap<Later>,
    due: VecDeque<Row>,
    retry_budget: f64,
    hedge_budget: f64,
    pace_tokens: f64,
    pace_at: f64,
    permit_since: f64,
    wake_at: f64,
    slow: hedge::Slow,
    arrivals: Dice,
    rows: Dice,
    choices: Dice,
    /// Which plan of arrivals holds; older ones are void.
    plan: u32,
    /// What is known of this run.
    pub record: ClientRecord,
}

struct Settings {
    objective: f64,
    retry: Retry,
    hedge: Option<Hedge>,
    gauges_every: Option<f64>,
    gauges_at: f64,
}

// === impl Client ===

impl Client {
    /// The `index`-th client of `scenario`, which begins and leaves at `span`.
    pub fn new(scenario: &Scenario, index: u32, span: (f64, f64), limiters: Vec<Box<dyn Limiter>>, seed: u64) -> Self {
        let dice = |purpose: u64| Dice::new(seed, 10 + 10 * u64::from(index) + purpose);
        let settings = Settings {
            objective: scenario.objective.0,
            retry: scenario.retry.clone(),
            hedge: scenario.hedge.clone(),
            gauges_every: scenario.gauges.map(|span| span.0),
            gauges_at: 0.0,
        };
        Self {
            index,
            span,
            rows_max: scenario.rows_per_call_max,
            slow: hedge::Slow::new(scenario.hedge.as_ref().map_or(1.0, |hedge| hedge.quantile)),
            settings,
            on: false,
            routes: limiters.into_iter().map(Route::new).collect(),
            flow_at: 0.0,
            queue: VecDeque::new(),
            retries: BinaryHeap::new(),
            due: VecDeque::new(),
            retry_budget: RETRY_BUDGET_START,
            hedge_budget: HEDGE_BUDGET_START,
            pace_tokens: 1.0,
            pace_at: 0.0,
            permit_since: f64::INFINITY,
            wake_at: f64::INFINITY,
            arrivals: dice(0),
            rows: dice(1),
            choices: dice(2),
            plan: 0,
            record: ClientRecord::new(scenario.length.0),
        }
    }

    /// It begins.
    pub fn start(&mut self, world: &mut World) {
        self.on = true;
        self.flow_at = world.now();
        self.plan_arrivals(world);
        self.tick(world, |_| Gauges::default());
    }

    fn is_open(&self, now: f64) -> bool {
        self.on && now < self.span.1
    }

    /// Begins a new plan of arrivals, because the demand changed; rows arrive as a Poisson process.
    pub fn plan_arrivals(&mut self, world: &mut World) {
        self.plan = self.plan.wrapping_add(1);
        let demand = world.conditions.demand;
        if self.is_open(world.now()) && demand.is_finite() && demand > 0.0 {
            let at = world.now() + self.arrivals.exponential() / demand;
            world.agenda.at(at, Occasion::Arrival { client: self.index, plan: self.plan });
        }
    }

    /// A row arrives, if `plan` still holds.
    pub fn arrive(&mut self, plan: u32, world: &mut World) {
        let demand = world.conditions.demand;
        if plan != self.plan || !self.is_open(world.now()) || !demand.is_finite() {
            return;
        }
        if self.queue.len() < QUEUE_MAX {
            let row = self.new_row(world);
            self.queue.push_back(row);
        }
        let at = world.now() + self.arrivals.exponential() / demand;
        world.agenda.at(at, Occasion::Arrival { client: self.index, plan });
        self.dispatch(world);
    }

    fn new_row(&mut self, world: &World) -> Row {
        self.record.entered += 1;
        world.shape.draw(&mut self.rows, world.conditions.size, world.now())
    }

    /// Tells the limiters the time, and what `gauges` reads of each replica if it is time for that.
    pub fn tick(&mut self, world: &mut World, gauges: impl Fn(usize) -> Gauges) {
        let now = world.now();
        if now >= self.span.1 {
            self.on = false;
            return;
        }
        self.flow(now);
        let waiting = self.has_waiting(world);
        let read = self.settings.gauges_every.filter(|_| now + 1e-9 >= self.settings.gauges_at);
        if let Some(every) = read {
            self.settings.gauges_at = now + every;
        }
        let (mut limit, mut in_flight) = (0.0, 0.0);
        for (replica, route) in self.routes.iter_mut().enumerate() {
            if read.is_some() {
                route.limiter.on_gauges(now, gauges(replica));
            }
            let load = Load { row_seconds: route.row_seconds, in_flight: route.in_flight, waiting };
            route.limiter.on_tick(now, load);
            let knobs = route.limiter.knobs();
            limit += (knobs.calls_max * knobs.rows_max.min(self.rows_max)) as f64;
            in_flight += route.in_flight;
        }
        self.record.level(now, limit, in_flight);
        world.agenda.after(Delay::Tick, Occasion::Tick { client: self.index });
        self.dispatch(world);
    }

    fn has_waiting(&self, world: &World) -> bool {
        world.conditions.demand.is_infinite()
            || !(self.queue.is_empty() && self.retries.is_empty() && self.due.is_empty())
    }

    /// Brings the integrals of rows in flight up to `now`; before every change of what is in flight.
    fn flow(&mut self, now: f64) {
        let passed = now - self.flow_at;
        for route in &mut self.routes {
            route.row_seconds += route.in_flight * passed;
        }
        self.flow_at = now;
    }

    /// It asked to be woken; nothing if it asked for an earlier moment since, or was woken at one.
    pub fn woken(&mut self, world: &mut World) {
        if self.wake_at <= world.now() {
            self.wake_at = f64::INFINITY;
            self.dispatch(world);
        }
    }

    /// Asks to be woken at `at`, unless it is woken earlier anyway: it then asks again.
    fn wake(&mut self, at: f64, world: &mut World) {
        if at < self.wake_at - 1e-9 {
            self.wake_at = at;
            world.agenda.at(at, Occasion::Wake { client: self.index });
        }
    }

    /// Rows that wait to be sent, for the first time or again.
    #[cfg(test)]
    pub fn rows_waiting(&self) -> usize {
        self.queue.len() + self.retries.len() + self.due.len()
    }

    /// Calls and rows that hold permits.
    #[cfg(test)]
    pub fn permits_held(&self) -> (usize, f64) {
        let calls = self.routes.iter().map(|route| route.calls).sum();
        (calls, self.routes.iter().map(|route| route.in_flight).sum())
    }

    /// Why each limiter's limit is what it is.
    pub fn why(&self) -> Vec<String> {
        self.routes.iter().map(|route| route.limiter.why()).collect()
    }
}
