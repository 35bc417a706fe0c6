//! What a shared gate promises those who ask it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use forebay_core::testing::ManualEnv;

use super::*;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

const ROW: Size = Size { rows: 1, bytes: 1, cost: 1 };

fn gate(env: &ManualEnv, calls_max: usize) -> Arc<ModelGate> {
    ModelGate::fixed(Arc::new(env.clone()), calls_max, 1, Duration::ZERO)
}

#[test]
fn a_permit_that_goes_back_wakes_every_refused_once() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let ((first_wakes, first), (second_wakes, second)) = (Wakes::new(), Wakes::new());
    let permit = gate.try_acquire(ROW, &first).unwrap();
    assert!(gate.try_acquire(ROW, &first).is_none());
    assert!(gate.try_acquire(ROW, &first).is_none());
    assert!(gate.try_acquire(ROW, &second).is_none());
    drop(permit);
    assert_eq!((first_wakes.count(), second_wakes.count(), gate.in_flight()), (1, 1, 0));
    assert!(gate.try_acquire(ROW, &second).is_some());
}

#[test]
fn a_full_gate_keeps_its_refused_waiting_and_stops_its_timer_when_nobody_waits() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let (wakes, waker) = Wakes::new();
    let permit = gate.try_acquire(ROW, &waker).unwrap();
    assert!(!gate.has_room(&waker));
    env.advance(Duration::from_secs(1));
    assert_eq!(wakes.count(), 0, "time alone makes no room here");
    permit.finish(Class::Answered);
    assert_eq!(wakes.count(), 1);
    env.advance(Duration::from_secs(1));
    assert_eq!(env.next_wake(), None, "nobody waits, nothing ticks");
}

#[test]
fn a_pace_wakes_those_who_wait_by_time_alone() {
    let env = ManualEnv::new(1);
    let caps = Caps { calls_per_second: 100.0, ..Caps::default() };
    let gate = ModelGate::new(Arc::new(env.clone()), Box::new(Fixed::new(1000, 1, 0.0)), caps);
    let (wakes, waker) = Wakes::new();
    let mut sent = 0;
    for _ in 0..100 {
        while let Some(permit) = gate.try_acquire(ROW, &waker) {
            permit.finish(Class::Answered);
            sent += 1;
        }
        env.advance(Duration::from_millis(10));
    }
    assert!((98..=103).contains(&sent), "{sent} calls in a second at a pace of 100");
    assert!(wakes.count() > 50);
}

#[test]
fn retries_after_work_are_paid_from_one_budget() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let paid = |gate: &ModelGate| (0..100).filter(|_| gate.pay()).count();
    assert_eq!(paid(&gate), 5, "what it starts with");
    (0..30).for_each(|_| gate.earn());
    assert_eq!(paid(&gate), 3, "a tenth of thirty first attempts");
    env.advance(Duration::from_secs(2));
    assert_eq!(paid(&gate), 2, "one a second by time alone");
}

#[test]
fn what_the_model_asked_for_is_kept_and_spread_by_a_tenth() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    for _ in 0..100 {
        let at = gate.retry_at(1, Some(Duration::from_secs(2)));
        assert!((2_000_000..=2_200_000).contains(&at.0), "{at:?}");
    }
}
