//! What steps are told that make several rows of one, or leave rows out: `explode`, `limit` and `sample`.

/// 2 to the 64: one more than the greatest hash.
const HASHES: f64 = 18_446_744_073_709_551_616.0;

/// An explode step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExplodeSpec {
    /// Places of the lists; at least one.
    pub columns: Vec<usize>,
    /// Whether rows without an element are dropped.
    pub ignore_empty_and_null: bool,
}

/// A limit step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimitSpec {
    /// How many rows go on, at least one.
    pub rows: u64,
}

/// A sample step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SampleSpec {
    /// The greatest hash of an id that stays.
    pub hash_max: u64,
    /// Goes into the hash.
    pub seed: u64,
}

// === impl SampleSpec ===

impl SampleSpec {
    /// A sample of this share of all rows, more than 0 and at most 1.
    pub fn of(ratio: f64, seed: u64) -> Self {
        Self { hash_max: ((ratio * HASHES) as u128).saturating_sub(1) as u64, seed }
    }

    /// The share of all rows that it keeps.
    pub fn ratio(self) -> f64 {
        (self.hash_max as f64 + 1.0) / HASHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_read_back_and_one_keeps_every_hash() {
        for ratio in [1.0, 0.5, 0.1, 0.001, 1e-9] {
            assert!((SampleSpec::of(ratio, 1).ratio() - ratio).abs() < 1e-15, "{ratio}");
        }
        assert_eq!(SampleSpec::of(1.0, 0).hash_max, u64::MAX);
        assert_eq!(SampleSpec::of(1e-30, 0).hash_max, 0);
    }
}
