//! Whether and when a slow call gets a second copy on another replica.
//!
//! A hedge is worth it at low load, when one replica is slow and others are idle. It is waste when the backend is full,
//! so it has a budget (5 % of calls) and never goes to a replica at its limit. Off unless asked for; only for calls that
//! may be made twice. Knows durations only: who sends, wins and is cancelled is the gate's work.

use std::time::Duration;

/// Attempts remembered for the percentile.
const ATTEMPTS: usize = 500;
/// Attempts needed before anything is hedged: below, the 95th percentile rests on fewer than five.
const ATTEMPTS_MIN: usize = 100;
/// The percentile is computed anew after this many attempts.
const STALE: usize = 50;

/// How much is hedged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeSettings {
    /// Hedges per first attempt; 0 switches them off.
    pub ratio: f64,
    /// Most hedges that can be saved up.
    pub cap: f64,
    /// How long a call is waited for before it is hedged; `None`: the 95th percentile of those before it.
    pub after: Option<Duration>,
}

/// The percentile and the budget.
#[derive(Debug)]
pub struct Hedge {
    settings: HedgeSettings,
    saved: f64,
    /// The last attempts' latencies in microseconds, a ring.
    ring: Vec<u32>,
    next: usize,
    stale: usize,
    p95: Option<Duration>,
    scratch: Vec<u32>,
}

// === impl HedgeSettings ===

impl HedgeSettings {
    /// No hedges.
    pub const OFF: Self = Self { ratio: 0.0, cap: 0.0, after: None };
    /// 5 % of first attempts, 20 saved at most.
    pub const ON: Self = Self { ratio: 0.05, cap: 20.0, after: None };
}

// === impl Hedge ===

impl Hedge {
    /// Nothing known and nothing saved.
    pub fn new(settings: HedgeSettings) -> Self {
        Self { settings, saved: 0.0, ring: Vec::new(), next: 0, stale: 0, p95: None, scratch: Vec::new() }
    }

    /// True if anything is ever hedged.
    pub fn is_on(&self) -> bool {
        self.settings.ratio > 0.0
    }

    /// A call was sent for the first time: returns how long to wait before it is hedged, if at all.
    pub fn on_first(&mut self) -> Option<Duration> {
        self.saved = (self.saved + self.settings.ratio).min(self.settings.cap);
        self.settings.after.or(self.p95).filter(|_| self.is_on())
    }

    /// An attempt ended after `latency`; losers of hedges are left out.
    pub fn on_end(&mut self, latency: Duration) {
        if !self.is_on() || self.settings.after.is_some() {
            return;
        }
        let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        if self.ring.len() < ATTEMPTS {
            self.ring.push(micros);
        } else {
            self.ring[self.next] = micros;
            self.next = (self.next + 1) % ATTEMPTS;
        }
        self.stale += 1;
        if self.ring.len() >= ATTEMPTS_MIN && (self.stale >= STALE || self.p95.is_none()) {
            self.measure();
        }
    }

    /// True if there is a hedge saved.
    pub fn may(&self) -> bool {
        self.saved >= 1.0 - 1e-9
    }

    /// Pays for one hedge, to be called when it is sent.
    pub fn spend(&mut self) {
        self.saved = (self.saved - 1.0).max(0.0);
    }

    fn measure(&mut self) {
        self.stale = 0;
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.ring);
        let place = self.scratch.len() * 95 / 100;
        let (_, p95, _) = self.scratch.select_nth_unstable(place);
        self.p95 = Some(Duration::from_micros(u64::from(*p95)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hedged_when_off_or_before_a_hundred_attempts() {
        let mut off = Hedge::new(HedgeSettings::OFF);
        (0..500).for_each(|_| off.on_end(Duration::from_millis(1)));
        assert_eq!((off.on_first(), off.may()), (None, false));
        let mut young = Hedge::new(HedgeSettings::ON);
        (0..99).for_each(|_| young.on_end(Duration::from_millis(1)));
        assert_eq!(young.on_first(), None);
        young.on_end(Duration::from_millis(1));
        assert_eq!(young.on_first(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn the_wait_is_the_p95_of_the_last_five_hundred() {
        let mut hedge = Hedge::new(HedgeSettings::ON);
        (1..=1000).for_each(|n| hedge.on_end(Duration::from_micros(n)));
        assert_eq!(hedge.on_first(), Some(Duration::from_micros(976)));
    }

    #[test]
    fn a_wait_that_is_given_needs_no_percentile() {
        let after = Some(Duration::from_millis(7));
        assert_eq!(Hedge::new(HedgeSettings { after, ..HedgeSettings::ON }).on_first(), after);
        assert_eq!(Hedge::new(HedgeSettings { after, ..HedgeSettings::OFF }).on_first(), None);
    }

    #[test]
    fn five_percent_are_hedged_and_twenty_saved_at_most() {
        let mut hedge = Hedge::new(HedgeSettings::ON);
        let mut spent = 0;
        for _ in 0..1000 {
            hedge.on_first();
            if hedge.may() {
                hedge.spend();
                spent += 1;
            }
        }
        assert_eq!(spent, 50);
        for _ in 0..10_000 {
            hedge.on_first();
        }
        let burst = std::iter::from_fn(|| hedge.may().then(|| hedge.spend())).count();
        assert_eq!(burst, 20);
    }
}
