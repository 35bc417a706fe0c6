//! What fair share promises.

use proptest::prelude::*;

use super::*;

/// Cost sent by each caller among the first `rows` rows, all callers always having more.
fn sent(costs: &[u64], weights: &[u32], rows: usize) -> Vec<u64> {
    let mut share = Share::new();
    for (place, weight) in weights.iter().enumerate() {
        share.set_weight(CallerId(place as u32), *weight);
        (0..rows).for_each(|_| share.push(CallerId(place as u32), place, costs[place]));
    }
    let mut sent = vec![0; costs.len()];
    for _ in 0..rows {
        let place = share.pop().unwrap();
        sent[place] += costs[place];
    }
    sent
}

#[test]
fn callers_get_the_same_cost_whatever_their_rows_cost() {
    assert_eq!(sent(&[1, 10], &[1, 1], 1100), [1000, 1000]);
}

#[test]
fn a_weight_multiplies_the_share() {
    assert_eq!(sent(&[1, 1], &[1, 3], 400), [100, 300]);
}

#[test]
fn a_caller_who_comes_late_gets_its_turn_at_once() {
    let mut share = Share::new();
    (0..1000).for_each(|n| share.push(CallerId(0), n, 1));
    (0..10).for_each(|n| assert_eq!(share.pop(), Some(n)));
    share.push(CallerId(1), 5000, 1);
    assert!((0..2).any(|_| share.pop() == Some(5000)));
    assert_eq!(share.len(), 989);
}

#[test]
fn an_idle_caller_saves_nothing_up() {
    let mut share = Share::new();
    for _ in 0..10 {
        share.push(CallerId(0), 0, 1);
        assert_eq!(share.pop(), Some(0));
    }
    (0..10).for_each(|_| share.push(CallerId(0), 0, 1));
    (0..10).for_each(|_| share.push(CallerId(1), 1, 1));
    let first: usize = (0..10).filter_map(|_| share.pop()).sum();
    assert_eq!(first, 5);
    share.forget(CallerId(0));
    assert_eq!(std::iter::from_fn(|| share.pop()).count(), 10, "a caller with rows is not forgotten");
}

/// Runs pushes and pops and says what broke.
fn run(greedy: bool, steps: &[(u32, u64)]) -> Result<(), String> {
    let mut share = Share::new().greedy(greedy);
    let (mut queued, mut next) = ([0u64; 4].map(|_| VecDeque::new()), 0u64);
    // Cost served to others since a caller last had none queued or was served.
    let mut overtaken = [0u64; 4];
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_string()) };
    for (caller, cost) in steps {
        if *caller < 4 {
            share.push(CallerId(*caller), (*caller, next), *cost);
            queued[*caller as usize].push_back((next, *cost));
            next += 1;
            continue;
        }
        let Some((caller, number)) = share.pop() else {
            check(queued.iter().all(VecDeque::is_empty), "a row was lost")?;
            continue;
        };
        let expected = queued[caller as usize].pop_front();
        check(expected.is_some_and(|(first, _)| first == number), "rows of a caller out of order")?;
        let cost = expected.map_or(0, |(_, cost)| cost);
        for other in 0..4 {
            let starves = other != caller as usize && !queued[other].is_empty();
            overtaken[other] = if starves { overtaken[other] + cost } else { 0 };
            // Three others, two turns each of at most twice the quantum of 20.
            check(overtaken[other] <= 3 * 2 * 40, "a caller starves")?;
        }
    }
    check(share.len() == queued.iter().map(VecDeque::len).sum::<usize>(), "rows are miscounted")
}

fn steps() -> impl Strategy<Value = Vec<(u32, u64)>> {
    prop::collection::vec((prop_oneof![0u32..4, 3u32..6], 1u64..20), 0..400)
}

proptest! {
    #[test]
    fn nobody_starves_and_nothing_is_lost(steps in steps()) {
        prop_assert_eq!(run(false, &steps), Ok(()));
    }
}

#[test]
fn mutants() {
    let backlog: Vec<(u32, u64)> = (0..100).map(|_| (0, 10)).chain((0..100).map(|_| (1, 10))).collect();
    let steps: Vec<(u32, u64)> = backlog.into_iter().chain((0..100).map(|_| (4, 1))).collect();
    assert_eq!(run(false, &steps), Ok(()));
    assert_eq!(run(true, &steps), Err("a caller starves".to_string()));
}
