//! 429s: finds the granted rate and paces just below it, or finds that the 429 is a concurrency limit after all.
//!
//! Between two throttle events a token bucket was empty at both ends, so the calls it granted over the time between *are* its
//! rate. A limiter that only counts calls in flight meets a rate limit by hammering it: a refused call is back in 4 ms.

use std::collections::VecDeque;

use super::super::Seconds;
use super::decision::Reason;

/// A window is judged after this long with this many results, or after `WINDOW_MAX`, or as soon as it clearly throttles.
const WINDOW: (Seconds, f64) = (0.25, 20.0);
const WINDOW_MAX: Seconds = 1.0;
const WINDOW_CLEAR: (Seconds, f64, f64) = (0.05, 3.0, 5.0);
/// Throttled share that counts as an event, and the share from which the limit must have moved.
const EVENT_SHARE: f64 = 0.004;
const SNAP_SHARE: f64 = 0.12;
const SNAP_KEEPS: f64 = 0.96;
/// Events closer than this are one.
const EVENTS_APART: Seconds = 0.4;
/// Cut below the granted rate, over the square of the time between events: empties a bucket's debt, gentle if events are rare.
const MARGIN: f64 = 0.8;
const MARGIN_RANGE: (f64, f64) = (0.015, 0.25);
/// Rise towards a little above the granted rate: share and roots of it, per second for the slope, total for the top.
const RISE_SHARE: f64 = 0.03;
const RISE_ROOTS: f64 = 1.2;
const RISE_AFTER: Seconds = 1.0;
/// This long without an event the limit must have risen: grow exponentially, .1 doubling each second, to at most 150 % a second.
const RUNAWAY_AFTER: Seconds = 5.0;
const RUNAWAY: (f64, f64) = (0.1, 1.5);
/// Results of pace in use: below this share nothing is learned of the limit.
const USED_SHARE: f64 = 0.8;

/// Paces attempts under a rate limit. Counts calls, whatever rows they carry: services count requests.
#[derive(Debug, Clone)]
pub(super) struct Pacer {
    /// Calls that may start in a second; infinite without a rate limit.
    pub(super) pace: f64,
    granted: f64,
    window_start: Seconds,
    accepted: f64,
    throttled: f64,
    accepted_since_event: f64,
    event_at: Seconds,
}

// === impl Pacer ===

impl Pacer {
    pub(super) fn new() -> Self {
        let (pace, granted, event_at) = (f64::INFINITY, 1.0, -10.0);
        let (window_start, accepted, throttled, accepted_since_event) = (0.0, 0.0, 0.0, 0.0);
        Self { pace, granted, window_start, accepted, throttled, accepted_since_event, event_at }
    }

    /// A call was granted.
    pub(super) fn on_accepted(&mut self) {
        self.accepted += 1.0;
    }

    /// A call was throttled.
    pub(super) fn on_throttled(&mut self) {
        self.throttled += 1.0;
    }

    /// The 429s were no rate limit: paces nothing.
    pub(super) fn release(&mut self) {
        self.pace = f64::INFINITY;
        self.throttled = 0.0;
    }

    /// Judges the window, if it is over.
    pub(super) fn on_tick(&mut self, now: Seconds) -> Option<Reason> {
        let window = now - self.window_start;
        let results = self.accepted + self.throttled;
        let full = window >= WINDOW.0 && (results >= WINDOW.1 || window > WINDOW_MAX);
        let clear = window >= WINDOW_CLEAR.0 && self.throttled >= WINDOW_CLEAR.1 && self.accepted >= WINDOW_CLEAR.2;
        if !full && !clear {
            return None;
        }
        let share = self.throttled / results.max(1.0);
        let rate = self.accepted / window;
        self.accepted_since_event += self.accepted;
        let reason = if share > EVENT_SHARE {
            self.on_event(now, share, rate)
        } else {
            self.rise(now, window, rate);
            None
        };
        (self.window_start, self.accepted, self.throttled) = (now, 0.0, 0.0);
        reason
    }

    fn on_event(&mut self, now: Seconds, share: f64, rate: f64) -> Option<Reason> {
        let since = now - self.event_at;
        if share > SNAP_SHARE || !self.pace.is_finite() {
            self.granted = rate.max(1.0);
            self.pace = SNAP_KEEPS * self.granted;
            (self.event_at, self.accepted_since_event) = (now, 0.0);
            return Some(Reason::PaceSnapped);
        }
        if since <= EVENTS_APART {
            return None;
        }
        if self.pace > 1.2 * self.granted + self.granted.sqrt() {
            self.granted = 0.97 * rate;
        } else {
            self.granted += (self.accepted_since_event / since - self.granted) * since.min(1.0);
        }
        self.granted = self.granted.max(0.1);
        self.pace = self.granted * (1.0 - (MARGIN / (since * since)).clamp(MARGIN_RANGE.0, MARGIN_RANGE.1));
        (self.event_at, self.accepted_since_event) = (now, 0.0);
        Some(Reason::PaceTrimmed)
    }

