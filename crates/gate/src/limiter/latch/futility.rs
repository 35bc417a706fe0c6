//! A cut that costs throughput and does not lower latency is undone: what looked like queueing was service time.
//!
//! Without this an objective that the backend cannot meet at any limit starves it down to one call in flight.

use super::super::Seconds;
use super::epoch::Observed;

/// A cut worth remembering keeps less than this of the limit.
const CUT: f64 = 0.93;
/// Latency within this of the target means that cutting worked.
const WORKED: f64 = 1.1;
/// Judged once less than this of the limit is left.
const JUDGED: f64 = 0.75;
/// Latency must have followed the limit with at least this elasticity, and throughput must have kept this root of it.
const ELASTICITY: f64 = 0.3;
const RATE_EXPONENT: f64 = 0.5;
/// Below this share of the limit an objective still missed is taken to be out of reach.
const OUT_OF_REACH: f64 = 0.35;

/// Limit, rate and latency before the first of a series of cuts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Futility {
    before: Option<Before>,
}

#[derive(Debug, Clone, Copy)]
struct Before {
    limit: f64,
    rate: f64,
    latency: Seconds,
}

/// What the cuts so far were worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Nothing to say yet.
    Open,
    /// Latency did not follow, and it is within the objective: go back to `limit`, aim for the latency there is.
    ServiceTime { limit: f64 },
    /// Latency did not follow, and the objective is missed at any limit: stay at `limit` and say so.
    OutOfReach { limit: f64 },
}

// === impl Futility ===

impl Futility {
    /// Judges the cuts that led to `limit`. `proposed` is the law's next limit: if it is the first cut, it is remembered.
    pub(super) fn judge(
        &mut self,
        limit: f64,
        proposed: f64,
        seen: &Observed,
        target: Seconds,
        highest: Seconds,
    ) -> Verdict {
        let Some(before) = self.before else {
            if proposed < CUT * limit && seen.rate > 0.0 {
                self.before = Some(Before { limit, rate: seen.rate, latency: seen.latency });
            }
            return Verdict::Open;
        };
        if seen.latency <= WORKED * target {
            self.before = None;
            return Verdict::Open;
        }
        let kept = limit / before.limit;
        if kept >= JUDGED {
            return Verdict::Open;
        }
        let elasticity = (seen.latency / before.latency.max(1e-9)).ln() / kept.ln();
        if elasticity >= ELASTICITY || seen.rate / before.rate >= kept.powf(RATE_EXPONENT) {
            return Verdict::Open;
        }
        if seen.latency < highest {
            self.before = None;
            return Verdict::ServiceTime { limit: 0.95 * before.limit };
        }
        if kept < OUT_OF_REACH {
            self.before = None;
            return Verdict::OutOfReach { limit: 0.7 * before.limit };
        }
        Verdict::Open
    }
}
