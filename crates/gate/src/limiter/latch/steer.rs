//! What each tick does: bounds first, then the brake, then the epoch, and at its end the phase's own decision.

use super::super::{Load, Seconds};
use super::ceiling::Refusal;
use super::decision::Reason;
use super::epoch::{Need, Observed};
use super::futility::Verdict;
use super::hold::View;
use super::{Hint, Latch, Phase, breaker, duration, probe, start};

/// Rows of an epoch: the mean is known to 11 %. A few do in slow start, more than that for lanes.
const ROWS: f64 = 80.0;
const ROWS_START: f64 = 12.0;
const ROWS_LANES: f64 = 60.0;
/// Calls of an epoch where each carries a batch, in lanes: hold, start, probes of lanes, probes of the target; at least two.
const CALLS: f64 = 1.5;
const CALLS_START: f64 = 1.0;
const CALLS_LANES: f64 = 2.0;
const CALLS_PROBE: f64 = 5.0;
/// Least span of an epoch in latencies and seconds, and the time after which it ends in any case.
const SPAN: (f64, Seconds) = (0.75, 0.03);
const SPAN_MAX: (f64, Seconds) = (3.0, 1.0);
const SPAN_MAX_PROBE: (f64, Seconds) = (6.0, 6.0);
/// Below this share of the limit in flight the application is what limits: nothing can be learned about growth.
const USED: f64 = 0.75;
/// An unused limit follows the peak in flight: not below this many times it plus some rows, a little each epoch.
const UNUSED: (f64, f64, f64) = (2.5, 4.0, 0.95);
const PEAK_DECAY: f64 = 0.98;
/// An episode: this share of at least so many rows misses the objective.
const EPISODE: (f64, f64) = (0.1, 10.0);
/// How long a limit that misses the objective, and that cutting did not help, is left alone.
const REST: Seconds = 10.0;
/// Refusals are judged over a latency, at least this time and this many attempts.
const REFUSALS: (Seconds, f64) = (0.1, 10.0);

// === impl Latch ===

impl Latch {
    pub(super) fn steer(&mut self, now: Seconds, load: Load) {
        if self.breaker() != breaker::State::Closed {
            // Something is in flight: the one call was sent.
            if self.breaker() == breaker::State::HalfOpen && load.in_flight > 0.0 {
                self.breaker.allows(duration(now));
            }
            return;
        }
        if let Some(reason) = self.pacer.on_tick(now) {
            self.decisions.add(now, reason, self.limit, self.limit);
        }
        if self.memory.on_tick(now) {
            self.decisions.add(now, Reason::MemoryRegrown, self.limit, self.limit);
        }
        self.ceiling.on_tick(now);
        if self.judge_refusals(now) || self.brake_if_due(now, &load) {
            return;
        }
        if !self.epoch.running() {
            if self.epoch.may_start(now, self.limit, self.batched()) {
                self.epoch.start(now, load.row_seconds);
            }
            return;
        }
        if !self.epoch_over(now) {
            return;
        }
        if self.epoch.rows() > 0.0 || load.in_flight > 0.0 {
            self.evaluate(now, load.row_seconds);
        } else {
            self.epoch.abandon(now);
        }
    }

    fn judge_refusals(&mut self, now: Seconds) -> bool {
        if self.epoch.refused <= 0.0 || !self.epoch.running() || self.ceiling.ignores(now) {
            return false;
        }
        let elapsed = self.epoch.elapsed(now);
        if elapsed <= self.latency.max(REFUSALS.0) || self.epoch.attempts() < REFUSALS.1 {
            return false;
        }
        self.epoch.refused = 0.0;
        let rate = self.epoch.rows() / elapsed;
        match self.ceiling.on_epoch(now, self.limit, rate, self.tail.mean()) {
            Refusal::Cut(limit) => {
                self.fall_back();
                self.probe.before.1 = limit;
                self.set(limit, Reason::Refused);
            }
            Refusal::Futile(limit) => {
                self.fall_back();
                self.set(limit, Reason::RefusedAnyway);
            }
            Refusal::Keep => {}
        }
        true
    }

    fn brake_if_due(&mut self, now: Seconds, load: &Load) -> bool {
        let batched = self.batched();
        let Some(keeps) = self.brake.due(now, self.target.objective(), self.target.highest(), batched) else {
            return false;
        };
        self.tail.mute(now, self.latency);
        if self.phase != Phase::Start {
            self.target.on_episode(now);
        }
        self.futility.on_brake(self.limit, self.rate, self.latency);
        self.fall_back();
        self.set(load.in_flight.min(self.limit) * keeps, Reason::Emergency);
        self.brake.clear();
        true
    }

    fn need(&self) -> Need {
        use Phase::{Hold, LaneDown, LaneReference, LaneSearch, LaneUp, ProbeDown, ProbeUp, Start};
        let (rows, instants, calls, span_max) = match self.phase {
            LaneSearch | Start => (ROWS_START, 2.0, CALLS_START, SPAN_MAX),
            Hold => (ROWS, 4.0, CALLS, SPAN_MAX),
            LaneReference | LaneUp | LaneDown => (ROWS_LANES, 4.0, CALLS_LANES, SPAN_MAX_PROBE),
            ProbeUp | ProbeDown => (probe::ROWS, 4.0, CALLS_PROBE, SPAN_MAX_PROBE),
        };
        let count = if self.batched() { (calls * self.lanes.count as f64).max(2.0) } else { rows };
        let span = (SPAN.0 * self.latency).max(SPAN.1);
        Need { count, instants, span, span_max: (span_max.0 * self.latency).max(span_max.1) }
    }

