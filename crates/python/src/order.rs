//! What Python asks for: a job as JSON and the interpreter of its workers; and how that is planned on this machine.

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use forebay_core::{Error, Kind};
use forebay_engine::clock::MovableClock;
use forebay_engine::prepare::PrepareError;
use forebay_engine::{Components, Local, Outlook, Outside, Prepared, ResumeJob, RunOptions};
use forebay_inference::hosts::process::WorkerCommand;
use forebay_plan::graph::{JobGraph, StepAction};
use forebay_plan::{JobFile, Overrides};
use forebay_state::checkpoint::CheckpointFolder;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

use crate::errors::Failure;
use crate::threads;

/// The log as Python users want it: warnings, and what their functions print.
const LOG_DEFAULT: &str = "warn,model=info";
/// Where modules are looked for; the worker has to find the package even when it is not installed.
const PYTHONPATH: &str = "PYTHONPATH";

/// A job and what it needs of this process.
#[derive(Debug, Clone)]
pub struct Order {
    job: String,
    interpreter: PathBuf,
    /// The workers' interpreter is not the one that runs this.
    foreign: bool,
    package: Option<PathBuf>,
    clock: Option<MovableClock>,
}

/// Where a run keeps what it has to remember.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder or URL of the checkpoints.
    pub checkpoints: String,
    /// They outlive the run.
    pub lasting: bool,
    /// Local folder of the journal; default beside the checkpoints.
    pub journal: Option<PathBuf>,
    /// Where to begin, as `--resume` takes it; `None`: from nothing.
    pub resume: Option<String>,
    /// How many checkpoints are kept.
    pub keep: usize,
}

/// The interpreter that runs this.
fn interpreter(py: Python<'_>) -> PathBuf {
    let running = py.import("sys").and_then(|sys| sys.getattr("executable")?.extract::<PathBuf>());
    running.ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("python3"))
}

/// The folder in which the package `forebay` lies.
fn package_path(py: Python<'_>) -> Option<PathBuf> {
    let file: PathBuf = py.import("forebay").and_then(|package| package.getattr("__file__")?.extract()).ok()?;
    Some(file.parent()?.parent()?.to_path_buf())
}

// === impl Order ===

impl Order {
    /// The job `job`, whose workers run `python`, by default the interpreter that runs this.
    pub fn new(py: Python<'_>, job: String, python: Option<PathBuf>) -> Self {
        let own = interpreter(py);
        let foreign = python.as_ref().is_some_and(|python| *python != own);
        Self { job, interpreter: python.unwrap_or(own), foreign, package: package_path(py), clock: None }
    }

    /// The same job under a clock that can be moved ahead.
    #[must_use]
    pub fn with_clock(self, clock: Option<MovableClock>) -> Self {
        Self { clock, ..self }
    }

    /// What `forebay plan` prints.
    pub fn explain(&self) -> Result<String, Failure> {
        let prepared = runtime()?.block_on(async { self.plan(&self.machine()?).await })?;
        Ok(forebay_plan::explain::explain(&prepared.plan.graph))
    }

    /// The schema of the rows of the sink `uid`, or of the only one, as an Arrow IPC stream.
    pub fn schema(&self, uid: Option<&str>) -> Result<Vec<u8>, Failure> {
        let prepared = runtime()?.block_on(async { self.plan(&self.machine()?).await })?;
        let schema = schema_of(&prepared.plan.graph, uid)?;
        let mut bytes = Vec::new();
        let wrong = |source| Error::new(Kind::Internal, "encode schema").source(source);
        let mut writer = StreamWriter::try_new(&mut bytes, &schema).map_err(wrong)?;
        writer.finish().map_err(wrong)?;
        drop(writer);
        Ok(bytes)
    }

    /// This machine. Must be called inside the runtime.
    pub fn machine(&self) -> Result<Local, Failure> {
        let own = self.command(WorkerCommand {
            program: self.interpreter.clone(),
            arguments: ["-m", "forebay", "worker"].map(OsString::from).to_vec(),
            variables: Vec::new(),
        });
        let python = self.command(WorkerCommand::python(&self.interpreter));
        let machine = Local::new(runtime()?.handle().clone(), own)?.with_python(python);
        let machine = match &self.clock {
            Some(clock) => machine.with_clock(clock.clone()),
            None => machine,
        };
        // Another interpreter was asked for: this one must not run its functions.
        Ok(if self.foreign { machine } else { machine.with_python_threads(Arc::new(threads::host)) })
    }

    /// Looks at what the job needs and plans it.
    async fn plan(&self, machine: &Local) -> Result<Prepared, Failure> {
        self.planned(&self.look(machine).await?, None)
    }

    /// Looks at what the job needs.
    pub async fn look(&self, machine: &Local) -> Result<Outlook, Failure> {
        Ok(Outlook::of(&self.read(None)?, machine, &Components::default()).await?)
    }

