//! The only ways to move the limit, each with what follows for the measurement.

use super::super::Seconds;
use super::{Latch, Phase, Reason};

/// A change of the limit by more than this takes a while to show; by less, measuring goes on at once.
const VISIBLE_CHANGE: f64 = 0.1;

// === impl Latch ===

impl Latch {
    /// Highest limit that the settings, the lanes and the backend's memory allow.
    pub(super) fn limit_max(&self) -> f64 {
        let calls = if self.batched() { self.lanes.count } else { self.settings.calls_max };
        (self.memory.rows_allowed() as f64 * calls as f64).max(1.0)
    }

    /// Rows of a call, where calls carry batches.
    pub(super) fn rows_per_call(&self) -> usize {
        let rows = (self.limit / self.lanes.count.max(1) as f64).round();
        (rows as usize).clamp(1, self.memory.rows_allowed())
    }

    /// Rows that could be in flight: whole ones, less those whose permits are held back. A limit of 1.4 is used in full by one,
    /// and one of 5.9 in four calls by four.
    pub(super) fn usable(&self) -> f64 {
        if self.batched() {
            return self.limit.min((self.rows_per_call() * self.lanes.count) as f64);
        }
        (self.limit.round() - self.ceiling.quarantined() as f64).max(1.0)
    }

    /// Moves the limit within its bounds. A visible change begins a new epoch after its effect shows.
    pub(super) fn set(&mut self, limit: f64, reason: Reason) {
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
    pub(super) fn jump(&mut self, now: Seconds, limit: f64, reason: Reason) {
        self.decisions.add(now, reason, self.limit, limit);
        self.limit = limit.max(1.0);
        self.resettle(now);
    }

    /// The limit moved visibly: what comes back for a while is not of it.
    pub(super) fn resettle(&mut self, now: Seconds) {
        self.epoch.settle(now, self.latency);
        self.tail.mute(now, self.latency);
    }

    /// Gives up whatever is being tried.
    pub(super) fn fall_back(&mut self) {
        match self.phase {
            Phase::LaneReference | Phase::LaneUp | Phase::LaneDown => self.lanes.abandon(),
            Phase::ProbeUp | Phase::ProbeDown => {
                self.target.wanted = self.probe.before.0;
                self.probe.fewer = false;
            }
            Phase::Start | Phase::LaneSearch => self.target.wanted = self.target.objective(),
            Phase::Hold => {}
        }
        self.phase = Phase::Hold;
        self.probe.forget();
        self.step = None;
    }
}
