//! The child process that this crate's tests start; the `forebay` program has the same as its `worker` subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(forebay_inference::worker::main(std::env::args_os().skip(1)))
}
