//! Planted bugs, each found within a bounded number of seeds; prints how many it took. `MUTANT` chooses by name.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_sim::mutants::seeds_to_kill;
use forebay_sim::{Mutant, operator, run};

/// Seeds tried for one bug.
const SEEDS_MAX: u64 = 1760;

/// Mutants are known to break things; what they print on the way is not news.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

#[test]
fn every_planted_bug_is_found() {
    let check = |mutant: &Mutant, seed: u64| {
        let tried = catch_unwind(AssertUnwindSafe(|| run(seed, mutant).map(|_| ())));
        tried.unwrap_or_else(|_| Err("panicked".to_string()))
    };
    let mut alive = Vec::new();
    quietly(|| {
        for mutant in Mutant::of_engine().into_iter().filter(chosen) {
            let killed = seeds_to_kill(0..SEEDS_MAX, |seed| check(&mutant, seed));
            report(&mutant, killed, &mut alive);
        }
        for mutant in Mutant::of_operator().into_iter().filter(chosen) {
            let killed = seeds_to_kill(0..SEEDS_MAX, |seed| operator::run(seed, &mutant).map(|_| ()));
            report(&mutant, killed, &mut alive);
        }
    });
    assert!(alive.is_empty(), "not found within {SEEDS_MAX} seeds: {alive:?}");
}

/// Whether `MUTANT`, if set, is part of the name.
fn chosen(mutant: &Mutant) -> bool {
    std::env::var("MUTANT").map_or(true, |part| mutant.name.contains(&part))
}

fn report(mutant: &Mutant, killed: Option<(u64, String)>, alive: &mut Vec<&'static str>) {
    match killed {
        Some((seeds, how)) => println!("{:>24}: {seeds:>5} seeds; {}", mutant.name, how.lines().next().unwrap_or("")),
        None => {
            println!("{:>24}: alive", mutant.name);
            alive.push(mutant.name);
        }
    }
}
