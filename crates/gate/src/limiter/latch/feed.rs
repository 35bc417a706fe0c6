//! What each answer tells: one place that hands an attempt to everything that learns from it.

use super::super::{Attempt, Class, Seconds};
use super::decision::Reason;
use super::{Latch, Phase, breaker, duration, start};

/// A refusal faster than this share of the mean latency was turned away at the door: its permit is held back.
const FAST_REFUSAL: f64 = 0.5;

// === impl Latch ===

impl Latch {
    pub(super) fn feed(&mut self, attempt: &Attempt) {
        let latency = attempt.latency();
        if !latency.is_finite() || attempt.class == Class::Cancelled {
            return;
        }
        let now = self.at(attempt.ended);
        let rows = attempt.rows.max(1);
        let in_flight = if attempt.in_flight.is_finite() { attempt.in_flight } else { rows as f64 };
        // From here on times count from the origin.
        let attempt = Attempt { sent: now - latency, ended: now, rows, in_flight, ..*attempt };
        self.epoch.on_attempt();
        match attempt.class {
            Class::Answered => self.on_answered(now, &attempt),
            Class::Throttled => self.on_throttled(now, &attempt),
            Class::Overloaded | Class::Down => self.on_refused(now, &attempt),
            Class::TooLarge => self.on_too_large(now, &attempt),
            Class::Timeout => self.on_latency(now, &attempt),
            Class::Cancelled => {}
        }
        self.feed_breaker(now, &attempt);
    }

    fn on_answered(&mut self, now: Seconds, attempt: &Attempt) {
        self.throttles.on_accepted(attempt.in_flight);
        self.pacer.on_accepted();
        self.on_latency(now, attempt);
        self.epoch.on_answer(now, attempt, self.target.late_line(), self.target.objective());
    }

    /// Time-outs are latencies too, cut off at the time-out.
    fn on_latency(&mut self, now: Seconds, attempt: &Attempt) {
        self.tail.record(now, attempt.latency(), self.latency);
        self.epoch.on_replaced(attempt.sent, attempt.rows as f64);
        self.brake.record(attempt.sent, attempt.latency());
    }

    fn on_throttled(&mut self, now: Seconds, attempt: &Attempt) {
        if self.throttles.on_throttled(now, attempt.in_flight, self.latency) {
            self.pacer.release();
            self.ceiling.release();
        }
        if self.throttles.is_concurrency() {
            self.on_refused(now, attempt);
        } else {
            self.pacer.on_throttled();
        }
    }

    fn on_refused(&mut self, now: Seconds, attempt: &Attempt) {
        let rows = attempt.rows as f64;
        let others = attempt.in_flight - rows;
        if let Some(limit) = self.ceiling.on_refused(now, others, self.limit, self.rate) {
            self.decisions.add(now, Reason::Refused, self.limit, limit);
            self.limit = limit;
        }
        self.epoch.refused += rows;
        let mean = self.tail.mean();
        if attempt.latency() < FAST_REFUSAL * mean {
            self.ceiling.quarantine(now + mean);
        }
    }

    fn on_too_large(&mut self, now: Seconds, attempt: &Attempt) {
        if let Some(keeps) = self.memory.on_too_large(now, attempt.sent, attempt.rows) {
            self.fall_back();
            self.set(keeps * self.limit, Reason::TooLarge);
        }
    }

    /// 429s and calls that are too large are healthy answers. A 503 is not: where nine in ten calls are refused, asking with one
    /// is as good as asking with all.
    fn feed_breaker(&mut self, now: Seconds, attempt: &Attempt) {
        let at = duration(now);
        let before = self.breaker.state(at);
        let ok = match attempt.class {
            Class::Answered => true,
            Class::Overloaded | Class::Down | Class::Timeout => false,
            // While half-open any answer but a row's tells that it is too early.
            _ if before == breaker::State::HalfOpen => false,
            _ => return,
        };
        self.breaker.on_end_of(duration(attempt.sent), at, ok);
        match (before, self.breaker.state(at)) {
            (breaker::State::Closed, breaker::State::Open) => {
                self.decisions.add(now, Reason::BreakerOpened, self.limit, 0.0);
            }
            (breaker::State::HalfOpen, breaker::State::Closed) => self.restart(now),
            _ => {}
        }
    }

    /// Slow start doubles as the ramp of a cold backend.
    fn restart(&mut self, now: Seconds) {
        self.lanes.count = 1;
        self.phase = Phase::Start;
        self.step = None;
        self.limit = start::ROWS.min(self.limit_max());
        self.decisions.add(now, Reason::BreakerClosed, 0.0, self.limit);
        self.epoch.abandon(now);
        self.brake.clear();
    }
}
