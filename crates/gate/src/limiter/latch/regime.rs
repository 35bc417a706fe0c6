//! Tells when what was learned about a backend no longer holds, so that it is learned anew.

use super::super::Seconds;

/// Throughput that moved by this much (in logarithms), or latency this far above the target, three epochs running.
const ODD: f64 = 0.3;
const HOT: f64 = 1.25;
const RUNNING: u32 = 3;

/// Tells when what was learned about a backend no longer holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Regime {
    rate: f64,
    odd: u32,
    hot: u32,
    /// When the law last moved the limit.
    pub(super) moved_at: Seconds,
}

// === impl Regime ===

impl Regime {
    /// True if throughput has become another.
    pub(super) fn changed(&mut self, rate: f64) -> bool {
        let known = self.rate > 0.0;
        if known && (rate / self.rate).ln().abs() <= ODD {
            self.odd = 0;
            self.rate += 0.1 * (rate - self.rate);
            return false;
        }
        self.odd += 1;
        if known && self.odd < RUNNING {
            return false;
        }
        (self.rate, self.odd) = (rate, 0);
        true
    }

    /// True if the target is no longer reachable by its own law: the knee it was found at is gone.
    pub(super) fn outgrown(&mut self, latency_over_target: f64, breached: bool) -> bool {
        self.hot = if latency_over_target > HOT && !breached { self.hot + 1 } else { 0 };
        if self.hot < RUNNING {
            return false;
        }
        self.hot = 0;
        true
    }
}
