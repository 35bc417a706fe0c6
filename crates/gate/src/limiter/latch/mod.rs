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
mod curve;
mod decision;
mod elasticity;
mod epoch;
mod feed;
mod futility;
mod gauges;
mod hold;
mod jitter;
mod knee;
mod knobs;
mod lanes;
mod memory;
mod moves;
mod probe;
mod rate;
mod regime;
mod settings;
mod start;
mod steer;
mod tail;
mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::decision::{Decision, Reason};
pub use self::settings::Settings;

use self::brake::Brake;
use self::ceiling::Ceiling;
use self::curve::Curve;
use self::decision::Decisions;
use self::elasticity::Elasticity;
use self::epoch::Epoch;
use self::futility::Futility;
use self::gauges::Reading;
use self::jitter::Jitter;
use self::lanes::Lanes;
use self::memory::Memory;
use self::probe::Probe;
use self::rate::{Pacer, ThrottleKind};
use self::regime::Regime;
use self::start::Step;
use self::tail::Tail;
use self::target::Target;
use super::{Attempt, Gauges, Hint, Knobs, Limiter, Load, Seconds};
use crate::breaker::{self, Breaker};

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
    curve: Curve,
    elasticity: Elasticity,
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

/// A half-open call is given up after this many objectives, at least so long: attempts time out at two.
const PROBE_WAIT: (f64, Seconds) = (4.0, 10.0);

// === impl Latch ===

impl Latch {
    /// Begins with a few rows, or with half of what a hint says.
    pub fn new(settings: Settings) -> Self {
        let settings = settings.checked();
        let hint = settings.hint;
        let batched = settings.rows_max > 1;
        let limit = settings.limit_at_start();
        let probe_wait = (PROBE_WAIT.0 * settings.objective).max(PROBE_WAIT.1);
        let mut latch = Self {
            settings,
            origin: None,
            now: 0.0,
            phase: if batched && hint.is_none() { Phase::LaneSearch } else { Phase::Start },
            limit,
            lanes: Lanes::new(settings.lanes_at_start()),
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
            curve: Curve::default(),
            elasticity: Elasticity::default(),
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
        self.allowed()
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

    fn on_utilization(&mut self, now: Seconds, ratio: f64) {
        let now = self.at(now);
        self.reading.on_utilization(now, ratio);
    }

    fn hint(&self) -> Option<Hint> {
        self.settled.map(|hint| Hint { rows_max: self.memory.rows_allowed(), ..hint })
    }

    fn why(&self) -> String {
        self.explain()
    }
}

/// Seconds for the breaker, which counts in whole nanoseconds.
fn duration(seconds: Seconds) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
