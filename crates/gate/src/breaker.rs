//! The breaker: stops calling what answers nothing, asks with one call at a time, and lets everything through once that is answered.
//!
//! It judges a window of results, not a streak, so that a backend that fails half the time stays in use: slowing down is the limiter's
//! work, giving up is the breaker's. It keeps no clock and starts no call; whoever drives it asks `allows` before each call and reports
//! `on_end` after it. A half-open breaker waits for its one call for a bounded time only: if that never ends, the call counts as failed
//! and the breaker asks again later. It cannot stay half-open for ever.

use std::time::Duration;

/// Results needed for a verdict. Halved after each, so the window is the last 20 to 40.
const RESULTS: f64 = 20.0;
/// Share of failures that opens it: below this something still works.
const FAILED_SHARE: f64 = 0.9;
/// Results older than this say nothing: the window starts anew.
const WINDOW: Duration = Duration::from_secs(60);
/// First pause, doubled each time up to the longest, each times a random number in .75..1.25 so that clients do not ask together.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whether calls may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// As many as anything else allows.
    Closed,
    /// None.
    Open,
    /// One, to see whether there is an answer.
    HalfOpen,
}

/// Opens when nearly every result is a failure; see the module's header.
///
/// # Order of calls
/// `allows` before each call, `on_end` after it, both in the order of time. Report failures that mean "not there" or "no answer":
/// connection errors, 502, 503, 504, time-outs. A rate limit is a healthy answer: report it as neither, or as `ok`.
#[derive(Debug, Clone)]
pub struct Breaker {
    phase: Phase,
    answered: f64,
    failed: f64,
    window_start: Duration,
    /// Times it opened since it was last closed.
    openings: u32,
    /// Half-open calls that never ended since it was last closed.
    lost: u32,
    probe_wait: Duration,
    random: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Closed,
    /// Since when and until when; a call sent before `since` tells nothing of the time after it.
    Open {
        since: Duration,
        until: Duration,
    },
    /// The one call was let through.
    Asking {
        since: Duration,
        sent: Duration,
    },
}

// === impl Breaker ===

impl Breaker {
    /// Closed. `seed` varies the pauses; a half-open call that did not end within `probe_wait` is given up, so `probe_wait` should be
    /// longer than the longest time-out of an attempt.
    pub fn new(seed: u64, probe_wait: Duration) -> Self {
        Self {
            phase: Phase::Closed,
            answered: 0.0,
            failed: 0.0,
            window_start: Duration::ZERO,
            openings: 0,
            lost: 0,
            probe_wait,
            random: seed,
        }
    }

    /// What it is at `now`.
    pub fn state(&self, now: Duration) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { until, .. } if now < until => State::Open,
            Phase::Open { .. } | Phase::Asking { .. } => State::HalfOpen,
        }
    }

    /// When it next lets a call through, if that is not now: decides between waiting and a fallback.
    pub fn allows_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { until, .. } => Some(until),
            Phase::Asking { sent, .. } => Some(sent.saturating_add(self.probe_wait)),
        }
    }

    /// Half-open calls that never ended, since it was last closed: their permits may be lost as well.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Whether a call may be made at `now`. While half-open this is true once, and the call it was asked for must be made.
    pub fn allows(&mut self, now: Duration) -> bool {
        match self.phase {
            Phase::Closed => true,
            Phase::Open { until, .. } if now < until => false,
            Phase::Open { since, .. } => {
                self.phase = Phase::Asking { since, sent: now };
                true
            }
            Phase::Asking { sent, .. } => {
                if now.saturating_sub(sent) >= self.probe_wait {
                    self.lost = self.lost.saturating_add(1);
                    self.open(now);
                }
                false
            }
        }
    }

    /// A call that was sent a moment ago ended. As [`Breaker::on_end_of`] with `sent` = `now`.
    pub fn on_end(&mut self, now: Duration, ok: bool) {
        self.on_end_of(now, now, ok);
    }

    /// A call sent at `sent` ended. Calls that were sent before it opened are told apart from the half-open one and change nothing.
    pub fn on_end_of(&mut self, sent: Duration, now: Duration, ok: bool) {
        match self.phase {
            Phase::Closed => self.on_closed(now, ok),
            // Half-open, and it ended before anyone asked: a refusal in no time.
            Phase::Open { until, .. } if sent >= until => {
                if ok {
                    self.close(now);
                } else {
                    self.open(now);
                }
            }
            Phase::Open { .. } => {}
            Phase::Asking { since, .. } if sent < since => {}
            Phase::Asking { .. } if ok => self.close(now),
            Phase::Asking { .. } => self.open(now),
        }
    }

    fn on_closed(&mut self, now: Duration, ok: bool) {
        if now.saturating_sub(self.window_start) > WINDOW {
            (self.answered, self.failed, self.window_start) = (0.0, 0.0, now);
        }
        *if ok { &mut self.answered } else { &mut self.failed } += 1.0;
        let results = self.answered + self.failed;
        if results < RESULTS {
            return;
        }
        if self.failed >= FAILED_SHARE * results {
            self.open(now);
            return;
        }
        self.window_start = now;
        self.answered *= 0.5;
        self.failed *= 0.5;
    }

    fn open(&mut self, now: Duration) {
        let pause = PAUSE.saturating_mul(2u32.saturating_pow(self.openings.min(16))).min(PAUSE_MAX);
        self.openings = self.openings.saturating_add(1);
        let until = now.saturating_add(pause.mul_f64(0.75 + 0.5 * self.uniform()));
        self.phase = Phase::Open { since: now, until };
    }

    fn close(&mut self, now: Duration) {
        self.phase = Phase::Closed;
        (self.answered, self.failed, self.window_start) = (0.0, 0.0, now);
        (self.openings, self.lost) = (0, 0);
    }

    /// Uniform in 0..1: splitmix64, so that a run can be repeated.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
