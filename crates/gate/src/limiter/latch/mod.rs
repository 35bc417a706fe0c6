//! LATCH: Little's-law adaptive target-latency concurrency with horizon epochs.
//!
//! It keeps a number of rows in flight, measures throughput and latency in epochs that hold only the effect of that number, and
//! steers it by a *latency target* that follows from the objective. Explicit signals (429, 503, out of memory, gauges) bound it; they
//! never steer. What would mislead is left out of the measurement instead of being smoothed. The design, its constants and
//! what it was measured against are in `adaptive-control.md`; each constant stands beside the code that uses it.
//!
//! One instance serves one thing that queues on its own: a replica, or an endpoint behind which replicas are hidden.
//! It holds no clock, starts no call and draws no randomness but from its seed, so that a run can be repeated.

mod brake;
mod ceiling;
mod decision;
mod epoch;
mod feed;
mod futility;
mod gauges;
mod hold;
mod jitter;
mod lanes;
mod memory;
mod probe;
mod rate;
mod start;
mod steer;
mod tail;
mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::decision::{Decision, Reason};

use self::brake::Brake;
use self::ceiling::Ceiling;
use self::decision::Decisions;
use self::epoch::Epoch;
use self::futility::Futility;
use self::gauges::Reading;
use self::jitter::Jitter;
use self::lanes::Lanes;
use self::memory::Memory;
use self::probe::Probe;
use self::rate::{Pacer, ThrottleKind};
use self::start::Step;
use self::steer::Regime;
use self::tail::Tail;
use self::target::Target;
use super::{Attempt, Gauges, Hint, Knobs, Limiter, Load, Seconds};
use crate::breaker::{self, Breaker};

/// What users tune. Everything else is a constant beside the code that uses it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The 99th percentile of a call's latency is to stay below this: from the permit (or the begin of the linger) to the last byte.
    pub objective: Seconds,
    /// Calls in flight are never more than this, at least 1.
    pub calls_max: usize,
    /// Rows of a call are never more than this. 1 for backends that batch by themselves: then only the number in flight moves.
    pub rows_max: usize,
    /// Varies the moments of probes.
    pub seed: u64,
    /// What a run before this one learned, if it is young enough to be believed (ten minutes).
    pub hint: Option<Hint>,
}

/// The limiter. See the module's header, and [`Limiter`] for the order of calls.
#[derive(Debug, Clone)]
pub struct Latch {
    settings: Settings,
    origin: Option<Seconds>,
    now: Seconds,
    phase: Phase,
    /// Rows that may be in flight.
    limit: f64,
    lanes: Lanes,
    latency: Seconds,
    rate: f64,
    in_flight_peak: f64,
    settled: Option<Hint>,
    step: Option<Step>,
    rest_until: Seconds,
    target: Target,
    epoch: Epoch,
    tail: Tail,
    brake: Brake,
    regime: Regime,
    futility: Futility,
    probe: Probe,
    pacer: Pacer,
    throttles: ThrottleKind,
    ceiling: Ceiling,
    memory: Memory,
    reading: Reading,
    breaker: Breaker,
    jitter: Jitter,
    decisions: Decisions,
}

/// What the limiter is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    LaneSearch,
    Start,
    Hold,
    ProbeUp,
    ProbeDown,
    LaneReference,
    LaneUp,
    LaneDown,
}

/// Share of a hint to begin with: the backend may have shrunk meanwhile, and slow start makes up for it in two epochs.
const HINT_SHARE: f64 = 0.5;
/// Linger: this share of the latency to spare, at most so long.
const LINGER_SHARE: f64 = 0.1;
const LINGER_MAX: Seconds = 0.02;
/// A half-open call is given up after this many objectives, at least so long: attempts time out at two.
const PROBE_WAIT: (f64, Seconds) = (4.0, 10.0);
/// Objectives beyond these are mistakes; they are moved into the range.
const OBJECTIVE_RANGE: (Seconds, Seconds) = (1e-3, 1e5);
/// A change of the limit by more than this takes a while to show; by less, measuring goes on at once.
const VISIBLE_CHANGE: f64 = 0.1;

