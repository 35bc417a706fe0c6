//! The inference operator alone, under seeds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use forebay_sim::{Counts, Mutant, operator};

#[test]
fn watermarks_order_and_linger_hold_in_every_seed() {
    let mut counts = Counts::default();
    for seed in 0..2000 {
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
