//! Runs a job: starts or restores an attempt, and starts it again when a failure may pass.
//!
//! The order at a start matters and is the same for a fresh job, a resumed one and a restarted region: claim the epoch,
//! commit what the last checkpoint still owes, load its state, roll sinks back to it, and only then read the first row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::source::Split;
use forebay_core::time::Instant;
use forebay_core::{Error, Kind, Result};
use forebay_plan::graph::JobGraph;
use forebay_plan::spec::SourceSpec;
use forebay_runtime::attempt::{self, Surroundings};
use forebay_runtime::build::{AttemptSpec, RestoredJob};
use forebay_runtime::channel::Window;
use forebay_runtime::coordinator::Finish;
use forebay_state::checkpoint::{CheckpointFolder, Committers, Manifest, ManifestDraft, Resume, Started};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::checkpoints::JobCheckpoints;
use crate::lower::{Parts, Sinks, edges, list_splits, read_tables, sources, tasks};
use crate::model::restart_helps;
use crate::models::{Models, Opening};
use crate::outside::Outside;
use crate::prepare::Prepared;
use crate::watch::{Report, Watch};

/// Restarts of the region within [`RESTARTS_WITHIN`] before the job gives up.
const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`]; both as in `runtime.md` row 25: a crash loop pauses instead of burning money.
const RESTARTS_WITHIN: Duration = Duration::from_secs(600);
/// Pause before the first restart; doubled for each further one, full jitter.
const RESTART_BACKOFF: Duration = Duration::from_millis(200);

/// Name of the folder that holds the journal's segments.
pub const JOURNAL_FOLDER: &str = "journal";

/// How a job is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Folder or URL of the checkpoints.
    pub checkpoints: String,
    /// Local folder that holds the journal's folder, [`JOURNAL_FOLDER`].
    pub journal: String,
    /// Where to begin.
    pub resume: Resume,
    /// How many checkpoints are kept, at least 1.
    pub keep: usize,
    /// How long a barrier waits for alignment before it overtakes what is queued; `None`: for ever.
    pub overtake_after: Option<Duration>,
}

/// See [`RunOptions::overtake_after`]; long enough that a pipeline without a slow part never keeps rows of edges.
pub const OVERTAKE_AFTER: Duration = Duration::from_millis(100);

/// Runs the job to its end. `stop` completes when the user asks to drain; what the job does shows in `watch`.
///
/// # Errors
/// `Invalid`, `Corrupt`, `Exhausted` and `Fenced` at once, others when restarts did not help.
pub async fn run(
    prepared: &Prepared,
    options: &RunOptions,
    outside: &dyn Outside,
    stop: BoxFuture<'static, ()>,
    watch: &Arc<Watch>,
) -> Result<Report> {
    let env = outside.env();
    let started_at = env.now();
    let job = Job::open(prepared, options, outside, watch).await?;
    let finish = job.run_until_done(options.resume, stop.shared()).await?;
    let graph = &prepared.plan.graph;
    let sinks = graph.committers.iter().filter(|committer| committer.sink.uid != graph.dead_letters.uid);
    let paths: Vec<&str> = sinks.map(|committer| committer.sink.path.as_str()).collect();
    Ok(watch.report(&graph.job, &paths.join(", "), finish, started_at, env.now()))
}

/// A job with everything that outlives its attempts.
struct Job<'a> {
    graph: &'a JobGraph,
    prepared: &'a Prepared,
    options: &'a RunOptions,
    outside: &'a dyn Outside,
    watch: &'a Arc<Watch>,
    env: Arc<dyn Env>,
    folder: CheckpointFolder,
    sinks: Sinks,
    committers: Arc<Committers>,
}

// === impl Job ===

impl<'a> Job<'a> {
    async fn open(
        prepared: &'a Prepared,
        options: &'a RunOptions,
        outside: &'a dyn Outside,
        watch: &'a Arc<Watch>,
    ) -> Result<Self> {
        let (env, graph) = (outside.env(), &prepared.plan.graph);
        let store = outside.store(&options.checkpoints)?;
        let folder = CheckpointFolder::new(Arc::clone(&env), store, &graph.job)?.with_bug(outside.planted().checkpoint);
        let sinks = Sinks::open(graph, outside)?;
        let committers = Arc::new(sinks.committers());
        Ok(Self { graph, prepared, options, outside, watch, env, folder, sinks, committers })
    }

    async fn run_until_done(&self, resume: Resume, stop: Shared<BoxFuture<'static, ()>>) -> Result<Finish> {
        let lock = self.outside.lock(&self.options.journal)?;
        let mut resume = resume;
        let mut models = None;
        let mut failures: Vec<Instant> = Vec::new();
        loop {
            let outcome = self.attempt(resume, &mut models, stop.clone()).await;
            let error = match outcome {
                Ok(finish) => {
                    drop(lock);
                    return Ok(finish);
                }
                Err(error) => error,
            };
            failures.retain(|at| self.env.now().since(*at) < RESTARTS_WITHIN);
            if models.is_none() || !restart_helps(error.kind()) || failures.len() == RESTARTS_MAX {
                return Err(error);
            }
            failures.push(self.env.now());
            // A journal whose write failed is opened again; models and journal otherwise outlive the region.
            if models.as_ref().is_some_and(Models::journal_failed) {
                models = None;
            }
            tracing::warn!("the region failed and restarts from its latest checkpoint: {}", error.chain());
            self.env.sleep(self.backoff(failures.len())).await;
            resume = Resume::Latest;
        }
    }

    fn backoff(&self, failures: usize) -> Duration {
        let longest = RESTART_BACKOFF.saturating_mul(1 << failures.min(8));
        longest.mul_f64((self.env.random() % 1000) as f64 / 1000.0)
    }

    async fn attempt(
        &self,
        resume: Resume,
        models: &mut Option<Models>,
        stop: Shared<BoxFuture<'static, ()>>,
    ) -> Result<Finish> {
        if resume == Resume::Fresh && self.folder.list().await?.is_empty() {
            self.sinks.check_fresh().await?;
        }
        let started = self.folder.restart(resume, &self.committers).await?;
        let restored = self.restore(&started).await?;
        self.watch.set_attempt(started.attempt);
        self.watch.set_epoch(restored.epoch.map_or(0, |epoch| epoch.0));
        if started.restored.as_ref().is_some_and(|manifest| manifest.ended) {
            tracing::info!("the job has completed before; nothing is left to do");
            return Ok(Finish::Completed);
        }
        let parts = self.parts(&started, restored.epoch, models).await?;
        let spec = AttemptSpec {
            attempt: started.attempt,
            groups: self.graph.key_groups,
            window: Window::default(),
            interval: self.graph.checkpoint_interval,
            overtake_after: self.options.overtake_after,
            next_epoch: started.next_epoch,
            tasks: tasks(self.graph, &parts, &self.sinks, self.outside)?,
            edges: edges(self.graph)?,
            restored,
            bug: self.outside.planted().runtime,
        };
        let watch = Arc::clone(self.watch);
        let surroundings = Surroundings {
            env: Arc::clone(&self.env),
            host: self.outside.subtasks(),
            checkpoints: Arc::new(self.checkpoints(models.as_ref())),
            stop: stop.boxed(),
            counters: Arc::clone(&self.watch.counters),
            on_epoch: Arc::new(move |epoch, times| watch.on_checkpoint(epoch.0, times)),
        };
        attempt::run(spec, surroundings).await
    }

    /// Loads the state of the restored checkpoint and rolls the sinks back to it.
    async fn restore(&self, started: &Started) -> Result<RestoredJob> {
        let state_of = started.restored.as_ref().and_then(|manifest| manifest.state_of);
        let mut restored = RestoredJob { epoch: state_of, entries: BTreeMap::new() };
        if let Some(manifest) = &started.restored {
            self.check_plan(manifest)?;
            for entry in self.folder.load(manifest, |_| true).await? {
                restored.entries.entry(entry.operator).or_default().push((entry.key_group, entry.bytes));
            }
        }
        // Last, so that a checkpoint that cannot be restored costs no output.
        for committer in self.committers.values() {
            committer.roll_back(state_of.unwrap_or(Epoch(0)), started.next_epoch).await?;
        }
        Ok(restored)
    }

    fn check_plan(&self, manifest: &Manifest) -> Result<()> {
        if manifest.state_of.is_none() {
            return Ok(());
        }
        self.graph.plan_hash.check_restore(manifest.plan_hash.parse()?)
    }

    async fn parts(&self, started: &Started, epoch: Option<Epoch>, models: &mut Option<Models>) -> Result<Parts> {
        if models.is_none() {
            let Job { prepared, options, outside, watch, .. } = self;
            *models = Some(Opening { prepared, options, outside: *outside, watch }.open(started, epoch).await?);
        }
        let services = models.as_ref().map(|models| models.services.clone()).unwrap_or_default();
        let revisions = self.prepared.hosts.iter().map(|(name, host)| (name.clone(), host.revision())).collect();
        Ok(Parts {
            models: services,
            revisions,
            tables: read_tables(self.graph, self.outside).await?,
            splits: self.splits().await?,
        })
    }

    /// The splits of every source as they were listed when the job first started.
    async fn splits(&self) -> Result<BTreeMap<String, Vec<Split>>> {
        let mut splits = BTreeMap::new();
        for source in sources(self.graph) {
            splits.insert(source.uid.clone(), self.splits_of(source).await?);
        }
        Ok(splits)
    }

    async fn splits_of(&self, source: &SourceSpec) -> Result<Vec<Split>> {
        let name = format!("splits-{}.json", source.uid);
        let kept = match self.folder.read_once(&name).await? {
            Some(kept) => kept,
            None => {
                let listed = serde_json::to_vec(&list_splits(source, self.graph.key_groups, self.outside).await?)
                    .map_err(|source| Error::new(Kind::Internal, "encode splits").source(source))?;
                self.folder.write_once(&name, Bytes::from(listed)).await?
            }
        };
        serde_json::from_slice(&kept)
            .map_err(|source| Error::new(Kind::Corrupt, "read list of splits").with("file", name).source(source))
    }

    fn checkpoints(&self, models: Option<&Models>) -> JobCheckpoints {
        let mut draft = ManifestDraft::new(Epoch(0));
        draft.parallelism = self.graph.tasks.iter().map(|task| (task.id.clone(), task.parallelism)).collect();
        draft.key_groups = self.graph.key_groups;
        draft.plan_hash = self.graph.plan_hash.to_string();
        JobCheckpoints {
            folder: self.folder.clone(),
            committers: Arc::clone(&self.committers),
            committer_of: Arc::new(self.sinks.committer_of(self.graph)),
            draft,
            journal: models.and_then(|models| models.journal.clone()),
            services: models.map(|models| models.services.clone()).unwrap_or_default(),
            keep: self.options.keep.max(1),
        }
    }
}
