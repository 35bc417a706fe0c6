//! How long calls took: a histogram of powers of two, cheap enough for every call.

use std::time::Duration;

/// Every power of two in microseconds is cut into this many buckets, so a percentile is at most 1/8 too high.
const PARTS: u64 = 8;
const BUCKETS: usize = 64 * PARTS as usize;

/// A histogram of durations in microseconds, exact below 8 us and within 12.5 % above.
#[derive(Debug, Clone)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

// === impl Latencies ===

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Latencies {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket_of(micros)] += 1;
        self.total += 1;
    }

    /// Counts all that `other` has counted.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The duration in microseconds that `ratio` (0..=1) of all are at most: the upper end of its bucket. `None` if none
    /// was counted.
    pub fn percentile_micros(&self, ratio: f64) -> Option<u64> {
        let wanted = ((self.total as f64 * ratio).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            *count > 0 && seen >= wanted
        })?;
        Some(upper_of(place))
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < PARTS {
        return micros as usize;
    }
    let power = u64::from(micros.ilog2());
    let part = (micros >> (power - 3)) - PARTS;
    ((power - 2) * PARTS + part) as usize
}

fn upper_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let (power, part) = (bucket / PARTS + 2, bucket % PARTS);
    let width = 1u64 << (power - 3);
    (1u64 << power) + part * width + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_an_eighth() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|millis| latencies.record(Duration::from_millis(millis)));
        for (ratio, exact) in [(0.5, 500_000u64), (0.99, 990_000), (1.0, 1_000_000)] {
            let found = latencies.percentile_micros(ratio).unwrap();
            assert!(found >= exact && found <= exact + exact / 8, "{ratio}: {found}");
        }
        assert_eq!(Latencies::default().percentile_micros(0.5), None);
    }

    #[test]
    fn what_another_has_counted_is_added() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        one.record(Duration::from_millis(1));
        (0..2).for_each(|_| other.record(Duration::from_secs(1)));
        one.add(&other);
        assert_eq!((one.count(), one.percentile_micros(0.5)), (3, other.percentile_micros(0.5)));
        assert!(one.percentile_micros(0.3) < one.percentile_micros(0.5));
    }

    #[test]
    fn every_duration_has_its_bucket() {
        for micros in (0..5000).chain([u64::MAX / 2, u64::MAX]) {
            let bucket = bucket_of(micros);
            assert!(bucket < BUCKETS && upper_of(bucket) >= micros, "{micros}");
            assert!(bucket == 0 || upper_of(bucket - 1) < micros, "{micros}");
        }
    }
}
