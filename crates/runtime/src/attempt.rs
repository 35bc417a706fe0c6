//! One run of a job from start or restore to its end: builds the subtasks, runs them on a host, carries out what the
//! [`Coordinator`] decides.
//!
//! The future of [`run`] is the coordinator's process. It does I/O only through [`Checkpoints`] and reads time only through
//! `Env`, so production and simulation run the same code. Dropping it abandons the attempt, as a crash would.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Frozen, Lineage};
use forebay_core::time::Instant;
use forebay_core::{Error, Kind, Result};
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, select_biased};

use crate::build::{AttemptSpec, Built, build};
use crate::coordinator::{Action, Coordinator, Event, Finish, Stop};
use crate::counters::Counters;
use crate::subtask::{Command, CommandQueue, Report, SubtaskId};
use crate::threads::SubtaskHost;

/// State of one subtask at a barrier, on its way to the checkpoint.
#[derive(Debug, Clone)]
pub struct SubtaskState {
    /// Name of the task.
    pub task: String,
    /// Which parallel copy.
    pub subtask: u16,
    /// State by operator uid and key group.
    pub entries: Vec<(String, KeyGroup, Bytes)>,
    /// Operators whose entries may hold only what changed since an earlier checkpoint.
    pub lineages: BTreeMap<String, Lineage>,
}

/// What a sink's writers prepared, by sink uid.
pub type Committables = BTreeMap<String, Vec<Bytes>>;

/// Where checkpoints go. The engine implements it over a checkpoint folder, the committers and the journal.
pub trait Checkpoints: Send + Sync {
    /// A token for the saved state, given back to [`Checkpoints::publish`].
    fn save(&self, epoch: Epoch, state: SubtaskState) -> BoxFuture<'static, Result<SavedState>>;

    /// Publishes the checkpoint and commits its sinks; answers when both are durable.
    ///
    /// # Errors
    /// `Fenced` if another attempt owns the job.
    fn publish(
        &self,
        epoch: Epoch,
        saved: Vec<SavedState>,
        committables: Committables,
        ended: bool,
    ) -> BoxFuture<'static, Result<()>>;
}

/// A state file that [`Checkpoints::save`] made durable, described for the manifest.
#[derive(Debug, Clone)]
pub struct SavedState {
    /// Name of the task.
    pub task: String,
    /// Which parallel copy.
    pub subtask: u16,
    /// Where it lies.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its hash.
    pub hash: String,
    /// The oldest checkpoint that later snapshots of the subtask may build on; `None` if they never do.
    pub completed: Option<Epoch>,
    /// What it holds by operator, as manifests write it.
    pub parts: BTreeMap<String, String>,
}

/// How long the parts of one checkpoint took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointTimes {
    /// From the barrier's start at the sources until it had passed every subtask.
    pub barrier: Duration,
    /// From the barrier's start until the checkpoint was published and its sinks committed.
    pub whole: Duration,
}

/// What surrounds an attempt.
pub struct Surroundings {
    /// Clock and background work.
    pub env: Arc<dyn Env>,
    /// What runs the subtasks.
    pub host: Arc<dyn SubtaskHost>,
    /// Where checkpoints go.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Completes when the user asks to stop: how.
    pub stop: BoxFuture<'static, Stop>,
    /// Shared counts.
    pub counters: Arc<Counters>,
    /// Told about every published epoch.
    pub on_epoch: Arc<dyn Fn(Epoch, CheckpointTimes) + Send + Sync>,
}

/// Runs the attempt to its end. The host is stopped before this returns.
///
/// # Errors
/// The first error of any subtask or of a checkpoint; the caller decides whether to start another attempt.
pub async fn run(spec: AttemptSpec, surroundings: Surroundings) -> Result<Finish> {
    let host = Arc::clone(&surroundings.host);
    let outcome = Attempt::start(spec, surroundings)?.drive().await;
    host.stop();
    outcome
}

type Job = BoxFuture<'static, Result<Done>>;

enum Done {
    Saved(SubtaskId, Epoch, SavedState, Committables),
    Published(Epoch),
}

/// One reason for the attempt to go on.
enum Next {
    Report(Report),
    Done(Result<Done>),
    Stop(Stop),
    Tick,
}

struct Attempt {
    surroundings: Surroundings,
    coordinator: Coordinator,
    commands: BTreeMap<SubtaskId, CommandQueue>,
    sources: Vec<SubtaskId>,
    tasks: Vec<String>,
    reports: UnboundedReceiver<Report>,
    jobs: FuturesUnordered<Job>,
    tick: Option<(Instant, BoxFuture<'static, ()>)>,
    saved: Vec<SavedState>,
    committables: Committables,
    pending: PendingTimes,
}

/// Times of the checkpoint under way.
#[derive(Debug, Default)]
struct PendingTimes {
    begun: Instant,
    passed: Instant,
}

// === impl Attempt ===

impl Attempt {
    fn start(spec: AttemptSpec, surroundings: Surroundings) -> Result<Self> {
        let (sender, reports) = unbounded();
        let (interval, next_epoch): (Duration, Epoch) = (spec.interval, spec.next_epoch);
        let tasks = spec.tasks.iter().map(|task| task.name.clone()).collect();
        let bug = spec.bug;
        let env = Arc::clone(&surroundings.env);
        let Built { commands, sources, placed } =
            build(spec, &env, &*surroundings.host, &sender, &surroundings.counters)?;
        let coordinator = Coordinator::new(commands.keys().copied(), interval, next_epoch, env.now()).with_bug(bug);
        for (place, subtask) in placed {
            place.start(subtask)?;
        }
        Ok(Self {
            surroundings,
            coordinator,
            commands,
            sources,
            tasks,
            reports,
            jobs: FuturesUnordered::new(),
            tick: None,
            saved: Vec::new(),
            committables: Committables::new(),
            pending: PendingTimes::default(),
        })
    }

