//! The job as it runs: tasks of fused steps, the edges between them, the regions that checkpoint and fail together.
//!
//! Six kinds of edge ([`EdgeKind`]); regions are what pipelined ones join (`regions`). Models and committers stand
//! outside the regions of tasks: a model is asked over call edges and may die alone, a committer reads what writers
//! prepared from the checkpoint, which is the durable edge between them.
//!
//! The graph is data for hosts; nothing here runs.

mod cut;
mod hash;
mod lower;
mod regions;
mod strict;
mod used;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use forebay_core::function::BoundFunction;
use forebay_core::model::ModelSignature;
use forebay_core::on_error::OnError;
use forebay_core::sink::Guarantee;

use crate::facts::Facts;
use crate::job_file::{JobFile, JobFileError};
use crate::logical::node::Side;
use crate::logical::{Laid, internal};
use crate::spec::{Changes, DurableSpec, InferSpec, LookupJoinSpec, ModelSpec, SinkSpec, SourceSpec, StreamJoinSpec};
use crate::spec::{DeduplicateSpec, FeedbackSpec, MetricsSpec, TopSpec};
use crate::spec::{ExplodeSpec, LimitSpec, ProcessSpec, SampleSpec};
use crate::window::WindowSpec;

pub use hash::PlanHash;

pub(crate) use used::narrowed;

use cut::Cut;

/// A job laid out for a host.
#[derive(Debug, Clone)]
pub struct JobGraph {
    /// The job's name.
    pub job: String,
    /// Count of key groups, fixed for the job's life.
    pub key_groups: u16,
    /// Time between the starts of two checkpoints.
    pub checkpoint_interval: Duration,
    /// Most bytes of keyed state that a step keeps in memory in each subtask.
    pub state_memory: u64,
    /// The tasks, each behind those that send to it.
    pub tasks: Vec<Task>,
    /// Every edge, by the ids of its ends.
    pub edges: Vec<Edge>,
    /// Every region, those of tasks first.
    pub regions: Vec<Region>,
    /// The models that steps ask, by name.
    pub models: BTreeMap<String, ModelService>,
    /// What publishes: the committer of each sink, then that of the dead letters.
    pub committers: Vec<Committer>,
    /// Where rows go that cannot be processed. Every subtask of every task writes its own through a writer at its side,
    /// which commits with the same epoch.
    pub dead_letters: SinkSpec,
    /// What a checkpoint remembers of the plan.
    pub plan_hash: PlanHash,
}

/// A chain of steps that run in one subtask without a channel between them.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique in the job: `t1-source`.
    pub id: String,
    /// What it is called after: the uid of the step that it starts with.
    pub name: String,
    /// How many subtasks.
    pub parallelism: u16,
    /// Where its rows come from.
    pub head: Head,
    /// What it does, in order.
    pub steps: Vec<Step>,
}

/// Where the rows of a task come from.
#[derive(Debug, Clone)]
pub enum Head {
    /// It reads them.
    Source(Box<SourceSpec>, SchemaRef),
    /// Other tasks send them; the rows of each input port have these schemas, those of port 0 first.
    Edges(Vec<SchemaRef>),
}

/// One operator.
#[derive(Debug, Clone)]
pub struct Step {
    /// Stable name, unique in the job; state hangs on it.
    pub uid: String,
    /// Schemas of the rows that come in, by input port, extension metadata included; at least one.
    pub inputs: Vec<SchemaRef>,
    /// Schema of the rows that go out; for a sink that of the rows written.
    pub output: SchemaRef,
    /// What the rows that go out do.
    pub changes: Changes,
    /// Its side outputs: that of port 1 first.
    pub sides: Vec<Side>,
    /// What it does.
    pub action: StepAction,
}