// === impl Latch ===

impl Latch {
    /// Begins with a few rows, or with half of what a hint says.
    pub fn new(settings: Settings) -> Self {
        let objective = if settings.objective.is_finite() { settings.objective } else { OBJECTIVE_RANGE.1 };
        let settings = Settings {
            objective: objective.clamp(OBJECTIVE_RANGE.0, OBJECTIVE_RANGE.1),
            calls_max: settings.calls_max.max(1),
            rows_max: settings.rows_max.max(1),
            hint: settings.hint.filter(|hint| hint.rows_in_flight.is_finite() && hint.rows_in_flight > start::ROWS),
            ..settings
        };
        let hint = settings.hint;
        let batched = settings.rows_max > 1;
        let lanes = hint.filter(|_| batched).map_or(1, |hint| hint.calls.clamp(1, settings.calls_max));
        let limit = hint.map_or(start::ROWS, |hint| (HINT_SHARE * hint.rows_in_flight).max(start::ROWS));
        let probe_wait = (PROBE_WAIT.0 * settings.objective).max(PROBE_WAIT.1);
        let mut latch = Self {
            settings,
            origin: None,
            now: 0.0,
            phase: if batched && hint.is_none() { Phase::LaneSearch } else { Phase::Start },
            limit,
            lanes: Lanes::new(lanes),
            latency: 0.0,
            rate: 0.0,
            in_flight_peak: 0.0,
            settled: None,
            step: None,
            rest_until: 0.0,
            target: Target::new(settings.objective),
            epoch: Epoch::default(),
            tail: Tail::default(),
            brake: Brake::new(),
            regime: Regime::default(),
            futility: Futility::default(),
            probe: Probe::new(settings.objective, limit),
            pacer: Pacer::new(),
            throttles: ThrottleKind::new(),
            ceiling: Ceiling::new(),
            memory: Memory::new(settings.rows_max, hint.map(|hint| hint.rows_max)),
            reading: Reading::default(),
            breaker: Breaker::new(settings.seed, Duration::from_secs_f64(probe_wait)),
            jitter: Jitter::new(settings.seed),
            decisions: Decisions::new(),
        };
        latch.limit = limit.clamp(1.0, latch.limit_max());
        let reason = if hint.is_some() { Reason::Hinted } else { Reason::Began };
        latch.decisions.add(0.0, reason, latch.limit, latch.limit);
        latch
    }

    /// The last hundred decisions, oldest first; repeats of one reason are one. Times are the caller's.
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = Decision> + '_ {
        let origin = self.origin.unwrap_or(0.0);
        self.decisions.iter().map(move |d| Decision { at: d.at + origin, until: d.until + origin, ..*d })
    }

    /// The latency that the limit is steered to now, at most what keeps the 99th percentile under the objective.
    pub fn target(&self) -> Seconds {
        self.target.effective()
    }

    /// Mean latency and rows a second, as last measured; 0 before.
    pub fn measured(&self) -> (Seconds, f64) {
        (self.latency, self.rate)
    }

    /// Whether calls are let through, are stopped, or one is let through to ask.
    pub fn breaker(&self) -> breaker::State {
        self.breaker.state(duration(self.now))
    }

    fn batched(&self) -> bool {
        self.settings.rows_max > 1
    }

    fn limit_max(&self) -> f64 {
        let calls = if self.batched() { self.lanes.count } else { self.settings.calls_max };
        (self.memory.rows_allowed() as f64 * calls as f64).max(1.0)
    }

    fn rows_per_call(&self) -> usize {
        let rows = (self.limit / self.lanes.count.max(1) as f64).round();
        (rows as usize).clamp(1, self.memory.rows_allowed())
    }

    /// Moves the limit within its bounds. A visible change begins a new epoch after its effect shows.
    fn set(&mut self, limit: f64, reason: Reason) {
        let before = self.limit;
        let limit = if limit.is_finite() { limit } else { before };
        self.limit = limit.min(self.ceiling.limit(self.now)).clamp(1.0, self.limit_max());
        self.decisions.add(self.now, reason, before, self.limit);
        let change = self.limit / before;
        if (change - 1.0).abs() <= VISIBLE_CHANGE {
            self.epoch.abandon(self.now);
            return;
        }
        self.resettle(self.now);
        if change < 1.0 - VISIBLE_CHANGE {
            self.brake.on_cut(self.now);
        }
    }

    /// Moves the limit together with the lanes: not a cut, whichever way it goes.
    fn jump(&mut self, now: Seconds, limit: f64, reason: Reason) {
        self.decisions.add(now, reason, self.limit, limit);
        self.limit = limit.max(1.0);
        self.resettle(now);
    }

    fn resettle(&mut self, now: Seconds) {
        self.epoch.settle(now, self.latency);
        self.tail.mute(now, self.latency);
    }

    /// Gives up whatever is being tried.
    fn fall_back(&mut self) {
        match self.phase {
            Phase::LaneReference | Phase::LaneUp | Phase::LaneDown => self.lanes.abandon(),
            Phase::ProbeUp | Phase::ProbeDown => self.target.wanted = self.probe.before.0,
            Phase::Start | Phase::LaneSearch => self.target.wanted = self.settings.objective,
            Phase::Hold => {}
        }
        self.phase = Phase::Hold;
        self.probe.forget();
        self.step = None;
    }

    /// The caller's moment as seconds since the first one seen; times never go back.
    fn at(&mut self, time: Seconds) -> Seconds {
        if time.is_finite() {
            let origin = *self.origin.get_or_insert(time);
            self.now = self.now.max(time - origin);
        }
        self.now
    }
}

