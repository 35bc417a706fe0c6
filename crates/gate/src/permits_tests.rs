//! What permits promise, by table and by property.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::limiter::{Fixed, Seconds};

const ONE: Size = Size { rows: 1, bytes: 10, cost: 1 };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn permits(calls: usize) -> Permits {
    Permits::new(Box::new(Fixed::new(calls, 8, 0.0)), Caps::default())
}

#[test]
fn never_more_calls_than_the_limit_and_each_given_back_is_there_again() {
    let mut permits = permits(2);
    let first = permits.try_acquire(ONE, millis(0)).unwrap();
    let _second = permits.try_acquire(ONE, millis(0)).unwrap();
    assert_eq!(permits.try_acquire(ONE, millis(0)).unwrap_err(), Refused::Full);
    permits.give_back(first, Class::Answered, millis(40));
    assert_eq!((permits.calls(), permits.in_flight()), (1, ONE));
    assert_eq!(permits.latency_mean(), Some(millis(40)));
    assert!(permits.try_acquire(ONE, millis(40)).is_ok());
}

#[test]
fn caps_hold_for_rows_bytes_and_cost_but_never_stop_a_lone_call() {
    let sizes = [Size { rows: 5, ..ONE }, Size { bytes: 50, ..ONE }, Size { cost: 5, ..ONE }];
    for size in sizes {
        let caps = Caps { rows_max: 4, bytes_max: 40, cost_max: 4, ..Caps::default() };
        let mut permits = Permits::new(Box::new(Fixed::new(9, 8, 0.0)), caps);
        let lone = permits.try_acquire(size, millis(0)).unwrap();
        assert_eq!(permits.try_acquire(ONE, millis(0)).unwrap_err(), Refused::Full);
        permits.give_back(lone, Class::Answered, millis(1));
        let _small = permits.try_acquire(ONE, millis(1)).unwrap();
        assert_eq!(permits.try_acquire(size, millis(1)).unwrap_err(), Refused::Full);
    }
}

#[test]
fn a_limiters_pace_spreads_calls_over_time_and_says_when() {
    struct Paced;
    impl Limiter for Paced {
        fn knobs(&self) -> Knobs {
            Knobs { calls_max: 100, rows_max: 1, linger: 0.0, pace: 10.0 }
        }
        fn on_end(&mut self, _attempt: &Attempt) {}
        fn on_tick(&mut self, _now: Seconds, _load: Load) {}
    }
    let mut permits = Permits::new(Box::new(Paced), Caps::default());
    let (mut now, mut sent) = (millis(0), 0);
    while now < millis(2_000) {
        match permits.try_acquire(ONE, now) {
            Ok(permit) => {
                sent += 1;
                permits.give_back(permit, Class::Answered, now);
            }
            Err(Refused::Until(at)) => now = at,
            Err(Refused::Full) => unreachable!(),
        }
    }
    assert_eq!(sent, 20, "ten a second for two seconds");
}

/// Writes down what it is told.
#[derive(Default, Clone)]
struct Told(Arc<Mutex<Vec<(Seconds, Load)>>>);

impl Limiter for Told {
    fn knobs(&self) -> Knobs {
        Knobs { calls_max: 100, rows_max: 1, linger: 0.0, pace: f64::INFINITY }
    }
    fn on_end(&mut self, _attempt: &Attempt) {}
    fn on_tick(&mut self, now: Seconds, load: Load) {
        self.0.lock().unwrap().push((now, load));
    }
}

#[test]
fn a_limiter_is_ticked_every_ten_milliseconds_with_the_integral_of_rows() {
    let told = Told::default();
    let mut permits = Permits::new(Box::new(told.clone()), Caps::default());
    permits.on_time(millis(0), false);
    let permit = permits.try_acquire(Size { rows: 4, ..ONE }, millis(5)).unwrap();
    (6..=13).for_each(|at| permits.on_time(millis(at), true));
    permits.give_back(permit, Class::Answered, millis(25));
    assert_eq!(permits.next_tick(), millis(20), "the grid stays where it was");
    permits.on_time(millis(27), false);
    let ticks = told.0.lock().unwrap().clone();
    let short: Vec<(u32, u32)> =
        ticks.iter().map(|(now, load)| ((now * 1e3).round() as u32, (load.row_seconds * 1e3).round() as u32)).collect();
    assert_eq!(short, [(0, 0), (10, 20), (27, 80)]);
}

proptest! {
    #[test]
    fn permits_are_conserved(steps in prop::collection::vec((0usize..3, 1usize..9, 0u64..9), 0..200), limit in 1usize..6) {
        let mut permits = permits(limit);
        let mut out: Vec<Permit> = Vec::new();
        let (mut now, mut row_millis) = (0u64, 0u64);
        for (what, rows, wait) in steps {
            row_millis += out.iter().map(|permit| permit.size.rows as u64 * wait).sum::<u64>();
            now += wait;
            if what == 0 && !out.is_empty() {
                let permit = out.swap_remove(rows % out.len());
                permits.give_back(permit, Class::Answered, millis(now));
            } else if let Ok(permit) = permits.try_acquire(Size { rows, ..ONE }, millis(now)) {
                out.push(permit);
            }
            prop_assert!(out.len() <= limit);
            prop_assert_eq!(permits.calls(), out.len());
            prop_assert_eq!(permits.in_flight().rows, out.iter().map(|permit| permit.size.rows).sum::<usize>());
            permits.on_time(millis(now), false);
        }
        permits.count(millis(now));
        prop_assert!((permits.row_seconds * 1e3 - row_millis as f64).abs() < 1e-6);
    }
}
