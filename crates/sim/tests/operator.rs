//! The inference operator alone, under seeds. `SEEDS` and `FIRST_SEED` choose others than the first 2,000.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use forebay_sim::{Counts, Mutant, operator};

#[test]
fn watermarks_order_and_linger_hold_in_every_seed() {
    let mut counts = Counts::default();
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, seeds) = (number("FIRST_SEED", 0u64), number("SEEDS", 2000));
    for seed in first..first + seeds {
        match operator::run(seed, &Mutant::none()) {
            Ok(more) => counts.merge(&more),
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
    println!("{counts}");
    for reached in [
        "watermarks that left the operator",
        "request batches that left by linger",
        "operator restored",
        "rows that were late",
        "rows with another answer",
        "toxic rows that were given up",
    ] {
        assert!(counts.get(reached) > 0, "never reached: {reached}");
    }
}
