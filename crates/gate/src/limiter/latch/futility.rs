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
/// Latency that rose by this much although the limit fell tells of a backend that got slower: the comparison starts anew.
const WORSE: f64 = 1.2;
/// Below this share of the limit an objective still missed is likely out of reach: more cutting would only starve.
const MISSED: f64 = 0.35;
/// And what it then goes back to. At the least limit, where there is nothing left to cut, it is out of reach for certain, if so
/// many epochs say so.
const GOES_BACK: f64 = 0.7;
const LEAST: f64 = 1.5;
const LEAST_EPOCHS: u32 = 3;

/// Limit, rate and latency before the first of a series of cuts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Futility {
    before: Option<Before>,
    at_least: u32,
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
    /// Latency did not follow, and the objective is missed: do not go further down for now, but back to `limit`.
    Missed { limit: f64 },
    /// The objective is missed with nothing left to cut.
    OutOfReach,
}

// === impl Futility ===

impl Futility {
    /// The brake is about to cut, which is no law's cut but may be as futile.
    pub(super) fn on_brake(&mut self, limit: f64, rate: f64, latency: Seconds) {
        if self.before.is_none() && rate > 0.0 && latency > 0.0 {
            self.before = Some(Before { limit, rate, latency });
        }
    }

    /// Judges the cuts that led to `limit`. `proposed` is the law's next limit: if it is the first cut, it is remembered.
    pub(super) fn judge(
        &mut self,
        limit: f64,
        proposed: f64,
        seen: &Observed,
        target: Seconds,
        highest: Seconds,
    ) -> Verdict {
        self.at_least = if limit < LEAST && seen.latency > highest { self.at_least + 1 } else { 0 };
        if self.at_least >= LEAST_EPOCHS {
            *self = Self::default();
            return Verdict::OutOfReach;
        }
        // A limit that has grown back has no cuts to judge.
        self.before = self.before.filter(|before| limit < CUT * before.limit || proposed < CUT * limit);
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
        if seen.latency > WORSE * before.latency && seen.rate > 0.0 {
            self.before = Some(Before { limit, rate: seen.rate, latency: seen.latency });
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
        if kept < MISSED {
            self.before = None;
            return Verdict::Missed { limit: GOES_BACK * before.limit };
        }
        Verdict::Open
    }
}
