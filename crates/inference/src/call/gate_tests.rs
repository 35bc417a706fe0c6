//! What a shared gate promises those who ask it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use forebay_core::testing::ManualEnv;
use forebay_gate::usage::Used;
use futures::FutureExt;

use super::*;
use crate::protocols::RateLimits;

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

fn caller(gate: &Arc<ModelGate>) -> Caller {
    gate.caller(1, None)
}

/// A gate before `replicas` replicas of a thousand calls each.
fn several(env: &ManualEnv, replicas: usize, settings: GateSettings) -> Arc<ModelGate> {
    let fixed = || Box::new(Fixed::new(1000, 64, 0.0)) as Box<dyn Limiter>;
    ModelGate::new(Arc::new(env.clone()), (0..replicas).map(|_| fixed()).collect(), settings)
}

#[test]
fn a_permit_that_goes_back_wakes_every_refused_once() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let (one, other) = (caller(&gate), caller(&gate));
    let ((first_wakes, first), (second_wakes, second)) = (Wakes::new(), Wakes::new());
    let permit = one.try_acquire(ROW, &first).unwrap();
    assert!(one.try_acquire(ROW, &first).is_none());
    assert!(one.try_acquire(ROW, &first).is_none());
    assert!(other.try_acquire(ROW, &second).is_none());
    drop(permit);
    assert_eq!((first_wakes.count(), second_wakes.count(), gate.in_flight()), (1, 1, 0));
    assert!(other.try_acquire(ROW, &second).is_some());
}

#[test]
fn a_full_gate_keeps_its_refused_waiting_and_stops_its_timer_when_nobody_waits() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let (wakes, waker) = Wakes::new();
    let caller = caller(&gate);
    let permit = caller.try_acquire(ROW, &waker).unwrap();
    assert!(!caller.has_room(&waker));
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
    let limits = Limits { calls_per_second: 100.0, ..Limits::default() };
    let caller = caller(&several(&env, 1, GateSettings { limits, ..GateSettings::default() }));
    let (wakes, waker) = Wakes::new();
    let (mut sent, mut seen) = (0, usize::MAX);
    for _ in 0..1000 {
        // Asks again only when woken, as a subtask does.
        if seen != wakes.count() {
            seen = wakes.count();
            while let Some(permit) = caller.try_acquire(ROW, &waker) {
                permit.finish(Class::Answered);
                sent += 1;
            }
        }
        env.settle();
        env.advance(Duration::from_millis(1));
        env.settle();
    }
    assert!((90..=103).contains(&sent), "{sent} calls in a second at a pace of 100");
}

#[test]
fn retries_after_work_are_paid_from_one_budget() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1);
    let (one, other) = (caller(&gate), caller(&gate));
    let paid = |_: &ModelGate| (0..50).filter(|_| one.pay()).count() + (0..50).filter(|_| other.pay()).count();
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

/// Rows that a greedy and a slow caller of these weights are given in `seconds`, by a model that takes two calls of 10 ms at
/// once. The greedy one asks whenever it is woken, first, and for all it can get; the slow one asks 3 ms after it was woken.
fn shared_out(weights: [u32; 2], seconds: u64) -> [usize; 2] {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 2);
    let callers = weights.map(|weight| gate.caller(weight, None));
    let wakers = [Wakes::new().1, Wakes::new().1];
    let mut served = [0, 0];
    let mut out: Vec<(u64, Permit)> = Vec::new();
    for now in 0..seconds * 1000 {
        for (_, permit) in out.extract_if(.., |(until, _)| *until <= now) {
            permit.finish(Class::Answered);
        }
        let asks = [true, now % 10 == 3];
        for place in [0, 1] {
            while asks[place]
                && let Some(permit) = callers[place].try_acquire(ROW, &wakers[place])
            {
                served[place] += 1;
                out.push((now + 10, permit));
            }
        }
        env.settle();
        env.advance(Duration::from_millis(1));
        env.settle();
    }
    served
}

#[test]
fn a_greedy_and_a_slow_caller_are_served_by_weight() {
    let [greedy, slow] = shared_out([1, 1], 10);
    assert!(greedy.abs_diff(slow) * 10 < greedy + slow, "{greedy} and {slow} at equal weights");
    let [greedy, slow] = shared_out([1, 3], 10);
    assert!((2.6..3.4).contains(&(slow as f64 / greedy as f64)), "{greedy} and {slow} at weights 1 and 3");
    assert!(greedy + slow > 1600, "of 2000 that the model could do: {greedy} and {slow}");
}

