//! Two thousand seeds of the whole engine, on all cores. `SEEDS` and `FIRST_SEED` choose others; `make soak` runs 100,000.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_sim::parallel::each_seed;
use forebay_sim::{Counts, Mutant, run};

/// What must have happened at least once, or the seeds prove nothing.
const REACHED: &[&str] = &[
    "I1: rows compared with the oracle",
    "I1: rows of a second sink compared with the oracle",
    "I1: window results compared with the oracle",
    "I1: window results of a second region compared with the oracle",
    "I1: sessions over updates compared with the oracle",
    "I1: joined rows compared with the oracle",
    "I1: rows that were late",
    "I1: rows kept of their keys compared with the oracle",
    "I1: ranked rows compared with the oracle",
    "I1: judged predictions compared with the oracle",
    "I1: metrics compared with the oracle",
    "I1: rows of lists compared with the oracle",
    "I1: sampled rows compared with another sample",
    "I1: limits compared with the oracle",
    "I1: joins with a table's changes compared with the oracle",
    "I1: rows of files that came later compared with the oracle",
    "I4, I6: a row ran twice",
    "I4: committed values held against the journal",
    "I5: durable results at crashes",
    "I9: crash with staged files",
    "I9: output files seen to appear",
    "I10: savepoints made",
    "I10: savepoints found whole",
    "I13: crash with several epochs",
    "I14: a stale process was fenced",
    "I14: steps of a stale process",
    "I19: dead letters compared with the oracle",
    "I19: toxic rows that were given up",
    "I25: rows asked of the second model",
    "I25: rows that took the last answer",
    "fault: a subtask failed",
    "fault: back to an older checkpoint",
    "fault: a region back to an older checkpoint",
    "fault: older checkpoints did not fit together",
    "fault: back to a savepoint",
    "fault: back to a savepoint after the end",
    "fault: the maker of a savepoint was killed",
    "fault: an incomplete savepoint was refused",
    "fault: an incomplete savepoint was removed",
    "fault: power lost",
    "fault: process killed",
    "fault: model is full",
    "fault: replica dies",
    "fault: drain asked for",
    "fault: suspension asked for",
    "model: call sent ahead",
    "model: call sent ahead of its replica's end",
    "process ended: disk full",
];

/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 1000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long the seeds took is printed, never asserted")]
fn no_seed_breaks_an_invariant() {
    let (first, seeds) = (number("FIRST_SEED", 0), number("SEEDS", 2000));
    let started = std::time::Instant::now();
    let mut failures = Vec::new();
    let (mut counts, mut crashed_twice, mut steps, mut simulated) = (Counts::default(), 0, 0, 0);
    let (mut done, tried) = (0, |seed| catch_unwind(AssertUnwindSafe(|| run(seed, &Mutant::none()))));
    each_seed(first..first + seeds, tried, |seed, tried| {
        done += 1;
        if done % PROGRESS_EVERY == 0 {
            let wall = started.elapsed().as_secs_f64();
            println!("{done} of {seeds} seeds in {wall:.0} s, {} failed", failures.len());
        }
        let outcome = match tried {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(broken)) => {
                println!("seed {seed}: {broken}");
                failures.push(format!("seed {seed}: {broken}"));
                return;
            }
            Err(_) => {
                failures.push(format!("seed {seed} panicked"));
                return;
            }
        };
        crashed_twice += u64::from(outcome.crashes >= 2);
        steps += outcome.steps;
        simulated += outcome.simulated.as_secs();
        counts.merge(&outcome.counts);
    });
    let wall = started.elapsed().as_secs_f64();
    let share = crashed_twice as f64 / seeds as f64;
    println!("{counts}");
    println!("{seeds} seeds in {wall:.1} s, {:.1} seeds/s, {steps} steps", seeds as f64 / wall);
    println!(
        "{} crashes, at least two in {:.1} % of seeds; {simulated} s simulated",
        counts.get("crashes"),
        share * 100.0
    );
    let repeat = "FIRST_SEED=N SEEDS=1 cargo test --workspace --test seeds -- --nocapture";
    assert!(failures.is_empty(), "{}\nrepeat with: {repeat}", failures.join("\n"));
    if seeds >= 1000 {
        assert!(share >= 0.7, "only {share} of the seeds have two crashes");
        let missing: Vec<&str> = REACHED.iter().copied().filter(|name| counts.get(name) == 0).collect();
        assert!(missing.is_empty(), "never reached: {missing:?}");
    }
}
