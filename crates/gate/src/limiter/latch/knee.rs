//! Leaves a knee that was passed: goes back to where fewer in flight let more rows through, once it is sure that they still do.
//!
//! What the curve promises is tried like any step down, but at once, and kept only for a clear win. A backend that shrank
//! meanwhile gives none, and the curve is learned anew.

use super::super::Seconds;
use super::decision::Reason;
use super::epoch::Observed;
use super::{Latch, Phase};

/// Latency at the better limit times this is the target: less would starve on noise, more goes over the knee again.
const ROOM: f64 = 1.1;
/// Elasticity at least, where more in flight is known to let fewer through: latency then rises more than in proportion.
const ELASTICITY: f64 = 1.5;

// === impl Latch ===

impl Latch {
    /// Goes where fewer in flight let clearly more through, to see whether they still do. True if the limit was moved for it.
    pub(super) fn try_fewer(&mut self, now: Seconds) -> bool {
        let better = self.curve.better_below(self.limit, self.probe.dispersion());
        let (Some(here), Some(better)) = (self.curve.at(self.limit), better) else {
            return false;
        };
        self.probe.begin_fewer(now, (here.rate(), here.rows), (self.target.wanted, self.limit));
        self.phase = Phase::ProbeDown;
        self.target.wanted = ROOM * better.latency();
        self.set(better.limit, Reason::FewerTried);
        true
    }

    /// The limit that once let more through has its epoch.
    pub(super) fn end_fewer(&mut self, now: Seconds, seen: &Observed, gain: f64) {
        let won = self.probe.clear(gain, seen.rows);
        self.probe.end_fewer(now, won);
        if won {
            self.target.wanted = ROOM * seen.latency;
            return;
        }
        // The backend is no longer the one those points were measured at.
        self.curve.clear();
        self.target.wanted = self.probe.before.0;
        self.set(self.probe.before.1, Reason::ProbeUndone);
    }

    /// Whether more in flight let clearly fewer through.
    pub(super) fn falls_above(&self) -> bool {
        self.curve.falls_above(self.limit, self.probe.dispersion())
    }

    /// Whether both more and fewer in flight let clearly fewer through: there is nothing to look for.
    pub(super) fn at_peak(&self) -> bool {
        self.falls_above() && self.curve.falls_below(self.limit, self.probe.dispersion())
    }

    /// How strongly latency follows the limit.
    pub(super) fn elasticity(&self) -> f64 {
        self.elasticity.get().max(if self.falls_above() { ELASTICITY } else { 1.0 })
    }
}
