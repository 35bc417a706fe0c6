//! The command line.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_core::element::Epoch;
use forebay_state::checkpoint::Resume;

/// A stream engine in which model inference is a dataflow operator.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, about)]
pub struct Arguments {
    /// Say more about what happens.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job to its end. Ctrl-C drains and leaves a checkpoint; a second Ctrl-C ends at once.
    Run(RunArguments),
    /// Print the plan of a job: tasks, edges, regions, where each function runs, what each sink guarantees.
    Plan(PlanArguments),
    /// Print the JSON schema of job files.
    Schema,
    /// Look at the checkpoints of a job.
    #[command(subcommand)]
    Checkpoints(CheckpointsCommand),
    /// Look at the inference journal of a job.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Measure parts of Forebay against written-down conditions.
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// How well the inference gate and others like it follow what a model can take, scenario by scenario.
    Gate(Box<forebay_bench::gate::Options>),
}

#[derive(Debug, Args)]
pub struct PlanArguments {
    /// The job file (TOML).
    pub job: PathBuf,
    /// Subtasks of each task, instead of what the job file says.
    #[arg(long, value_name = "N")]
    pub parallelism: Option<NonZeroU16>,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub plan: PlanArguments,
    /// Folder or URL where checkpoints go; each job has a folder of its name below it.
    #[arg(long, value_name = "DIR_OR_URL")]
    pub checkpoints: String,
    /// Local folder for the inference journal [default: beside the checkpoints, if they are local].
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// Go on from the newest checkpoint (`latest`) or from the one of this epoch.
    #[arg(long, value_name = "latest|EPOCH", value_parser = resume)]
    pub resume: Option<Resume>,
    /// How many checkpoints are kept.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub keep: usize,
    /// Write a JSON report here when the job ends.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How progress is shown on the standard error [default: bar on a terminal, else plain].
    #[arg(long, value_enum)]
    pub progress: Option<Progress>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// One line that changes.
    Bar,
    /// A line every second.
    Plain,
    /// Nothing.
    None,
}

#[derive(Debug, Args)]
pub struct FolderArguments {
    /// Folder or URL where checkpoints go.
    #[arg(long, value_name = "DIR_OR_URL")]
    pub checkpoints: String,
    /// The job's name; needed where several jobs share the folder.
    #[arg(long)]
    pub job: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum CheckpointsCommand {
    /// List the checkpoints.
    List(FolderArguments),
    /// Show what a checkpoint consists of.
    Show {
        /// The epoch.
        epoch: u64,
        #[command(flatten)]
        folder: FolderArguments,
    },
    /// Read every file of one checkpoint, or of all, and compare lengths and hashes.
    Verify {
        /// The epoch; all if left out.
        epoch: Option<u64>,
        #[command(flatten)]
        folder: FolderArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Count what the journal holds. Reads only.
    Stats {
        #[command(flatten)]
        folder: FolderArguments,
        /// Folder that was given to `run --journal`.
        #[arg(long, value_name = "DIR")]
        journal: Option<PathBuf>,
        /// Also write the id of every finished inference to this file, one a line.
        #[arg(long, value_name = "FILE")]
        ids: Option<PathBuf>,
    },
}

fn resume(text: &str) -> Result<Resume, String> {
    match (text, text.parse::<u64>()) {
        ("latest", _) => Ok(Resume::Latest),
        (_, Ok(epoch)) => Ok(Resume::Epoch(Epoch(epoch))),
        _ => Err("expected `latest` or the number of an epoch".to_string()),
    }
}
