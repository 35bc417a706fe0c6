//! One region of a job: runs its attempts, and starts it again when a failure may pass. Other regions run on meanwhile.
//!
//! The order at a start matters and is the same for a fresh job, a resumed one and a restarted region: claim the epoch,
//! commit what the last checkpoint still owes, load its state, roll sinks back to it, take over the durable edges that it
//! writes, and only then read the first row.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_core::Result;
use forebay_core::element::Epoch;
use forebay_core::source::Split;
use forebay_core::time::Instant;
use forebay_runtime::attempt::{self, Surroundings};
use forebay_runtime::build::{AttemptSpec, RestoredJob};
use forebay_runtime::coordinator::{Finish, Stop};
use forebay_runtime::threads::SubtaskHost;
use forebay_state::checkpoint::{CheckpointFolder, Committers, Manifest, ManifestDraft, Resume, Started};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, Shared, join_all, pending, select};

use crate::checkpoints::JobCheckpoints;
use crate::edges::RegionEdges;
use crate::lower::{self, Lowering, Parts, Sinks, sources};
use crate::model::restart_helps;
use crate::models::{Models, Opening};
use crate::resume::region_name;
use crate::run::Job;
use crate::splits::{Monitored, SplitList};
use crate::tables::read_tables;

/// Restarts of a region within [`RESTARTS_WITHIN`] before the job gives up.
const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`]; both as in `runtime.md` row 25: a crash loop pauses instead of burning money.
const RESTARTS_WITHIN: Duration = Duration::from_secs(600);
/// Pause before the first restart; doubled for each further one, full jitter.
const RESTART_BACKOFF: Duration = Duration::from_millis(200);

/// What the sources of a region read.
#[derive(Default)]
struct SplitsOfRegion {
    splits: BTreeMap<String, Vec<Split>>,
    monitored: Vec<Monitored>,
}

/// A region with everything that outlives its attempts.
pub(crate) struct Region<'a> {
    job: &'a Job<'a>,
    /// Which region of tasks, from 0.
    place: usize,
    pub(crate) folder: CheckpointFolder,
    sinks: Sinks,
    committers: Arc<Committers>,
    /// Runs the subtasks of the attempt under way.
    host: Mutex<Option<Arc<dyn SubtaskHost>>>,
    /// When the last attempt failed, until the next one runs.
    failed_at: Mutex<Option<Instant>>,
}

// === impl Region ===

impl<'a> Region<'a> {
    /// The region at `place` of `job`; opens its sinks.
    ///
    /// # Errors
    /// `Invalid` for a sink that cannot be opened.
    pub fn open(job: &'a Job<'a>, place: usize) -> Result<Self> {
        let folder = job.folder.clone().of_region(place as u32);
        let several = job.graph.task_regions().nth(1).is_some();
        let folder = if several { folder.called(region_name(place)) } else { folder };
        let sinks = Sinks::open(job.graph, place, job.outside)?;
        let committers = Arc::new(sinks.committers());
        Ok(Self { job, place, folder, sinks, committers, host: Mutex::new(None), failed_at: Mutex::new(None) })
    }

    /// Runs the region to its end, over restarts.
    ///
    /// # Errors
    /// `Invalid`, `Corrupt`, `Exhausted` and `Fenced` at once, others when restarts did not help.
    pub async fn run_until_done(&self, resume: Resume, stop: Shared<BoxFuture<'static, Stop>>) -> Result<Finish> {
        let mut resume = resume;
        let mut models = None;
        let mut failures: Vec<Instant> = Vec::new();
        loop {
            let error = match self.attempt(resume, &mut models, stop.clone()).await {
                Ok(finish) => {
                    self.job.watch.on_end(self.place);
                    return Ok(finish);
                }
                Err(error) => error,
            };
            let env = &self.job.env;
            failures.retain(|at| env.now().since(*at) < RESTARTS_WITHIN);
            if models.is_none() || !restart_helps(error.kind()) || failures.len() == RESTARTS_MAX {
                return Err(error);
            }
            failures.push(env.now());
            *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(env.now());
            self.job.watch.on_restart(self.place);
            // A journal whose write failed is opened again; models and journal otherwise outlive the region.
            if models.as_ref().is_some_and(Models::journal_failed) {
                models = None;
            }
            let region = region_name(self.place);
            tracing::warn!("region {region} failed and restarts from its latest checkpoint: {}", error.chain());
            env.sleep(self.backoff(failures.len())).await;
            resume = Resume::Latest;
        }
    }

    /// Stops calling the subtasks, as a crash would, of a region whose run was dropped.
    pub fn abandon(&self) {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner).take();
        host.iter().for_each(|host| host.stop());
    }

    fn backoff(&self, failures: usize) -> Duration {
        let longest = RESTART_BACKOFF.saturating_mul(1 << failures.min(8));
        longest.mul_f64((self.job.env.random() % 1000) as f64 / 1000.0)
    }

    async fn attempt(
        &self,
        resume: Resume,
        models: &mut Option<Models>,
        stop: Shared<BoxFuture<'static, Stop>>,
    ) -> Result<Finish> {
        let Job { graph, watch, env, outside, options, .. } = self.job;
        if resume == Resume::Fresh && self.folder.list().await?.is_empty() {
            self.sinks.check_fresh().await?;
        }
        let started = self.folder.restart(resume, &self.committers).await?;
        let restored = self.restore(&started).await?;
        watch.set_attempt(self.place, started.attempt);
        watch.set_epoch(self.place, restored.epoch.map_or(0, |epoch| epoch.0));
        let edges = RegionEdges::new(&self.job.edges, self.place);
        if started.restored.as_ref().is_some_and(|manifest| manifest.ended) {
            for source in sources(self.job.graph, self.place) {
                SplitList::check(&self.folder, source).await?;
            }
            tracing::info!("region {} has completed before; nothing is left to do in it", region_name(self.place));
            edges.ended(&started).await?;
            return Ok(Finish::Completed);
        }
        let logs = edges.start(&started, &restored.entries).await?;
        let SplitsOfRegion { splits, monitored } = self.splits().await?;
        let feeds = monitored.iter().map(|source| (source.uid.clone(), source.feed.clone())).collect();
        let parts = Parts { logs, splits, feeds, ..self.parts(&started, restored.epoch, models).await? };
        let lowering = Lowering { graph, region: self.place, parts: &parts, sinks: &self.sinks, outside: *outside };
        let host = outside.subtasks();
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&host));
        let spec = AttemptSpec {
            attempt: started.attempt,
            groups: graph.key_groups,
            window: outside.bounds().window,
            interval: graph.checkpoint_interval,
            overtake_after: options.overtake_after,
            next_epoch: started.next_epoch,
            tasks: lowering.tasks(&self.job.alignment)?,
            edges: lowering.edges()?,
            restored,
            bug: outside.planted().runtime,
        };
        watch.on_begin(self.place, env.now());
        let (on_epoch, place, clock) = (Arc::clone(watch), self.place, Arc::clone(env));
        let surroundings = Surroundings {
            env: Arc::clone(env),
            host,
            checkpoints: Arc::new(self.checkpoints(models.as_ref(), edges)),
            stop: stop.boxed(),
            counters: Arc::clone(&watch.counters),
            on_epoch: Arc::new(move |epoch, times| on_epoch.on_checkpoint(place, epoch.0, times, clock.now())),
        };
        if let Some(failed_at) = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watch.on_restarted(self.place, env.now().since(failed_at));
        }
        let looks = join_all(monitored.into_iter().map(|source| source.run(Arc::clone(env))));
        // What looks for files never ends the attempt: a failure comes by its readers.
        let looking = looks.then(|_| pending());
        match select(pin!(attempt::run(spec, surroundings)), pin!(looking)).await {
            Either::Left((finish, _)) => finish,
            Either::Right((never, _)) => never,
        }
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
        self.job.graph.plan_hash.check_restore(manifest.plan_hash.parse()?)
    }

    async fn parts(&self, started: &Started, epoch: Option<Epoch>, models: &mut Option<Models>) -> Result<Parts> {
        if models.is_none() {
            let Job { prepared, options, outside, watch, .. } = self.job;
            *models = Some(
                Opening { prepared, options, outside: *outside, watch, region: self.place }
                    .open(started, epoch)
                    .await?,
            );
        }
        let services = models.as_ref().map(|models| models.services.clone()).unwrap_or_default();
        let revisions = self.job.prepared.hosts.iter().map(|(name, host)| (name.clone(), host.revision())).collect();
        Ok(Parts {
            models: services,
            revisions,
            tables: read_tables(self.job.graph, self.place, self.job.outside, &self.folder).await?,
            splits: BTreeMap::new(),
            feeds: BTreeMap::new(),
            logs: BTreeMap::new(),
            state: self.job.state.clone(),
            components: self.job.prepared.components.clone(),
        })
    }

    /// The lists of splits of every source, as far as they are written.
    async fn splits(&self) -> Result<SplitsOfRegion> {
        let mut found = SplitsOfRegion::default();
        for source in sources(self.job.graph, self.place) {
            let list = SplitList::open(&self.folder, source, self.job.graph.key_groups, self.job.outside).await?;
            found.splits.insert(source.uid.clone(), list.splits.clone());
            found.monitored.extend(Monitored::of(source, list, self.job.outside)?);
        }
        Ok(found)
    }

    fn checkpoints(&self, models: Option<&Models>, edges: RegionEdges) -> JobCheckpoints {
        let mut draft = ManifestDraft::new(Epoch(0));
        draft.parallelism =
            lower::tasks_of(self.job.graph, self.place).map(|task| (task.id.clone(), task.parallelism)).collect();
        draft.key_groups = self.job.graph.key_groups;
        let regions = self.job.graph.task_regions().count();
        draft.regions = if regions > 1 { regions as u32 } else { 0 };
        draft.plan_hash = self.job.graph.plan_hash.to_string();
        JobCheckpoints {
            folder: self.folder.clone(),
            committers: Arc::clone(&self.committers),
            committer_of: Arc::new(self.sinks.committer_of(self.job.graph)),
            draft,
            journal: models.and_then(|models| models.journal.clone()),
            services: models.map(|models| models.services.clone()).unwrap_or_default(),
            keep: self.job.options.keep.max(1),
            edges,
        }
    }
}
