//! The command line.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_engine::ResumeJob;
use forebay_engine::resume::region_place;

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
    /// Run a job to its end. Ctrl-C drains: what is in flight is finished, then comes a last checkpoint. SIGTERM suspends: the
    /// checkpoint comes at once, and requests in flight are asked again later. A second signal ends at once.
    Run(RunArguments),
    /// Print the plan of a job: tasks, edges, regions, where each function runs, what each sink guarantees.
    Plan(PlanArguments),
    /// Print the JSON schema of job files.
    Schema,
    /// Look at the checkpoints of a job.
    #[command(subcommand)]
    Checkpoints(CheckpointsCommand),
    /// Keep checkpoints of a job by name. It may be running.
    #[command(subcommand)]
    Savepoints(SavepointsCommand),
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
    /// Go on from the newest checkpoints (`latest`), from that of an epoch (`7`; of a job with several regions `r1=7`, `r1=7,r2=9`: the
    /// other regions follow), or from a savepoint (`savepoint:NAME`).
    #[arg(long, value_name = "FROM")]
    pub resume: Option<ResumeJob>,
    /// When the job is stopped by a signal, keep its last checkpoint as a savepoint of this name.
    #[arg(long, value_name = "NAME")]
    pub savepoint: Option<String>,
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

#[derive(Debug, Args)]
pub struct RegionArguments {
    #[command(flatten)]
    pub folder: FolderArguments,
    /// Which region, `r1` is the first; needed where one epoch of a job with several regions is named.
    #[arg(long, value_name = "rN", value_parser = region_place)]
    pub region: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub enum CheckpointsCommand {
    /// List the checkpoints.
    List(RegionArguments),
    /// Show what a checkpoint consists of.
    Show {
        /// The epoch.
        epoch: u64,
        #[command(flatten)]
        of: RegionArguments,
    },
    /// Read every file of one checkpoint, or of all, and compare lengths and hashes.
    Verify {
        /// The epoch; all if left out.
        epoch: Option<u64>,
        #[command(flatten)]
        of: RegionArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum SavepointsCommand {
    /// Keep the newest checkpoint, and whatever a restore from it needs, until the savepoint is removed.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        folder: FolderArguments,
        /// Folder that was given to `run --journal`; needed for jobs with durable steps.
        #[arg(long, value_name = "DIR")]
        journal: Option<PathBuf>,
    },
    /// List the savepoints.
    List(FolderArguments),
    /// Remove a savepoint. What only it kept goes with the job's next checkpoint.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        folder: FolderArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Count what the journal holds. Reads only.
    Stats {
        #[command(flatten)]
        of: RegionArguments,
        /// Folder that was given to `run --journal`.
        #[arg(long, value_name = "DIR")]
        journal: Option<PathBuf>,
        /// Also write the id of every finished inference to this file, one a line.
        #[arg(long, value_name = "FILE")]
        ids: Option<PathBuf>,
    },
}
