//! Randomness that a seed repeats: one stream for each purpose, so that limiters which call differently still meet the
//! same arrivals.
//!
//! SplitMix64; not for secrets.

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

/// A log-normal factor with mean 1.
#[derive(Debug, Clone, Copy)]
pub struct LogNormal {
    deviation: f64,
}

// === impl Dice ===

impl Dice {
    /// The stream that begins at `state`.
    pub fn of_state(state: u64) -> Self {
        Self { state }
    }

    /// The stream `purpose` of `seed`; streams of one seed do not overlap in practice.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut mixed = Self::of_state(seed.wrapping_mul(7_919).wrapping_add(17));
        mixed.state ^= Self::of_state(purpose.wrapping_add(1)).bits();
        Self::of_state(mixed.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform between 0 and 1, never either.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Uniform between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Two to a power that is uniform between `low` and `high`.
    pub fn power_of_two(&mut self, low: f64, high: f64) -> f64 {
        2f64.powf(self.between(low, high))
    }

    /// Uniform in `0..count`; 0 when `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count.max(1) as u64) as usize
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Normal with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

// === impl LogNormal ===

impl LogNormal {
    /// With coefficient of variation `cv`; 0 makes every draw 1.
    pub fn new(cv: f64) -> Self {
        Self { deviation: (1.0 + cv * cv).ln().sqrt() }
    }

    /// One factor.
    pub fn draw(&self, dice: &mut Dice) -> f64 {
        if self.deviation == 0.0 {
            return 1.0;
        }
        (self.deviation * dice.normal() - self.deviation * self.deviation / 2.0).exp()
    }
}
