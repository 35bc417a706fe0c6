//! The shared limit of one backend: hands out permits as its limiter allows and keeps the books that the limiter reads.
//!
//! Everybody who calls a backend asks the same [`Permits`]. A permit is given if the limiter's calls, its pace and the
//! hard caps all have room; it is a value that cannot be copied, so what was given out is what comes back. Never queues
//! and never waits: who is refused is told since when it is worth asking again, if time alone will do.

use std::time::Duration;

use crate::limiter::{Attempt, Class, Gauges, Knobs, Limiter, Load};
use crate::pace::Pace;

/// How often a limiter is told that time passes.
pub const TICK: Duration = Duration::from_millis(10);

/// Hard caps that no limiter may exceed: what a contract, a quota or the caller's own memory allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Calls in flight.
    pub calls_max: usize,
    /// Rows in flight.
    pub rows_max: usize,
    /// Bytes in flight.
    pub bytes_max: usize,
    /// Cost in flight, for example tokens.
    pub cost_max: u64,
}

/// What a call weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Bytes.
    pub bytes: usize,
    /// Cost, for example tokens.
    pub cost: u64,
}

/// The right to one call in flight. It has to go back through [`Permits::give_back`].
#[derive(Debug)]
#[must_use = "a permit that is not given back is lost to all"]
pub struct Permit {
    size: Size,
    sent: Duration,
    in_flight: f64,
}

/// Why there was no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Until a permit comes back or the limit grows.
    Full,
    /// Until this moment, at least.
    Until(Duration),
}

/// The shared limit of one backend.
pub struct Permits {
    limiter: Box<dyn Limiter>,
    caps: Caps,
    calls: usize,
    in_flight: Size,
    row_seconds: f64,
    counted: Duration,
    ticked: Option<Duration>,
    pace: Pace,
    latency: Option<f64>,
    /// A bug for tests to find: the limit does not hold.
    loose: bool,
}

// === impl Caps ===

impl Default for Caps {
    fn default() -> Self {
        let (calls_max, rows_max, bytes_max) = (usize::MAX, usize::MAX, usize::MAX);
        Self { calls_max, rows_max, bytes_max, cost_max: u64::MAX }
    }
}

// === impl Permit ===

impl Permit {
    /// What its call weighs.
    pub fn size(&self) -> Size {
        self.size
    }

    /// When it was given out.
    pub fn sent(&self) -> Duration {
        self.sent
    }
}

// === impl Permits ===

impl Permits {
    /// All permits there; the limiter's clock begins at 0.
    pub fn new(limiter: Box<dyn Limiter>, caps: Caps) -> Self {
        Self {
            limiter,
            caps,
            calls: 0,
            in_flight: Size::default(),
            row_seconds: 0.0,
            counted: Duration::ZERO,
            ticked: None,
            pace: Pace::new(f64::INFINITY),
            latency: None,
            loose: false,
        }
    }

    #[doc(hidden)]
    pub fn loosened(mut self, planted: bool) -> Self {
        self.loose = planted;
        self
    }

    /// A permit for a call of `size`, that is sent now.
    ///
    /// A call above the caps for rows, bytes or cost is let through when nothing else is in flight: it could never be
    /// sent otherwise.
    ///
    /// # Errors
    /// Why not, and whether time alone will help.
    pub fn try_acquire(&mut self, size: Size, now: Duration) -> Result<Permit, Refused> {
        self.room(now)?;
        let with = self.in_flight.plus(size);
        let caps = &self.caps;
        let over = with.rows > caps.rows_max || with.bytes > caps.bytes_max || with.cost > caps.cost_max;
        if over && self.calls > 0 {
            return Err(Refused::Full);
        }
        self.count(now);
        self.pace.spend(1.0);
        self.calls += 1;
        self.in_flight = with;
        Ok(Permit { size, sent: now, in_flight: with.rows as f64 })
    }

    /// Whether a small call would get a permit now.
    ///
    /// # Errors
    /// Why not, and whether time alone will help.
    pub fn room(&mut self, now: Duration) -> Result<(), Refused> {
        let knobs = self.limiter.knobs();
        if self.calls >= knobs.calls_max.min(self.caps.calls_max) && !self.loose {
            return Err(Refused::Full);
        }
        self.pace.check(knobs.pace, now).map_err(Refused::Until)
    }

