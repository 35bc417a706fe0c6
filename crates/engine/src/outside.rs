//! What a job touches beyond this process: stores, models, threads, clock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_connectors::sinks::files::FileSinkBug;
use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};
use forebay_inference::hosts::gpus::{Gpus, Share};
use forebay_inference::hosts::process::WorkerCommand;
use forebay_inference::hosts::{Host, fake, onnx, python};
use forebay_inference::protocols::gauges::Scraper;
use forebay_inference::{journal, service};
use forebay_operators::deduplicate::DeduplicateBug;
use forebay_operators::feedback::FeedbackBug;
use forebay_operators::inference as operator;
use forebay_operators::limit::LimitBug;
use forebay_operators::metrics::MetricsBug;
use forebay_operators::process::ProcessBug;
use forebay_operators::sample::SampleBug;
use forebay_operators::stream_join::as_of::AsOfBug;
use forebay_operators::stream_join::regular::RegularBug;
use forebay_operators::stream_join::timed::TimedJoinBug;
use forebay_operators::top::TopBug;
use forebay_operators::window::WindowBug;
use forebay_plan::spec::{Host as HostSpec, ModelSpec, PythonCode, PythonSpec};
use forebay_runtime::channel::Window;
use forebay_runtime::planted::RuntimeBug;
use forebay_runtime::threads::{SubtaskHost, Threads};
use forebay_state::checkpoint::PlantedBug as CheckpointBug;
use forebay_state::disk::LockGuard;
use forebay_state::edge::PlantedBug as EdgeBug;
use forebay_state::keyed::{SpillStore, StateBug};
use forebay_state::store::open_store;
use tokio::runtime::Handle;

use crate::clock::MovableClock;
use crate::env::TokioEnv;
use crate::remote::Remotes;
use crate::spill::LazySpill;
use crate::splits::MonitorBug;

/// Folder beside the journal's for keyed state that outgrows its memory.
const SPILL_FOLDER: &str = "spill";

/// The way out of a job. One value serves every attempt of a process.
pub trait Outside: Send + Sync {
    /// Clock, randomness, background work.
    fn env(&self) -> Arc<dyn Env>;

    /// The store at a path or URL.
    ///
    /// # Errors
    /// `Invalid` if the location cannot be understood, `Unavailable` if it cannot be reached.
    fn store(&self, location: &str) -> Result<Arc<dyn Store>>;

    /// [`Outside::env`] with its disk rooted at the folder that holds the journal.
    ///
    /// # Errors
    /// `Invalid` if it is no folder.
    fn journal_env(&self, folder: &str) -> Result<Arc<dyn Env>>;

    /// Keeps other processes of this machine away from a journal folder until the guard is dropped.
    ///
    /// # Errors
    /// `Fenced` if another process holds it.
    fn lock(&self, folder: &str) -> Result<Option<LockGuard>>;

    /// Where keyed state goes that outgrows its memory, below the folder that holds the journal; `None` if it may not.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted` if the folder cannot be written.
    fn spill(&self, _folder: &str) -> Result<Option<Arc<dyn SpillStore>>> {
        Ok(None)
    }

    /// Runs a declared model.
    ///
    /// # Errors
    /// `Invalid` if the model cannot be what its declaration says.
    fn host(&self, model: &ModelSpec) -> Result<Arc<dyn Host>>;

    /// What reads the metrics of a model's server, if they are declared.
    ///
    /// # Errors
    /// `Invalid` if the address cannot be used.
    fn scraper(&self, _model: &ModelSpec) -> Result<Option<Scraper>> {
        Ok(None)
    }

    /// How much the queues of a job may hold.
    fn bounds(&self) -> Bounds {
        Bounds::default()
    }

    /// A host for the subtasks of one attempt.
    fn subtasks(&self) -> Arc<dyn SubtaskHost>;

    /// Bugs for the simulation to find; none in production.
    #[doc(hidden)]
    fn planted(&self) -> Planted {
        Planted::default()
    }
}

/// How much the queues of a job may hold. The simulation draws less, so that its few rows fill them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// On each channel between two subtasks.
    pub window: Window,
    /// The greatest quota of a durable edge, in bytes, whatever the job says.
    pub quota_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { window: Window::default(), quota_max: u64::MAX }
    }
}

