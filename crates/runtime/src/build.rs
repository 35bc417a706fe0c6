//! Lays out an attempt: channels, contexts, restored state and splits for every subtask of every task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::{Context, Identity, Operator, Restored};
use forebay_core::source::{Reader, Split};
use forebay_core::{Error, Kind, Result};
use futures::channel::mpsc::UnboundedSender;
use std::task::Waker;

use crate::chain::{Chain, Stage};
use crate::channel::{Channel, Window};
use crate::channel_state;
use crate::counters::Counters;
use crate::inputs::{InputChannel, Inputs};
use crate::outlet::{Outlet, Route, Way};
use crate::planted::RuntimeBug;
use crate::subtask::{CommandQueue, Head, Report, Subtask, SubtaskId, SubtaskParts};
use crate::threads::{Place, SubtaskHost};

/// Makes the copy of an operator for one subtask.
pub type MakeOperator = Box<dyn Fn(u16) -> Result<Box<dyn Operator>> + Send + Sync>;
/// Makes the copy of a reader for one subtask.
pub type MakeReader = Box<dyn Fn(u16) -> Result<Box<dyn Reader>> + Send + Sync>;

/// Everything that an attempt runs.
pub struct AttemptSpec {
    /// Which run of the job.
    pub attempt: u64,
    /// How many key groups the job has.
    pub groups: u16,
    /// Window of every channel.
    pub window: Window,
    /// Time between checkpoints.
    pub interval: Duration,
    /// How long a barrier waits for alignment at a task before it overtakes; `None`: for ever. Never into a sink.
    pub overtake_after: Option<Duration>,
    /// The first checkpoint of this attempt.
    pub next_epoch: Epoch,
    /// The tasks; edges name them by place.
    pub tasks: Vec<TaskSpec>,
    /// The edges, any number out of and into each task that is not a source or sink.
    pub edges: Vec<EdgeSpec>,
    /// State of the checkpoint that it goes on from.
    pub restored: RestoredJob,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<RuntimeBug>,
}

/// A task: a head and a chain of operators.
pub struct TaskSpec {
    /// Its name, stable over attempts.
    pub name: String,
    /// How many copies.
    pub parallelism: u16,
    /// The source, if the task reads one.
    pub source: Option<SourceSpec>,
    /// Uid and maker of each operator, in order.
    pub operators: Vec<(String, MakeOperator)>,
    /// Uid and maker of the writer of dead letters, if the job has that output.
    pub dead_letters: Option<(String, MakeOperator)>,
    /// Whether the last operator is a sink writer.
    pub ends_in_sink: bool,
    /// Whether a barrier waits for the rows in front of it, however long, because their order counts and their edge does not
    /// keep it when they are restored.
    pub is_aligned: bool,
}

/// A source at the head of a task.
pub struct SourceSpec {
    /// Its uid.
    pub uid: String,
    /// Makes a reader.
    pub reader: MakeReader,
    /// Every split, in reading order.
    pub splits: Vec<Split>,
    /// Whether its rows are input of the job, and counted as read; rows of another region were counted there.
    pub is_input: bool,
}

/// An edge between two tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSpec {
    /// Place of the sending task.
    pub from: usize,
    /// Which output of its chain: 0 is the main one.
    pub from_port: u8,
    /// Place of the receiving task.
    pub to: usize,
    /// Which input of its first operator. Several edges may lead to one: their rows mix.
    pub to_port: u8,
    /// How rows find their subtask.
    pub way: EdgeWay,
}

/// How the rows of an edge find their subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeWay {
    /// To the subtask of the same number. Both tasks have the same parallelism.
    Forward,
    /// By the key group of the row's id: rows of one split stay together.
    ByRow,
    /// By the key group of the row's key.
    ByKey(KeyColumns),
}

/// State of a whole job, by operator uid.
#[derive(Debug, Clone, Default)]
pub struct RestoredJob {
    /// The checkpoint; `None` on a fresh start.
    pub epoch: Option<Epoch>,
    /// State of each operator by key group.
    pub entries: BTreeMap<String, Vec<(KeyGroup, Bytes)>>,
}

