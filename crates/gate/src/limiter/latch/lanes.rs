//! How many calls at once, where each carries a batch.
//!
//! The question is which number lets more rows through at the target latency. It is answered from three points, each a batch size and the
//! latency of a call: as it works now, smaller batches at the same lanes (which shows how latency follows the size), and as many rows
//! with more lanes. A surplus lane makes every call wait in proportion; a useful one does not. Lanes must be asked for again and
//! again, because idle parallelism is invisible: when two of four GPUs come back nothing changes that a client can see.

use super::super::Seconds;
use super::decision::Reason;
use super::epoch::Observed;
use super::{Latch, Phase};

/// Lanes added and removed by a probe: this part of them, at least one.
const ADD: usize = 4;
const REMOVE: usize = 5;
/// What more lanes must gain at the target, and what fewer lanes may lose: in between nothing moves.
const GAIN: f64 = 1.06;
const LOSS: f64 = 0.99;
/// Elasticity of a call's latency by its rows: between a large fixed cost and none, before it is measured.
const ELASTICITY: f64 = 0.5;
const ELASTICITY_RANGE: (f64, f64) = (0.1, 1.0);
/// First and longest pause between two asks; doubles.
const ASK: (Seconds, Seconds) = (5.0, 20.0);
/// Every third ask is for fewer lanes.
const ASKS_DOWN: u32 = 3;

/// Calls at once, and the search for a better number.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    /// Calls that may be in flight.
    pub(super) count: usize,
    pub(super) before: usize,
    rows_fixed: usize,
    /// The target, and the point as it works, when the probe began.
    target: Seconds,
    work: Point,
    /// Smaller batches at the same lanes.
    reference: Point,
    elasticity: f64,
    /// Directions found not to pay; 2 ends the search.
    failed: u32,
    upward: bool,
    ask_at: Seconds,
    pause: Seconds,
    asks: u32,
}

/// Rows of a call and its latency.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    rows: f64,
    latency: Seconds,
}

// === impl Point ===

impl Point {
    /// Rows a second that `lanes` calls at once let through at `target` latency, if latency follows the rows with `elasticity` here.
    fn rate_at(&self, target: Seconds, lanes: usize, elasticity: f64, rows_max: usize) -> f64 {
        let slope = elasticity * self.latency / self.rows.max(1.0);
        if slope <= 0.0 {
            return 0.0;
        }
        let rows = (self.rows + (target - self.latency) / slope).clamp(1.0, rows_max as f64);
        let latency = (self.latency + slope * (rows - self.rows)).max(1e-6);
        lanes as f64 * rows / latency * (target / latency).min(1.0)
    }
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            before: count,
            rows_fixed: 1,
            target: 0.0,
            work: Point::default(),
            reference: Point::default(),
            elasticity: ELASTICITY,
            failed: 2,
            upward: false,
            ask_at: 0.0,
            pause: ASK.0,
            asks: 0,
        }
    }

    /// Whether neither more nor fewer lanes paid when last asked.
    pub(super) fn settled(&self) -> bool {
        self.failed >= 2
    }

    /// Asks in both directions: the backend is new or has changed.
    pub(super) fn unsettle(&mut self) {
        (self.failed, self.upward, self.pause) = (0, false, ASK.0);
    }

    /// Asks in both directions, the way of asking unchanged.
    pub(super) fn begin(&mut self) {
        self.failed = 0;
    }

    /// A probe was cut short: that direction is answered by "no".
    pub(super) fn abandon(&mut self) {
        self.count = self.before;
        self.failed = self.failed.max(1);
    }

    fn ask_again(&mut self, now: Seconds, jitter: f64) {
        self.ask_at = now + self.pause * jitter;
        self.pause = (2.0 * self.pause).min(ASK.1);
        self.asks = self.asks.wrapping_add(1);
        self.failed = 1;
        self.upward = !self.asks.is_multiple_of(ASKS_DOWN) || self.count < 2;
    }

    /// Lanes after a probe upward.
    fn more(&self, calls_max: usize) -> usize {
        (self.before + (self.before / ADD).max(1)).min(calls_max)
    }

    /// How latency follows the rows, from the point at work and the smaller one.
    fn learn_elasticity(&mut self) {
        let (work, small) = (self.work, self.reference);
        if work.rows > small.rows && work.latency > 0.0 && small.latency > 0.0 {
            let found = (work.latency / small.latency).ln() / (work.rows / small.rows.max(1.0)).ln();
            self.elasticity = found.clamp(ELASTICITY_RANGE.0, ELASTICITY_RANGE.1);
        }
    }

    /// A probe in the state that decides: lanes before and tried, rows of the calls tried, target, and the points before it.
    #[cfg(test)]
    pub(super) fn of_probe(
        before: usize,
        count: usize,
        rows_fixed: usize,
        target: Seconds,
        work: (f64, Seconds),
        reference: (f64, Seconds),
    ) -> Self {
        let point = |(rows, latency)| Point { rows, latency };
        let (work, reference) = (point(work), point(reference));
        let mut lanes = Self { before, count, rows_fixed, target, work, reference, ..Self::new(count) };
        lanes.learn_elasticity();
        lanes
    }

    /// Whether the lanes tried let more through at the target than the lanes before. `latency` is of calls of `rows_fixed` rows.
    pub(super) fn pays(&self, latency: Seconds, upward: bool, rows_max: usize) -> bool {
        let tried = Point { rows: self.rows_fixed as f64, latency };
        let rate = |point: Point, lanes| point.rate_at(self.target, lanes, self.elasticity, rows_max);
        let before = rate(if upward { self.reference } else { self.work }, self.before);
        rate(tried, self.count) > before * if upward { GAIN } else { LOSS }
    }

    fn give_up_direction(&mut self, upward_next: bool) {
        self.failed += 1;
        self.upward = upward_next;
    }
}