    /// The call of `permit` ended as `class` and is not in flight any more.
    pub fn give_back(&mut self, permit: Permit, class: Class, now: Duration) {
        let copy = Permit { ..permit };
        self.release(permit, now);
        self.report(&copy, class, now);
    }

    /// Tells the limiter how the attempt of `permit` ended, without giving the permit back: nobody waits for the call any
    /// more, but the backend may still work on it.
    pub fn report(&mut self, permit: &Permit, class: Class, now: Duration) {
        let (sent, ended) = (permit.sent.as_secs_f64(), now.as_secs_f64());
        if class == Class::Answered {
            let latency = (ended - sent).max(0.0);
            let mean = self.latency.unwrap_or(latency);
            self.latency = Some(mean + 0.125 * (latency - mean));
        }
        let rows = permit.size.rows.max(1);
        self.limiter.on_end(&Attempt { sent, ended, class, rows, in_flight: permit.in_flight });
    }

    /// Gives a permit back whose call was reported before, or never sent.
    pub fn release(&mut self, permit: Permit, now: Duration) {
        self.count(now);
        self.calls -= 1;
        self.in_flight = self.in_flight.minus(permit.size);
    }

    /// Time passed; `waiting` says that rows wait to be sent. Tells the limiter at most once in [`TICK`].
    pub fn on_time(&mut self, now: Duration, waiting: bool) {
        if self.ticked.is_some_and(|ticked| now < ticked + TICK) {
            return;
        }
        self.count(now);
        // On the grid, so that a late call does not move all later ones.
        let grid = TICK.as_nanos() as u64;
        self.ticked = Some(Duration::from_nanos(now.as_nanos() as u64 / grid * grid));
        let load = Load { row_seconds: self.row_seconds, in_flight: self.in_flight.rows as f64, waiting };
        self.limiter.on_tick(now.as_secs_f64(), load);
    }

    /// When [`Permits::on_time`] is wanted next, as long as there is something in flight or waiting.
    pub fn next_tick(&self) -> Duration {
        self.ticked.map_or(Duration::ZERO, |ticked| ticked + TICK)
    }

    /// The backend's gauges were read.
    pub fn on_gauges(&mut self, gauges: Gauges, now: Duration) {
        self.limiter.on_gauges(now.as_secs_f64(), gauges);
    }

    /// The backend said how much of its capacity it uses; 1 is all.
    pub fn on_utilization(&mut self, ratio: f64, now: Duration) {
        self.limiter.on_utilization(now.as_secs_f64(), ratio);
    }

    /// What the limiter allows, within the hard caps.
    pub fn knobs(&self) -> Knobs {
        let knobs = self.limiter.knobs();
        Knobs {
            calls_max: knobs.calls_max.min(self.caps.calls_max),
            rows_max: knobs.rows_max.min(self.caps.rows_max).max(1),
            pace: knobs.pace,
            linger: knobs.linger,
        }
    }

    /// Share of the limit that is free, 0..=1.
    pub fn free_ratio(&self) -> f64 {
        let limit = self.limiter.knobs().calls_max.min(self.caps.calls_max);
        if limit == 0 { 0.0 } else { 1.0 - self.calls.min(limit) as f64 / limit as f64 }
    }

    /// Calls in flight. Above the limit for a while after the limit shrank.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// What is in flight, all calls together.
    pub fn in_flight(&self) -> Size {
        self.in_flight
    }

    /// How long an answered call takes, a running mean; `None` before the first.
    pub fn latency_mean(&self) -> Option<Duration> {
        self.latency.map(Duration::from_secs_f64)
    }

    /// The limiter, for its hint and its reasons.
    pub fn limiter(&self) -> &dyn Limiter {
        &*self.limiter
    }

    fn count(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted);
        self.row_seconds += self.in_flight.rows as f64 * passed.as_secs_f64();
        self.counted = self.counted.max(now);
    }
}

impl std::fmt::Debug for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permits")
            .field("calls", &self.calls)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

// === impl Size ===

impl Size {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        let (rows, bytes) = (self.rows + other.rows, self.bytes.saturating_add(other.bytes));
        Self { rows, bytes, cost: self.cost.saturating_add(other.cost) }
    }

    /// What is left without `other`.
    pub fn minus(self, other: Self) -> Self {
        let (rows, bytes) = (self.rows.saturating_sub(other.rows), self.bytes.saturating_sub(other.bytes));
        Self { rows, bytes, cost: self.cost.saturating_sub(other.cost) }
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
