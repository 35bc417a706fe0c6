//! Vegas as in Netflix' concurrency-limits, over windows: keeps an estimated queue between 3 and 6 times log10 of the limit.
//!
//! queue = limit (1 - shortest / mean latency). Below log10 of the limit it grows by 6 steps of log10, below 3 by one, above 6
//! it shrinks by one, as it does on a drop. The shortest latency is measured anew about every 30 x limit windows, with jitter
//! in 0.5..1. Windows are those of `WindowedLimit` by default, 1 s and 10 samples: shorter ones, down to the 0.1 s it
//! allows, are so noisy that the shortest mean of many lies far below the true one, and lose a quarter of the goodput in A2.
//! Source: `VegasLimit`, `WindowedLimit`; Brakmo and Peterson 1994.

use forebay_gate::limiter::{Attempt, Knobs, Limiter, Load, Seconds};

use super::window::{Summary, Window};
use super::{LIMIT_MAX, LIMIT_START, RivalSettings, knobs, log10_step};

/// Windows between two measurements of the shortest latency, in limits.
const PROBE_MULTIPLIER: f64 = 30.0;
/// Seconds of a window.
const WINDOW: Seconds = 1.0;
/// Fewest samples of a window.
const SAMPLES_MIN: usize = 10;

/// Bounds the queue that it believes to stand in the backend.
#[derive(Debug, Clone)]
pub struct Vegas {
    settings: RivalSettings,
    limit: f64,
    shortest: Option<Seconds>,
    window: Window,
    windows_since_probe: f64,
    jitter: f64,
}

// === impl Vegas ===

impl Vegas {
    /// With 20 rows to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self {
            settings: *settings,
            limit: LIMIT_START,
            shortest: None,
            window: Window::default(),
            windows_since_probe: 0.0,
            jitter: 0.75,
        }
    }

    fn decide(&mut self, seen: Summary) {
        self.windows_since_probe += 1.0;
        if let Some(mean) = seen.mean {
            if self.windows_since_probe >= self.jitter * PROBE_MULTIPLIER * self.limit {
                self.probe(mean);
                return;
            }
            if self.shortest.is_none_or(|shortest| mean < shortest) {
                self.shortest = Some(mean);
                return;
            }
        }
        let queue = match (seen.mean, self.shortest) {
            (Some(mean), Some(shortest)) if mean > 0.0 => (self.limit * (1.0 - shortest / mean)).ceil(),
            _ => 0.0,
        };
        self.limit = self.next(queue, seen).clamp(1.0, LIMIT_MAX);
    }

    fn next(&self, queue: f64, seen: Summary) -> f64 {
        let step = log10_step(self.limit);
        if seen.dropped {
            self.limit - step
        } else if seen.in_flight_max * 2.0 < self.limit {
            self.limit
        } else if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else if queue > 6.0 * step {
            self.limit - step
        } else {
            self.limit
        }
    }

    /// Takes `mean` for the latency without load, whatever it is.
    fn probe(&mut self, mean: Seconds) {
        self.shortest = Some(mean);
        self.windows_since_probe = 0.0;
        // The original draws it; a digit of the measurement is as arbitrary and can be repeated.
        self.jitter = 0.5 + 0.5 * (mean * 1e6).fract();
    }
}

impl Limiter for Vegas {
    fn knobs(&self) -> Knobs {
        knobs(self.limit, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        self.window.add(attempt);
        let full = self.window.len() >= SAMPLES_MIN || self.window.dropped();
        if full && self.window.age(attempt.ended) >= WINDOW {
            let seen = self.window.take(attempt.ended);
            self.decide(seen);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        format!("limit {:.1} rows, shortest latency {:.4} s", self.limit, self.shortest.unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;
    use forebay_gate::limiter::Class;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn the_step_depends_on_the_queue() {
        // Limit 20: steps of 1. Shortest latency 0.1, so a mean of 0.1 / (1 - queue / 20) means that queue.
        let table = [(1.0, 26.0), (2.0, 21.0), (4.0, 20.0), (6.0, 20.0), (8.0, 19.0)];
        for (queue, expected) in table {
            let mut vegas = Vegas { shortest: Some(0.1), ..Vegas::new(&SETTINGS) };
            let mean = Some(0.1 / (1.0 - (queue - 0.5) / 20.0));
            vegas.decide(Summary { mean, dropped: false, in_flight_max: 20.0 });
            assert_eq!(vegas.limit, expected, "queue {queue}");
        }
    }

    #[test]
    fn a_drop_cuts_and_an_unused_limit_stays() {
        let table = [(true, 20.0, 19.0), (true, 1.0, 19.0), (false, 9.0, 20.0), (false, 10.0, 26.0)];
        for (dropped, in_flight_max, expected) in table {
            let mut vegas = Vegas { shortest: Some(0.1), ..Vegas::new(&SETTINGS) };
            vegas.decide(Summary { mean: Some(0.1), dropped, in_flight_max });
            assert_eq!(vegas.limit, expected, "{dropped} {in_flight_max}");
        }
    }

    #[test]
    fn finds_the_capacity_of_slots_and_follows_it_down() {
        let mut vegas = Vegas::new(&SETTINGS);
        let mut backend = Loop::new(64.0, 0.05);
        let high = backend.run(&mut vegas, 40.0);
        assert!((60.0..=90.0).contains(&high), "{high}");
        backend.capacity = 16.0;
        let low = backend.run(&mut vegas, 60.0);
        assert!(low < high * 0.6, "{high} -> {low}");
    }

    #[test]
    fn refusals_alone_cut() {
        let mut vegas = Vegas::new(&SETTINGS);
        let mut backend = Loop { class: Class::Overloaded, ..Loop::new(64.0, 0.05) };
        assert!(backend.run(&mut vegas, 8.0) < 15.0);
    }
}