#[test]
fn a_callers_own_bound_stops_nobody_else() {
    let env = ManualEnv::new(1);
    let gate = gate(&env, 1000);
    let (bound, free) = (gate.caller(1, Some(2)), caller(&gate));
    let ((wakes, waker), (_, other)) = (Wakes::new(), Wakes::new());
    let first = bound.try_acquire(ROW, &waker).unwrap();
    let _second = bound.try_acquire(ROW, &waker).unwrap();
    assert!(!bound.has_room(&waker) && bound.knobs().calls_max == 2);
    let others = free.try_acquire(ROW, &other).unwrap();
    others.finish(Class::Answered);
    assert_eq!(wakes.count(), 0, "it waits for its own calls");
    first.finish(Class::Answered);
    assert_eq!(wakes.count(), 1);
    assert!(bound.has_room(&waker));
}

#[test]
fn a_share_of_the_replicas_calls_grows_at_once_and_shrinks_as_they_come_back() {
    let env = ManualEnv::new(1);
    let gate = several(&env, 1, GateSettings { pool: 2, ..GateSettings::default() });
    let share = gate.bounded_caller(1, Bound::Share { least: 1, each: 2, parts: 4 });
    let (wakes, waker) = Wakes::new();
    let first = share.try_acquire(ROW, &waker).unwrap();
    assert!(share.try_acquire(ROW, &waker).is_none());
    gate.scale(6);
    assert_eq!((wakes.count(), share.knobs().calls_max), (1, 3));
    let others = [(); 2].map(|()| share.try_acquire(ROW, &waker).unwrap());
    gate.scale(1);
    assert_eq!((gate.in_flight(), share.knobs().calls_max), (3, 1));
    others.into_iter().for_each(|permit| permit.finish(Class::Answered));
    assert!(!share.has_room(&waker), "one is still out");
    first.finish(Class::Answered);
    assert!(share.has_room(&waker));
}

#[test]
fn calls_go_to_the_replica_with_the_fewest_and_never_to_one_that_is_down() {
    let env = ManualEnv::new(1);
    let gate = several(&env, 3, GateSettings::default());
    let caller = caller(&gate);
    let out: Vec<Permit> = (0..30).map(|_| caller.try_acquire(ROW, Waker::noop()).unwrap()).collect();
    let on = |replica| out.iter().filter(|permit| permit.replica() == Some(replica)).count();
    assert!((0..3).all(|replica| (8..=12).contains(&on(replica))), "{} {} {}", on(0), on(1), on(2));
    out.into_iter().for_each(|permit| permit.finish(Class::Answered));
    let mut failed = 0;
    for _ in 0..300 {
        let permit = caller.try_acquire(ROW, Waker::noop()).unwrap();
        let down = permit.replica() == Some(1);
        failed += usize::from(down);
        permit.finish(if down { Class::Down } else { Class::Answered });
    }
    assert!(failed < 120, "{failed} of 300 calls went to a replica that is down");
    let rest = (0..100).map(|_| caller.try_acquire(ROW, Waker::noop()).unwrap());
    assert!(rest.into_iter().all(|permit| permit.replica() != Some(1)), "its breaker is open");
}

#[test]
fn second_copies_go_to_another_replica_within_their_budget() {
    let env = ManualEnv::new(1);
    let after = Some(Duration::from_millis(20));
    let hedge = HedgeSettings { ratio: 0.05, cap: 20.0, after };
    let gate = several(&env, 2, GateSettings { hedge, ..GateSettings::default() });
    let caller = caller(&gate);
    let mut copies = 0;
    for _ in 0..200 {
        let permit = caller.try_acquire(ROW, Waker::noop()).unwrap();
        let hedger = permit.hedger().unwrap();
        assert_eq!(Some(hedger.after()), after);
        if let Some(Some(copy)) = hedger.permit().now_or_never() {
            assert_ne!(copy.replica(), permit.replica());
            copies += 1;
        }
    }
    assert_eq!((copies, gate.heard().hedged, gate.in_flight()), (10, 10, 0));
}

