//! The command line.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_core::element::Epoch;
use forebay_engine::ResumeJob;

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
    #[arg(long, value_name = "FROM", value_parser = resume)]
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
    #[arg(long, value_name = "rN", value_parser = region)]
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

fn resume(text: &str) -> Result<ResumeJob, String> {
    if let Some(name) = text.strip_prefix("savepoint:") {
        return Ok(ResumeJob::Savepoint(name.to_string()));
    }
    match (text, text.parse::<u64>()) {
        ("latest", _) => Ok(ResumeJob::Latest),
        (_, Ok(epoch)) => Ok(ResumeJob::Epoch(Epoch(epoch))),
        _ => text.split(',').map(epoch_of_region).collect::<Result<_, _>>().map(ResumeJob::Regions),
    }
}

fn epoch_of_region(text: &str) -> Result<(usize, Epoch), String> {
    let expected =
        || "expected `latest`, an epoch, `rN=EPOCH` with commas between several, or `savepoint:NAME`".to_string();
    let (name, epoch) = text.split_once('=').ok_or_else(expected)?;
    Ok((region(name)?, Epoch(epoch.parse().map_err(|_| expected())?)))
}

/// The place of the region `rN`.
fn region(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix('r').and_then(|digits| digits.parse::<usize>().ok());
    number.and_then(|number| number.checked_sub(1)).ok_or_else(|| "expected `r1`, `r2` and so on".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_names_the_newest_an_epoch_regions_or_a_savepoint() {
        assert_eq!(resume("latest"), Ok(ResumeJob::Latest));
        assert_eq!(resume("7"), Ok(ResumeJob::Epoch(Epoch(7))));
        assert_eq!(resume("r1=7"), Ok(ResumeJob::Regions([(0, Epoch(7))].into())));
        assert_eq!(resume("r3=7,r1=12"), Ok(ResumeJob::Regions([(0, Epoch(12)), (2, Epoch(7))].into())));
        assert_eq!(resume("savepoint:before"), Ok(ResumeJob::Savepoint("before".to_string())));
        for bad in ["", "newest", "r0=1", "r1", "r1=x", "1=7", "r1=7,", "r=7"] {
            assert!(resume(bad).is_err(), "{bad}");
        }
    }
}
