//! Samples between two decisions, and the averages that the rivals keep of them.

use std::collections::VecDeque;

use forebay_gate::limiter::{Attempt, Class, Seconds};

use super::is_drop;

/// What ended since the last decision.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    since: Seconds,
    latencies: Vec<Seconds>,
    dropped: bool,
    in_flight_max: f64,
}

/// A window in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    /// The mean latency of the answered; none if nothing was answered.
    pub mean: Option<Seconds>,
    /// Something was refused or lost.
    pub dropped: bool,
    /// The most rows in flight seen.
    pub in_flight_max: f64,
}

// === impl Window ===

impl Window {
    /// Takes the end of an attempt in. Cancelled ones leave no trace; dropped ones no latency.
    pub fn add(&mut self, attempt: &Attempt) {
        match attempt.class {
            Class::Cancelled => return,
            Class::Answered => self.latencies.push(attempt.latency()),
            class => self.dropped |= is_drop(class),
        }
        self.in_flight_max = self.in_flight_max.max(attempt.in_flight);
    }

    /// How long it has been open.
    pub fn age(&self, now: Seconds) -> Seconds {
        now - self.since
    }

    /// How many were answered.
    pub fn len(&self) -> usize {
        self.latencies.len()
    }

    /// Something was refused or lost.
    pub fn dropped(&self) -> bool {
        self.dropped
    }

    /// The most rows in flight seen.
    pub fn in_flight_max(&self) -> f64 {
        self.in_flight_max
    }

    /// The shortest latency, if anything was answered.
    pub fn min(&self) -> Option<Seconds> {
        self.latencies.iter().copied().min_by(f64::total_cmp)
    }

    /// The `q` quantile of latency, if anything was answered. Reorders the samples.
    pub fn quantile(&mut self, q: f64) -> Option<Seconds> {
        if self.latencies.is_empty() {
            return None;
        }
        let index = ((self.latencies.len() - 1) as f64 * q.clamp(0.0, 1.0)) as usize;
        Some(*self.latencies.select_nth_unstable_by(index, f64::total_cmp).1)
    }

    /// Closes it at `now` and opens the next.
    pub fn take(&mut self, now: Seconds) -> Summary {
        let count = self.latencies.len();
        let mean = (count > 0).then(|| self.latencies.iter().sum::<f64>() / count as f64);
        let summary = Summary { mean, dropped: self.dropped, in_flight_max: self.in_flight_max };
        self.clear(now);
        summary
    }

    /// Forgets everything; the next window opens at `now`.
    pub fn clear(&mut self, now: Seconds) {
        self.latencies.clear();
        self.dropped = false;
        self.in_flight_max = 0.0;
        self.since = now;
    }
}

/// An exponential average over about `span` samples that begins as the plain mean of its first ten.
#[derive(Debug, Clone)]
pub(super) struct Average {
    factor: f64,
    count: u32,
    value: f64,
}

// === impl Average ===

impl Average {
    const WARM_UP: u32 = 10;

    /// Over about `span` samples.
    pub fn new(span: u32) -> Self {
        Self { factor: 2.0 / (f64::from(span) + 1.0), count: 0, value: 0.0 }
    }

    /// Takes a sample in and answers the average.
    pub fn add(&mut self, sample: f64) -> f64 {
        self.count = (self.count + 1).min(Self::WARM_UP + 1);
        let factor = if self.count <= Self::WARM_UP { 1.0 / f64::from(self.count) } else { self.factor };
        self.value += (sample - self.value) * factor;
        self.value
    }

    /// Multiplies the average.
    pub fn scale(&mut self, by: f64) -> f64 {
        self.value *= by;
        self.value
    }
}

/// How two quantities moved together over the last samples.
#[derive(Debug, Clone)]
pub(super) struct Correlation {
    samples: VecDeque<(f64, f64)>,
    len_max: usize,
}

/// Pearson's coefficient, and how much the second quantity varied.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Correlated {
    /// In -1..=1; 0 where there are too few samples or too little movement to tell.
    pub coefficient: f64,
    /// Standard deviation over mean of the second quantity.
    pub y_variation: f64,
}

// === impl Correlation ===

impl Correlation {
    const SAMPLES_MIN: usize = 10;
    const VARIATION_MIN: f64 = 0.01;

    /// Over the last `len_max` samples.
    pub fn new(len_max: usize) -> Self {
        Self { samples: VecDeque::new(), len_max }
    }

    /// Takes a pair in.
    pub fn add(&mut self, x: f64, y: f64) -> Correlated {
        if self.samples.len() >= self.len_max {
            self.samples.pop_front();
        }
        self.samples.push_back((x, y));
        if self.samples.len() < Self::SAMPLES_MIN {
            return Correlated::default();
        }
        let count = self.samples.len() as f64;
        let (mean_x, mean_y) =
            self.samples.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x / count, sy + y / count));
        let (mut var_x, mut var_y, mut covariance) = (0.0, 0.0, 0.0);
        for (x, y) in &self.samples {
            let (dx, dy) = (x - mean_x, y - mean_y);
            var_x += dx * dx / count;
            var_y += dy * dy / count;
            covariance += dx * dy / count;
        }
        if mean_x <= 0.0 || mean_y <= 0.0 {
            return Correlated::default();
        }
        let (x_variation, y_variation) = (f64::sqrt(var_x) / mean_x, f64::sqrt(var_y) / mean_y);
        let moves = x_variation >= Self::VARIATION_MIN && y_variation >= Self::VARIATION_MIN;
        let coefficient = if moves { covariance / f64::sqrt(var_x * var_y) } else { 0.0 };
        Correlated { coefficient, y_variation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_starts_as_a_mean() {
        let mut average = Average::new(600);
        assert_eq!(average.add(2.0), 2.0);
        assert_eq!(average.add(4.0), 3.0);
        for _ in 0..8 {
            average.add(3.0);
        }
        let after = average.add(603.0);
        assert!((after - (3.0 + 600.0 * 2.0 / 601.0)).abs() < 1e-9, "{after}");
    }

    #[test]
    fn correlation_needs_samples_and_movement() {
        let mut rising = Correlation::new(50);
        let mut still = Correlation::new(50);
        for step in 0..9 {
            assert_eq!(rising.add(f64::from(step), f64::from(step)).coefficient, 0.0);
            still.add(5.0, 5.0);
        }
        assert!(rising.add(9.0, 9.0).coefficient > 0.999);
        assert_eq!(still.add(5.0, 5.0).coefficient, 0.0);
    }
}
