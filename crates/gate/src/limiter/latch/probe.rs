//! Probes for a better latency target: is throughput the same at a lower one, or higher at a higher one?
//!
//! From outside the right target below the objective cannot be read off latency: a batching server has its best throughput at
//! three to ten times its lowest latency. So throughput is compared at two targets, over enough rows that the difference means
//! something. Steps are large, because a step must move throughput by more than its noise; small ones need the square of it.

mod verdict;

use std::collections::VecDeque;

use super::super::Seconds;
use super::decision::Reason;
use super::epoch::Observed;
use super::{Latch, Phase};

/// Rows each side of a comparison rests on: throughput to 3-4 % where answers are random, to 1 % on most servers.
pub(super) const ROWS: f64 = 1500.0;
/// A slow backend need not wait for that many: this much time will do for the reference.
const REFERENCE_TIME: Seconds = 6.0;
/// Latency must be this near the target before a probe says anything about it.
const NEAR: f64 = 0.15;
/// Steps: down while far above the lowest latency, down, up. 1.6 instead of 1.3 is too coarse.
const STEP_BIG: f64 = 2.0;
const STEP: f64 = 1.3;
/// A big step is tried while the target is above this many times the lowest latency and fewer than this many failed.
const BIG: (f64, u32) = (3.0, 2);
/// Below this share of the highest target there is room to go up.
const UP_BELOW: f64 = 0.93;
/// Loss accepted for a target half as high, and for one a little lower before noise is added.
const LOSS_BIG: f64 = 0.025;
const LOSS: (f64, f64) = (0.02, 0.01);
/// Gain that a higher target must bring at least.
const GAIN: f64 = 0.01;
/// Gain that cannot be chance: at least this, and this many standard errors. A plain step down of single
/// rows is not believed at once even so: where the backend is shared, the others' steps look like that, and who believes them
/// loses its share.
const CLEAR: (f64, f64) = (0.10, 2.0);
/// Scatter of a count is never taken to be less than this: epochs are few, and a calm minute promises nothing.
const DISPERSION_LEAST: f64 = 0.1;
/// A running probe is decided early by this gain or loss and this many standard errors, from so many rows on.
const EARLY: (f64, f64, f64) = (0.05, 2.5, 100.0);
/// Loss that means the queue is worth having, or shared with others: back to the top.
const LOSS_TOP: f64 = 0.08;
/// Pauses: after an accepted step, between attempts that fail (times 1.5 each, up to the longest), and in probe times.
const PAUSE: (Seconds, Seconds) = (4.0, 120.0);
const PAUSE_TOP: Seconds = 40.0;
const PAUSE_PROBES: (f64, f64) = (12.0, 6.0);
/// Before a step up, and the same after many that failed: past its knee a backend punishes every try.
const PAUSE_UP: (Seconds, Seconds) = (8.0, 40.0);

/// The reference window and the schedule.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    window: VecDeque<(f64, Seconds)>,
    rows: f64,
    /// Throughput of the reference window, and the rows it rests on.
    pub(super) reference: (f64, f64),
    dispersion: f64,
    /// Target and limit to go back to.
    pub(super) before: (Seconds, f64),
    /// When a step down, or another number of lanes, may next be tried.
    pub(super) down_at: Seconds,
    /// When a step up may next be tried.
    pub(super) up_at: Seconds,
    pause: Seconds,
    pause_up: Seconds,
    step: f64,
    big_failed: u32,
    confirming: bool,
    /// The running step down goes to a limit that once let more through.
    pub(super) fewer: bool,
    started: Seconds,
}

// === impl Probe ===

impl Probe {
    pub(super) fn new(target: Seconds, limit: f64) -> Self {
        Self {
            window: VecDeque::new(),
            rows: 0.0,
            reference: (0.0, 0.0),
            dispersion: 0.5,
            before: (target, limit),
            down_at: 2.0,
            up_at: 4.0,
            pause: PAUSE.0,
            pause_up: PAUSE_UP.0,
            step: STEP,
            big_failed: 0,
            confirming: false,
            fewer: false,
            started: 0.0,
        }
    }

    /// Adds an epoch at the present target to the reference.
    pub(super) fn remember(&mut self, rows: f64, span: Seconds) {
        self.window.push_back((rows, span));
        self.rows += rows;
        while let Some(first) = self.window.front()
            && self.rows - first.0 > ROWS
        {
            self.rows -= first.0;
            self.window.pop_front();
        }
    }

    /// Forgets the reference: what it was measured at has changed.
    pub(super) fn forget(&mut self) {
        self.window.clear();
        self.rows = 0.0;
    }

    /// Another regime: probe again soon.
    pub(super) fn on_regime(&mut self, now: Seconds, batched: bool) {
        self.pause = 2.0 * PAUSE.0;
        self.pause_up = PAUSE_UP.0;
        self.big_failed = 0;
        self.down_at = self.down_at.min(now + if batched { 0.5 } else { 8.0 });
        self.up_at = self.up_at.min(now + 1.0);
    }

