//! A map by row key whose order is the same in every run.
//!
//! Hashing with a fixed function instead of the standard library's random one: a run can be repeated, and a lookup costs a
//! few nanoseconds. Keys that somebody made to collide would make it slow, never wrong.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by row key.
pub(crate) type ByKey<V> = HashMap<u64, V, BuildHasherDefault<Mix>>;

/// Mixes one `u64` so that every bit of it counts.
#[derive(Debug, Default)]
pub(crate) struct Mix(u64);

// === impl Mix ===

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let mut z = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = z ^ (z >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_and_high_bits_spread() {
        let hash = |value| {
            let mut mix = Mix::default();
            mix.write_u64(value);
            mix.finish()
        };
        let low: std::collections::BTreeSet<u64> = (0..1024).map(|n| hash(n) & 1023).collect();
        let high: std::collections::BTreeSet<u64> = (0..1024).map(|n| hash(n << 54) & 1023).collect();
        assert!(low.len() > 500 && high.len() > 500, "{} {}", low.len(), high.len());
    }
}