    fn epoch_over(&self, now: Seconds) -> bool {
        let need = self.need();
        if self.epoch.elapsed(now) >= need.span_max || self.epoch.enough(&need, self.batched()) {
            return true;
        }
        let probing = matches!(self.phase, Phase::ProbeUp | Phase::ProbeDown) && !self.batched();
        let (rate, rows, instants) = self.epoch.so_far();
        probing && instants >= 8.0 && self.epoch.answered_span() >= 2.0 * need.span && self.probe.decided(rate, rows)
    }

    fn evaluate(&mut self, now: Seconds, row_seconds: f64) {
        let lanes = self.batched().then_some(self.lanes.count);
        let seen = self.epoch.finish(now, row_seconds, self.latency, lanes);
        let weight = if self.latency > 0.0 { 0.5 } else { 1.0 };
        self.latency += weight * (seen.latency - self.latency);
        self.rate = seen.rate;
        if seen.rows >= EPISODE.1 && seen.missed > EPISODE.0 * seen.rows && self.phase != Phase::Start {
            self.target.on_episode(now);
        }
        let ratio = self.tail.ratio(now, self.latency);
        self.target.on_epoch(now, seen.latency, ratio);
        self.in_flight_peak = (PEAK_DECAY * self.in_flight_peak).max(seen.in_flight);
        if seen.in_flight < USED * self.usable() {
            return self.unused(&seen);
        }
        if !self.batched() {
            self.curve.add(now, self.limit, &seen, self.probe.dispersion());
        }
        match self.phase {
            Phase::LaneSearch => self.search_lanes(now, &seen),
            Phase::Start => self.slow_start(now, &seen),
            Phase::Hold => self.hold(now, &seen),
            Phase::LaneReference => self.end_lane_reference(now, &seen),
            Phase::LaneUp | Phase::LaneDown => self.end_lanes(now, &seen),
            Phase::ProbeUp | Phase::ProbeDown => self.end_probe(now, &seen),
        }
    }

    /// The application limits, not we: never grow (the limit would be a fiction when the burst comes), shrink slowly.
    fn unused(&mut self, seen: &Observed) {
        self.fall_back();
        let target = self.target.effective();
        let least = UNUSED.0 * self.in_flight_peak + UNUSED.1;
        if seen.latency > 1.1 * target && seen.in_flight > 1.0 {
            self.set(seen.in_flight * (target / seen.latency).max(0.5), Reason::SlowWhileIdle);
        } else if self.limit > least {
            let limit = (UNUSED.2 * self.limit).max(least);
            self.decisions.add(self.now, Reason::Unused, self.limit, limit);
            self.limit = limit;
        }
    }

    fn hold(&mut self, now: Seconds, seen: &Observed) {
        self.probe.remember(seen.rows, seen.span);
        if !self.batched() {
            self.elasticity.add(self.limit, seen.latency);
        }
        let view = self.view(now, seen);
        if view.breached() {
            self.tail.mute(now, self.latency);
        }
        if self.regime.outgrown(seen.latency / view.target, view.breached()) {
            self.target.wanted = self.target.objective();
        }
        if self.regime.changed(seen.rate) {
            self.probe.on_regime(now, self.batched());
            self.lanes.unsettle();
        }
        self.regime.moved_at = now;
        let proposed = self.reading.bound(now, self.limit, view.next());
        let verdict = self.futility.judge(self.limit, proposed.0, seen, view.target, view.highest);
        if self.undo_futile(now, verdict, seen.latency) {
            return;
        }
        if now < self.rest_until || self.try_probe(now, seen, view.target) {
            return;
        }
        self.set(proposed.0, proposed.1);
        self.settled = Some(self.learned());
    }

    /// Goes back where cutting did not help. True if the limit was moved for it.
    fn undo_futile(&mut self, now: Seconds, verdict: Verdict, latency: Seconds) -> bool {
        match verdict {
            Verdict::Open => return false,
            Verdict::ServiceTime { limit } => {
                self.target.wanted = 1.25 * latency;
                self.set(limit, Reason::CutFutile);
            }
            Verdict::Missed { limit } => {
                self.target.wanted = 1.1 * latency;
                self.target.forget_lowest(now, 1.15 * latency);
                self.rest_until = now + REST;
                self.set(limit, Reason::Missed);
            }
            Verdict::OutOfReach => {
                let ratio = self.tail.ratio(now, self.latency);
                self.target.stretch(now, latency, ratio);
                self.set(start::ROWS, Reason::OutOfReach);
            }
        }
        self.probe.forget();
        true
    }

    fn learned(&self) -> Hint {
        let calls = if self.batched() { self.lanes.count } else { self.limit.round() as usize };
        Hint { rows_in_flight: self.limit, calls, rows_max: self.memory.rows_allowed() }
    }

    fn view(&self, now: Seconds, seen: &Observed) -> View {
        View {
            limit: self.limit,
            latency: seen.latency,
            late_share: seen.late_share(),
            target: self.target.effective(),
            highest: self.target.highest(),
            late_line: self.target.late_line(),
            at_top: self.target.at_top(),
            elasticity: self.elasticity(),
            since: now - self.regime.moved_at,
        }
    }
}
