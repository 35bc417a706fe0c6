//! What all who call a model may use together, whichever replica answers: so much a second, and so much in flight.
//!
//! These are the limits of a contract, a provider's account or the caller's memory, as opposed to what a replica can take,
//! which limiters find out. Cost is what the caller says, tokens as a rule: reserved by estimate when a call starts and
//! settled when its answer tells what it took. What a provider tells of its own quota lowers the pace by itself.

use std::time::Duration;

use crate::pace::{Left, Pace};
use crate::permits::{Refused, Size};

/// Limits that all callers share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Calls started in a second.
    pub calls_per_second: f64,
    /// Rows started in a second.
    pub rows_per_second: f64,
    /// Cost started in a second.
    pub cost_per_second: f64,
    /// Calls in flight.
    pub calls_max: usize,
    /// Bytes in flight.
    pub bytes_max: usize,
    /// Cost in flight.
    pub cost_max: u64,
}

/// What a provider told of its quotas with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Told {
    /// Of calls.
    pub calls: Option<Left>,
    /// Of cost.
    pub cost: Option<Left>,
}

/// The limits and what is used of them.
#[derive(Debug, Clone)]
pub struct Quota {
    limits: Limits,
    calls_in_flight: usize,
    in_flight: Size,
    calls: Pace,
    rows: Pace,
    cost: Pace,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        let (calls_per_second, rows_per_second, cost_per_second) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
        let (calls_max, bytes_max) = (usize::MAX, usize::MAX);
        Self { calls_per_second, rows_per_second, cost_per_second, calls_max, bytes_max, cost_max: u64::MAX }
    }
}

// === impl Quota ===

