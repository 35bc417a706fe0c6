//! `forebay run` and `forebay plan`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use forebay_engine::{Components, Local, OVERTAKE_AFTER, Outside, Prepared, Report, ResumeJob, RunOptions, Watch};
use forebay_inference::hosts::process::WorkerCommand;
use forebay_plan::{JobFile, Overrides};
use tokio::runtime::Handle;

use crate::arguments::{FolderArguments, PlanArguments, RunArguments};
use crate::problem::Problem;
use crate::progress::Shown;
use crate::{savepoints, signals};

/// Exit code after a drain on request.
const STOPPED: u8 = 3;

/// Prints the plan.
pub async fn plan(options: PlanArguments, components: &Components) -> Result<ExitCode, Problem> {
    let outside = local()?;
    let job = read_job(&options)?;
    let prepared = forebay_engine::prepare_with(&job, &outside, components).await?;
    print!("{}", forebay_plan::explain::explain(&prepared.plan.graph));
    Ok(ExitCode::SUCCESS)
}

/// Runs a job to its end.
pub async fn run(options: RunArguments, components: &Components) -> Result<ExitCode, Problem> {
    let outside = local()?;
    let job = read_job(&options.plan)?;
    let run_options = RunOptions {
        checkpoints: options.checkpoints.clone(),
        journal: forebay_engine::journal_folder(&options.checkpoints, options.journal.as_deref(), &job.name)?,
        resume: options.resume.clone().unwrap_or(ResumeJob::Fresh),
        keep: options.keep,
        overtake_after: Some(OVERTAKE_AFTER),
    };
    let stop = signals::stop().map_err(|error| Problem::failed("install signal handlers", error))?;
    let prepared: Prepared = forebay_engine::prepare_with(&job, &outside, components).await?;
    let watch = Arc::new(Watch::default());
    let shown = Shown::start(&job.name, Arc::clone(&watch), outside.env(), options.progress);
    let report = forebay_engine::run(&prepared, &run_options, &outside, stop, &watch).await;
    drop(shown);
    let report = report?;
    if let Some(path) = &options.report {
        write_report(path, &report)?;
    }
    eprintln!(
        "{}: {} after {:.1} s, {} rows in, {} out, {} dead letters, checkpoint {}; output in {}",
        report.job,
        report.outcome,
        report.wall_seconds,
        report.rows_in,
        report.rows_out,
        report.dead_letters,
        report.epoch,
        report.sink
    );
    if options.resume.is_some() && did_nothing(&report) {
        eprintln!(
            "{}: it had completed before, so nothing was left to do; new input needs a new checkpoint folder",
            report.job
        );
    }
    if report.outcome == "stopped" {
        let from = keep(&options, &job.name).await?;
        eprintln!("{}: go on with the same command and `--resume {from}`", report.job);
    }
    Ok(if report.outcome == "completed" { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
}

/// Keeps the last checkpoint of a stopped job if that was asked for. Returns what `--resume` takes.
async fn keep(options: &RunArguments, job: &str) -> Result<String, Problem> {
    let Some(name) = &options.savepoint else { return Ok("latest".to_string()) };
    let folder = FolderArguments { checkpoints: options.checkpoints.clone(), job: Some(job.to_string()) };
    savepoints::create(&folder, options.journal.as_deref(), name).await?;
    Ok(format!("savepoint:{name}"))
}

/// Whether the job ended well without a single row.
fn did_nothing(report: &Report) -> bool {
    report.outcome == "completed" && report.rows_in + report.rows_out + report.dead_letters == 0
}

/// The machine that this process runs on.
///
/// # Errors
/// If the program or its folder cannot be found.
pub fn local() -> Result<Local, Problem> {
    Ok(Local::new(Handle::current(), WorkerCommand::own()?)?)
}

fn read_job(options: &PlanArguments) -> Result<JobFile, Problem> {
    let name = options.job.display().to_string();
    let text = std::fs::read_to_string(&options.job)
        .map_err(|error| Problem::invalid("read job file", format!("{name}: {error}")))?;
    let overrides = Overrides { parallelism: options.parallelism };
    Ok(forebay_plan::parse_with(&text, &name, |variable| std::env::var(variable).ok(), overrides)?)
}

/// Writes the report beside its place first, so that a reader never sees half of it.
fn write_report(path: &Path, report: &Report) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Problem::failed("encode report", error))?;
    let staged = path.with_extension("tmp");
    std::fs::write(&staged, text + "\n")
        .and_then(|()| std::fs::rename(&staged, path))
        .map_err(|error| Problem::failed("write report", error))
}
