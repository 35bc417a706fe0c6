//! Envoy's adaptive concurrency filter: latency against a shortest one that it measures at a concurrency of 3.
//!
//! Every 100 ms: gradient = 1.25 x shortest / median within 0.5..2, limit = limit x gradient + its square root, at least 3. Every
//! 60 s plus up to 15 %, and after 5 windows at the floor, the limit is set to 3 until 50 answers to calls sent since then
//! gave a new shortest median. Errors are not looked at. In rows, 3 calls are 3 x `rows_per_call`. Source: Envoy's
//! `gradient_controller.cc` and its documentation.

use forebay_gate::limiter::{Attempt, Class, Knobs, Limiter, Load, Seconds};

use super::window::Window;
use super::{LIMIT_MAX, LIMIT_START, RivalSettings, knobs};

/// Calls in flight while the shortest latency is measured, and the fewest ever.
const CALLS_MIN: f64 = 3.0;
/// Answers that such a measurement takes.
const MEASURED: usize = 50;
/// Seconds from one measurement to the next.
const MEASURE_EVERY: Seconds = 60.0;
/// Latency above the shortest that is no sign of load.
const BUFFER: f64 = 1.25;
/// Seconds of a window.
const WINDOW: Seconds = 0.1;

/// Compares median latency with that of an almost idle backend.
#[derive(Debug, Clone)]
pub struct Envoy {
    settings: RivalSettings,
    limit: f64,
    shortest: Seconds,
    measuring_since: Option<Seconds>,
    measure_at: Seconds,
    epoch: Seconds,
    window: Window,
    at_floor: u32,
}

// === impl Envoy ===

impl Envoy {
    /// Measures first, then begins at 20 rows or three calls, whichever is more.
    pub fn new(settings: &RivalSettings) -> Self {
        let floor = CALLS_MIN * settings.rows_per_call.max(1) as f64;
        Self {
            settings: *settings,
            limit: LIMIT_START.max(floor),
            shortest: 0.0,
            measuring_since: Some(f64::NEG_INFINITY),
            measure_at: f64::INFINITY,
            epoch: f64::NEG_INFINITY,
            window: Window::default(),
            at_floor: 0,
        }
    }

    fn floor(&self) -> f64 {
        CALLS_MIN * self.settings.rows_per_call.max(1) as f64
    }

    fn measured(&mut self, now: Seconds) {
        if let Some(median) = self.window.quantile(0.5) {
            self.shortest = median;
        }
        self.measuring_since = None;
        // The original draws the jitter; a digit of the clock is as arbitrary and can be repeated.
        self.measure_at = now + MEASURE_EVERY * (1.0 + 0.15 * (now * 1e3).fract().abs());
        self.window.clear(now);
    }

    fn measure(&mut self, now: Seconds) {
        self.measuring_since = Some(now);
        self.epoch = now;
        self.at_floor = 0;
        self.window.clear(now);
    }

    fn decide(&mut self, now: Seconds) {
        let median = self.window.quantile(0.5).unwrap_or(0.0);
        self.window.clear(now);
        if median <= 0.0 {
            return;
        }
        let gradient = (self.shortest * BUFFER / median).clamp(0.5, 2.0);
        let before = self.limit;
        let target = self.limit * gradient;
        self.limit = (target + target.sqrt()).clamp(self.floor(), LIMIT_MAX.max(self.floor()));
        let low = before <= self.floor() && self.limit <= self.floor();
        self.at_floor = if low { self.at_floor + 1 } else { 0 };
    }
}

impl Limiter for Envoy {
    fn knobs(&self) -> Knobs {
        let rows = if self.measuring_since.is_some() { self.floor() } else { self.limit };
        knobs(rows, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        if attempt.class != Class::Answered || attempt.sent < self.epoch {
            return;
        }
        self.window.add(attempt);
        let now = attempt.ended;
        if self.measuring_since.is_some() {
            if self.window.len() >= MEASURED {
                self.measured(now);
            }
            return;
        }
        if self.window.age(now) >= WINDOW {
            self.decide(now);
        }
        if now >= self.measure_at || self.at_floor >= 5 {
            self.measure(now);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        let what = if self.measuring_since.is_some() { "measuring" } else { "following" };
        format!("{what}, limit {:.1} rows, shortest latency {:.4} s", self.limit, self.shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    fn following(limit: f64) -> Envoy {
        let mut envoy = Envoy { shortest: 0.1, measuring_since: None, ..Envoy::new(&SETTINGS) };
        envoy.limit = limit;
        envoy
    }

    #[test]
    fn the_gradient_and_headroom_make_the_limit() {
        let table =
            [(0.125, 100.0, 110.0), (0.25, 128.0, 72.0), (10.0, 128.0, 72.0), (0.01, 50.0, 110.0), (10.0, 3.0, 3.0)];
        for (median, limit, expected) in table {
            let mut envoy = following(limit);
            let sample = Attempt { sent: 0.0, ended: median, class: Class::Answered, rows: 1, in_flight: 1.0 };
            envoy.window.add(&sample);
            envoy.decide(1.0);
            assert!((envoy.limit - expected).abs() < 1e-9, "median {median}: {}", envoy.limit);
        }
    }

    #[test]
    fn measures_at_three_calls_then_follows() {
        let mut envoy = Envoy::new(&SETTINGS);
        assert_eq!(envoy.knobs().calls_max, 3);
        let mut backend = Loop::new(64.0, 0.05);
        let limit = backend.run(&mut envoy, 20.0);
        assert!((64.0..=130.0).contains(&limit), "{limit}");
        let lows = (0..240).filter(|_| backend.run(&mut envoy, 0.25) <= 3.0).count();
        assert!((1..=8).contains(&lows), "{lows} quarters of a second at the floor in a minute");
    }

    #[test]
    fn follows_capacity_down() {
        let mut envoy = Envoy::new(&SETTINGS);
        let mut backend = Loop::new(64.0, 0.05);
        backend.run(&mut envoy, 20.0);
        backend.capacity = 16.0;
        let low = backend.run(&mut envoy, 10.0);
        assert!(low < 40.0, "{low}");
    }
}
