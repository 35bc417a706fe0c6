//! The adaptive limiter of failsafe-go: Vegas' bands around a 0.9 quantile, held back by what more in flight brought before.
//!
//! Windows of twice the shortest latency within 1..30 s and at least 50 answers. The quantile passes a median of 5 and an average
//! over 5, the base line is an average of that over 10. queue = limit (1 - base / recent): above 6 log10 of the limit it
//! shrinks by log10, below 3 it grows by it. While full it also shrinks if throughput fell with more in flight over the last
//! 50 windows, or if latency rose with it and throughput hardly did. Never above 5 times what was in flight. Drops are not
//! recorded. Source: `adaptivelimiter.go` and its documentation.

use std::collections::VecDeque;

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::window::{Average, Correlated, Correlation, Window};
use super::{LIMIT_MAX, LIMIT_START, RivalSettings, knobs, log10_step};

/// The quantile of latency that is looked at.
const QUANTILE: f64 = 0.9;
/// Fewest answers of a window.
const SAMPLES_MIN: usize = 50;
/// Windows that the median and the recent average span.
const SMOOTHED: usize = 5;
/// Windows that the base line spans.
const BASE_WINDOWS: u32 = 10;
/// Windows that the correlations span.
const CORRELATED: usize = 50;
/// The limit is at most this often what is in flight.
const IN_FLIGHT_FACTOR: f64 = 5.0;

/// Vegas with a memory of what did not help.
#[derive(Debug, Clone)]
pub struct Failsafe {
    settings: RivalSettings,
    limit: f64,
    window: Window,
    next_update: Seconds,
    median: VecDeque<Seconds>,
    recent: Average,
    base: Average,
    throughput: Correlation,
    latency: Correlation,
}

// === impl Failsafe ===

impl Failsafe {
    /// With 20 rows to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self {
            settings: *settings,
            limit: LIMIT_START,
            window: Window::default(),
            next_update: 0.0,
            median: VecDeque::new(),
            recent: Average::new(SMOOTHED as u32),
            base: Average::new(BASE_WINDOWS),
            throughput: Correlation::new(CORRELATED),
            latency: Correlation::new(CORRELATED),
        }
    }

    /// The median of the last five, once there are five.
    fn filtered(&mut self, sample: Seconds) -> Seconds {
        if self.median.len() >= SMOOTHED {
            self.median.pop_front();
        }
        self.median.push_back(sample);
        if self.median.len() < SMOOTHED {
            return sample;
        }
        let mut sorted: Vec<Seconds> = self.median.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[SMOOTHED / 2]
    }

    fn decide(&mut self, quantile: Seconds, in_flight: f64) {
        let filtered = self.filtered(quantile);
        let recent = self.recent.add(filtered);
        let base = self.base.add(recent);
        if recent <= 0.0 {
            return;
        }
        let queue = (self.limit * (1.0 - base / recent)).ceil();
        let throughput = self.throughput.add(in_flight, in_flight / recent);
        let latency = self.latency.add(in_flight, recent);
        let full = in_flight + self.settings.rows_per_call.max(1) as f64 > self.limit;
        let step = log10_step(self.limit);
        let mut next = self.limit + step * direction(queue, step, full, throughput, latency);
        if next > in_flight * IN_FLIGHT_FACTOR {
            next = self.limit - step;
        }
        self.limit = next.clamp(1.0, LIMIT_MAX);
    }
}

/// +1 to grow, -1 to shrink, 0 to hold.
fn direction(queue: f64, step: f64, full: bool, throughput: Correlated, latency: Correlated) -> f64 {
    let useless = latency.coefficient > 0.5 && (throughput.coefficient < 0.3 || throughput.y_variation < 0.2);
    if queue > 6.0 * step || (full && (throughput.coefficient < 0.0 || useless)) {
        -1.0
    } else if queue < 3.0 * step {
        1.0
    } else {
        0.0
    }
}

impl Limiter for Failsafe {
    fn knobs(&self) -> Knobs {
        knobs(self.limit, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        if attempt.class != Class::Answered {
            return;
        }
        self.window.add(attempt);
        let now = attempt.ended;
        if now <= self.next_update || self.window.len() < SAMPLES_MIN {
            return;
        }
        let quantile = self.window.quantile(QUANTILE).unwrap_or(0.0);
        let (shortest, in_flight) = (self.window.min().unwrap_or(0.0), self.window.in_flight_max());
        self.decide(quantile, in_flight);
        self.window.clear(now);
        self.next_update = now + (2.0 * shortest).clamp(1.0, 30.0);
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
    fn the_direction_follows_queue_and_correlations() {
        let pair = |coefficient, y_variation| Correlated { coefficient, y_variation };
        let table = [
            (0.0, true, pair(0.0, 0.0), pair(0.0, 0.0), 1.0),
            (4.0, true, pair(0.0, 0.0), pair(0.0, 0.0), 0.0),
            (7.0, false, pair(0.9, 0.5), pair(0.0, 0.0), -1.0),
            (0.0, true, pair(-0.1, 0.5), pair(0.0, 0.0), -1.0),
            (0.0, false, pair(-0.1, 0.5), pair(0.0, 0.0), 1.0),
            (0.0, true, pair(0.2, 0.5), pair(0.6, 0.5), -1.0),
            (0.0, true, pair(0.9, 0.1), pair(0.6, 0.5), -1.0),
            (0.0, true, pair(0.9, 0.5), pair(0.6, 0.5), 1.0),
        ];
        for (queue, full, throughput, latency, expected) in table {
            assert_eq!(
                direction(queue, 1.0, full, throughput, latency),
                expected,
                "{queue} {full} {throughput:?} {latency:?}"
            );
        }
    }

    #[test]
    fn grows_on_a_free_backend_and_not_beyond_five_times_what_is_used() {
        let mut law = Failsafe::new(&SETTINGS);
        let after = Loop::new(1_000.0, 0.05).run(&mut law, 30.0);
        assert!((40.0..=55.0).contains(&after), "{after}");
        let mut idle = Failsafe::new(&SETTINGS);
        let after = Loop { used: 0.1, ..Loop::new(1_000.0, 0.05) }.run(&mut idle, 120.0);
        assert!(after <= 21.0, "{after}");
    }

    #[test]
    fn a_slow_down_shrinks_it() {
        let mut law = Failsafe::new(&SETTINGS);
        let mut backend = Loop::new(40.0, 0.05);
        let high = backend.run(&mut law, 60.0);
        backend.capacity = 8.0;
        let low = backend.run(&mut law, 20.0);
        assert!(low < high, "{high} -> {low}");
    }
}
