//! The command line: runs pipelines, shows plans, and looks at checkpoints and journals.
//!
//! The `forebay` binary is [`main`] with nothing added. A program of a user's own is [`main`] with its functions, and has every
//! subcommand, option, exit code and signal of the binary:
//!
//! ```no_run
//! # use forebay::process::*;
//! # struct Sessions;
//! # impl ProcessFunction for Sessions {
//! #     type Settings = NoSettings;
//! #     fn declare(_: NoSettings, _: &mut Shape) -> forebay::Result<Self> { Ok(Self) }
//! #     fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> forebay::Result<()> { context.output().forward(row) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     forebay::main(forebay::Components::new().process::<Sessions>("sessions"))
//! }
//! ```
//!
//! Only arguments, signals, exit codes and printing are here; everything else is the engine's. What a process function is written
//! with is re-exported, so that such a program needs this crate alone.

mod arguments;
mod inspect;
mod problem;
mod progress;
mod run;
mod savepoints;
mod signals;

use std::process::ExitCode;

use clap::Parser;
pub use forebay_core::time::EventTime;
pub use forebay_core::{Error, Kind, Result, RowKind};
pub use forebay_engine::Components;
pub use forebay_operators::process;

use arguments::{Arguments, BenchCommand, Command};
use problem::Problem;

/// Does what the process's arguments say, with `components` added to what jobs can name, and answers its exit code. To be
/// called first in `main`, on its thread: model processes are the same program under another name.
pub fn main(components: Components) -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // Model processes are this binary under another name; they need neither tokio nor the rest of the command line.
    if words.next().is_some_and(|word| word == "worker") {
        return ExitCode::from(forebay_inference::worker::main(words));
    }
    let arguments = Arguments::parse();
    log_to_stderr(arguments.verbose);
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(arguments.command, &components)),
        Err(error) => Err(Problem::failed("start background threads", error)),
    };
    match outcome {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("{}", problem.render());
            problem.exit_code()
        }
    }
}

async fn dispatch(command: Command, components: &Components) -> Result<ExitCode, Problem> {
    match command {
        Command::Run(options) => run::run(options, components).await,
        Command::Plan(options) => run::plan(options, components).await,
        Command::Schema => {
            inspect::print_json(&forebay_plan::json_schema());
            Ok(ExitCode::SUCCESS)
        }
        Command::Checkpoints(command) => inspect::checkpoints(command).await,
        Command::Savepoints(command) => savepoints::savepoints(command).await,
        Command::Journal(command) => inspect::journal(command).await,
        Command::Bench(command) => bench(command).await,
    }
}

/// Measuring blocks its thread and may have a runtime of its own.
async fn bench(command: BenchCommand) -> Result<ExitCode, Problem> {
    let BenchCommand::Gate(options) = command;
    let ran = tokio::task::spawn_blocking(move || forebay_bench::gate::run(&options)).await;
    match ran {
        Ok(Ok(())) => Ok(ExitCode::SUCCESS),
        Ok(Err(error @ forebay_bench::Error::NotMet(_))) => {
            Err(Error::new(Kind::Data, "measure the gate").source(error).into())
        }
        Ok(Err(error)) => Err(Error::new(Kind::Invalid, "measure the gate").source(error).into()),
        Err(error) => Err(Error::new(Kind::Internal, "measure the gate").source(error).into()),
    }
}

/// Warnings by default; `RUST_LOG` says otherwise. Progress and reports do not go through the log.
fn log_to_stderr(verbose: bool) {
    let default = if verbose { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}
