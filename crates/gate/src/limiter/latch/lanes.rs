//! How many calls at once, where each carries a batch.
//!
//! Lanes are judged at a fixed batch size: a useful lane then raises throughput in proportion, a surplus one not at all. They
//! must be asked for again and again, because idle parallelism is invisible: when two of four GPUs come back nothing changes
//! that a client can see.

use super::super::Seconds;
use super::decision::Reason;
use super::epoch::Observed;
use super::{Latch, Phase};

/// Lanes added and removed by a probe: this part of them, at least one.
const ADD: usize = 4;
const REMOVE: usize = 5;
/// Share of a proportional gain that keeps added lanes, and of a proportional loss that keeps the removed ones out.
const KEEP: (f64, f64) = (0.5, 0.4);
/// The same where only the size of a batch binds: then any gain is worth having, for latency is no object.
const KEEP_CAPPED: (f64, f64) = (0.1, 0.05);
/// A batch this near its largest size, at latency this far below target, is bound by its size alone.
const CAPPED: (f64, f64) = (0.95, 0.8);
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
    capped: bool,
    /// Directions found not to pay; 2 ends the search.
    failed: u32,
    upward: bool,
    ask_at: Seconds,
    pause: Seconds,
    asks: u32,
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            before: count,
            rows_fixed: 1,
            capped: false,
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
        let capped = rows as f64 >= CAPPED.0 * self.memory.rows_allowed() as f64 && self.latency < CAPPED.1 * target;
        self.lanes.capped = capped;
        if self.lanes.upward {
            let more = self.lanes.more(self.settings.calls_max);
            if more <= self.lanes.count {
                self.lanes.give_up_direction(false);
                return false;
            }
            self.lanes.rows_fixed = if capped { rows } else { (rows * self.lanes.count / more).max(1) };
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
        self.probe.reference = (seen.rate, seen.rows);
        self.lanes.count = self.lanes.more(self.settings.calls_max);
        self.phase = Phase::LaneUp;
        self.jump_to_lanes(now, Reason::LaneProbe);
    }

    /// A probe of lanes has its epoch: keep them or go back.
    pub(super) fn end_lanes(&mut self, now: Seconds, seen: &Observed) {
        let upward = self.phase == Phase::LaneUp;
        let change = (self.lanes.count as f64 / self.lanes.before.max(1) as f64 - 1.0).abs();
        let gain = self.probe.gain(seen.rate);
        let (up, down) = if self.lanes.capped { KEEP_CAPPED } else { KEEP };
        let keep = if upward { gain > up * change } else { gain > -down * change };
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