impl Limiter for Latch {
    fn knobs(&self) -> Knobs {
        let (pace, rows_max, linger) = (self.pacer.pace, 1, 0.0);
        match self.breaker.state(duration(self.now)) {
            breaker::State::Open => return Knobs { calls_max: 0, rows_max, linger, pace },
            breaker::State::HalfOpen => {
                let calls_max = (1 + self.breaker.lost() as usize).min(self.settings.calls_max);
                return Knobs { calls_max, rows_max, linger, pace };
            }
            breaker::State::Closed => {}
        }
        let (calls, rows_max, linger) = if self.batched() {
            let spare = LINGER_SHARE * (self.target.highest() - self.latency);
            (self.lanes.count, self.rows_per_call(), spare.clamp(0.0, LINGER_MAX))
        } else {
            (self.limit.round().max(1.0) as usize, 1, 0.0)
        };
        let held_back = self.ceiling.quarantined();
        // A limiter that may not send at all never learns that it may again: the last permit is slowed down instead.
        let pace = if held_back >= calls { pace.min(1.0 / self.tail.mean().max(1e-3)) } else { pace };
        Knobs { calls_max: calls.saturating_sub(held_back).max(1), rows_max, linger, pace }
    }

    fn on_end(&mut self, attempt: &Attempt) {
        self.feed(attempt);
    }

    fn on_tick(&mut self, now: Seconds, load: Load) {
        let now = self.at(now);
        if load.row_seconds.is_finite() && load.in_flight.is_finite() {
            self.steer(now, load);
        }
    }

    fn on_gauges(&mut self, now: Seconds, gauges: Gauges) {
        let now = self.at(now);
        self.reading.update(now, gauges);
    }

    fn hint(&self) -> Option<Hint> {
        self.settled.map(|hint| Hint { rows_max: self.memory.rows_allowed(), ..hint })
    }

    fn why(&self) -> String {
        let knobs = self.knobs();
        let reason = self.decisions.iter().next_back().map_or(Reason::Began, |decision| decision.reason);
        let pace = if knobs.pace.is_finite() { format!(", {:.0} calls/s at most", knobs.pace) } else { String::new() };
        format!(
            "limit {} calls of {} rows{pace}: {reason}; latency {:.3} s, target {:.3} s of objective {:.3} s, {:.1} rows/s",
            knobs.calls_max,
            knobs.rows_max,
            self.latency,
            self.target.effective(),
            self.settings.objective,
            self.rate,
        )
    }
}

/// Seconds for the breaker, which counts in whole nanoseconds.
fn duration(seconds: Seconds) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