    /// A step down to a limit that once let more through begins: `reference` is the rate and its rows.
    pub(super) fn begin_fewer(&mut self, now: Seconds, reference: (f64, f64), before: (Seconds, f64)) {
        self.forget();
        (self.reference, self.before) = (reference, before);
        (self.fewer, self.started) = (true, now);
    }

    /// Such a step has ended; after a clear win it is left alone for a while.
    pub(super) fn end_fewer(&mut self, now: Seconds, won: bool) {
        (self.fewer, self.confirming) = (false, false);
        if won {
            self.pause_up = PAUSE_UP.0;
            (self.down_at, self.up_at) = (now + PAUSE.0, now + PAUSE_UP.0);
        }
    }

    /// Fixes the reference and learns how much throughput scatters.
    pub(super) fn refer(&mut self, target: Seconds, limit: f64) {
        let span = self.window.iter().map(|epoch| epoch.1).sum::<f64>().max(1e-9);
        let rate = self.rows / span;
        self.reference = (rate, self.rows);
        self.before = (target, limit);
        if rate > 0.0 && !self.window.is_empty() {
            let scatter = |&(rows, span): &(f64, Seconds)| (rows / span.max(1e-9) - rate).powi(2) * span / rate;
            let found = self.window.iter().map(scatter).sum::<f64>() / self.window.len() as f64;
            self.dispersion += 0.3 * (found.clamp(0.02, 4.0) - self.dispersion);
        }
    }

    /// Standard error of the comparison of the reference with a rate over `rows`.
    fn error(&self, dispersion: f64, rows: f64) -> f64 {
        (dispersion * (1.0 / self.reference.1.max(1.0) + 1.0 / rows.max(1.0))).sqrt()
    }

    /// Variance over the mean of a count of rows, as far as it is known.
    pub(super) fn dispersion(&self) -> f64 {
        self.dispersion.max(DISPERSION_LEAST)
    }

    /// Relative gain of `rate` over the reference.
    pub(super) fn gain(&self, rate: f64) -> f64 {
        if self.reference.0 > 0.0 { rate / self.reference.0 - 1.0 } else { 0.0 }
    }

    /// Whether a running probe has clearly won or lost already, so that it need not be sat out.
    pub(super) fn decided(&self, rate: f64, rows: f64) -> bool {
        let (least, errors, enough) = EARLY;
        rows >= enough && self.gain(rate).abs() > least + errors * self.error(self.dispersion(), rows)
    }

    /// Whether a gain over `rows` cannot be chance.
    pub(super) fn clear(&self, gain: f64, rows: f64) -> bool {
        gain > CLEAR.0.max(CLEAR.1 * self.error(self.dispersion(), rows))
    }

    /// Whether the reference is long enough at `rate`, and latency near enough to the target.
    fn ready(&self, now: Seconds, seen: &Observed, target: Seconds) -> bool {
        now >= self.down_at.min(self.up_at)
            && (seen.latency / target - 1.0).abs() < NEAR
            && self.rows >= ROWS.min(REFERENCE_TIME * seen.rate)
    }
}

// === impl Latch ===

impl Latch {
    /// Starts a probe of lanes or of the target if one is due. True if the limit was moved for it.
    pub(super) fn try_probe(&mut self, now: Seconds, seen: &Observed, target: Seconds) -> bool {
        if self.batched() && self.try_lanes(now, target) {
            return true;
        }
        if self.try_fewer(now) {
            return true;
        }
        if !self.probe.ready(now, seen, target) {
            return false;
        }
        self.probe.refer(self.target.wanted, self.limit);
        if self.batched() && !self.lanes.settled() {
            return now >= self.probe.down_at && self.begin_lanes(now, target);
        }
        if now >= self.probe.up_at && target < UP_BELOW * self.target.highest() {
            let to = (target * STEP * STEP).min(self.target.highest());
            self.begin_probe(now, Phase::ProbeUp, target, to, Reason::ProbeUp);
            return true;
        }
        if now >= self.probe.down_at && !self.at_peak() {
            let big = target > BIG.0 * self.target.lowest() && self.probe.big_failed < BIG.1;
            self.probe.step = if big { STEP_BIG } else { STEP };
            self.begin_probe(now, Phase::ProbeDown, target, target / self.probe.step, Reason::ProbeDown);
            return true;
        }
        false
    }

    fn begin_probe(&mut self, now: Seconds, phase: Phase, from: Seconds, to: Seconds, reason: Reason) {
        self.phase = phase;
        self.probe.fewer = false;
        self.target.wanted = to;
        self.set(self.limit * to / from, reason);
        self.probe.forget();
        self.probe.started = now;
    }
}