/// Every bug that the simulation can plant, by the part it breaks.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Planted {
    /// In the journal.
    pub journal: Option<journal::PlantedBug>,
    /// In the model service.
    pub service: service::Planted,
    /// In the batcher.
    pub batcher: forebay_gate::batcher::Planted,
    /// In the inference operator.
    pub inference: operator::Planted,
    /// In the sinks.
    pub sink: Option<FileSinkBug>,
    /// In durable edges.
    pub edge: Option<EdgeBug>,
    /// In publishing checkpoints.
    pub checkpoint: Option<CheckpointBug>,
    /// In windows.
    pub window: Option<WindowBug>,
    /// In joins within an interval or window.
    pub timed_join: Option<TimedJoinBug>,
    /// In joins as of a row's time.
    pub as_of_join: Option<AsOfBug>,
    /// In joins of all rows.
    pub regular_join: Option<RegularBug>,
    /// In deduplicate steps.
    pub deduplicate: Option<DeduplicateBug>,
    /// In top steps.
    pub top: Option<TopBug>,
    /// In joins of predictions with their labels.
    pub feedback: Option<FeedbackBug>,
    /// In metrics of predictions.
    pub metrics: Option<MetricsBug>,
    /// In looking for new files.
    pub monitor: Option<MonitorBug>,
    /// In limits.
    pub limit: Option<LimitBug>,
    /// In samples.
    pub sample: Option<SampleBug>,
    /// In process functions.
    pub process: Option<ProcessBug>,
    /// In keyed state.
    pub state: Option<StateBug>,
    /// In the runtime.
    pub runtime: Option<RuntimeBug>,
}

/// The interpreter of Python models where neither the job nor the program that runs it names one.
const PYTHON: &str = "python3";

/// Runs Python functions in threads of the interpreter that runs the job.
pub type PythonThreads = Arc<dyn Fn(&python::PythonSettings) -> Result<Arc<dyn Host>> + Send + Sync>;

/// This machine: local disk or object stores, child processes, threads.
pub struct Local {
    handle: Handle,
    env: Arc<dyn Env>,
    worker: WorkerCommand,
    python: WorkerCommand,
    threads: Option<PythonThreads>,
    clock: Option<MovableClock>,
    remotes: Remotes,
    gpus: Arc<Gpus>,
}

// === impl Local ===

impl Local {
    /// This machine, with background work on the tokio runtime behind `handle`; `worker` starts model processes.
    ///
    /// # Errors
    /// `Unavailable` if the current folder cannot be opened.
    pub fn new(handle: Handle, worker: WorkerCommand) -> Result<Self> {
        let gpus = Arc::new(Gpus::of_this_machine());
        let env: Arc<dyn Env> = Arc::new(TokioEnv::new(handle.clone(), disk(Path::new("."))?));
        let python = WorkerCommand::python(PYTHON);
        Ok(Self { handle, env, worker, python, threads: None, clock: None, remotes: Remotes::new(), gpus })
    }

    /// The same machine, on which `worker` starts the processes of Python models that name no interpreter.
    #[must_use]
    pub fn with_python(self, worker: WorkerCommand) -> Self {
        Self { python: worker, ..self }
    }

    /// The same machine, inside an interpreter: `threads` runs Python models there that need no process of their own.
    #[must_use]
    pub fn with_python_threads(self, threads: PythonThreads) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// The same machine, under a clock that can be moved ahead.
    #[must_use]
    pub fn with_clock(self, clock: MovableClock) -> Self {
        Self { env: clock.over(self.env), clock: Some(clock), ..self }
    }

    fn python(&self, model: &ModelSpec, spec: &PythonSpec, log: Option<PathBuf>) -> Result<Arc<dyn Host>> {
        let name = &model.name;
        let command = spec.interpreter.as_ref().map_or_else(|| self.python.clone(), WorkerCommand::python);
        let settings = python::PythonSettings {
            model: name.clone(),
            code: match &spec.code {
                PythonCode::Function(function) => python::PythonCode::Function(function.clone()),
                PythonCode::Pickled(file) => python::PythonCode::Pickled(PathBuf::from(file)),
            },
            path: spec.path.iter().map(PathBuf::from).collect(),
            replicas: model.replicas,
            version: spec.version.clone(),
            memory_bytes: spec.memory_bytes,
            seats: share_of(spec).map(|share| self.gpus.want(name, model.replicas, share)),
            signature: spec.signature.clone(),
            log,
        };
        match &self.threads {
            Some(threads) if !spec.use_process => threads(&settings),
            _ => Ok(Arc::new(python::host(&settings, command)?)),
        }
    }
}

