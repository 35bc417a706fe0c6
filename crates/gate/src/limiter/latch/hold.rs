//! The law: from what an epoch showed to the next limit, as a pure function.
//!
//! At the top the cut is proportional to the share of late rows and the growth to the root of the limit; neither remembers
//! anything, which is what makes clients that share a backend end up with equal shares. Below the top the limit follows the
//! ratio of latency and target.

use super::super::Seconds;
use super::decision::Reason;

/// Exponent of the growth below target: at 80 samples latency is known to 11 %, the root halves that noise.
const GROWTH_EXPONENT: f64 = 0.5;
/// Growth at the top and below it, in roots of the limit per two latencies: the root is the noise of a Poisson count, and
/// growth per time (not per epoch) keeps slow and fast clients growing alike.
const ADDITIVE_AT_TOP: f64 = 0.3;
const ADDITIVE: f64 = 0.6;
const ADDITIVE_LEAST: f64 = 0.5;
/// Cut at the top: this times the late share, at most a tenth. The balance of both lies at about 1 % late rows at a limit of 200.
const CUT_PER_LATE: f64 = 2.0;
const CUT_KEEPS: f64 = 0.9;
/// A breach: latency this far above the highest target, with this share of rows late. Below that the gentle law is quicker.
const BREACH: (f64, f64) = (1.15, 0.04);
/// What a breach and a plain excess leave of the limit at least, and the margin below the proportional cut.
const BREACH_KEEPS: f64 = 0.3;
const EXCESS_KEEPS: f64 = 0.7;
const MARGIN: f64 = 0.95;
/// Latency over target from which an excess is cut hard, and below which growth is in proportion.
const EXCESS: f64 = 1.2;
/// Elasticity from which growth is bounded by it: below, bounding it costs more than overshooting a little.
const STEEP: f64 = 1.4;
const SHORT: f64 = 0.8;

/// What the law looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    /// Rows that may be in flight.
    pub(super) limit: f64,
    /// Mean latency of the epoch.
    pub(super) latency: Seconds,
    /// Share of rows behind the late line.
    pub(super) late_share: f64,
    /// Latency to steer for.
    pub(super) target: Seconds,
    /// Highest target that keeps the objective.
    pub(super) highest: Seconds,
    /// Latency that the 99th percentile is steered to.
    pub(super) late_line: Seconds,
    /// Whether the objective binds.
    pub(super) at_top: bool,
    /// Per cent that latency rises by when the limit does by one, at least 1.
    pub(super) elasticity: f64,
    /// Time since the law last moved the limit.
    pub(super) since: Seconds,
}

// === impl View ===

impl View {
    /// Whether the objective is being missed for certain.
    pub(super) fn breached(&self) -> bool {
        self.latency > BREACH.0 * self.highest && self.late_share > BREACH.1
    }

    /// The next limit and why.
    pub(super) fn next(&self) -> (f64, Reason) {
        let ratio = self.latency / self.target;
        let root = self.limit.sqrt();
        let elapsed = (self.since / (2.0 * self.latency.max(1e-3))).clamp(0.5, 4.0);
        let additive = (ADDITIVE * root).max(ADDITIVE_LEAST) * elapsed;
        if self.breached() {
            (self.limit * self.excess(ratio).max(BREACH_KEEPS) * MARGIN, Reason::Breach)
        } else if ratio > EXCESS && !self.at_top {
            (self.limit * self.excess(ratio).powf(1.0 / self.elasticity).max(EXCESS_KEEPS) * MARGIN, Reason::OverTarget)
        } else if ratio < SHORT {
            let grown = self.limit * (1.0 / ratio).powf(GROWTH_EXPONENT) + additive;
            (grown.min(1.5 * self.limit + 1.0).min(self.reach(ratio)), Reason::UnderTarget)
        } else if self.at_top {
            let kept = (1.0 - CUT_PER_LATE * self.late_share).max(CUT_KEEPS);
            (self.limit * kept + ADDITIVE_AT_TOP * root * elapsed, Reason::AtObjective)
        } else if ratio > 1.0 {
            (MARGIN * self.limit * ratio.powf(-1.0 / self.elasticity), Reason::OverTarget)
        } else {
            ((self.limit + additive).min(self.reach(ratio)), Reason::UnderTarget)
        }
    }

    /// Growth that the target has room for where latency is known to follow the limit closely; without bound where it is not, and at
    /// the top, where all clients of a backend must grow alike.
    fn reach(&self, ratio: f64) -> f64 {
        if self.at_top || self.elasticity < STEEP {
            return f64::INFINITY;
        }
        self.limit * ratio.powf(-1.0 / self.elasticity) + ADDITIVE_LEAST
    }

    /// What a proportional cut would keep. Where most rows are late the late line is the better measure: the target rests on
    /// a tail that has just changed.
    fn excess(&self, ratio: f64) -> f64 {
        1.0 / if self.late_share > 0.5 { (self.latency / self.late_line).max(1.0) } else { ratio }
    }
}
