//! Completions, timers and cancellations dropped, repeated, delayed and in any order; and bugs that this must find.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::*;
use super::world::{How, Make, check};
use crate::retry::Fault;

#[derive(Debug, Clone)]
enum Step {
    Offer {
        bytes: usize,
        key: Option<u64>,
        deadline: Option<u64>,
        caller: u32,
        priority: u8,
    },
    /// The call sent `back` calls ago ends, perhaps not for the first time.
    Answer {
        back: usize,
        how: How,
    },
    Advance(u64),
    Oversleep(u64),
    Timer,
    Cancel(usize),
    Knobs {
        replica: usize,
        calls_max: usize,
        rows_max: usize,
    },
    Watermark,
}

fn fault() -> impl Strategy<Value = Fault> {
    use Fault::{Data, Died, Down, Overloaded, Throttled, Timeout, TooLarge};
    prop::sample::select(vec![Data, Throttled, Overloaded, Down, Timeout, TooLarge, Died])
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        8 => Just(How::Well),
        1 => Just(How::Short),
        4 => fault().prop_map(How::Whole),
        2 => prop::sample::select(vec![Fault::Overloaded, Fault::Down]).prop_map(How::Rows),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::option::of(0u64..3);
    let offer = (0usize..40, key, prop::option::weighted(0.2, 1u64..500), 0u32..3, 0u8..3);
    prop_oneof![
        10 => offer.prop_map(|(bytes, key, deadline, caller, priority)| {
            Step::Offer { bytes, key, deadline, caller, priority }
        }),
        10 => (0usize..6, how()).prop_map(|(back, how)| Step::Answer { back, how }),
        5 => (0u64..60).prop_map(Step::Advance),
        1 => (100u64..400).prop_map(Step::Advance),
        1 => (0u64..300).prop_map(Step::Oversleep),
        1 => Just(Step::Timer),
        1 => (0usize..50).prop_map(Step::Cancel),
        1 => (0usize..3, 0usize..4, 1usize..6).prop_map(|(replica, calls_max, rows_max)| {
            Step::Knobs { replica, calls_max, rows_max }
        }),
        1 => Just(Step::Watermark),
    ]
}

fn make() -> impl Strategy<Value = Make> {
    let order = prop::sample::select(vec![Order::Unordered, Order::PerKey, Order::Ordered]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let hedge = prop::bool::weighted(0.3);
    // Now and then one that only the end cuts short.
    let linger = prop_oneof![5 => 0u64..20, 1 => Just(10_000_000)];
    (order, flags, hedge, 1usize..4, 1usize..4, 1usize..6, linger).prop_map(
        |(order, flags, hedge, replicas, calls_max, rows_max, linger_millis)| {
            let (idempotent, cancel_frees, breakers, shed, wait_for_budget, ladder) = flags;
            let base = Make { order, idempotent, cancel_frees, breakers, shed, wait_for_budget, ..Make::default() };
            let replicas = if hedge { 3 } else { replicas };
            Make { ladder, hedge: hedge && idempotent, replicas, calls_max, rows_max, linger_millis, ..base }
        },
    )
}

fn run(make: Make, steps: Vec<Step>) -> Result<(), String> {
    let replicas = make.replicas;
    let mut world = make.world()?;
    for step in steps {
        match step {
            Step::Offer { bytes, key, deadline, caller, priority } => {
                let deadline = deadline.map(|after| world.now + Duration::from_millis(after));
                // A key has one caller: between callers there is no order.
                let caller = CallerId(key.map_or(caller, |key| key as u32));
                let row = Row { bytes, key, deadline, caller, priority, cost: 1 + bytes as u64, ..Row::new(0) };
                world.offer(row)?;
            }
            Step::Answer { back, how } => {
                if let Some(call) = world.sent.iter().rev().nth(back).copied() {
                    world.answer(call, how)?;
                }
            }
            Step::Advance(millis) => world.advance(millis)?,
            Step::Oversleep(millis) => world.oversleep(millis),
            Step::Timer => world.step(Event::Timer)?,
            Step::Cancel(back) => {
                if let Some(row) = world.rows.len().checked_sub(1 + back) {
                    world.cancel(row as u32)?;
                }
            }
            Step::Knobs { replica, calls_max, rows_max } => {
                let mut knobs = world.knobs[replica % replicas].lock().unwrap();
                (knobs.calls_max, knobs.rows_max) = (calls_max, rows_max);
            }
            Step::Watermark => world.step(Event::Watermark(i64::MAX))?,
        }
        let held = world.rows.iter().filter(|row| row.outcome.is_none()).count();
        check(world.gate.held() == held, "rows held are miscounted")?;
    }
    for knobs in &world.knobs {
        let mut knobs = knobs.lock().unwrap();
        knobs.calls_max = knobs.calls_max.max(1);
    }
    world.finish()
}

fn case() -> impl Strategy<Value = (Make, Vec<Step>)> {
    (make(), prop::collection::vec(step(), 0..200))
}

proptest! {
    #[test]
    fn in_any_order_of_events_every_promise_holds((make, steps) in case()) {
        prop_assert_eq!(run(make, steps), Ok(()));
    }
}

#[test]
fn mutants() {
    const CASES: usize = 200;
    use Bug::*;
    let bugs = [
        PermitLeaks,
        LimitIgnored,
        BudgetIgnored,
        AttemptsIgnored,
        UnsafeRetry,
        OrderForgotten,
        KeysOvertake,
        KeyFreedByFailure,
        ShrunkLimitIgnored,
        HalfLost,
        ExpiredSent,
        LoserForgotten,
        EndForgotten,
        WakeForgotten,
        CancelledAnswered,
    ];
    for bug in bugs {
        let mut runner = TestRunner::deterministic();
        let mut found = 0;
        let mut first = None;
        for _ in 0..CASES {
            let (make, steps) = case().new_tree(&mut runner).expect("a strategy without filters").current();
            let mut make = Make { planted: Some(bug), ..make };
            if bug == LoserForgotten {
                // Few cases hedge at all.
                make = Make { hedge: true, idempotent: true, replicas: 3, order: Order::Unordered, ..make };
            }
            if let Err(what) = run(make, steps) {
                found += 1;
                first.get_or_insert(what);
            }
        }
        println!("{bug:?}: found in {found} of {CASES} cases, first as \"{}\"", first.unwrap_or_default());
        assert!(found > 3, "{bug:?} was found in {found} of {CASES} cases only");
    }
}