impl Quota {
    /// Nothing used.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls_in_flight: 0,
            in_flight: Size::default(),
            calls: Pace::new(limits.calls_per_second),
            rows: Pace::new(limits.rows_per_second),
            cost: Pace::new(limits.cost_per_second),
        }
    }

    /// True if time alone may make room.
    pub fn is_paced(&self) -> bool {
        self.calls.is_bound() || self.rows.is_bound() || self.cost.is_bound()
    }

    /// Calls that may start in a second now; infinite without a bound.
    pub fn calls_per_second(&self, now: Duration) -> f64 {
        self.calls.rate(now)
    }

    /// Whether a small call may start now.
    ///
    /// # Errors
    /// Why not, and whether time alone will help.
    pub fn room(&mut self, now: Duration) -> Result<(), Refused> {
        if self.calls_in_flight >= self.limits.calls_max {
            return Err(Refused::Full);
        }
        let paces = [&mut self.calls, &mut self.rows, &mut self.cost];
        let waits = paces.into_iter().filter_map(|pace| pace.check(f64::INFINITY, now).err());
        waits.max().map_or(Ok(()), |at| Err(Refused::Until(at)))
    }

    /// Takes what a call of `size` uses, from now on.
    ///
    /// A call above what may be in flight is let through when nothing else is: it could never be sent otherwise.
    ///
    /// # Errors
    /// As [`Quota::room`]; then nothing is taken.
    pub fn try_take(&mut self, size: Size, now: Duration) -> Result<(), Refused> {
        self.room(now)?;
        let with = self.in_flight.plus(size);
        let over = with.bytes > self.limits.bytes_max || with.cost > self.limits.cost_max;
        if over && self.calls_in_flight > 0 {
            return Err(Refused::Full);
        }
        self.calls.spend(1.0);
        self.rows.spend(size.rows as f64);
        self.cost.spend(size.cost as f64);
        self.calls_in_flight += 1;
        self.in_flight = with;
        Ok(())
    }

    /// A call of `size` is over. `done` false if it was never made, or refused without work: it used nothing of what a second
    /// has of rows and cost.
    pub fn give_back(&mut self, size: Size, done: bool) {
        self.calls_in_flight = self.calls_in_flight.saturating_sub(1);
        self.in_flight = self.in_flight.minus(size);
        if !done {
            self.rows.settle(size.rows as f64, 0.0);
            self.cost.settle(size.cost as f64, 0.0);
        }
    }

    /// What was reserved as `reserved` took `used`.
    pub fn settle(&mut self, reserved: u64, used: u64) {
        self.cost.settle(reserved as f64, used as f64);
    }

    /// A provider told what is left of its own quotas.
    pub fn on_told(&mut self, told: Told, now: Duration) {
        if let Some(left) = told.calls {
            self.calls.tell(left, now);
        }
        if let Some(left) = told.cost {
            self.cost.tell(left, now);
        }
    }

    /// Most calls in flight.
    pub fn calls_max(&self) -> usize {
        self.limits.calls_max
    }

    /// What is in flight.
    pub fn in_flight(&self) -> Size {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Size = Size { rows: 1, bytes: 10, cost: 1 };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Rows and cost that are let through in two seconds by `limits`, in calls of `size` that take no time.
    fn through(limits: Limits, size: Size) -> (usize, u64) {
        let (mut quota, mut now, mut rows, mut cost) = (Quota::new(limits), millis(0), 0, 0);
        while now < millis(2_000) {
            match quota.try_take(size, now) {
                Ok(()) => {
                    quota.give_back(size, true);
                    (rows, cost) = (rows + size.rows, cost + size.cost);
                }
                Err(Refused::Until(at)) => now = at,
                Err(Refused::Full) => unreachable!("nothing is in flight"),
            }
        }
        (rows, cost)
    }

    #[test]
    fn calls_rows_and_cost_are_paced_by_themselves() {
        let size = Size { rows: 10, bytes: 0, cost: 50 };
        let (rows, _) = through(Limits { calls_per_second: 10.0, ..Limits::default() }, size);
        assert_eq!(rows, 200, "twenty calls");
        let (rows, _) = through(Limits { rows_per_second: 100.0, ..Limits::default() }, size);
        assert!((200..=210).contains(&rows), "{rows}");
        let (_, cost) = through(Limits { cost_per_second: 1000.0, ..Limits::default() }, size);
        assert!((2000..=2050).contains(&cost), "{cost}");
    }

    #[test]
    fn what_is_in_flight_is_bounded_but_never_stops_a_lone_call() {
        for size in [Size { bytes: 50, ..ONE }, Size { cost: 5, ..ONE }] {
            let mut quota = Quota::new(Limits { bytes_max: 40, cost_max: 4, ..Limits::default() });
            quota.try_take(size, millis(0)).unwrap();
            assert_eq!(quota.try_take(ONE, millis(0)), Err(Refused::Full));
            quota.give_back(size, true);
            quota.try_take(ONE, millis(0)).unwrap();
            assert_eq!(quota.try_take(size, millis(0)), Err(Refused::Full));
        }
    }

    #[test]
    fn a_refused_call_costs_nothing_and_an_answer_settles() {
        let mut quota = Quota::new(Limits { cost_per_second: 100.0, ..Limits::default() });
        let size = Size { cost: 51, ..ONE };
        quota.try_take(size, millis(0)).unwrap();
        quota.give_back(size, false);
        quota.try_take(size, millis(0)).unwrap();
        quota.give_back(size, true);
        assert!(quota.room(millis(400)).is_err(), "50 are owed for 500 ms");
        quota.settle(51, 1);
        assert!(quota.room(millis(400)).is_ok());
    }

    #[test]
    fn what_a_provider_tells_lowers_the_pace() {
        let mut quota = Quota::new(Limits::default());
        assert!(!quota.is_paced());
        let left = Left { left: 20.0, all: None, reset: millis(10_000) };
        quota.on_told(Told { calls: Some(left), cost: None }, millis(0));
        assert!(quota.is_paced() && (quota.calls_per_second(millis(1)) - 2.0).abs() < 1e-9);
        quota.try_take(ONE, millis(0)).unwrap();
        assert_eq!(quota.try_take(ONE, millis(0)), Err(Refused::Until(millis(500))));
    }
}