/// What an operator does.
#[expect(clippy::large_enum_variant, reason = "plans have few of these, and a box would only be in the way")]
#[derive(Debug, Clone)]
pub enum StepAction {
    /// Keeps the rows for which the predicate is true; null is not true.
    Filter {
        /// Boolean, over the input schema.
        predicate: Arc<dyn PhysicalExpr>,
        /// The predicate as SQL, for people.
        text: String,
        /// What happens to a row for which it fails; null is not true.
        on_error: OnError,
    },
    /// Computes every output column.
    Project {
        /// In the order of the output schema.
        columns: Vec<ProjectedColumn>,
        /// What happens to a row for which one of them fails.
        on_error: OnError,
    },
    /// Appends the result of a row function as the last column.
    Call(CallSpec),
    /// Appends a model's answers as the last columns.
    Infer(InferSpec),
    /// Appends a table's columns.
    LookupJoin(LookupJoinSpec),
    /// Pairs the rows of two streams: those it reads on port 0, those it joins on port 1.
    StreamJoin(Box<StreamJoinSpec>),
    /// Puts the rows of several streams into one; a row gets another id, so that two of one row stay apart.
    Union {
        /// Names of the streams, by input port; the new ids hang on them.
        streams: Vec<String>,
    },
    /// Aggregates rows by key and event time; the columns that come out are the key, start, end and event time of the
    /// window (not of [`WindowShape::Whole`](crate::window::WindowShape::Whole)), and the aggregates.
    Window(WindowStep),
    /// Reads rows that another region wrote to a log; the first step of its task.
    Durable(DurableSpec),
    /// Keeps one row of each key.
    Deduplicate(DeduplicateSpec),
    /// Keeps the first rows of each key.
    Top(TopSpec),
    /// Gives predictions, on port 0, the labels that come later, on port 1.
    Feedback(Box<FeedbackSpec>),
    /// Says how good predictions were.
    Metrics(MetricsSpec),
    /// Makes one row of each element of a list; each gets an id made of the row's and its place.
    Explode(ExplodeSpec),
    /// Lets so many rows through, in one subtask.
    Limit(LimitSpec),
    /// Keeps a part of the rows, chosen by their ids.
    Sample(SampleSpec),
    /// Gives the rows of each key to a function, found by its name.
    Process(ProcessSpec),
    /// Stages rows for its committer.
    Sink(SinkSpec),
}

/// A window step.
#[derive(Debug, Clone)]
pub struct WindowStep {
    /// Its settings.
    pub spec: WindowSpec,
    /// What it computes, in the order of the last columns of the output schema.
    pub aggregates: Vec<WindowAggregate>,
}

/// An aggregate of a window step.
#[derive(Debug, Clone)]
pub struct WindowAggregate {
    /// Over the input schema.
    pub function: Arc<AggregateFunctionExpr>,
    /// The rows that it is about; all without.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The aggregate as SQL, for people.
    pub text: String,
}

/// One column of a projection.
#[derive(Debug, Clone)]
pub struct ProjectedColumn {
    /// Over the input schema.
    pub expr: Arc<dyn PhysicalExpr>,
    /// The field it makes, extension metadata included.
    pub field: FieldRef,
    /// The expression as SQL, with `AS` where it has another name, for people.
    pub text: String,
}

/// A call of a row function.
#[derive(Debug, Clone)]
pub struct CallSpec {
    /// The call as SQL, for people.
    pub text: String,
    /// The function with its literal arguments fixed.
    pub function: Arc<dyn BoundFunction>,
    /// Its column arguments over the input schema, in the order that `evaluate` takes them.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
    /// The new column, the last of the output schema.
    pub output: FieldRef,
    /// What happens to a row that it cannot process.
    pub on_error: OnError,
}

/// A connection, by the ids of its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// A task.
    pub from: String,
    /// Which of its outputs: 0 for the rows of its last step, from 1 for the side outputs of the step that has some.
    pub from_port: u8,
    /// A task, model service or committer.
    pub to: String,
    /// Which of its inputs.
    pub to_port: u8,
    /// How rows cross.
    pub kind: EdgeKind,
}

/// How rows cross an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeKind {
    /// Pipelined, subtask to subtask of the same number.
    Forward,
    /// Pipelined, to the subtask that owns the key group of the row's id.
    Exchange,
    /// Pipelined, to the subtask that owns the key group of these columns.
    Keyed(Vec<usize>),
    /// Through a log on disk, to the subtask that owns the key group of the row's id: the durable edge between two regions
    /// of tasks. Either may restart alone.
    Logged,
    /// Request and answer; either side may restart alone.
    Call,
    /// Through the checkpoint: visible once it is published.
    Durable,
}

/// Parts that checkpoint and fail together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Unique in the job: `r1`.
    pub id: String,
    /// Ids of its tasks, or of its committer.
    pub parts: Vec<String>,
}

/// A model as the graph has it: outside every region.
#[derive(Debug, Clone)]
pub struct ModelService {
    /// Unique in the job: `model-digits`.
    pub id: String,
    /// Where it runs.
    pub spec: ModelSpec,
    /// What it takes and gives.
    pub signature: ModelSignature,
}

/// What publishes the output of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committer {
    /// Unique in the job: `committer-sink`.
    pub id: String,
    /// The sink whose committables it publishes.
    pub sink: SinkSpec,
    /// What it promises.
    pub guarantee: Guarantee,
}

// === impl EdgeKind ===

impl EdgeKind {
    /// True where both ends fail together.
    pub fn is_pipelined(&self) -> bool {
        matches!(self, EdgeKind::Forward | EdgeKind::Exchange | EdgeKind::Keyed(_))
    }
}

// === impl StepAction ===