    /// Plans the job, at another `parallelism` than its own if one is given.
    pub fn planned(&self, outlook: &Outlook, parallelism: Option<NonZeroU16>) -> Result<Prepared, Failure> {
        Ok(outlook.plan(&self.read(parallelism)?)?)
    }

    fn read(&self, parallelism: Option<NonZeroU16>) -> Result<JobFile, Failure> {
        let read = forebay_plan::parse_json_with(&self.job, "job", Overrides { parallelism });
        Ok(read.map_err(PrepareError::from)?)
    }

    fn command(&self, mut command: WorkerCommand) -> WorkerCommand {
        let Some(package) = &self.package else { return command };
        let mut path = package.clone().into_os_string();
        if let Some(inherited) = std::env::var_os(PYTHONPATH).filter(|inherited| !inherited.is_empty()) {
            path.push(":");
            path.push(inherited);
        }
        command.variables.push((PYTHONPATH.into(), path));
        command
    }
}

// === impl Places ===

impl Places {
    fn resume(&self) -> Result<ResumeJob, Failure> {
        let Some(text) = &self.resume else { return Ok(ResumeJob::Fresh) };
        let wrong = |why: String| Error::new(Kind::Invalid, "read where to resume").with("resume", text).source(why);
        Ok(text.parse().map_err(wrong)?)
    }

    /// Keeps the newest checkpoint of the job `job` as `name`; what a resume from it is called.
    pub async fn savepoint(&self, job: &str, machine: &Local, name: &str) -> Result<String, Failure> {
        let folder = CheckpointFolder::new(machine.env(), machine.store(&self.checkpoints)?, job)?;
        let logs = forebay_engine::edge_logs(machine, &self.checkpoints, self.journal.as_deref(), job)?;
        let savepoint = folder.create_savepoint(name, logs.as_ref()).await?;
        Ok(format!("savepoint:{}", savepoint.name))
    }

    /// What to say of `error`, which kept a job that was suspended from going on at `parallelism`.
    pub fn not_again(&self, error: &Error, parallelism: NonZeroU16) -> Error {
        let advice = match self.lasting {
            true => "its last checkpoint is kept: mend this, and run it again to go on from there",
            false => "its checkpoints were temporary: give `checkpoints` to be able to go on",
        };
        Error::new(error.kind(), "start job again after it was suspended to be scaled")
            .with("parallelism", parallelism)
            .with("checkpoints", &self.checkpoints)
            .source(format!("{}; the job has ended, and {advice}", error.chain()))
    }

    /// How the job `job` is run.
    pub fn options(&self, job: &str) -> Result<RunOptions, Failure> {
        Ok(RunOptions {
            checkpoints: self.checkpoints.clone(),
            journal: forebay_engine::journal_folder(&self.checkpoints, self.journal.as_deref(), job)?,
            resume: self.resume()?,
            keep: self.keep,
            overtake_after: Some(forebay_engine::OVERTAKE_AFTER),
        })
    }
}

fn schema_of(graph: &JobGraph, uid: Option<&str>) -> Result<SchemaRef, Failure> {
    let sinks = graph.tasks.iter().flat_map(|task| &task.steps).filter_map(|step| match &step.action {
        StepAction::Sink(sink) => Some((sink.uid.as_str(), &step.output)),
        _ => None,
    });
    let sinks: Vec<(&str, &SchemaRef)> = sinks.collect();
    let failed = |why: &str| {
        let names: Vec<&str> = sinks.iter().map(|(name, _)| *name).collect();
        Error::new(Kind::Invalid, "find sink").with("sinks", names.join(", ")).source(why.to_string())
    };
    match (uid, sinks.as_slice()) {
        (None, [(_, schema)]) => Ok(SchemaRef::clone(schema)),
        (None, _) => Err(failed("the job has several: name one").into()),
        (Some(uid), _) => match sinks.iter().find(|(name, _)| *name == uid) {
            Some((_, schema)) => Ok(SchemaRef::clone(schema)),
            None => Err(failed("the job has no such sink").with("uid", uid).into()),
        },
    }
}

/// The threads behind all runs of this process, which end with it.
pub fn runtime() -> Result<&'static Runtime, Failure> {
    /// With the process that made it, which alone has its threads.
    static RUNTIME: OnceLock<(u32, std::io::Result<Runtime>)> = OnceLock::new();
    let (process, made) = RUNTIME.get_or_init(|| {
        log_to_stderr();
        (std::process::id(), Builder::new_multi_thread().enable_all().thread_name("forebay").build())
    });
    if *process != std::process::id() {
        let forked =
            "the process was forked after forebay had run in it; use multiprocessing's \"spawn\" or \"forkserver\"";
        return Err(Error::new(Kind::Invalid, "run in a forked process").source(forked).into());
    }
    made.as_ref()
        .map_err(|error| Error::new(Kind::Exhausted, "start background threads").source(error.to_string()).into())
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG_DEFAULT));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Fails where this process logs already.
    let _ = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init();
}
