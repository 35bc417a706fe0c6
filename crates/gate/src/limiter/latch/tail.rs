//! Learns how far the 99th percentile lies above the mean, which is cheap to measure and quick to move.
//!
//! Latencies are kept as ratios to a fast moving mean, so that they stay true when the level shifts; while it is shifting they
//! are not kept at all, because a transient is not the tail. Time-outs belong in: leaving them out makes the slowest phase look
//! fast.

use std::collections::VecDeque;

use super::super::Seconds;

/// Ratios kept. The selection costs about 15 us at this many, once an epoch.
const SAMPLES_MAX: usize = 3000;
/// Beyond this many, old ones go by age.
const SAMPLES_FRESH: usize = 400;
/// Age they go at, at least, and in latencies.
const AGE: (Seconds, f64) = (30.0, 100.0);
/// From this many on the 99th percentile is read off; below, it is extrapolated from the 95th.
const SAMPLES_FOR_P99: usize = 300;
/// Below this many there is nothing to read, and the tail is taken to be at twice the mean.
const SAMPLES_LEAST: usize = 20;
const RATIO_UNKNOWN: f64 = 2.0;
/// How much further out the 99th percentile lies than the 95th, above 1, for the log-normal tails met.
const P99_OVER_P95: f64 = 1.4;
const RATIO_RANGE: (f64, f64) = (1.02, 20.0);
/// Latencies that are not kept after a change or a breach, in mean latencies.
const MUTE_LATENCIES: f64 = 2.5;

/// The recent latencies over their moving mean.
#[derive(Debug, Clone, Default)]
pub(super) struct Tail {
    samples: VecDeque<(Seconds, f32)>,
    scratch: Vec<f32>,
    mean: Seconds,
    mean_at: Seconds,
    sum: f64,
    count: f64,
    mute_until: Seconds,
}

// === impl Tail ===

impl Tail {
    /// The fast moving mean latency; 0 before the first answer.
    pub(super) fn mean(&self) -> Seconds {
        self.mean
    }

    /// Keeps nothing for a while: what comes now belongs to a transient.
    pub(super) fn mute(&mut self, now: Seconds, latency: Seconds) {
        self.mute_until = now + MUTE_LATENCIES * latency;
    }

    /// An answer or a time-out. `typical` sets how fast the mean moves: within three of them.
    pub(super) fn record(&mut self, now: Seconds, latency: Seconds, typical: Seconds) {
        if self.mean <= 0.0 {
            self.mean = latency.max(1e-9);
        }
        if now > self.mute_until {
            if self.samples.len() >= SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back((now, (latency / self.mean) as f32));
        }
        let weight = 1.0 - (-(now - self.mean_at) / (3.0 * typical).max(0.03)).exp();
        self.mean_at = now;
        self.sum += latency;
        self.count += 1.0;
        if weight > 1e-4 {
            let mean = self.sum / self.count;
            self.mean = (self.mean + (mean - self.mean) * weight.max(0.01)).max(1e-9);
            (self.sum, self.count) = (0.0, 0.0);
        }
    }

    /// The 99th percentile over the mean.
    pub(super) fn ratio(&mut self, now: Seconds, typical: Seconds) -> f64 {
        let oldest = now - AGE.0.max(AGE.1 * typical);
        while self.samples.len() > SAMPLES_FRESH && self.samples.front().is_some_and(|s| s.0 < oldest) {
            self.samples.pop_front();
        }
        let count = self.samples.len();
        if count < SAMPLES_LEAST {
            return RATIO_UNKNOWN;
        }
        self.scratch.clear();
        self.scratch.extend(self.samples.iter().map(|s| s.1));
        let quantile = if count >= SAMPLES_FOR_P99 { 0.99 } else { 0.95 };
        let at = ((count - 1) as f64 * quantile) as usize;
        let found = f64::from(*self.scratch.select_nth_unstable_by(at, f32::total_cmp).1);
        let ratio = if count >= SAMPLES_FOR_P99 { found } else { 1.0 + (found - 1.0) * P99_OVER_P95 };
        ratio.clamp(RATIO_RANGE.0, RATIO_RANGE.1)
    }
}
