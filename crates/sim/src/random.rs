//! Drawn numbers and the trace: both a chain of hashes, so that a seed means the same on every machine.

use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::hash::hash64_parts;

/// Numbers drawn from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
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
        Self { state: hash64_parts(&[&seed.to_le_bytes(), purpose.as_bytes()]) }
    }

    /// The next number (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
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