/// An attempt laid out, not yet started.
pub struct Built {
    /// Where each subtask takes commands.
    pub commands: BTreeMap<SubtaskId, CommandQueue>,
    /// The subtasks that read sources.
    pub sources: Vec<SubtaskId>,
    /// Each subtask with its place on the host.
    pub placed: Vec<(Box<dyn Place>, Subtask)>,
}

// === impl EdgeWay ===

impl From<&EdgeWay> for Way {
    fn from(way: &EdgeWay) -> Self {
        match way {
            EdgeWay::Forward => Way::Forward,
            EdgeWay::ByRow => Way::ByRow,
            EdgeWay::ByKey(columns) => Way::ByKey(columns.clone()),
        }
    }
}

// === impl RestoredJob ===

impl RestoredJob {
    /// What the operator of `identity` goes on from: the entries of its key groups.
    fn of(&self, identity: &Identity) -> Restored {
        let owned = identity.key_groups();
        let entries = self.entries.get(&identity.uid).into_iter().flatten();
        let mut groups: Vec<(KeyGroup, Bytes)> =
            entries.filter(|(group, _)| owned.contains(&group.0)).cloned().collect();
        groups.sort_by_key(|(group, _)| *group);
        Restored { epoch: self.epoch, groups }
    }
}

/// The channels of one edge: `channels[from][to]`; a forward edge has only the diagonal.
struct Wiring<'a> {
    edge: &'a EdgeSpec,
    channels: Vec<Vec<Arc<Channel>>>,
}

/// Lays out `spec` on `host`.
///
/// # Errors
/// `Invalid` if the spec contradicts itself; those of the makers.
pub fn build(
    spec: AttemptSpec,
    env: &Arc<dyn Env>,
    host: &dyn SubtaskHost,
    reports: &UnboundedSender<Report>,
    counters: &Arc<Counters>,
) -> Result<Built> {
    let wirings = spec.edges.iter().map(|edge| wire(&spec, edge)).collect::<Result<Vec<_>>>()?;
    let mut built = Built { commands: BTreeMap::new(), sources: Vec::new(), placed: Vec::new() };
    for (number, task) in spec.tasks.iter().enumerate() {
        for subtask in 0..task.parallelism {
            let id = SubtaskId { task: number as u16, subtask };
            let place = host.place();
            let site = Site { spec: &spec, task, id, env, waker: place.waker() };
            let commands = CommandQueue::new(place.waker());
            let parts = SubtaskParts {
                id,
                head: site.head()?,
                inputs: Inputs::new(site.all_inputs(&wirings)?, spec.groups).with_bug(spec.bug),
                overtake_after: spec.overtake_after.filter(|_| site.may_overtake()),
                chain: site.chain(counters)?,
                outlet: Outlet::new(site.routes(&wirings), spec.groups, place.waker()),
                commands: commands.clone(),
                reports: reports.clone(),
                counters: Arc::clone(counters),
                waker: place.waker(),
                bug: spec.bug,
            };
            built.sources.extend(task.source.is_some().then_some(id));
            built.commands.insert(id, commands);
            built.placed.push((place, Subtask::new(parts)));
        }
    }
    Ok(built)
}

fn wire<'a>(spec: &AttemptSpec, edge: &'a EdgeSpec) -> Result<Wiring<'a>> {
    let (from, to) = (spec.tasks[edge.from].parallelism, spec.tasks[edge.to].parallelism);
    if spec.tasks[edge.to].source.is_some() {
        return Err(Error::new(Kind::Internal, "wire edge into a source").with("task", &spec.tasks[edge.to].name));
    }
    let forward = edge.way == EdgeWay::Forward;
    if forward && from != to {
        return Err(Error::new(Kind::Invalid, "wire forward edge").with("from", from).with("to", to));
    }
    let width = if forward { 1 } else { to };
    let row = |_| (0..width).map(|_| Arc::new(Channel::new(spec.window).with_bug(spec.bug))).collect();
    Ok(Wiring { edge, channels: (0..from).map(row).collect() })
}

/// One subtask while it is laid out.
struct Site<'a> {
    spec: &'a AttemptSpec,
    task: &'a TaskSpec,
    id: SubtaskId,
    env: &'a Arc<dyn Env>,
    waker: Waker,
}

// === impl Site ===

