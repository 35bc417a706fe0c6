//! Runs a job: all its regions side by side, to the end of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use forebay_plan::graph::JobGraph;
use forebay_runtime::coordinator::{Finish, Stop};
use forebay_runtime::time::Alignment;
use forebay_state::checkpoint::CheckpointFolder;
use forebay_state::keyed::StateSettings;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, try_join_all};

use crate::edges::Edges;
use crate::outside::Outside;
use crate::prepare::Prepared;
use crate::region::Region;
use crate::resume::{self, ResumeJob};
use crate::watch::{Report, Watch};

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
    pub resume: ResumeJob,
    /// How many checkpoints are kept, at least 1.
    pub keep: usize,
    /// How long a barrier waits for alignment before it overtakes what is queued; `None`: for ever, for jobs without durable
    /// edges: one that is full gets room from a checkpoint only, whose barrier may wait behind rows for it.
    pub overtake_after: Option<Duration>,
}

/// The local folder that holds the journal of `job`: in `journal` if given, else beside the checkpoints.
///
/// # Errors
/// `Invalid` if the checkpoints are elsewhere and no folder is given.
pub fn journal_folder(checkpoints: &str, journal: Option<&Path>, job: &str) -> Result<String> {
    let base = match (journal, checkpoints.split_once("://")) {
        (Some(folder), _) => folder.to_path_buf(),
        (None, None) => PathBuf::from(checkpoints),
        (None, Some(("file", path))) => PathBuf::from(path),
        (None, Some(_)) => {
            return Err(Error::new(Kind::Invalid, "place journal").source(
                "checkpoints are not on this machine: pass `--journal DIR` with a local folder that outlives the process",
            ));
        }
    };
    Ok(base.join(job).display().to_string())
}

/// See [`RunOptions::overtake_after`]; long enough that a pipeline without a slow part never keeps rows of edges.
pub const OVERTAKE_AFTER: Duration = Duration::from_millis(100);

/// How long a job that failed waits for answers that its models are still working on.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// How often it looks.
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// Runs the job to its end, or a part of it from a checkpoint to the next stop: `watch` then counts over all parts, whose
/// `outside` is the same. `stop` completes when the user asks to stop: how; what the job does shows in `watch`.
///
/// # Errors
/// `Invalid`, `Corrupt`, `Exhausted` and `Fenced` at once, others when restarts did not help.
pub async fn run(
    prepared: &Prepared,
    options: &RunOptions,
    outside: &dyn Outside,
    stop: BoxFuture<'static, Stop>,
    watch: &Arc<Watch>,
) -> Result<Report> {
    let env = outside.env();
    let started_at = watch.begun(env.now());
    let job = Job::open(prepared, options, outside, watch)?;
    let finish = job.run_until_done(stop.shared()).await?;
    let graph = &prepared.plan.graph;
    let sinks = graph.committers.iter().filter(|committer| committer.sink.uid != graph.dead_letters.uid);
    let paths: Vec<&str> = sinks.map(|committer| committer.sink.path.as_str()).collect();
    Ok(watch.report(&graph.job, &paths.join(", "), finish, started_at, env.now()))
}

/// A job with everything that outlives its regions' attempts.
pub(crate) struct Job<'a> {
    pub graph: &'a JobGraph,
    pub prepared: &'a Prepared,
    pub options: &'a RunOptions,
    pub outside: &'a dyn Outside,
    pub watch: &'a Arc<Watch>,
    pub env: Arc<dyn Env>,
    /// That of the first region.
    pub folder: CheckpointFolder,
    pub edges: Arc<Edges>,
    /// Bounds of each step's keyed state.
    pub state: StateSettings,
    /// Keeps the sources of all regions together.
    pub alignment: Alignment,
}

// === impl Job ===

impl<'a> Job<'a> {
    fn open(
        prepared: &'a Prepared,
        options: &'a RunOptions,
        outside: &'a dyn Outside,
        watch: &'a Arc<Watch>,
    ) -> Result<Self> {
        let (env, graph) = (outside.env(), &prepared.plan.graph);
        let store = outside.store(&options.checkpoints)?;
        let folder = CheckpointFolder::new(Arc::clone(&env), store, &graph.job)?.with_bug(outside.planted().checkpoint);
        let edges = Arc::new(Edges::new(graph, outside.journal_env(&options.journal)?, outside));
        let state = StateSettings {
            memory_bytes_max: usize::try_from(graph.state_memory).unwrap_or(usize::MAX),
            spill: outside.spill(&options.journal)?,
            bug: outside.planted().state,
            ..StateSettings::default()
        };
        let alignment = Alignment::default();
        Ok(Self { graph, prepared, options, outside, watch, env, folder, edges, state, alignment })
    }

    /// Runs every region to its end. A failure that restarts do not mend ends the others as a crash would.
    async fn run_until_done(&self, stop: Shared<BoxFuture<'static, Stop>>) -> Result<Finish> {
        let _lock = self.outside.lock(&self.options.journal)?;
        let regions: Vec<Region<'_>> =
            self.graph.task_regions().enumerate().map(|(place, _)| Region::open(self, place)).collect::<Result<_>>()?;
        let folders: Vec<CheckpointFolder> = regions.iter().map(|region| region.folder.clone()).collect();
        let starts = resume::starts(&self.options.resume, &folders, &self.edges).await?;
        let runs = regions.iter().zip(starts).map(|(region, start)| region.run_until_done(start, stop.clone()));
        let finishes = try_join_all(runs).await;
        if finishes.is_err() {
            regions.iter().for_each(Region::abandon);
            self.settle().await;
        }
        let stopped = finishes?.into_iter().any(|finish| finish == Finish::Stopped);
        Ok(if stopped { Finish::Stopped } else { Finish::Completed })
    }

    /// Waits for a while until what models work on is in the journal: a job that goes on is not to pay for it again.
    async fn settle(&self) {
        let until = self.env.now() + SETTLE_MAX;
        while self.watch.open_rows() > 0 && self.env.now() < until {
            self.env.sleep(SETTLE_LOOK).await;
        }
    }
}