impl StepAction {
    /// The key columns of each input port, for an action that needs all rows of a key in one subtask.
    pub fn keys(&self) -> Option<Vec<Vec<usize>>> {
        match self {
            Self::StreamJoin(join) => Some(keys_of(join)),
            Self::Feedback(feedback) => Some(keys_of(&feedback.join)),
            Self::Deduplicate(spec) => Some(vec![spec.keys.clone()]),
            Self::Top(spec) => Some(vec![spec.keys.clone()]),
            Self::Metrics(spec) => Some(vec![spec.keys.clone()]),
            Self::Process(spec) => Some(vec![spec.keys.clone()]),
            Self::Infer(InferSpec { answers: Some(answers), .. }) => Some(vec![answers.by.clone()]),
            Self::Infer(infer) if !infer.rows.key.is_empty() => Some(vec![infer.rows.key.clone()]),
            Self::Filter { .. } | Self::Project { .. } | Self::Call(_) | Self::Infer(_) | Self::LookupJoin(_) => None,
            Self::Union { .. } | Self::Durable(_) | Self::Sink(_) | Self::Explode(_) | Self::Sample(_) => None,
            Self::Limit(_) => Some(vec![Vec::new()]),
            Self::Window(window) => Some(vec![window.spec.keys.clone()]),
        }
    }
}

/// The key columns of both inputs.
fn keys_of(join: &StreamJoinSpec) -> Vec<Vec<usize>> {
    let (left, right) = join.on.iter().copied().unzip();
    vec![left, right]
}

// === impl Step ===

impl Step {
    /// Schema of the rows of the first input.
    pub fn input(&self) -> &SchemaRef {
        &self.inputs[0]
    }
}

// === impl Task ===

impl Task {
    /// Schemas of the rows that enter, by input port; of a source those that it reads.
    pub fn inputs(&self) -> &[SchemaRef] {
        match &self.head {
            Head::Source(_, schema) => std::slice::from_ref(schema),
            Head::Edges(schemas) => schemas,
        }
    }

    /// Schema of the rows that leave the last step.
    pub fn output(&self) -> &SchemaRef {
        self.steps.last().map_or(&self.inputs()[0], |step| &step.output)
    }

    /// The durable edge that it reads, if it reads one.
    pub fn durable(&self) -> Option<&DurableSpec> {
        match self.steps.first().map(|step| &step.action) {
            Some(StepAction::Durable(durable)) => Some(durable),
            _ => None,
        }
    }

    /// The side output behind `port` of the task, from 1.
    pub fn side(&self, port: u8) -> Option<&Side> {
        let place = usize::from(port.checked_sub(1)?);
        self.steps.iter().find(|step| !step.sides.is_empty()).and_then(|step| step.sides.get(place))
    }
}

// === impl JobGraph ===

impl JobGraph {
    /// The task called `id`.
    pub fn task(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// Whether no barrier may overtake rows in front of `task`: they may take back others, and come over an edge without a key.
    /// Overtaken rows are restored by the key of their edge, or by row; a row that takes back another must not be before it then.
    pub fn needs_order(&self, task: &Task) -> bool {
        let gives_updates = |edge: &Edge| {
            let from = self.task(&edge.from);
            from.is_some_and(|from| from.steps.iter().any(|step| step.changes == Changes::Updates))
        };
        let into = self.edges.iter().filter(|edge| edge.to == task.id);
        into.filter(|edge| matches!(edge.kind, EdgeKind::Forward | EdgeKind::Exchange)).any(gives_updates)
    }

    /// The regions of tasks, in order.
    pub fn task_regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().filter(|region| region.parts.iter().any(|part| self.task(part).is_some()))
    }

    /// The region that the task or committer `id` belongs to; `None` for models.
    pub fn region_of(&self, id: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.parts.iter().any(|part| part == id))
    }
}

/// Lays a logical plan out as tasks, edges and regions.
pub(crate) fn build(job: &JobFile, facts: &Facts, laid: &Laid) -> Result<JobGraph, JobFileError> {
    let parts = lower::parts(laid).map_err(|error| internal(job, &error))?;
    let models = cut::models(job, facts)?;
    let committers = cut::committers(job);
    let Cut { tasks, mut edges } = cut::tasks(job, parts);
    edges.extend(cut::outward(&tasks, &models, &committers));
    let regions = regions::of(&tasks, &committers, &edges);
    regions::check(job, &tasks, &models, &edges, &regions)?;
    let plan_hash = PlanHash::of(job.key_groups, &job.dead_letters, &tasks, &edges);
    Ok(JobGraph {
        job: job.name.clone(),
        key_groups: job.key_groups,
        checkpoint_interval: job.checkpoint_interval,
        state_memory: job.state_memory,
        tasks,
        edges,
        regions,
        models,
        committers,
        dead_letters: job.dead_letters.clone(),
        plan_hash,
    })
}
