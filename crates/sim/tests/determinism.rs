//! One seed is one run: every 50th seed twice, the same trace.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use forebay_sim::{Mutant, run};

#[test]
fn every_fiftieth_seed_runs_the_same_twice() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in (0..1000).step_by(50) {
        let (first, second) = (run(seed, &Mutant::none()).unwrap(), run(seed, &Mutant::none()).unwrap());
        assert_eq!((first.trace, first.steps), (second.trace, second.steps), "seed {seed} runs differently");
        assert_eq!(first.counts, second.counts, "seed {seed} counts differently");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 20, "different seeds must run differently");
}
