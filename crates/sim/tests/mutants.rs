//! Planted bugs, each found within a bounded number of seeds; prints a table of how many it took. `MUTANT` chooses by name,
//! `MUTANT_STARTS` from how many different first seeds each is looked for; the table then shows the median.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_sim::mutants::seeds_to_kill;
use forebay_sim::parallel::each_seed;
use forebay_sim::{Mutant, operator, run};

/// Seeds tried for one bug, unless `MUTANT_SEEDS` says otherwise.
const SEEDS_MAX: u64 = 1500;
/// The same from each of several first seeds: of so many tries some take longer.
const SEEDS_MAX_OF_EACH: u64 = 5000;
/// Bugs that need more seeds, or a case that few seeds draw: left out unless `MUTANT` or `MUTANT_SEEDS` is set. All but
/// `kept_by_row` and `overtakes_updates` are found by the tests of their own part.
const RARE: [&str; 19] = [
    "overtakes_updates",
    "tell_before_sync",
    "abort_before_claim",
    "skip_generation_check",
    "overwrite_epoch_record",
    "trim_built_on",
    "trim_may_build_on",
    "trim_while_copied",
    "remove_savepoint_at_once",
    "rest_dropped",
    "deduplicate_forgets_clock",
    "metrics_forget_clock",
    "window_forgets_clock",
    "removals_forgotten",
    "join_forgets_clock",
    "timers_forgotten",
    "process_forgets_clock",
    "newest_entry_only",
    "kept_by_row",
];

/// From one first seed to the next.
const APART: u64 = 100_000;

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
    let whole = Mutant::of_engine().into_iter().map(|mutant| (mutant, Harness::Engine));
    let alone = Mutant::of_operator().into_iter().map(|mutant| (mutant, Harness::Operator));
    let mutants: Vec<(Mutant, Harness)> = whole.chain(alone).filter(|(mutant, _)| chosen(mutant)).collect();
    let starts = starts();
    let mut found: Vec<Option<Vec<(u64, String)>>> = vec![None; mutants.len()];
    quietly(|| {
        let work = |place: u64| {
            let (mutant, harness) = &mutants[place as usize];
            (0..starts).map(|start| harness.seeds_to_kill(mutant, start * APART)).collect()
        };
        each_seed(0..mutants.len() as u64, work, |place, killed| found[place as usize] = killed);
    });
    let alive: Vec<&str> =
        mutants.iter().zip(&found).filter(|(_, killed)| killed.is_none()).map(|((mutant, _), _)| mutant.name).collect();
    println!("| planted bug | seeds to kill | by |\n|---|---:|---|");
    mutants.iter().zip(found).for_each(|((mutant, _), killed)| println!("{}", row(mutant, killed)));
    println!("{} planted bugs, {} found", mutants.len(), mutants.len() - alive.len());
    assert!(alive.is_empty(), "not found within {} seeds: {alive:?}", seeds_max());
}

/// What a bug is looked for with.
#[derive(Debug, Clone, Copy)]
enum Harness {
    Engine,
    Operator,
}

// === impl Harness ===

impl Harness {
    fn seeds_to_kill(self, mutant: &Mutant, first: u64) -> Option<(u64, String)> {
        let check = |seed| match self {
            Self::Engine => catch_unwind(AssertUnwindSafe(|| run(seed, mutant).map(|_| ())))
                .unwrap_or_else(|_| Err("panicked".to_string())),
            Self::Operator => operator::run(seed, mutant).map(|_| ()),
        };
        seeds_to_kill(first..first + seeds_max(), check)
    }
}

fn starts() -> u64 {
    std::env::var("MUTANT_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn seeds_max() -> u64 {
    let default = if starts() == 1 { SEEDS_MAX } else { SEEDS_MAX_OF_EACH };
    std::env::var("MUTANT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether `MUTANT`, if set, is part of the name.
fn chosen(mutant: &Mutant) -> bool {
    let all = std::env::var_os("MUTANT_SEEDS").is_some() || !RARE.contains(&mutant.name);
    std::env::var("MUTANT").map_or(all, |part| mutant.name.contains(&part))
}

/// The line of the table.
fn row(mutant: &Mutant, killed: Option<Vec<(u64, String)>>) -> String {
    let Some(mut killed) = killed else { return format!("| `{}` | alive | |", mutant.name) };
    killed.sort();
    let (seeds, how) = &killed[killed.len() / 2];
    format!("| `{}` | {seeds} | {} |", mutant.name, how.lines().next().unwrap_or_default())
}
