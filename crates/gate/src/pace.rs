//! How fast something may start: a token bucket, and what a provider says is left of its own.
//!
//! A bucket fills at a rate and holds 20 ms worth of it, at least one: spread out and not in bursts, because a burst at the
//! beginning of a minute is a queue at whoever answers. What costs more than is saved is let through and owed
//! afterwards, so that nothing is too dear to be sent at all. Never waits: it says until when.

use std::time::Duration;

/// What a bucket holds, as time at its rate.
const BURST_SECONDS: f64 = 0.02;
/// Shortest and longest wait that is named, in seconds.
const WAIT: (f64, f64) = (1e-4, 1.0);
/// A reset that is nearer than this is no reason to go slowly.
const RESET_MIN: Duration = Duration::from_secs(1);
/// Share of the rate at which a provider's quota refills that is tried although nothing is left of it: nobody would ever
/// learn that there is more again before the reset, which may be a minute away.
const ASKS: f64 = 0.1;

/// What a provider says is left of a quota, as it comes with every answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// What may still be used.
    pub left: f64,
    /// What may be used when nothing is, if it says so.
    pub all: Option<f64>,
    /// Until all of it may be used again.
    pub reset: Duration,
}

/// A token bucket.
#[derive(Debug, Clone)]
pub struct Pace {
    rate: f64,
    saved: f64,
    updated: Duration,
    /// The rate that a provider's own quota allows, and until when that is known.
    told: Option<(f64, Duration)>,
}

// === impl Pace ===

impl Pace {
    /// At most `rate` a second; infinite for no bound.
    pub fn new(rate: f64) -> Self {
        Self { rate, saved: 1.0, updated: Duration::ZERO, told: None }
    }

    /// True if time alone may make room.
    pub fn is_bound(&self) -> bool {
        self.rate.is_finite() || self.told.is_some()
    }

    /// What is allowed a second now.
    pub fn rate(&self, now: Duration) -> f64 {
        let told = self.told.filter(|(_, until)| now < *until).map_or(f64::INFINITY, |(rate, _)| rate);
        self.rate.min(told)
    }

    /// Whether one may start now, at no more than `at_most` a second.
    ///
    /// # Errors
    /// When to ask again.
    pub fn check(&mut self, at_most: f64, now: Duration) -> Result<(), Duration> {
        let rate = self.rate(now).min(at_most);
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = self.updated.max(now);
        if !rate.is_finite() {
            self.saved = 1.0;
            return Ok(());
        }
        self.saved = (self.saved + passed * rate).min((rate * BURST_SECONDS).max(1.0));
        if self.saved >= 1.0 - 1e-9 {
            return Ok(());
        }
        let wait = ((1.0 - self.saved) / rate.max(1e-9)).clamp(WAIT.0, WAIT.1);
        Err(now + Duration::from_secs_f64(wait))
    }

    /// Something of `amount` starts.
    pub fn spend(&mut self, amount: f64) {
        self.saved -= amount;
    }

    /// What was thought to take `reserved` took `used`.
    pub fn settle(&mut self, reserved: f64, used: f64) {
        if reserved.is_finite() && used.is_finite() {
            self.saved += reserved - used;
        }
    }

    /// A provider said what is left: that is spread over the time until it is whole again.
    pub fn tell(&mut self, left: Left, now: Duration) {
        let reset = left.reset.max(RESET_MIN).as_secs_f64();
        let refill = left.all.map_or(0.0, |all| (all - left.left).max(0.0) / reset);
        let rate = (left.left.max(0.0) / reset).max(ASKS * refill).max(1.0 / reset);
        // NaN bounds nothing.
        self.told = rate.is_finite().then_some((rate, now + left.reset.max(RESET_MIN)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: f64) -> Duration {
        Duration::from_secs_f64(second)
    }

    /// How many start in the first `seconds`.
    fn started(pace: &mut Pace, seconds: f64) -> usize {
        let (mut now, mut started) = (Duration::ZERO, 0);
        while now < second(seconds) {
            match pace.check(f64::INFINITY, now) {
                Ok(()) => {
                    pace.spend(1.0);
                    started += 1;
                }
                Err(at) => now = at,
            }
            assert!(started < 100_000, "no bound");
        }
        started
    }

    #[test]
    fn starts_are_spread_over_time() {
        assert_eq!(started(&mut Pace::new(10.0), 2.0), 20);
        assert!((195..=205).contains(&started(&mut Pace::new(100.0), 2.0)));
    }

    #[test]
    fn what_is_left_is_spread_over_the_time_to_the_reset() {
        let mut pace = Pace::new(f64::INFINITY);
        pace.tell(Left { left: 30.0, all: Some(600.0), reset: second(10.0) }, Duration::ZERO);
        assert!((pace.rate(second(1.0)) - 5.7).abs() < 1e-9, "a tenth of what refills, which is more than 3");
        pace.tell(Left { left: 30.0, all: None, reset: second(10.0) }, Duration::ZERO);
        assert!((29..=32).contains(&started(&mut pace, 10.0)));
        assert_eq!(pace.rate(second(10.0)), f64::INFINITY, "whole again");
    }

    #[test]
    fn an_empty_quota_is_asked_now_and_then_and_a_full_one_binds_nothing() {
        let mut pace = Pace::new(f64::INFINITY);
        pace.tell(Left { left: 0.0, all: Some(60.0), reset: second(60.0) }, Duration::ZERO);
        assert!((5..=8).contains(&started(&mut pace, 60.0)), "a tenth of one a second");
        let mut full = Pace::new(50.0);
        full.tell(Left { left: 9_000.0, all: Some(9_000.0), reset: Duration::ZERO }, Duration::ZERO);
        assert_eq!(full.rate(second(0.5)), 50.0);
    }

    #[test]
    fn estimates_are_settled() {
        let mut pace = Pace::new(100.0);
        pace.check(f64::INFINITY, Duration::ZERO).unwrap();
        pace.spend(201.0);
        assert!(pace.check(f64::INFINITY, second(1.0)).is_err(), "a hundred are owed");
        pace.settle(201.0, 51.0);
        assert!(pace.check(f64::INFINITY, second(1.0)).is_ok(), "it took less");
        pace.settle(0.0, 50.0);
        assert!(pace.check(f64::INFINITY, second(1.3)).is_err(), "it took more");
    }
}