// === impl Latch ===

impl Latch {
    /// Starts a probe of lanes if one is due. True if the limit was moved for it.
    pub(super) fn try_lanes(&mut self, now: Seconds, target: Seconds) -> bool {
        if !self.lanes.settled() && now >= self.probe.down_at {
            self.probe.refer(self.target.wanted, self.limit);
            if self.begin_lanes(now, target) {
                return true;
            }
        }
        if self.lanes.settled() && now >= self.lanes.ask_at {
            let jitter = self.jitter.around_one(now);
            self.lanes.ask_again(now, jitter);
            self.probe.refer(self.target.wanted, self.limit);
            return self.begin_lanes(now, target);
        }
        false
    }

    /// Starts the probe that is next in turn, unless there is nothing to try in that direction.
    pub(super) fn begin_lanes(&mut self, now: Seconds, target: Seconds) -> bool {
        self.lanes.before = self.lanes.count;
        let rows = self.rows_per_call();
        self.lanes.target = target;
        self.lanes.work = Point { rows: rows as f64, latency: self.latency };
        if self.lanes.upward {
            let more = self.lanes.more(self.settings.calls_max);
            if more <= self.lanes.count {
                self.lanes.give_up_direction(false);
                return false;
            }
            self.lanes.rows_fixed = (rows * self.lanes.count / more).max(1);
            self.phase = Phase::LaneReference;
        } else {
            if self.lanes.count < 2 {
                self.lanes.give_up_direction(true);
                return false;
            }
            self.lanes.rows_fixed = rows;
            self.lanes.count -= (self.lanes.count / REMOVE).max(1);
            self.phase = Phase::LaneDown;
        }
        self.jump_to_lanes(now, Reason::LaneProbe);
        self.probe.forget();
        true
    }

    fn jump_to_lanes(&mut self, now: Seconds, reason: Reason) {
        self.jump(now, (self.lanes.rows_fixed * self.lanes.count) as f64, reason);
    }

    /// The reference of an upward probe has its epoch: now with more lanes at the same batch size.
    pub(super) fn end_lane_reference(&mut self, now: Seconds, seen: &Observed) {
        self.lanes.reference = Point { rows: self.lanes.rows_fixed as f64, latency: seen.latency };
        self.lanes.learn_elasticity();
        self.lanes.count = self.lanes.more(self.settings.calls_max);
        self.phase = Phase::LaneUp;
        self.jump_to_lanes(now, Reason::LaneProbe);
    }

    /// A probe of lanes has its epoch: keep them or go back.
    pub(super) fn end_lanes(&mut self, now: Seconds, seen: &Observed) {
        let upward = self.phase == Phase::LaneUp;
        let keep = self.lanes.pays(seen.latency, upward, self.memory.rows_allowed());
        self.phase = Phase::Hold;
        self.probe.forget();
        if keep {
            (self.lanes.failed, self.lanes.upward) = (0, upward);
            self.jump_to_lanes(now, Reason::LaneKept);
            self.probe.down_at = now + (6.0 * self.latency).max(0.5);
            return;
        }
        self.lanes.count = self.lanes.before;
        self.jump(now, self.probe.before.1, Reason::LaneUndone);
        self.lanes.give_up_direction(!upward);
        let jitter = self.jitter.around_one(now);
        self.probe.down_at = now
            + if self.lanes.settled() {
                self.lanes.ask_at = self.lanes.ask_at.max(now + 3.0);
                8.0 * jitter
            } else {
                (3.0 * self.latency).max(0.3)
            };
    }
}
