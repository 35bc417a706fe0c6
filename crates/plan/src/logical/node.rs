//! Our nodes in a DataFusion plan: source, row-function call, inference, lookup join, join of streams, union, window,
//! durable edge, deduplicate, top, feedback, metrics, explode, limit, sample, process, side output, sink.
//!
//! Filters and projections are DataFusion's own nodes. One extension type holds all of ours, so that the boilerplate of
//! the trait exists once.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use forebay_core::function::BoundFunction;
use forebay_core::on_error::OnError;

use crate::spec::{
    Changes, DeduplicateSpec, DurableSpec, FeedbackSpec, InferSpec, MetricsSpec, TopSpec, deduplicate_sides,
};
use crate::spec::{ExplodeSpec, LimitSpec, SampleSpec};
use crate::spec::{LookupJoinSpec, ProcessSpec, SinkSpec, SourceSpec, StreamJoinSpec};
use crate::window::{WindowShape, WindowSpec};

/// One of our nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanNode {
    /// What it does.
    pub kind: NodeKind,
    /// What comes in, by input port; none for a source.
    pub inputs: Vec<LogicalPlan>,
    /// What goes out.
    pub schema: DFSchemaRef,
}

/// What one of our nodes does.
#[expect(clippy::large_enum_variant, reason = "plans have few of these, and a box would only be in the way")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// Reads rows.
    Source(SourceSpec),
    /// Adds the result of a row function as the last column.
    Call(CallNode),
    /// Adds a model's answers as the last columns.
    Infer(InferSpec),
    /// Adds a table's columns.
    LookupJoin(LookupJoinSpec),
    /// Pairs the rows of two streams.
    StreamJoin(Box<StreamJoinSpec>),
    /// Puts the rows of several streams, named here by input port, into one.
    Union(Vec<String>),
    /// Aggregates rows by key and event time.
    Window(WindowNode),
    /// Cuts the job: rows go through a log on disk.
    Durable(DurableSpec),
    /// Keeps one row of each key.
    Deduplicate(DeduplicateSpec),
    /// Keeps the first rows of each key.
    Top(TopSpec),
    /// Gives predictions the labels that come later.
    Feedback(Box<FeedbackSpec>),
    /// Says how good predictions were.
    Metrics(MetricsSpec),
    /// Makes one row of each element of a list.
    Explode(ExplodeSpec),
    /// Lets so many rows through.
    Limit(LimitSpec),
    /// Keeps a part of the rows.
    Sample(SampleSpec),
    /// Gives the rows of each key to a function.
    Process(ProcessSpec),
    /// A side output of its input: stands in the plan of who reads it, and is no step.
    Side {
        /// Uid of the step that gives it.
        uid: String,
        /// Which of its side outputs.
        name: String,
    },
    /// Writes rows.
    Sink(SinkSpec),
}

/// A window step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowNode {
    /// Its settings.
    pub spec: WindowSpec,
    /// What it computes, in the order of the last columns.
    pub aggregates: Vec<Expr>,
    /// The rows that come in; those that come too late leave by its side output.
    pub input: SchemaRef,
}

/// A side output: rows that leave a step beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What it is called behind the step's uid: `late` in `clicks_per_user.late`.
    pub name: String,
    /// Its rows.
    pub schema: SchemaRef,
    /// What its rows do.
    pub changes: Changes,
}

/// A call of a row function, taken out of an expression.
#[derive(Debug, Clone)]
pub struct CallNode {
    /// Stable name.
    pub uid: String,
    /// The call as SQL, for people.
    pub text: String,
    /// The function with its literal arguments fixed.
    pub function: Arc<dyn BoundFunction>,
    /// Its column arguments, in order.
    pub arguments: Vec<Expr>,
    /// The new column.
    pub output: FieldRef,
    /// What happens to a row that it cannot process.
    pub on_error: OnError,
}

// === impl CallNode ===

impl CallNode {
    /// All that tells two calls apart; the bound function follows from text and arguments.
    fn identity(&self) -> (&str, &str, &[Expr], &FieldRef, OnError) {
        (&self.uid, &self.text, &self.arguments, &self.output, self.on_error)
    }
}

impl PartialEq for CallNode {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for CallNode {}

impl Hash for CallNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

// === impl NodeKind ===

impl NodeKind {
    /// The side outputs, those of ports 1 and up, in the order of [`Action::sides`](crate::job_file::Action::sides).
    pub fn sides(&self) -> Vec<Side> {
        match self {
            Self::StreamJoin(join) => {
                let late = |(name, schema): (&&str, &SchemaRef)| side(name, schema, Changes::Append);
                join.kind.sides().iter().zip(&join.inputs).map(late).collect()
            }
            Self::Source(_) | Self::Call(_) | Self::Infer(_) | Self::LookupJoin(_) => Vec::new(),
            Self::Window(window) if window.spec.shape == WindowShape::Whole => Vec::new(),
            Self::Window(window) => {
                let changes = if window.spec.updates { Changes::Updates } else { Changes::Append };
                vec![side("late", &window.input, changes)]
            }
            Self::Deduplicate(spec) => {
                let late = |name: &&str| side(name, &spec.input, Changes::Append);
                deduplicate_sides(spec.keep, spec.order).iter().map(late).collect()
            }
            Self::Feedback(spec) => {
                let ([predictions, labels], [first, second]) = (&spec.join.inputs, spec.changes);
                vec![side("late", predictions, first), side("late_labels", labels, second)]
            }
            Self::Metrics(spec) if spec.every.is_some() => vec![side("late", &spec.input, spec.changes)],
            Self::Process(spec) => {
                spec.sides.iter().map(|(name, schema)| side(name, schema, spec.sides_change)).collect()
            }
            Self::Top(_) | Self::Metrics(_) => Vec::new(),
            Self::Explode(_) | Self::Limit(_) | Self::Sample(_) => Vec::new(),
            Self::Union(_) | Self::Durable(_) | Self::Side { .. } | Self::Sink(_) => Vec::new(),
        }
    }
}

fn side(name: &str, schema: &SchemaRef, changes: Changes) -> Side {
    Side { name: name.to_string(), schema: Arc::clone(schema), changes }
}

// === impl PlanNode ===

impl PlanNode {
    /// What `plan` does, if it is one of our nodes.
    pub fn of(plan: &LogicalPlan) -> Option<&NodeKind> {
        let LogicalPlan::Extension(extension) = plan else { return None };
        extension.node.as_any().downcast_ref::<Self>().map(|node| &node.kind)
    }

