//! The gate benchmark without the rest of Forebay, which takes minutes less to build.
//!
//! ```text
//! cargo run -p forebay-bench --example gate -- bench gate --only A1 --real
//! ```

use clap::{Parser, Subcommand};
use forebay_bench::{gate, real};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    area: Area,
}

#[derive(Subcommand)]
enum Area {
    /// Measures.
    #[command(subcommand)]
    Bench(Benchmark),
}

#[derive(Subcommand)]
enum Benchmark {
    /// Limiters against scenarios.
    Gate(gate::Options),
    /// The backend of a run in real time, started by it.
    #[command(hide = true)]
    GateBackend,
}

fn main() -> Result<(), forebay_bench::Error> {
    let Area::Bench(benchmark) = Arguments::parse().area;
    match benchmark {
        Benchmark::Gate(options) => gate::run(&options),
        Benchmark::GateBackend => real::serve(),
    }
}