    async fn drive(mut self) -> Result<Finish> {
        let mut stopping = false;
        loop {
            self.arm_tick();
            let event = match self.next(stopping).await {
                Next::Report(Report::Failed(subtask, error)) => return Err(self.blame(subtask, error)),
                Next::Report(Report::Ended(subtask)) => Event::Ended(subtask),
                Next::Report(Report::Frozen(subtask, epoch, frozen)) => {
                    self.pending.passed = self.surroundings.env.now();
                    self.save(subtask, epoch, frozen);
                    continue;
                }
                Next::Done(Err(error)) => return Err(error),
                Next::Done(Ok(Done::Saved(subtask, epoch, saved, committables))) => {
                    self.saved.push(saved);
                    for (sink, items) in committables {
                        self.committables.entry(sink).or_default().extend(items);
                    }
                    Event::Durable(subtask, epoch)
                }
                Next::Done(Ok(Done::Published(epoch))) => Event::Published(epoch),
                Next::Stop(stop) => {
                    stopping = true;
                    Event::Stop(stop)
                }
                Next::Tick => {
                    self.tick = None;
                    Event::Tick
                }
            };
            let now = self.surroundings.env.now();
            for action in self.coordinator.step(event, now) {
                if let Some(finish) = self.act(action) {
                    return Ok(finish);
                }
            }
        }
    }

    /// Waits for the next thing that happens.
    async fn next(&mut self, stopping: bool) -> Next {
        let tick = async {
            match &mut self.tick {
                Some((_, sleep)) => sleep.await,
                None => pending().await,
            }
        };
        let stop = async { if stopping { pending().await } else { (&mut self.surroundings.stop).await } };
        let (mut tick, mut stop) = (Box::pin(tick.fuse()), Box::pin(stop.fuse()));
        select_biased! {
            report = self.reports.select_next_some() => Next::Report(report),
            done = self.jobs.select_next_some() => Next::Done(done),
            how = stop => Next::Stop(how),
            () = tick => Next::Tick,
        }
    }

    fn arm_tick(&mut self) {
        let wanted = self.coordinator.next_tick();
        if self.tick.as_ref().map(|(at, _)| *at) != wanted {
            let env = &self.surroundings.env;
            self.tick = wanted.map(|at| (at, env.sleep(at.since(env.now()))));
        }
    }

    fn act(&mut self, action: Action) -> Option<Finish> {
        match action {
            Action::SendBarrier(barrier) => {
                let now = self.surroundings.env.now();
                self.pending = PendingTimes { begun: now, passed: now };
                self.tell_sources(Command::Barrier(barrier));
            }
            Action::StopReading => self.commands.values().for_each(|queue| queue.send(Command::StopReading)),
            Action::TellComplete(epoch) => {
                self.commands.values().for_each(|queue| queue.send(Command::CheckpointComplete(epoch)));
                let PendingTimes { begun, passed } = self.pending;
                let whole = self.surroundings.env.now().since(begun);
                (self.surroundings.on_epoch)(epoch, CheckpointTimes { barrier: passed.since(begun), whole });
            }
            Action::Publish { epoch, ended } => self.publish(epoch, ended),
            Action::Finish(finish) => return Some(finish),
        }
        None
    }

    fn tell_sources(&self, command: Command) {
        for source in &self.sources {
            self.commands[source].send(command);
        }
    }

    fn save(&self, subtask: SubtaskId, epoch: Epoch, frozen: Vec<(String, Frozen)>) {
        let checkpoints = Arc::clone(&self.surroundings.checkpoints);
        let task = self.tasks[usize::from(subtask.task)].clone();
        self.jobs.push(Box::pin(async move {
            let named = frozen.into_iter().map(|(uid, frozen)| async move { Ok::<_, Error>((uid, frozen.await?)) });
            let (mut entries, mut committables, mut lineages) = (Vec::new(), Committables::new(), BTreeMap::new());
            for (uid, snapshot) in try_join_all(named).await? {
                lineages.extend(snapshot.lineage.map(|lineage| (uid.clone(), lineage)));
                entries.extend(snapshot.groups.into_iter().map(|(group, bytes)| (uid.clone(), group, bytes)));
                if !snapshot.committables.is_empty() {
                    committables.insert(uid, snapshot.committables);
                }
            }
            let state = SubtaskState { task, subtask: subtask.subtask, entries, lineages };
            let saved = checkpoints.save(epoch, state).await?;
            Ok(Done::Saved(subtask, epoch, saved, committables))
        }));
    }

    fn publish(&mut self, epoch: Epoch, ended: bool) {
        let (saved, committables) = (std::mem::take(&mut self.saved), std::mem::take(&mut self.committables));
        let published = self.surroundings.checkpoints.publish(epoch, saved, committables, ended);
        self.jobs.push(Box::pin(async move {
            published.await?;
            Ok(Done::Published(epoch))
        }));
    }

    fn blame(&self, subtask: SubtaskId, error: Error) -> Error {
        if error.kind() == Kind::Fenced {
            return error;
        }
        Error::new(error.kind(), "run subtask")
            .with("task", &self.tasks[usize::from(subtask.task)])
            .with("subtask", subtask.subtask)
            .source(error)
    }
}