    fn rise(&mut self, now: Seconds, window: Seconds, rate: f64) {
        let since = now - self.event_at;
        if !self.pace.is_finite() || rate <= USED_SHARE * self.pace || since <= RISE_AFTER {
            return;
        }
        let roots = RISE_ROOTS * self.granted.sqrt();
        let top = self.granted * (1.0 + RISE_SHARE) + roots;
        if self.pace < top {
            self.pace = (self.pace + (RISE_SHARE * self.granted + 1.5 * roots) * window).min(top);
        } else if since > RUNAWAY_AFTER {
            let doublings = (since - RUNAWAY_AFTER).min(60.0);
            self.pace *= 1.0 + (RUNAWAY.0 * doublings.exp2()).min(RUNAWAY.1) * window;
            // Far above any rate that a client reaches, pacing says nothing; infinity is the honest value.
            if self.pace > 1e9 {
                self.pace = f64::INFINITY;
            }
        }
    }
}

/// Accepted sends kept to compare with.
const ACCEPTED_KEPT: usize = 200;
const ACCEPTED_LEAST: usize = 30;
/// Evidence of one refusal: a concurrency limit refuses near the top (density 8 a^7 over the area a), a rate limit anywhere, with
/// some lean to the top while a bucket empties (1.5 a^.5). The logarithm of their ratio is summed within these bounds.
const EVIDENCE: (f64, f64) = (1.674, 6.5);
const EVIDENCE_RANGE: (f64, f64) = (-6.0, 6.0);
/// Refusals closer than this share of a latency are one.
const APART: f64 = 0.3;
/// Sums at which the verdict flips: odds of 90 to 1.
const DECIDED: f64 = 4.5;

/// Tells a rate limit from a concurrency limit, both of which answer 429.
///
/// A concurrency limit refuses exactly the sends made at the highest in-flight count; a rate limit does not care. The measure is
/// the area under the ROC curve: how likely a refused send was made at more in flight than an accepted one. Its evidence is summed
/// (a sequential test), because a paced client sees few refusals: a verdict must not wait for many.
#[derive(Debug, Clone)]
pub(super) struct ThrottleKind {
    accepted: VecDeque<f64>,
    evidence: f64,
    refused_at: Seconds,
    concurrency: bool,
}

// === impl ThrottleKind ===

impl ThrottleKind {
    pub(super) fn new() -> Self {
        let accepted = VecDeque::with_capacity(ACCEPTED_KEPT);
        Self { accepted, evidence: 0.0, refused_at: f64::NEG_INFINITY, concurrency: false }
    }

    /// Whether 429s are taken for a concurrency limit.
    pub(super) fn is_concurrency(&self) -> bool {
        self.concurrency
    }

    /// A call sent at `in_flight` rows was granted.
    pub(super) fn on_accepted(&mut self, in_flight: f64) {
        if self.accepted.len() >= ACCEPTED_KEPT {
            self.accepted.pop_front();
        }
        self.accepted.push_back(in_flight);
    }

    /// A call sent at `in_flight` rows was answered 429. True if the verdict flipped. At most three refusals a
    /// `latency` count, for one moment's refusals are one observation.
    pub(super) fn on_throttled(&mut self, now: Seconds, in_flight: f64, latency: Seconds) -> bool {
        if now - self.refused_at <= APART * latency.max(0.005) || self.accepted.len() < ACCEPTED_LEAST {
            return false;
        }
        self.refused_at = now;
        let below = |accepted: &f64| match accepted.partial_cmp(&in_flight) {
            Some(std::cmp::Ordering::Less) => 1.0,
            Some(std::cmp::Ordering::Equal) => 0.5,
            _ => 0.0,
        };
        let area = self.accepted.iter().map(below).sum::<f64>() / self.accepted.len() as f64;
        let found = EVIDENCE.0 + EVIDENCE.1 * area.max(1e-3).ln();
        self.evidence = (self.evidence + found).clamp(EVIDENCE_RANGE.0, EVIDENCE_RANGE.1);
        let before = self.concurrency;
        if self.evidence > DECIDED {
            self.concurrency = true;
        } else if self.evidence < -DECIDED {
            self.concurrency = false;
        }
        before != self.concurrency
    }
}
