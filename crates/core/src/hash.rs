//! The one hash behind ids and key groups: XXH3, seedless, the same on every machine and in every release.
//!
//! Stored state depends on these values. Changing them is a format change.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

/// 64-bit hash of `bytes`.
pub fn hash64(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// 128-bit hash of `bytes`.
pub fn hash128(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// 128-bit hash of several parts; each part is length-prefixed, so `["ab", "c"]` and `["a", "bc"]` differ.
pub fn hash128_parts(parts: &[&[u8]]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}

/// 64-bit form of [`hash128_parts`].
pub fn hash64_parts(parts: &[&[u8]]) -> u64 {
    let digest = hash128_parts(parts);
    (digest >> 64) as u64 ^ digest as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(hash128_parts(&[b"ab", b"c"]), hash128_parts(&[b"a", b"bc"]));
    }

    #[test]
    fn stored_values_do_not_change_between_releases() {
        assert_eq!(hash64(b"forebay"), xxhash_rust::xxh3::xxh3_64(b"forebay"));
        assert_eq!(hash64(b""), 0x2d06_8005_38d3_94c2);
    }
}
