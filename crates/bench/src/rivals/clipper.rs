//! Clipper's batch size: additive increase, small multiplicative decrease against the objective, at a fixed number of calls.
//!
//! Two rows more after a full batch within the objective, times 0.9 after one that was late or failed, half after one that was
//! too large. Two calls in flight, so that the next batch waits at the backend while one runs; a wait of 5 ms for rows.
//! Source: Crankshaw et al., Clipper: A Low-Latency Online Prediction Serving System, NSDI 2017, section 4.3.

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::{LIMIT_MAX, RivalSettings};

/// Calls in flight.
const CALLS: usize = 2;
/// Rows that a batch in time adds.
const STEP: f64 = 2.0;
/// What a late batch leaves.
const CUT: f64 = 0.9;
/// How long a batch waits to be full.
const LINGER: Seconds = 0.005;

/// Moves the rows of a call, never the number of calls.
#[derive(Debug, Clone)]
pub struct Clipper {
    objective: Seconds,
    rows: f64,
    moved_at: Seconds,
}

// === impl Clipper ===

impl Clipper {
    /// With 4 rows a call to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self { objective: settings.objective, rows: 4.0, moved_at: f64::NEG_INFINITY }
    }
}

impl Limiter for Clipper {
    fn knobs(&self) -> Knobs {
        Knobs { calls_max: CALLS, rows_max: self.rows as usize, linger: LINGER, pace: f64::INFINITY }
    }

    fn on_end(&mut self, attempt: &Attempt) {
        // A batch of an older size says nothing about the present one.
        if attempt.class == Class::Cancelled || attempt.sent < self.moved_at {
            return;
        }
        self.moved_at = attempt.ended;
        if attempt.class == Class::TooLarge {
            self.rows *= 0.5;
        } else if attempt.class != Class::Answered || attempt.latency() > self.objective {
            self.rows *= CUT;
        } else if attempt.rows as f64 >= self.rows.floor() {
            self.rows += STEP;
        }
        self.rows = self.rows.clamp(1.0, LIMIT_MAX);
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        format!("{:.1} rows a call", self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 16, linger: 0.01 };

    #[test]
    fn a_batch_moves_the_size() {
        let table = [
            (Class::Answered, 0.1, 40, 42.0),
            (Class::Answered, 0.1, 39, 40.0),
            (Class::Answered, 0.3, 40, 36.0),
            (Class::Overloaded, 0.1, 40, 36.0),
            (Class::TooLarge, 0.1, 40, 20.0),
            (Class::Cancelled, 0.3, 40, 40.0),
        ];
        for (class, latency, rows, expected) in table {
            let mut clipper = Clipper { rows: 40.0, ..Clipper::new(&SETTINGS) };
            clipper.on_end(&Attempt { sent: 0.0, ended: latency, class, rows, in_flight: 40.0 });
            assert!((clipper.rows - expected).abs() < 1e-9, "{class:?} {latency} {rows}: {}", clipper.rows);
        }
    }

    #[test]
    fn moves_once_for_the_calls_of_one_size() {
        let mut clipper = Clipper::new(&SETTINGS);
        for ended in [0.1, 0.11] {
            clipper.on_end(&Attempt { sent: 0.0, ended, class: Class::Answered, rows: 4, in_flight: 8.0 });
        }
        assert_eq!(clipper.knobs().rows_max, 6);
    }
}
