//! `forebay checkpoints` and `forebay journal`: look, never change.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use forebay_core::element::Epoch;
use forebay_core::{Error, Kind};
use forebay_engine::Outside;
use forebay_engine::models::journal_name;
use forebay_engine::resume::region_name;
use forebay_inference::journal::Journal;
use forebay_state::checkpoint::CheckpointFolder;
use serde_json::Value;

use crate::arguments::{CheckpointsCommand, FolderArguments, JournalCommand, RegionArguments};
use crate::problem::Problem;
use crate::run::local;

/// Prints `value` as indented JSON.
pub fn print_json(value: &Value) {
    println!("{value:#}");
}

/// `forebay checkpoints ...`.
pub async fn checkpoints(command: CheckpointsCommand) -> Result<ExitCode, Problem> {
    match command {
        CheckpointsCommand::List(of) => list(&regions(&of).await?).await,
        CheckpointsCommand::Show { epoch, of } => {
            let manifest = only(regions(&of).await?, "show checkpoint")?.show(Epoch(epoch)).await?;
            print_json(&serde_json::to_value(manifest).map_err(|error| Problem::failed("show checkpoint", error))?);
            Ok(ExitCode::SUCCESS)
        }
        CheckpointsCommand::Verify { epoch: Some(epoch), of } => {
            verify(&[only(regions(&of).await?, "verify checkpoint")?], Some(epoch)).await
        }
        CheckpointsCommand::Verify { epoch: None, of } => verify(&regions(&of).await?, None).await,
    }
}

/// The regions that are meant, each with its checkpoints: the one named, or all.
async fn regions(of: &RegionArguments) -> Result<Vec<CheckpointFolder>, Problem> {
    let job = open(&of.folder).await?;
    let found = job.regions().await?;
    let wanted = |region: &u32| of.region.is_none_or(|place| place as u32 == *region);
    let several = found.len() > 1;
    let folder = |region: u32| {
        let folder = job.clone().of_region(region);
        if several { folder.called(region_name(region as usize)) } else { folder }
    };
    let folders: Vec<CheckpointFolder> = found.iter().copied().filter(wanted).map(folder).collect();
    match of.region.filter(|_| folders.is_empty()) {
        None => Ok(folders),
        Some(place) => {
            let known: Vec<String> = found.iter().map(|region| region_name(*region as usize)).collect();
            let name = region_name(place);
            Err(Problem::invalid("find region", format!("the job has no {name}; it has {}", known.join(", "))))
        }
    }
}

fn only(mut folders: Vec<CheckpointFolder>, attempted: &'static str) -> Result<CheckpointFolder, Problem> {
    match (folders.pop(), folders.is_empty()) {
        (Some(folder), true) => Ok(folder),
        (None, _) => Err(Problem::invalid(attempted, "the job has no checkpoint there")),
        (Some(_), false) => Err(Problem::invalid(attempted, "the job has several regions: pass `--region rN`")),
    }
}

/// `forebay journal ...`.
pub async fn journal(command: JournalCommand) -> Result<ExitCode, Problem> {
    let JournalCommand::Stats { of, journal, ids } = command;
    let outside = local()?;
    let job = job_name(&of.folder)?;
    let place = forebay_engine::journal_folder(&of.folder.checkpoints, journal.as_deref(), &job)?;
    let name = journal_name(of.region.unwrap_or(0));
    if !PathBuf::from(&place).join(&name).is_dir() {
        return Err(Problem::invalid(
            "find journal",
            format!("there is no folder {place}/{name}; `--region rN` shows that of another region"),
        ));
    }
    let disk = outside.journal_env(&place)?.disk();
    let (stats, report) = Journal::inspect(disk.clone(), &name).await?;
    println!("journal {place}/{name}");
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
        let finished = Journal::finished(disk, &name).await?;
        let text: String = finished.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(&path, text).map_err(|error| Problem::failed("write ids", error))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The checkpoints of the job that is meant, those of its first region.
pub async fn open(options: &FolderArguments) -> Result<CheckpointFolder, Problem> {
    let outside = local()?;
    let local_folder = !options.checkpoints.contains("://");
    if local_folder && !PathBuf::from(&options.checkpoints).is_dir() {
        return Err(Problem::invalid("open checkpoints", format!("there is no folder {}", options.checkpoints)));
    }
    let store = outside.store(&options.checkpoints)?;
    Ok(CheckpointFolder::new(outside.env(), store, &job_name(options)?)?)
}

/// The job that is meant: the one named, or the only one in the folder.
pub fn job_name(options: &FolderArguments) -> Result<String, Problem> {
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

async fn list(folders: &[CheckpointFolder]) -> Result<ExitCode, Problem> {
    for folder in folders {
        if let Some(name) = folder.name() {
            println!("region {name}");
        }
        list_region(folder).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_region(folder: &CheckpointFolder) -> Result<(), Problem> {
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
    Ok(())
}

async fn verify(folders: &[CheckpointFolder], epoch: Option<u64>) -> Result<ExitCode, Problem> {
    let mut problems = Vec::new();
    for folder in folders {
        problems.extend(folder.verify(epoch.map(Epoch)).await?);
    }
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
