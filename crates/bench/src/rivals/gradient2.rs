//! Gradient2 of Netflix' concurrency-limits: the ratio of a long average latency to the latest one moves the limit.
//!
//! limit = 0.8 limit + 0.2 (limit x gradient + 4), gradient = long / short within 0.5..1, where long is an exponential average
//! over 600 windows, lowered by a tenth while it is more than twice the short one. Nothing moves while less than half of the
//! limit is used. Windows last twice the shortest latency within 0.1..1 s, the shortest that `WindowedLimit` allows, because at
//! its default of 1 s a free backend lets it grow by less than a row a second. The original floor of 20 is lifted. Drops are
//! not looked at, except that a window without a single answer, which the original never hears of, cuts by a tenth.
//! Source: `Gradient2Limit`.

use forebay_gate::limiter::{Attempt, Knobs, Limiter, Load, Seconds};

use super::window::{Average, Summary, Window};
use super::{LIMIT_MAX, LIMIT_START, RivalSettings, knobs};

/// Windows that the long average spans.
const LONG_WINDOWS: u32 = 600;
/// Rows of queue it always tolerates.
const QUEUE: f64 = 4.0;
/// Weight of the new limit.
const SMOOTHING: f64 = 0.2;
/// Fewest samples of a window.
const SAMPLES_MIN: usize = 10;

/// Follows the gradient of latency.
#[derive(Debug, Clone)]
pub struct Gradient2 {
    settings: RivalSettings,
    limit: f64,
    long: Average,
    window: Window,
    gradient: f64,
}

// === impl Gradient2 ===

impl Gradient2 {
    /// With 20 rows to begin with.
    pub fn new(settings: &RivalSettings) -> Self {
        Self {
            settings: *settings,
            limit: LIMIT_START,
            long: Average::new(LONG_WINDOWS),
            window: Window::default(),
            gradient: 1.0,
        }
    }

    fn decide(&mut self, seen: Summary) {
        let Some(short) = seen.mean.filter(|mean| *mean > 0.0) else {
            if seen.dropped {
                self.limit = (self.limit * 0.9).max(1.0);
            }
            return;
        };
        let mut long = self.long.add(short);
        if long / short > 2.0 {
            long = self.long.scale(0.9);
        }
        if seen.in_flight_max < self.limit / 2.0 {
            return;
        }
        self.gradient = (long / short).clamp(0.5, 1.0);
        let target = self.limit * self.gradient + QUEUE;
        self.limit = (self.limit * (1.0 - SMOOTHING) + target * SMOOTHING).clamp(1.0, LIMIT_MAX);
    }
}

impl Limiter for Gradient2 {
    fn knobs(&self) -> Knobs {
        knobs(self.limit, &self.settings)
    }

    fn on_end(&mut self, attempt: &Attempt) {
        self.window.add(attempt);
        let length = (2.0 * self.window.min().unwrap_or(0.0)).clamp(0.1, 1.0);
        let full = self.window.len() >= SAMPLES_MIN || self.window.dropped();
        if full && self.window.age(attempt.ended) >= length {
            let seen = self.window.take(attempt.ended);
            self.decide(seen);
        }
    }

    fn on_tick(&mut self, _now: Seconds, _load: Load) {}

    fn why(&self) -> String {
        format!("limit {:.1} rows, gradient {:.2}", self.limit, self.gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Loop;
    use super::*;

    const SETTINGS: RivalSettings = RivalSettings { objective: 0.2, rows_per_call: 1, linger: 0.0 };

    #[test]
    fn the_gradient_moves_the_limit() {
        // Limit 100, long average 0.1: gradient 1 adds 0.2 x 4, gradient 0.5 takes 0.2 x (50 - 4).
        let table = [(0.1, 100.0, 100.8), (0.05, 100.0, 100.8), (0.4, 100.0, 90.8), (0.1, 49.0, 100.0)];
        for (short, in_flight_max, expected) in table {
            let mut law = Gradient2::new(&SETTINGS);
            law.limit = 100.0;
            for _ in 0..10 {
                law.long.add(0.1);
            }
            law.decide(Summary { mean: Some(short), dropped: false, in_flight_max });
            assert!((law.limit - expected).abs() < 0.2, "short {short}: {}", law.limit);
        }
    }

    #[test]
    fn grows_while_latency_is_flat_and_yields_when_it_doubles() {
        let mut law = Gradient2::new(&SETTINGS);
        let mut backend = Loop::new(100.0, 0.05);
        let high = backend.run(&mut law, 20.0);
        assert!((90.0..=160.0).contains(&high), "{high}");
        backend.capacity = 25.0;
        let low = backend.run(&mut law, 5.0);
        assert!(low < high * 0.7, "{high} -> {low}");
    }

    #[test]
    fn windows_of_refusals_alone_cut() {
        let mut law = Gradient2::new(&SETTINGS);
        law.decide(Summary { mean: None, dropped: true, in_flight_max: 20.0 });
        assert_eq!(law.limit, 18.0);
    }
}
