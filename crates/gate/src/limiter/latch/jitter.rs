//! Randomness for the moments of probes, so that clients of one backend do not probe together. Seeded: a run can be repeated.

use super::super::Seconds;

/// A linear congruential generator, stirred by the time of use; good enough to spread moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jitter(u64);

// === impl Jitter ===

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform in .75..1.25.
    pub(super) fn around_one(&mut self, now: Seconds) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add((now * 1e6) as u64 | 1);
        0.75 + 0.5 * ((self.0 >> 33) as f64 / (1u64 << 31) as f64)
    }
}