    /// `kind` over `inputs` as a plan whose rows have `schema`.
    pub fn plan(kind: NodeKind, inputs: Vec<LogicalPlan>, schema: SchemaRef) -> Result<LogicalPlan> {
        let schema = Arc::new(DFSchema::try_from(schema)?);
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(Self { kind, inputs, schema }) }))
    }
}

impl PartialOrd for PlanNode {
    /// Nodes have no order beyond being the same.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for PlanNode {
    fn name(&self) -> &str {
        match self.kind {
            NodeKind::Source(_) => "Source",
            NodeKind::Call(_) => "Call",
            NodeKind::Infer(_) => "Infer",
            NodeKind::LookupJoin(_) => "LookupJoin",
            NodeKind::StreamJoin(_) => "StreamJoin",
            NodeKind::Union(_) => "Union",
            NodeKind::Window(_) => "Window",
            NodeKind::Durable(_) => "Durable",
            NodeKind::Deduplicate(_) => "Deduplicate",
            NodeKind::Top(_) => "Top",
            NodeKind::Feedback(_) => "Feedback",
            NodeKind::Metrics(_) => "Metrics",
            NodeKind::Explode(_) => "Explode",
            NodeKind::Limit(_) => "Limit",
            NodeKind::Sample(_) => "Sample",
            NodeKind::Process(_) => "Process",
            NodeKind::Side { .. } => "Side",
            NodeKind::Sink(_) => "Sink",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        match &self.kind {
            NodeKind::Call(call) => call.arguments.clone(),
            NodeKind::Window(window) => window.aggregates.clone(),
            _ => Vec::new(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.kind {
            NodeKind::Source(source) => write!(f, "Source: {} {} from {}", source.uid, source.format, source.place()),
            NodeKind::Call(call) => write!(f, "Call: {} AS {}", call.text, call.output.name()),
            NodeKind::Infer(infer) => write!(f, "Infer: {} asks {}", infer.uid, infer.model),
            NodeKind::LookupJoin(join) => write!(f, "LookupJoin: {} {} {}", join.uid, join.how, join.table.path),
            NodeKind::StreamJoin(join) => {
                write!(f, "StreamJoin: {} {} {} {}", join.uid, join.how, join.stream, join.kind)
            }
            NodeKind::Union(streams) => write!(f, "Union: {}", streams.join(", ")),
            NodeKind::Window(window) => write!(f, "Window: {} {}", window.spec.uid, window.spec.shape),
            NodeKind::Durable(durable) => write!(f, "Durable: {} {}", durable.uid, durable.mode),
            NodeKind::Deduplicate(spec) => write!(f, "Deduplicate: {} {spec}", spec.uid),
            NodeKind::Top(spec) => write!(f, "Top: {} {} rows", spec.uid, spec.rows),
            NodeKind::Feedback(spec) => write!(f, "Feedback: {} {}", spec.join.uid, spec.join.stream),
            NodeKind::Metrics(spec) => write!(f, "Metrics: {}", spec.uid),
            NodeKind::Explode(spec) => write!(f, "Explode: columns {:?}", spec.columns),
            NodeKind::Limit(spec) => write!(f, "Limit: {} rows", spec.rows),
            NodeKind::Sample(spec) => write!(f, "Sample: {} of the rows", spec.ratio()),
            NodeKind::Process(spec) => write!(f, "Process: {} by {}", spec.uid, spec.function),
            NodeKind::Side { uid, name } => write!(f, "Side: {uid}.{name}"),
            NodeKind::Sink(sink) => write!(f, "Sink: {} {} to {}", sink.uid, sink.format, sink.path),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if exprs.len() != self.expressions().len() || inputs.len() != self.inputs.len() {
            return plan_err!("{} got {} expressions and {} inputs", self.name(), exprs.len(), inputs.len());
        }
        let kind = match &self.kind {
            NodeKind::Call(call) => NodeKind::Call(CallNode { arguments: exprs, ..call.clone() }),
            NodeKind::Window(window) => NodeKind::Window(WindowNode { aggregates: exprs, ..window.clone() }),
            other => other.clone(),
        };
        Ok(Self { kind, inputs, schema: Arc::clone(&self.schema) })
    }
}
