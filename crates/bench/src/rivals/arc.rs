//! Vector's adaptive request concurrency (ARC): a band of 2.5 deviations around the average latency.
//!
//! Once per average latency: one call more if the limit was reached, nothing was refused and the mean is not above the average; times
//! 0.9, rounded down, if something was refused or the mean lies above the band. Average and variance are exponential with
//! weight 0.4. Starts at one call. Refusals give no latency. Source: vectordotdev/vector `adaptive_concurrency`.

use forebay_gate::limiter::{Attempt, Knobs, Limiter, Load, Seconds};

use super::window::{Summary, Window};
use super::{LIMIT_MAX, RivalSettings, knobs};

/// Weight of the latest window in the average.
const WEIGHT: f64 = 0.4;
/// Deviations above the average that are no sign of load.
const DEVIATIONS: f64 = 2.5;
/// What a cut leaves.
const CUT: f64 = 0.9;

/// Grows while latency stays within its usual spread.
#[derive(Debug, Clone)]
pub struct Arc {
    settings: RivalSettings,
    calls: f64,
    average: Option<Seconds>,
    variance: f64,
    window: Window,
}

// === impl Arc ===

impl Arc {
    /// With one call to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self { settings: *settings, calls: 1.0, average: None, variance: 0.0, window: Window::default() }
    }

    fn rows_per_call(&self) -> f64 {
        self.settings.rows_per_call.max(1) as f64
    }

    fn decide(&mut self, seen: Summary) {
        if let Some(average) = self.average {
            let reached = seen.in_flight_max >= self.calls * self.rows_per_call();
            let above = |mean: Seconds| mean >= average + DEVIATIONS * self.variance.sqrt();
            if reached && !seen.dropped && seen.mean.is_some_and(|mean| mean <= average) {
                self.calls += 1.0;
            } else if seen.dropped || seen.mean.is_some_and(above) {
                self.calls = (self.calls * CUT).floor();
            }
            self.calls = self.calls.clamp(1.0, (LIMIT_MAX / self.rows_per_call()).max(1.0));
        }
        if let Some(mean) = seen.mean {
            self.learn(mean);
        }
    }

    fn learn(&mut self, mean: Seconds) {
        let Some(average) = self.average else {
            self.average = Some(mean);
            return;
        };
        let difference = mean - average;
        let step = WEIGHT * difference;
        self.average = Some(average + step);
        self.variance = (1.0 - WEIGHT) * (self.variance + difference * step);
    }
}

impl Limiter for Arc {
    fn knobs(&self) -> Knobs {
        knobs(self.calls * self.rows_per_call(), &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        self.window.add(attempt);
        if self.window.age(attempt.ended) >= self.average.unwrap_or(0.0) {
            let seen = self.window.take(attempt.ended);
            self.decide(seen);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        let (average, deviation) = (self.average.unwrap_or(0.0), self.variance.sqrt());
        format!("{} calls, latency {average:.4} s, deviation {deviation:.4} s", self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn a_window_adds_one_or_cuts_a_tenth() {
        // Average 0.1, deviation 0.01: the band ends at 0.125.
        let table = [
            (Some(0.1), false, 20.0, 21.0),
            (Some(0.1), false, 19.0, 20.0),
            (Some(0.11), false, 20.0, 20.0),
            (Some(0.13), false, 20.0, 18.0),
            (Some(0.1), true, 20.0, 18.0),
            (None, true, 20.0, 18.0),
            (None, false, 20.0, 20.0),
        ];
        for (mean, dropped, in_flight_max, expected) in table {
            let mut arc = Arc { calls: 20.0, average: Some(0.1), variance: 1e-4, ..Arc::new(&SETTINGS) };
            arc.decide(Summary { mean, dropped, in_flight_max });
            assert_eq!(arc.calls, expected, "{mean:?} {dropped} {in_flight_max}");
        }
    }

    #[test]
    fn grows_from_one_call_by_at_most_one_a_round_trip() {
        let mut arc = Arc::new(&SETTINGS);
        let after = Loop::new(1_000.0, 0.05).run(&mut arc, 1.0);
        assert!((5.0..=21.0).contains(&after), "{after}");
    }

    #[test]
    fn a_sudden_slow_down_cuts() {
        let mut arc = Arc::new(&SETTINGS);
        let mut backend = Loop::new(40.0, 0.05);
        let high = backend.run(&mut arc, 20.0);
        backend.capacity = 8.0;
        let low = backend.run(&mut arc, 1.0);
        assert!(low < high, "{high} -> {low}");
    }
}