impl Site<'_> {
    fn context(&self, uid: &str) -> Context {
        let identity = Identity {
            uid: uid.to_string(),
            subtask: self.id.subtask,
            parallelism: self.task.parallelism,
            groups: self.spec.groups,
            attempt: self.spec.attempt,
        };
        Context { identity, env: Arc::clone(self.env), waker: self.waker.clone() }
    }

    fn stage(&self, uid: &str, make: &MakeOperator) -> Result<Stage> {
        let context = self.context(uid);
        let restored = self.spec.restored.of(&context.identity);
        Ok(Stage { operator: make(self.id.subtask)?, context, restored })
    }

    fn chain(&self, counters: &Arc<Counters>) -> Result<Chain> {
        let stages = self.task.operators.iter().map(|(uid, make)| self.stage(uid, make)).collect::<Result<_>>()?;
        let letters = self.task.dead_letters.as_ref().map(|(uid, make)| self.stage(uid, make)).transpose()?;
        Ok(Chain::new(stages, letters, self.task.ends_in_sink, Arc::clone(counters)))
    }

    fn head(&self) -> Result<Head> {
        let Some(source) = &self.task.source else { return Ok(Head::Inputs) };
        let context = self.context(&source.uid);
        let owned = context.identity.key_groups();
        let mine = |split: &&Split| owned.contains(&split.id.key_group(self.spec.groups).0);
        Ok(Head::Reader {
            reader: (source.reader)(self.id.subtask)?,
            splits: source.splits.iter().filter(mine).cloned().collect(),
            restored: self.spec.restored.of(&context.identity),
            is_input: source.is_input,
            context,
        })
    }

    fn all_inputs(&self, wirings: &[Wiring<'_>]) -> Result<Vec<InputChannel>> {
        let into = wirings.iter().filter(|wiring| wiring.edge.to == usize::from(self.id.task));
        Ok(into.map(|wiring| self.inputs(wiring)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn inputs(&self, wiring: &Wiring<'_>) -> Result<Vec<InputChannel>> {
        let EdgeSpec { from, from_port, to_port, way, .. } = wiring.edge;
        let edge = channel_state::name(&self.spec.tasks[*from].name, *from_port, &self.task.name, *to_port);
        let subtask = usize::from(self.id.subtask);
        let channels: Vec<&Arc<Channel>> = match way {
            EdgeWay::Forward => vec![&wiring.channels[subtask][0]],
            EdgeWay::ByRow | EdgeWay::ByKey(_) => wiring.channels.iter().map(|row| &row[subtask]).collect(),
        };
        let found = self.spec.restored.of(&self.context(&edge).identity).groups;
        let thawed = found.iter().map(|(group, bytes)| channel_state::thaw(&edge, *group, bytes));
        let mut restored = thawed.collect::<Result<Vec<_>>>()?;
        let input = |channel: &Arc<Channel>| InputChannel {
            port: *to_port,
            channel: Arc::clone(channel),
            edge: edge.clone(),
            way: way.into(),
            restored: std::mem::take(&mut restored),
        };
        Ok(channels.into_iter().map(input).collect())
    }

    /// A barrier never overtakes into a sink, nor where the task says so.
    fn may_overtake(&self) -> bool {
        let into_sink = self.task.ends_in_sink && !self.has_bug(RuntimeBug::OvertakesIntoSink);
        let aligned = self.task.is_aligned && !self.has_bug(RuntimeBug::OvertakesUpdates);
        !into_sink && !aligned
    }

    fn has_bug(&self, bug: RuntimeBug) -> bool {
        self.spec.bug == Some(bug)
    }

    fn routes(&self, wirings: &[Wiring<'_>]) -> Vec<Route> {
        let mine = wirings.iter().filter(|wiring| wiring.edge.from == usize::from(self.id.task));
        let route = |wiring: &Wiring<'_>| Route {
            port: if self.has_bug(RuntimeBug::SideIntoMain) { 0 } else { wiring.edge.from_port },
            way: match &wiring.edge.way {
                EdgeWay::ByKey(_) if self.has_bug(RuntimeBug::RoutedByRow) => Way::ByRow,
                way => way.into(),
            },
            channels: wiring.channels[usize::from(self.id.subtask)].clone(),
        };
        mine.map(route).collect()
    }
}
