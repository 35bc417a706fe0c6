//! A limit that never moves: what users set by hand today, and the base line of the benchmarks.

use super::{Attempt, Knobs, Limiter, Load, Seconds};

/// Allows the same for ever.
#[derive(Debug, Clone)]
pub struct Fixed {
    knobs: Knobs,
}

// === impl Fixed ===

impl Fixed {
    /// `calls_max` calls in flight of `rows_max` rows each, both at least 1, that wait up to `linger` to be full.
    pub fn new(calls_max: usize, rows_max: usize, linger: Seconds) -> Self {
        let knobs = Knobs { calls_max: calls_max.max(1), rows_max: rows_max.max(1), linger, pace: f64::INFINITY };
        Self { knobs }
    }
}

impl Limiter for Fixed {
    fn knobs(&self) -> Knobs {
        self.knobs
    }

    fn on_end(&mut self, _attempt: &Attempt) {}

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}
}