/// What one worker of `spec` needs of GPUs, if it says so.
fn share_of(spec: &PythonSpec) -> Option<Share> {
    let PythonSpec { gpu_thousandths, gpu_memory_bytes, .. } = *spec;
    let declared = gpu_thousandths.is_some() || gpu_memory_bytes.is_some();
    declared.then(|| Share { thousandths: gpu_thousandths.unwrap_or(0), memory_bytes: gpu_memory_bytes })
}

impl Outside for Local {
    fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.env)
    }

    fn store(&self, location: &str) -> Result<Arc<dyn Store>> {
        let _entered = self.handle.enter();
        open_store(location, &self.env)
    }

    fn journal_env(&self, folder: &str) -> Result<Arc<dyn Env>> {
        let env: Arc<dyn Env> = Arc::new(TokioEnv::new(self.handle.clone(), disk(Path::new(folder))?));
        Ok(self.clock.as_ref().map_or_else(|| Arc::clone(&env), |clock| clock.over(Arc::clone(&env))))
    }

    fn spill(&self, folder: &str) -> Result<Option<Arc<dyn SpillStore>>> {
        Ok(Some(Arc::new(LazySpill::new(Path::new(folder).join(SPILL_FOLDER)))))
    }

    fn lock(&self, folder: &str) -> Result<Option<LockGuard>> {
        forebay_state::disk::OsDisk::open(Path::new(folder))?.lock("lock").map(Some)
    }

    fn host(&self, model: &ModelSpec) -> Result<Arc<dyn Host>> {
        let log = model.log.clone().map(PathBuf::from);
        if let Some(log) = &log {
            check_folder_of(log)?;
        }
        match &model.host {
            HostSpec::Onnx { path } => {
                let settings = onnx::OnnxSettings { path: PathBuf::from(path), library: None, threads: 1 };
                Ok(Arc::new(onnx::host(&settings, self.worker.clone())?.logging(log)))
            }
            HostSpec::Python(python) => self.python(model, python, log),
            HostSpec::Fake(fake) => {
                let settings = fake::FakeSettings {
                    latency: fake.service_time,
                    fail_on: fake.fail_on.clone(),
                    crash_on: fake.crash_on.clone(),
                    ..fake::FakeSettings::default()
                };
                Ok(Arc::new(fake::host(&settings, self.worker.clone())?.logging(log)))
            }
            HostSpec::Remote(remote) => self.remotes.host(remote),
        }
    }

    fn scraper(&self, model: &ModelSpec) -> Result<Option<Scraper>> {
        match &model.host {
            HostSpec::Remote(remote) => self.remotes.scraper(Arc::clone(&self.env), remote),
            HostSpec::Onnx { .. } | HostSpec::Python(_) | HostSpec::Fake(_) => Ok(None),
        }
    }

    fn subtasks(&self) -> Arc<dyn SubtaskHost> {
        Arc::new(Threads::new(Arc::clone(&self.env)))
    }
}

/// Whether a model's process can create its log, found out before any row is read.
fn check_folder_of(log: &Path) -> Result<()> {
    let folder = log.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || Error::new(Kind::Invalid, "find folder of log").with("log", log.display());
    if folder.is_dir() { Ok(()) } else { Err(failed().source("there is no such folder")) }
}

fn disk(folder: &Path) -> Result<Arc<dyn Disk>> {
    Ok(Arc::new(forebay_state::disk::OsDisk::open(folder)?))
}

/// The hosts of several models by name.
///
/// # Errors
/// Those of [`Outside::host`], with the model's name.
pub fn hosts(outside: &dyn Outside, models: &BTreeMap<String, ModelSpec>) -> Result<BTreeMap<String, Arc<dyn Host>>> {
    let host = |(name, spec): (&String, &ModelSpec)| {
        let host = outside.host(spec).map_err(|error| {
            Error::new(if error.kind() == Kind::Data { Kind::Invalid } else { error.kind() }, "set up model")
                .with("model", name)
                .source(error)
        })?;
        Ok((name.clone(), host))
    };
    models.iter().map(host).collect()
}
