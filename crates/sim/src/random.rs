//! Drawn numbers and the trace: the same for a seed on every machine.

use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::hash::hash64_parts;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Numbers drawn from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: Xoshiro256PlusPlus,
}

/// A hash over everything that a run decided and wrote; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    hash: Arc<Mutex<u64>>,
}

// === impl Random ===

impl Random {
    /// Numbers of `seed` for one `purpose`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let seed = hash64_parts(&[&seed.to_le_bytes(), purpose.as_bytes()]);
        Self { state: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.state.next_u64()
    }

    /// A number below `end`, 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number of `from..=to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

// === impl Trace ===

impl Trace {
    /// Adds what happened.
    pub fn note(&self, what: &str, detail: &[u8]) {
        let mut hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        *hash = hash64_parts(&[&hash.to_le_bytes(), what.as_bytes(), detail]);
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
