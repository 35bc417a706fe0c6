//! Additive increase, multiplicative decrease: TCP's congestion avoidance, and the law of Flink's async sinks (FLIP-242).
//!
//! One row more per round trip while at least half of the limit is used; times 0.9 (the ratio of Netflix' AIMDLimit; TCP's
//! 0.5 only makes it worse) on a refusal, on a loss, or when an answer took longer than the objective, at most once per
//! round trip. Source: Chiu and Jain 1989; RFC 5681; FLIP-242 and `AIMDScalingStrategy`; Netflix concurrency-limits.

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::{LIMIT_MAX, LIMIT_START, RivalSettings, is_drop, knobs};

/// The share of the limit that a cut leaves.
const CUT: f64 = 0.9;

/// Grows by one per round trip, cuts by a tenth.
#[derive(Debug, Clone)]
pub struct Aimd {
    settings: RivalSettings,
    limit: f64,
    cut_at: Seconds,
}

// === impl Aimd ===

impl Aimd {
    /// With 20 rows to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self { settings: *settings, limit: LIMIT_START, cut_at: f64::NEG_INFINITY }
    }
}

impl Limiter for Aimd {
    fn knobs(&self) -> Knobs {
        knobs(self.limit, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        if attempt.class == Class::Cancelled {
            return;
        }
        if is_drop(attempt.class) || attempt.latency() > self.settings.objective {
            // Sent before the last cut: it tells of the limit that was already cut.
            if attempt.sent >= self.cut_at {
                self.limit = (self.limit * CUT).max(1.0);
                self.cut_at = attempt.ended;
            }
        } else if attempt.in_flight * 2.0 >= self.limit {
            self.limit = (self.limit + attempt.rows as f64 / self.limit).min(LIMIT_MAX);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        format!("limit {:.1} rows", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn grows_by_one_a_round_trip() {
        let mut aimd = Aimd::new(&SETTINGS);
        let mut backend = Loop::new(1_000.0, 0.1);
        let after = backend.run(&mut aimd, 1.0);
        assert!((28.0..=32.0).contains(&after), "{after}");
    }

    #[test]
    fn stays_at_the_edge_of_the_objective() {
        let mut aimd = Aimd::new(&SETTINGS);
        // 40 rows meet the objective exactly.
        let after = Loop::new(10.0, 0.05).run(&mut aimd, 60.0);
        assert!((34.0..=42.0).contains(&after), "{after}");
    }

    #[test]
    fn cuts_once_a_round_trip() {
        let table =
            [(Class::Throttled, 18.0), (Class::Overloaded, 18.0), (Class::Timeout, 18.0), (Class::Cancelled, 20.0)];
        for (class, expected) in table {
            let mut aimd = Aimd::new(&SETTINGS);
            for _ in 0..20 {
                aimd.on_end(&Attempt { sent: 0.0, ended: 0.1, class, rows: 1, in_flight: 20.0 });
            }
            assert!((aimd.limit - expected).abs() < 1e-9, "{class:?}: {}", aimd.limit);
        }
    }

    #[test]
    fn an_unused_limit_does_not_grow() {
        let mut aimd = Aimd::new(&SETTINGS);
        let mut backend = Loop { used: 0.4, ..Loop::new(1_000.0, 0.1) };
        assert_eq!(backend.run(&mut aimd, 5.0), 20.0);
    }
}
