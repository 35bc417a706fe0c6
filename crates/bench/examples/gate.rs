//! The gate benchmark without the rest of Forebay: `cargo run -p forebay-bench --example gate -- --only A --seeds 1`.

use std::process::ExitCode;

use clap::Parser;
use forebay_bench::gate::{self, Options};

/// Runs limiters against simulated backends and prints who did how well
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    match gate::run(&Command::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
