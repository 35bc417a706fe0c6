//! Learns how strongly latency follows the limit: by how many per cent it rises when the limit does by one.
//!
//! A queue makes it 1 (twice in flight, twice as long). Past its knee a backend that thrashes makes it 2 and more; steps that are
//! sized for 1 then overshoot both ways, and the limit swings around its target for ever.

use super::super::Seconds;

/// A change of the limit by less than this (in logarithms) tells nothing.
const STEP: f64 = 0.1;
/// What the guess of 1 weighs, in squared steps: a single step of a half outweighs it.
const GUESS: f64 = 0.1;
/// What is kept of older steps at each new one.
const KEEPS: f64 = 0.8;
/// Below 1 latency is not the limit's doing, and steps of 1 are the careful ones; above 4 it was the backend that changed.
const RANGE: (f64, f64) = (1.0, 4.0);

/// The steps seen, as sums for a least-squares slope.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Elasticity {
    before: Option<(f64, Seconds)>,
    product: f64,
    square: f64,
}

// === impl Elasticity ===

impl Elasticity {
    /// An epoch of the law at `limit`.
    pub(super) fn add(&mut self, limit: f64, latency: Seconds) {
        if let Some((limit_before, latency_before)) = self.before
            && latency > 0.0
            && latency_before > 0.0
        {
            let step = (limit / limit_before).ln();
            if step.abs() >= STEP {
                let slope = ((latency / latency_before).ln() / step).clamp(0.0, RANGE.1);
                self.product = KEEPS * self.product + slope * step * step;
                self.square = KEEPS * self.square + step * step;
            }
        }
        self.before = Some((limit, latency));
    }

    /// At least 1.
    pub(super) fn get(&self) -> f64 {
        ((GUESS + self.product) / (GUESS + self.square)).clamp(RANGE.0, RANGE.1)
    }
}
