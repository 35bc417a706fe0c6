//! From what was decided to what may be sent, and the sentence that explains it.

use super::super::{Knobs, Seconds};
use super::{Latch, Reason, breaker, duration};

/// Linger: this share of the latency to spare, at most so long.
const LINGER_SHARE: f64 = 0.1;
const LINGER_MAX: Seconds = 0.02;

// === impl Latch ===

impl Latch {
    /// What may be sent now. Never nothing, unless the breaker is open.
    pub(super) fn allowed(&self) -> Knobs {
        let (pace, rows_max, linger) = (self.pacer.pace, 1, 0.0);
        match self.breaker.state(duration(self.now)) {
            breaker::State::Open => return Knobs { calls_max: 0, rows_max, linger, pace },
            breaker::State::HalfOpen => {
                let calls_max = (1 + self.breaker.lost() as usize).min(self.settings.calls_max);
                return Knobs { calls_max, rows_max, linger, pace };
            }
            breaker::State::Closed => {}
        }
        let (calls, rows_max, linger) = if self.batched() {
            let spare = LINGER_SHARE * (self.target.highest() - self.latency);
            (self.lanes.count, self.rows_per_call(), spare.clamp(0.0, LINGER_MAX))
        } else {
            (self.limit.round().max(1.0) as usize, 1, 0.0)
        };
        let held_back = self.ceiling.quarantined();
        // A limiter that may not send at all never learns that it may again: the last permit is slowed down instead.
        let pace = if held_back >= calls { pace.min(1.0 / self.tail.mean().max(1e-3)) } else { pace };
        Knobs { calls_max: calls.saturating_sub(held_back).max(1), rows_max, linger, pace }
    }

    /// Why that and not more, in one line.
    pub(super) fn explain(&self) -> String {
        let knobs = self.allowed();
        let reason = self.decisions.iter().next_back().map_or(Reason::Began, |decision| decision.reason);
        let pace = if knobs.pace.is_finite() { format!(", {:.0} calls/s at most", knobs.pace) } else { String::new() };
        format!(
            "limit {} calls of {} rows{pace}: {reason}; latency {:.3} s, target {:.3} s of objective {:.3} s, {:.1} rows/s",
            knobs.calls_max,
            knobs.rows_max,
            self.latency,
            self.target.effective(),
            self.settings.objective,
            self.rate,
        )
    }
}
