//! The limiter as a whole in virtual time, and its laws one by one.

mod any;
mod bounds;
mod knee;
mod laws;
mod whole;

use super::super::{Attempt, Class, Hint, Limiter, Load, Seconds};
use super::{Decision, Latch, Reason, Settings};

/// A tick of the limiter.
const TICK: Seconds = 0.01;

fn settings(objective: Seconds, rows_max: usize) -> Settings {
    Settings { objective, calls_max: 1000, rows_max, seed: 1, hint: None }
}

/// One call in flight.
#[derive(Debug, Clone, Copy)]
struct Call {
    sent: Seconds,
    ends: Seconds,
    rows: usize,
    in_flight: f64,
    class: Class,
}

/// A call that reaches the backend.
#[derive(Debug, Clone, Copy)]
struct Ask {
    now: Seconds,
    rows: usize,
    /// Calls in flight before it.
    ahead: usize,
}

/// A client and a backend in virtual time. The client keeps as many calls in flight as it may, or as `demand` says; the backend answers
/// by a function of the calls in flight.
struct Bench {
    latch: Latch,
    now: Seconds,
    calls: Vec<Call>,
    row_seconds: f64,
    demand: usize,
    answered: f64,
    tokens: f64,
    random: u64,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let latch = Latch::new(settings);
        let (calls, demand) = (vec![], usize::MAX);
        Self { latch, now: 1000.0, calls, row_seconds: 0.0, demand, answered: 0.0, tokens: 1.0, random: 1 }
    }

    /// Runs for `seconds`; `backend` gives latency and class of a call by its rows and the calls already in flight.
    fn run(&mut self, seconds: Seconds, mut backend: impl FnMut(Ask) -> (Seconds, Class)) {
        let end = self.now + seconds;
        while self.now < end {
            self.now += TICK / 5.0;
            self.row_seconds += self.in_flight() * TICK / 5.0;
            self.end_due();
            if (self.now / TICK).fract() < 0.2 {
                let load = Load { row_seconds: self.row_seconds, in_flight: self.in_flight(), waiting: true };
                self.latch.on_tick(self.now, load);
            }
            self.send(&mut backend);
        }
    }

    fn in_flight(&self) -> f64 {
        self.calls.iter().map(|call| call.rows as f64).sum()
    }

    fn end_due(&mut self) {
        let now = self.now;
        let (due, rest): (Vec<Call>, Vec<Call>) = self.calls.iter().partition(|call| call.ends <= now);
        self.calls = rest;
        for Call { sent, rows, in_flight, class, .. } in due {
            self.answered += if class == Class::Answered { rows as f64 } else { 0.0 };
            self.latch.on_end(&Attempt { sent, ended: now, class, rows, in_flight });
        }
    }

    fn send(&mut self, backend: &mut impl FnMut(Ask) -> (Seconds, Class)) {
        let knobs = self.latch.knobs();
        self.tokens = (self.tokens + knobs.pace * TICK / 5.0).min(2.0);
        while self.calls.len() < knobs.calls_max.min(self.demand) && self.tokens >= 1.0 {
            self.tokens -= 1.0;
            let rows = knobs.rows_max;
            let (latency, class) = backend(Ask { now: self.now, rows, ahead: self.calls.len() });
            let (sent, in_flight) = (self.now, self.in_flight() + rows as f64);
            let ends = self.now + latency * self.noise();
            self.calls.push(Call { sent, ends, rows, in_flight, class });
        }
    }

    /// Uniform in .7..1.3.
    fn noise(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.7 + 0.6 * (self.random >> 40) as f64 / (1u64 << 24) as f64
    }

    fn limit(&self) -> usize {
        self.latch.knobs().calls_max
    }

    fn decided(&self, reason: Reason) -> usize {
        self.latch.decisions().filter(|d| d.reason == reason).count()
    }
}

/// `slots` calls at a time of `service` seconds each, the others wait.
fn slots(slots: usize, service: Seconds) -> impl FnMut(Ask) -> (Seconds, Class) {
    move |ask| (service * ((ask.ahead + 1) as f64 / slots as f64).max(1.0), Class::Answered)
}
