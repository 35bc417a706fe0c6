//! `forebay checkpoints` and `forebay journal`: look, never change.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind};
use forebay_engine::Outside;
use forebay_engine::run::JOURNAL_FOLDER;
use forebay_inference::journal::Journal;
use forebay_state::checkpoint::CheckpointFolder;
use serde_json::Value;

use crate::arguments::{CheckpointsCommand, FolderArguments, JournalCommand};
use crate::problem::Problem;
use crate::run::local;

/// Prints `value` as indented JSON.
pub fn print_json(value: &Value) {
    println!("{value:#}");
}

/// `forebay checkpoints ...`.
pub async fn checkpoints(command: CheckpointsCommand) -> Result<ExitCode, Problem> {
    match command {
        CheckpointsCommand::List(folder) => list(&open(&folder).await?).await,
        CheckpointsCommand::Show { epoch, folder } => {
            let manifest = open(&folder).await?.show(Epoch(epoch)).await?;
            print_json(&serde_json::to_value(manifest).map_err(|error| Problem::failed("show checkpoint", error))?);
            Ok(ExitCode::SUCCESS)
        }
        CheckpointsCommand::Verify { epoch, folder } => verify(&open(&folder).await?, epoch).await,
    }
}

/// `forebay journal ...`.
pub async fn journal(command: JournalCommand) -> Result<ExitCode, Problem> {
    let JournalCommand::Stats { folder, journal, ids } = command;
    let outside = local()?;
    let job = job_name(&folder)?;
    let place = forebay_engine::journal_folder(&folder.checkpoints, journal.as_deref(), &job)?;
    if !PathBuf::from(&place).join(JOURNAL_FOLDER).is_dir() {
        return Err(Problem::invalid("find journal", format!("there is no folder {place}/{JOURNAL_FOLDER}")));
    }
    let disk = outside.journal_env(&place)?.disk();
    let (stats, report) = Journal::inspect(disk.clone(), JOURNAL_FOLDER).await?;
    println!("journal {place}/{JOURNAL_FOLDER}");
    println!("  segments            {}", stats.segments);
    println!("  bytes               {}", stats.bytes);
    println!("  answers             {}", stats.answers);
    println!("  failures            {}", stats.failures);
    println!("  closed              {}", stats.closed);
    println!("  duplicates dropped  {}", stats.duplicates_dropped);
    println!("  corrupt records     {}", stats.corrupt_records);
    for damage in report.torn.iter().chain(&report.corrupt) {
        println!("  damaged: {} bytes at byte {} of {}: {}", damage.bytes, damage.place, damage.file, damage.reason);
    }
    if let Some(path) = ids {
        let finished = Journal::finished(disk, JOURNAL_FOLDER).await?;
        let text: String = finished.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(&path, text).map_err(|error| Problem::failed("write ids", error))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(options: &FolderArguments) -> Result<CheckpointFolder, Problem> {
    let outside = local()?;
    let local_folder = !options.checkpoints.contains("://");
    if local_folder && !PathBuf::from(&options.checkpoints).is_dir() {
        return Err(Problem::invalid("open checkpoints", format!("there is no folder {}", options.checkpoints)));
    }
    let store = outside.store(&options.checkpoints)?;
    Ok(CheckpointFolder::new(outside.env(), store, &job_name(options)?)?)
}

/// The job that is meant: the one named, or the only one in the folder.
fn job_name(options: &FolderArguments) -> Result<String, Problem> {
    if let Some(job) = &options.job {
        return Ok(job.clone());
    }
    let folder = options.checkpoints.strip_prefix("file://").unwrap_or(&options.checkpoints);
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Problem::invalid("find jobs", format!("{folder}: {error}; pass `--job NAME` if the checkpoints are not local"))
    })?;
    let is_job = |path: &PathBuf| path.join("region-0").is_dir() || path.join("generation").is_dir();
    let jobs = entries.flatten().map(|entry| entry.path()).filter(is_job);
    let mut jobs: Vec<String> =
        jobs.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    jobs.sort();
    match &jobs[..] {
        [job] => Ok(job.clone()),
        [] => Err(Problem::invalid("find jobs", format!("{folder} holds no checkpoints"))),
        several => Err(Problem::invalid("find jobs", format!("pass `--job NAME`, one of: {}", several.join(", ")))),
    }
}

async fn list(folder: &CheckpointFolder) -> Result<ExitCode, Problem> {
    let found = folder.list().await?;
    println!(
        "{:>10}  {:<10}  {:>7}  {:>8}  {:>12}  {:>12}  {:<9}  ended",
        "epoch", "kind", "attempt", "files", "bytes", "new bytes", "committed"
    );
    for info in found {
        match info.summary {
            Ok(summary) => println!(
                "{:>10}  {:<10}  {:>7}  {:>8}  {:>12}  {:>12}  {:<9}  {}",
                info.epoch.0,
                format!("{:?}", summary.kind).to_lowercase(),
                summary.attempt,
                summary.files,
                summary.state_bytes,
                summary.written_bytes,
                if summary.committed { "yes" } else { "no" },
                if summary.ended { "yes" } else { "no" },
            ),
            Err(reason) => println!("{:>10}  cannot be read: {reason}", info.epoch.0),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(folder: &CheckpointFolder, epoch: Option<u64>) -> Result<ExitCode, Problem> {
    let problems = folder.verify(epoch.map(Epoch)).await?;
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}").map_err(|error| Problem::failed("print", error));
    for problem in &problems {
        line(format!("epoch {}: {}: {}; {}", problem.epoch.0, problem.path, problem.what, problem.to_do))?;
    }
    if problems.is_empty() {
        line("ok: every file is there and unchanged".to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::new(Kind::Corrupt, "verify checkpoints").with("problems", problems.len()).into())
}