#[test]
fn a_copy_that_waits_takes_the_next_permit_of_another_replica_before_new_calls() {
    let env = ManualEnv::new(1);
    let hedge = HedgeSettings { ratio: 1.0, cap: 20.0, after: Some(Duration::from_millis(20)) };
    let gate = several(&env, 2, GateSettings { hedge, ..GateSettings::default() });
    let caller = caller(&gate);
    let mut permits: Vec<_> = std::iter::from_fn(|| caller.try_acquire(ROW, Waker::noop())).collect();
    let slow = permits.pop().unwrap();
    let hedger = slow.hedger().unwrap();
    let mut copy = Box::pin(hedger.permit());
    assert!(copy.as_mut().now_or_never().is_none(), "no replica has room");
    let (same, other): (Vec<_>, Vec<_>) = permits.into_iter().partition(|permit| permit.replica() == slow.replica());
    drop(same);
    assert!(caller.try_acquire(ROW, Waker::noop()).is_some(), "the copy cannot go there, so others need not wait");
    assert!(copy.as_mut().now_or_never().is_none());
    drop(other);
    assert!(caller.try_acquire(ROW, Waker::noop()).is_none(), "it is the copy's turn");
    let sent = copy.as_mut().now_or_never().flatten().unwrap();
    assert_ne!(sent.replica(), slow.replica());
    assert!(caller.try_acquire(ROW, Waker::noop()).is_some());
    drop(copy);
    assert_eq!(gate.heard().hedged, 1);
}

#[test]
fn a_copy_that_is_given_up_holds_nobody_back() {
    let env = ManualEnv::new(1);
    let hedge = HedgeSettings { ratio: 1.0, cap: 20.0, after: Some(Duration::from_millis(20)) };
    let gate = several(&env, 2, GateSettings { hedge, ..GateSettings::default() });
    let caller = caller(&gate);
    let mut permits: Vec<_> = std::iter::from_fn(|| caller.try_acquire(ROW, Waker::noop())).collect();
    let hedger = permits.pop().unwrap().hedger().unwrap();
    let mut copy = Box::pin(hedger.permit());
    assert!(copy.as_mut().now_or_never().is_none());
    drop(copy);
    drop(permits);
    assert!(caller.try_acquire(ROW, Waker::noop()).is_some());
}

/// Rows that get through in a minute when each takes `used` tokens and the model may take 6,000 of them.
fn rows_in_a_minute(used: Used) -> usize {
    let env = ManualEnv::new(1);
    let limits = Limits { cost_per_second: 100.0, ..Limits::default() };
    let settings = GateSettings { limits, answer_tokens: Some(100.0), ..GateSettings::default() };
    let caller = caller(&several(&env, 1, settings));
    let (mut rows, mut observed) = (0, Observed::default());
    for _ in 0..6000 {
        while let Some(permit) = caller.try_acquire(Size { bytes: 400, ..ROW }, Waker::noop()) {
            rows += 1;
            observed.tokens.prompt += used.prompt;
            observed.tokens.generated += used.generated;
            permit.hear(observed);
            permit.finish(Class::Answered);
        }
        env.advance(Duration::from_millis(10));
    }
    rows
}

#[test]
fn tokens_are_reserved_by_estimate_and_settled_by_what_answers_took() {
    let few = rows_in_a_minute(Used { prompt: 50, generated: 10 });
    assert!((97..=104).contains(&few), "{few} rows of 60 tokens, the guess was 200");
    let many = rows_in_a_minute(Used { prompt: 400, generated: 200 });
    assert!((10..=12).contains(&many), "{many} rows of 600 tokens");
    let untold = rows_in_a_minute(Used::default());
    assert!((29..=32).contains(&untold), "{untold} rows of the 200 tokens that were guessed");
}

#[test]
fn what_a_provider_tells_of_its_quota_lowers_the_pace() {
    let env = ManualEnv::new(1);
    let caller = caller(&several(&env, 1, GateSettings::default()));
    let limits =
        RateLimits { requests_left: Some(20), requests_reset: Some(Duration::from_secs(10)), ..RateLimits::default() };
    let observed = Observed { rate_limits: Some(limits), told: 1, ..Observed::default() };
    let first = caller.try_acquire(ROW, Waker::noop()).unwrap();
    first.hear(observed);
    first.finish(Class::Answered);
    let mut sent = 0;
    for _ in 0..999 {
        while let Some(permit) = caller.try_acquire(ROW, Waker::noop()) {
            sent += 1;
            permit.hear(observed);
            permit.finish(Class::Answered);
        }
        env.advance(Duration::from_millis(10));
    }
    assert!((18..=22).contains(&sent), "{sent} calls in the ten seconds for which twenty were left");
    env.advance(Duration::from_secs(1));
    let after = (0..100).filter_map(|_| caller.try_acquire(ROW, Waker::noop())).count();
    assert_eq!(after, 100, "whole again");
}
