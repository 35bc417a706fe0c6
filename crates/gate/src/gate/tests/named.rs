//! What a gate does, fact by fact.

use std::time::Duration;

use super::super::*;
use super::world::{How, Make, World};
use crate::fallback::{Rung, Why};
use crate::retry::Fault;

fn world(make: Make) -> World {
    make.world().unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn last_rows(world: &World) -> Vec<u32> {
    world.sent.last().map(|call| world.calls[call].rows.clone()).unwrap_or_default()
}

fn answer_last(world: &mut World, how: How) {
    let call = *world.sent.last().unwrap();
    world.answer(call, how).unwrap();
}

fn one_by_one() -> Make {
    Make { calls_max: 1, rows_max: 1, linger_millis: 0, ..Make::default() }
}

#[test]
fn rows_that_wait_for_a_permit_fill_the_next_batch() {
    let mut world = world(Make { calls_max: 1, linger_millis: 0, ..Make::default() });
    (0..6).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    assert_eq!(last_rows(&world), [0]);
    answer_last(&mut world, How::Well);
    assert_eq!(last_rows(&world), [1, 2, 3, 4]);
}

#[test]
fn a_timed_out_call_is_cancelled_and_its_permit_stays_out_for_two_objectives() {
    let mut world = world(one_by_one());
    world.offer(Row::new(0)).unwrap();
    world.advance(200).unwrap();
    assert!(world.calls[&world.sent[0]].cancelled);
    assert_eq!((world.sent.len(), world.gate.in_flight()), (1, 1), "the backend may still work on it");
    world.advance(199).unwrap();
    assert_eq!(world.sent.len(), 1);
    world.advance(51).unwrap();
    assert_eq!((world.sent.len(), world.gate.in_flight()), (2, 1), "then it is tried again");
}

#[test]
fn an_answer_after_the_timeout_frees_the_permit_and_is_not_believed() {
    let mut world = world(one_by_one());
    world.offer(Row::new(0)).unwrap();
    world.advance(200).unwrap();
    answer_last(&mut world, How::Well);
    assert_eq!((world.gate.in_flight(), world.rows[0].outcome.clone()), (0, None));
}

#[test]
fn a_permit_is_free_at_once_where_cancelling_frees_the_backend() {
    let mut world = world(Make { cancel_frees: true, ..one_by_one() });
    world.offer(Row::new(0)).unwrap();
    world.offer(Row::new(0)).unwrap();
    world.advance(200).unwrap();
    assert_eq!(last_rows(&world), [1]);
}

#[test]
fn a_row_that_runs_out_of_time_leaves_its_call_to_the_others() {
    let mut world = world(Make { calls_max: 1, rows_max: 2, ..Make::default() });
    world.offer(Row { deadline: Some(millis(30)), ..Row::new(0) }).unwrap();
    world.offer(Row::new(0)).unwrap();
    world.advance(30).unwrap();
    assert_eq!(world.rows[0].outcome, Some(Outcome::Expired));
    answer_last(&mut world, How::Well);
    assert_eq!(world.rows[1].outcome, Some(Outcome::Answered(10)));
}

#[test]
fn a_row_is_not_sent_if_a_call_takes_longer_than_it_has() {
    let mut world = world(Make { calls_max: 2, ..one_by_one() });
    world.offer(Row::new(0)).unwrap();
    world.advance(80).unwrap();
    answer_last(&mut world, How::Well);
    world.offer(Row::new(0)).unwrap();
    world.offer(Row { deadline: Some(millis(80 + 79)), ..Row::new(0) }).unwrap();
    assert_eq!(world.rows[2].outcome, Some(Outcome::Expired));
    answer_last(&mut world, How::Well);
    world.offer(Row { deadline: Some(millis(80 + 1)), ..Row::new(0) }).unwrap();
    assert_eq!(last_rows(&world), [3], "with nothing in flight it is: nobody would ever learn otherwise");
}

/// Fails calls until the breaker opens.
fn break_it(world: &mut World) {
    for _ in 0..40 {
        world.offer(Row::new(0)).unwrap();
        answer_last(world, How::Whole(Fault::Down));
        if world.gate.replicas.state(world.now) == crate::breaker::State::Open {
            return;
        }
    }
    panic!("the breaker stays closed");
}

#[test]
fn while_the_breaker_is_open_only_rows_that_cannot_wait_take_their_fallback() {
    let mut world = world(Make { breakers: true, ladder: true, ..one_by_one() });
    break_it(&mut world);
    let until = world.gate.replicas.asks_at().unwrap();
    let hurried = world.offer(Row { deadline: Some(until - millis(1)), ..Row::new(0) }).unwrap();
    let patient = world.offer(Row { deadline: Some(until + millis(5_000)), ..Row::new(0) }).unwrap();
    let to = Rung::Constant("zero".into());
    let fallback = Outcome::Fallback { rung: 0, to, why: Why::BreakerOpen, attempts: 0 };
    assert_eq!(world.rows[hurried as usize].outcome, Some(fallback));
    assert_eq!(world.rows[patient as usize].outcome, None);
}

#[test]
fn a_half_open_call_is_one_call_costs_no_attempt_and_no_fallback() {
    let mut world = world(Make { breakers: true, ladder: true, calls_max: 4, ..one_by_one() });
    break_it(&mut world);
    let asked = world.offer(Row::new(0)).unwrap();
    let sent = world.sent.len();
    for _ in 0..6 {
        while world.calls[world.sent.last().unwrap()].ended {
            world.advance(10).unwrap();
        }
        answer_last(&mut world, How::Whole(Fault::Down));
    }
    assert_eq!(world.sent.len(), sent + 6, "one at a time");
    assert_eq!(world.rows[asked as usize].outcome, None, "however often it fails");
    world.finish().unwrap();
}

#[test]
fn throttling_never_opens_the_breaker() {
    let mut world = world(Make { breakers: true, ..one_by_one() });
    for _ in 0..60 {
        world.offer(Row::new(0)).unwrap();
        answer_last(&mut world, How::Whole(Fault::Throttled));
    }
    assert_eq!(world.gate.replicas.state(world.now), crate::breaker::State::Closed);
}

#[test]
fn what_ran_out_of_attempts_or_budget_takes_its_fallback_and_says_why() {
    let mut world = world(Make { ladder: true, calls_max: 100, ..one_by_one() });
    (0..6).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    (0..6).for_each(|n| world.answer(world.sent[n], How::Whole(Fault::Down)).unwrap());
    let why = |row: usize| match &world.rows[row].outcome {
        Some(Outcome::Fallback { why, attempts, .. }) => Some((why.clone(), *attempts)),
        _ => None,
    };
    let spent = Why::BudgetSpent { fault: Fault::Down, reason: "said the world".into() };
    assert_eq!((why(4), why(5)), (None, Some((spent, 1))), "five retries are there from the start");
}

#[test]
fn rows_that_may_wait_for_the_budget_do() {
    let mut world = world(Make { wait_for_budget: true, calls_max: 100, ..one_by_one() });
    (0..8).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    (0..8).for_each(|n| world.answer(world.sent[n], How::Whole(Fault::Overloaded)).unwrap());
    assert!(world.rows.iter().all(|row| row.outcome.is_none()));
    world.finish().unwrap();
    assert!(world.rows.iter().all(|row| matches!(row.outcome, Some(Outcome::Answered(_)))));
}

#[test]
fn a_row_that_kills_its_worker_is_found_and_the_others_live() {
    let mut world = world(Make { calls_max: 1, rows_max: 4, linger_millis: 1_000, ..Make::default() });
    (0..4).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    while let Some(call) = world.sent.last().copied().filter(|call| !world.calls[call].ended) {
        let kills = world.calls[&call].rows.contains(&2);
        world.answer(call, if kills { How::Whole(Fault::Died) } else { How::Well }).unwrap();
    }
    let failed: Vec<usize> =
        (0..4).filter(|row| !matches!(world.rows[*row].outcome, Some(Outcome::Answered(_)))).collect();
    assert_eq!(failed, [2]);
    assert!(matches!(world.rows[2].outcome, Some(Outcome::Failed { fault: Fault::Died, .. })));
}

#[test]
fn a_slow_call_is_hedged_once_and_the_loser_cancelled() {
    let mut world = world(Make { hedge: true, replicas: 3, cancel_frees: true, ..one_by_one() });
    let before = world.sent.len();
    let row = world.offer(Row::new(0)).unwrap();
    world.advance(9).unwrap();
    assert_eq!(world.sent.len(), before + 1);
    world.advance(30).unwrap();
    assert_eq!(world.sent.len(), before + 2, "after the 95th percentile, which is 10 ms");
    let (first, second) = (world.sent[before], world.sent[before + 1]);
    assert_ne!(world.calls[&first].replica, world.calls[&second].replica);
    world.answer(second, How::Well).unwrap();
    assert!(world.calls[&first].cancelled);
    assert_eq!((world.gate.in_flight(), world.rows[row as usize].outcome.is_some()), (0, true));
}

#[test]
fn a_replica_at_its_limit_gets_no_hedge_and_no_call() {
    let mut world = world(Make { hedge: true, replicas: 2, ..one_by_one() });
    world.knobs[1].lock().unwrap().calls_max = 0;
    let before = world.sent.len();
    (0..3).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    world.advance(100).unwrap();
    assert_eq!(world.sent.len(), before + 1);
}

#[test]
fn calls_go_to_the_replica_with_more_room() {
    let mut world = world(Make { replicas: 2, calls_max: 40, rows_max: 1, linger_millis: 0, ..Make::default() });
    world.knobs[1].lock().unwrap().calls_max = 4;
    (0..22).for_each(|_| {
        world.offer(Row::new(0)).unwrap();
    });
    let second = world.calls.values().filter(|call| call.replica == ReplicaId(1)).count();
    assert_eq!(second, 2, "half of 40 and half of 4");
}

#[test]
fn callers_share_what_there_is() {
    let mut world = world(Make { shed: false, ..one_by_one() });
    (0..8).for_each(|_| {
        world.offer(Row { caller: CallerId(1), ..Row::new(0) }).unwrap();
    });
    (0..2).for_each(|_| {
        world.offer(Row { caller: CallerId(2), ..Row::new(0) }).unwrap();
    });
    (0..6).for_each(|_| answer_last(&mut world, How::Well));
    let late = world.rows[8..].iter().filter(|row| row.outcome.is_some()).count();
    assert_eq!(late, 2, "both rows of the second caller are among the first six");
}

#[test]
fn shedding_refuses_the_least_important_and_only_what_waits() {
    let mut world = world(Make { shed: true, ..one_by_one() });
    for n in 0..16 {
        world.offer(Row { priority: u8::from(n % 2 == 0), ..Row::new(0) }).unwrap();
    }
    let shed: Vec<usize> = (0..16).filter(|row| world.rows[*row].outcome == Some(Outcome::Shed)).collect();
    assert!(!shed.is_empty() && shed.iter().all(|row| row % 2 == 1), "{shed:?}");
    assert!(world.gate.queued() <= 12);
}

#[test]
fn ordered_rows_wait_for_a_retry_before_them() {
    let mut world =
        world(Make { order: Order::Ordered, calls_max: 2, rows_max: 1, linger_millis: 0, ..Make::default() });
    world.offer(Row::new(0)).unwrap();
    world.offer(Row::new(0)).unwrap();
    world.answer(world.sent[1], How::Well).unwrap();
    world.answer(world.sent[0], How::Whole(Fault::Overloaded)).unwrap();
    assert_eq!((world.rows[1].outcome.clone(), world.gate.held()), (None, 2));
    world.advance(60).unwrap();
    answer_last(&mut world, How::Well);
    assert_eq!(world.rows[1].outcome, Some(Outcome::Answered(10)));
}

#[test]
fn all_replicas_together_stay_within_the_limits() {
    let mut settings = GateSettings::objective(millis(200));
    settings.limits.calls_per_second = 100.0;
    let fixed = || Box::new(crate::limiter::Fixed::new(1000, 1, 0.0)) as Box<dyn Limiter>;
    let mut gate: Gate<u32, ()> = Gate::new(settings, vec![fixed(), fixed()]);
    let (mut now, mut sent, mut actions) = (millis(0), 0, Vec::new());
    gate.step(Event::Offer((0..500).map(Row::new).collect()), now, &mut actions);
    while now < millis(1_000) {
        let mut calls = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Send { call, .. } => calls.push(call),
                Action::Wake(at) => now = now.max(at),
                _ => {}
            }
        }
        sent += calls.len();
        for call in calls {
            gate.step(Event::Answered { call, outcomes: vec![Ok(())] }, now, &mut actions);
        }
        gate.step(Event::Timer, now, &mut actions);
    }
    assert!((95..=105).contains(&sent), "{sent}");
}
