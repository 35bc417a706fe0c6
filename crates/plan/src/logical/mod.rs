//! From a job file to a DataFusion logical plan, checked against the facts.
//!
//! The plan is a graph of nodes from sources to sinks, in an order in which each stands behind its inputs. Filters and
//! projections are DataFusion's own nodes and expressions are parsed, type-checked and coerced by it; everything else is a
//! [`node::PlanNode`]. Calls of row functions are taken out of expressions first (`hoist`), so that a bad row is one row's
//! error.

mod answers;
mod changes;
mod event_time;
mod explode;
mod expression;
mod fallback;
mod feedback;
pub(crate) mod hoist;
mod infer;
mod join;
mod keyed;
pub mod node;
mod process;
pub(crate) mod session;
mod stream_join;
mod taken_back;
mod union;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, Projection};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use forebay_core::Kind;
use forebay_core::function::RowFunction;
use forebay_core::on_error::OnError;
use forebay_core::process::KnownProcess;
use toml::Spanned;

use crate::facts::Facts;
use crate::job_file::{
    Action, InferDecl, JobFile, JobFileError, SinkDecl, SourceDecl, StepDecl, StreamRef, WindowDecl,
};
use crate::spec::{Changes, DurableSpec, InferSpec, LimitSpec, StreamJoinKind};
pub(crate) use answers::content_keys;
use changes::Refusal;
use expression::Site;
use hoist::Hoist;
use node::{NodeKind, PlanNode, WindowNode};

type Result<T, E = JobFileError> = std::result::Result<T, E>;

/// A logical plan, flat.
#[derive(Debug)]
pub(crate) struct Laid {
    /// Every node behind its inputs.
    pub nodes: Vec<Node>,
    /// The session that parsed it, for physical expressions.
    pub state: SessionState,
}

/// A node of the plan.
#[derive(Debug)]
pub(crate) struct Node {
    /// Stable name.
    pub uid: String,
    /// What it does, over the plans of its inputs.
    pub plan: LogicalPlan,
    /// What it reads, by input port.
    pub inputs: Vec<Output>,
    /// What its rows do.
    pub changes: Changes,
    /// What happens to a row for which an expression of a filter or projection fails.
    pub on_error: OnError,
}

/// An output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Output {
    /// Place of the node.
    pub node: usize,
    /// 0 for its rows, from 1 for its side outputs.
    pub port: u8,
}

// === impl Laid ===

impl Laid {
    /// The plan of each sink.
    pub fn plans(&self) -> Vec<LogicalPlan> {
        let sinks = self.nodes.iter().filter(|node| matches!(PlanNode::of(&node.plan), Some(NodeKind::Sink(_))));
        sinks.map(|node| node.plan.clone()).collect()
    }
}

/// Builds the plan of `job`.
pub(crate) fn build(
    job: &JobFile,
    facts: &Facts,
    functions: &[Arc<dyn RowFunction>],
    processes: &[Arc<dyn KnownProcess>],
) -> Result<Laid> {
    let state = session::open(functions).map_err(|error| internal(job, &error))?;
    let (nodes, streams, inputs) = (Vec::new(), BTreeMap::new(), Vec::new());
    let mut builder = Builder { job, facts, processes, state, nodes, streams, inputs };
    job.sources.iter().try_for_each(|source| builder.source(source))?;
    job.steps.iter().try_for_each(|step| builder.step(step))?;
    job.sinks.iter().try_for_each(|sink| builder.sink(sink))?;
    Ok(Laid { nodes: builder.nodes, state: builder.state })
}

/// Types as DataFusion would coerce them in a query.
pub(crate) fn coerce(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    ExprSimplifier::new(context).coerce(expr, schema)
}

/// The expression as it is run. Some functions (`coalesce`, `nvl`) only exist as what they are rewritten to.
pub(crate) fn runnable(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    ExprSimplifier::new(context).simplify(expr)
}

/// An error that no user can mend.
pub(crate) fn internal(job: &JobFile, error: &dyn std::fmt::Display) -> JobFileError {
    job.text.error(0..0, format!("the planner failed: {error}")).with_kind(Kind::Internal)
}

/// Rows that can be read: where they come from, and the plan that makes them.
#[derive(Clone)]
struct Stream {
    from: Output,
    plan: LogicalPlan,
    changes: Changes,
}

struct Builder<'a> {
    job: &'a JobFile,
    facts: &'a Facts,
    processes: &'a [Arc<dyn KnownProcess>],
    state: SessionState,
    nodes: Vec<Node>,
    /// By uid and output.
    streams: BTreeMap<(String, u8), Stream>,
    /// What the next node reads.
    inputs: Vec<Stream>,
}

// === impl Builder ===

impl Builder<'_> {
    fn source(&mut self, source: &SourceDecl) -> Result<()> {
        let uid = &source.spec.uid;
        let found = self.facts.sources.get(uid);
        let found = found.ok_or_else(|| internal(self.job, &format!("no schema of the source {uid}")))?;
        let schema = event_time::of_source(self.job, source, found)?;
        let plan = PlanNode::plan(NodeKind::Source(source.spec.clone()), Vec::new(), schema);
        let plan =
            plan.map_err(|error| self.job.text.error(0..0, format!("the columns of source \"{uid}\": {error}")))?;
        self.inputs = Vec::new();
        self.push(Ok(plan), uid, Changes::Append)?;
        self.publish(uid)
    }

    fn sink(&mut self, sink: &SinkDecl) -> Result<()> {
        self.read(std::slice::from_ref(&sink.input))?;
        let (spec, refused) = (&sink.spec, |message: String| self.job.text.error(sink.span.clone(), message));
        let schema = self.schema();
        if self.changes() == Changes::Updates && spec.kinds.is_none() {
            let error = refused(format!("the rows of sink \"{}\" also take back earlier ones", spec.uid));
            return Err(
                error.with_help("kinds = \"COLUMN\" writes what each row does (+I, -U, +U, -D) into a first column")
            );
        }
        if let Some(kinds) = spec.kinds.as_ref().filter(|kinds| schema.index_of(kinds).is_ok()) {
            let error = refused(format!("sink \"{}\": the rows already have a column \"{kinds}\"", spec.uid));
            return Err(error.with_help("choose a name that no other column has"));
        }
        let kinds = spec.kinds.iter().map(|kinds| Arc::new(Field::new(kinds, DataType::Utf8, false)));
        let fields: Vec<FieldRef> = kinds.chain(schema.fields().iter().cloned()).collect();
        self.over(NodeKind::Sink(spec.clone()), &spec.uid, Arc::new(Schema::new(fields)))
    }

    fn refused(&self, step: &StepDecl, refusal: &Refusal) -> JobFileError {
        let message = format!("step {} {}", step.number, refusal.why);
        self.job.text.error(step.span.clone(), message).with_help(refusal.help)
    }

    fn step(&mut self, step: &StepDecl) -> Result<()> {
        self.read(&step.inputs)?;
        let inputs: Vec<Changes> = self.inputs.iter().map(|input| input.changes).collect();
        let mut changes = changes::given(&step.action, &inputs).map_err(|refusal| self.refused(step, &refusal))?;
        match &step.action {
            Action::Filter(sql, on_error) => self.filter(step, sql, *on_error),
            Action::Select(columns, on_error) => self.project(step, columns, *on_error, false),
            Action::With(columns, on_error) => self.project(step, columns, *on_error, true),
            Action::Infer(decl) => {
                let (spec, schema) = self.infer(step, decl, inputs[0])?;
                self.over(NodeKind::Infer(spec), &step.uid, schema)
            }
            Action::Join(decl) => {
                let (spec, schema) = join::check(self.job, self.facts, step, decl, &self.schema())?;
                self.over(NodeKind::LookupJoin(spec), &step.uid, schema)
            }
            Action::StreamJoin(decl) => {
                let [left, right] = self.inputs.as_slice() else {
                    return Err(internal(self.job, &"a join of one stream"));
                };
                if decl.kind == StreamJoinKind::AsOf && right.changes == Changes::Updates {
                    changes::whole_versions(&right.plan).map_err(|refusal| self.refused(step, &refusal))?;
                }
                let (spec, schema) = stream_join::check(self.job, step, decl, [&left.schema(), &right.schema()])?;
                self.over(NodeKind::StreamJoin(Box::new(spec)), &step.uid, schema)
            }
            Action::Union(_) => {
                let inputs: Vec<SchemaRef> = self.inputs.iter().map(Stream::schema).collect();
                let schema = union::check(self.job, step, &inputs)?;
                let streams = step.inputs.iter().map(StreamRef::name).collect();
                self.over(NodeKind::Union(streams), &step.uid, schema)
            }
            Action::Window(decl) => self.window(step, decl, inputs[0]),
            Action::Explode(decl) => {
                let (spec, schema) = explode::check(self.job, step, decl, &self.schema())?;
                self.over(NodeKind::Explode(spec), &step.uid, schema)
            }
            Action::Limit(rows) => {
                let schema = self.schema();
                self.over(NodeKind::Limit(LimitSpec { rows: rows.get() }), &step.uid, schema)
            }
            Action::Sample(spec) => {
                let schema = self.schema();
                self.over(NodeKind::Sample(*spec), &step.uid, schema)
            }
            Action::Durable(decl) => {
                let spec = DurableSpec { uid: step.uid.clone(), mode: decl.mode, quota: decl.quota };
                let schema = self.schema();
                self.over(NodeKind::Durable(spec), &step.uid, schema)
            }
            Action::Deduplicate(decl) => {
                let keys = self.columns(step, "by", &decl.by)?;
                let input = self.input()?.schema().as_ref().clone();
                let site = keyed::KeyedSite { job: self.job, step, input: &input };
                let (spec, schema) = site.deduplicate(decl, &keys)?;
                self.over(NodeKind::Deduplicate(spec), &step.uid, schema)
            }
            Action::Top(decl) => {
                let keys = self.columns(step, "by", &decl.by)?;
                let order = self.columns(step, "order", &decl.order)?;
                let input = self.input()?.schema().as_ref().clone();
                let site = keyed::KeyedSite { job: self.job, step, input: &input };
                let (spec, schema) = site.top(decl, (&keys, &order), inputs[0])?;
                self.over(NodeKind::Top(spec), &step.uid, schema)
            }
            Action::Feedback(decl) => {
                let [left, right] = self.inputs.as_slice() else {
                    return Err(internal(self.job, &"feedback of one stream"));
                };
                let (schemas, changes) = ([&left.schema(), &right.schema()], [left.changes, right.changes]);
                let (spec, schema) = feedback::feedback(self.job, step, decl, schemas, changes)?;
                self.over(NodeKind::Feedback(Box::new(spec)), &step.uid, schema)
            }
            Action::Metrics(decl) => {
                let keys = self.columns(step, "by", &decl.by)?;
                let input = self.input()?.schema().as_ref().clone();
                let site = keyed::KeyedSite { job: self.job, step, input: &input };
                let (spec, schema) = feedback::metrics(&site, decl, &keys, inputs[0])?;
                self.over(NodeKind::Metrics(spec), &step.uid, schema)
            }
            Action::Process(decl) => {
                let keys = self.columns(step, "by", &decl.by)?;
                let input = self.input()?.schema().as_ref().clone();
                let site = keyed::KeyedSite { job: self.job, step, input: &input };
                let (spec, schema, gives) = process::process(&site, decl, &keys, inputs[0], self.processes)?;
                changes = gives;
                self.over(NodeKind::Process(spec), &step.uid, schema)
            }
        }?;
        self.nodes.last_mut().into_iter().for_each(|node| node.changes = changes);
        self.publish(&step.uid)
    }

    fn infer(&self, step: &StepDecl, decl: &InferDecl, changes: Changes) -> Result<(InferSpec, SchemaRef)> {
        infer::check(self.job, self.facts, step, decl, (&self.schema(), changes), &self.state)
    }

    /// The key first, where it is computed, then the window over it.
    fn window(&mut self, step: &StepDecl, decl: &WindowDecl, changes: Changes) -> Result<()> {
        let keys = self.columns(step, "by", &decl.by)?;
        let input = self.input()?.schema().as_ref().clone();
        let site = window::WindowSite { job: self.job, state: &self.state, step, decl, input: &input, changes };
        let (spec, aggregates, schema) = site.check(&keys)?;
        let node = WindowNode { spec, aggregates, input: Arc::clone(input.inner()) };
        self.over(NodeKind::Window(node), &step.uid, schema)
    }

    /// The names of these columns of the next node's input, computed first where one is an expression.
    fn columns(&mut self, step: &StepDecl, what: &str, columns: &[Spanned<String>]) -> Result<Vec<String>> {
        let before = self.input()?.schema().as_ref().clone();
        let mut names = Vec::new();
        let mut computed = false;
        for sql in columns {
            let site = Site { text: &self.job.text, state: &self.state, number: step.number, sql };
            let parsed = site.parse(&before)?;
            computed |= !matches!(parsed, Expr::Column(_));
            names.push(output_name(&site, &parsed)?);
        }
        if computed {
            let with = StepDecl { uid: format!("{}.{what}", step.uid), ..step.clone() };
            self.project(&with, columns, OnError::default(), true)?;
        }
        Ok(names)
    }

    /// Makes `streams` the inputs of the next node.
    fn read(&mut self, streams: &[StreamRef]) -> Result<()> {
        let stream = |wanted: &StreamRef| {
            let stream = self.streams.get(&(wanted.uid.clone(), wanted.port)).cloned();
            stream.ok_or_else(|| internal(self.job, &format!("no stream {}", wanted.name())))
        };
        self.inputs = streams.iter().map(stream).collect::<Result<_>>()?;
        Ok(())
    }

    /// Lets others read the outputs of the last node, by `uid`.
    fn publish(&mut self, uid: &str) -> Result<()> {
        let Some(node) = self.nodes.last() else { return Ok(()) };
        let place = self.nodes.len() - 1;
        let stream = |port, plan, changes| Stream { from: Output { node: place, port }, plan, changes };
        self.streams.insert((uid.to_string(), 0), stream(0, node.plan.clone(), node.changes));
        let sides = PlanNode::of(&node.plan).map(NodeKind::sides).unwrap_or_default();
        for (port, side) in (1..).zip(sides) {
            let kind = NodeKind::Side { uid: uid.to_string(), name: side.name.clone() };
            let plan = PlanNode::plan(kind, vec![node.plan.clone()], Arc::clone(&side.schema));
            let plan = plan.map_err(|error| internal(self.job, &error))?;
            self.streams.insert((uid.to_string(), port), stream(port, plan, side.changes));
        }
        Ok(())
    }

    fn filter(&mut self, step: &StepDecl, sql: &Spanned<String>, on_error: OnError) -> Result<()> {
        let before = self.input()?.schema().as_ref().clone();
        let mut hoist = Hoist::new(&step.uid, on_error, before.clone());
        let site = Site { text: &self.job.text, state: &self.state, number: step.number, sql };
        let predicate = hoist.take_calls(&site, site.parse(&before)?)?;
        let kind = predicate.get_type(&hoist.schema).map_err(|error| site.explained(&error, &hoist.schema))?;
        if !matches!(kind, DataType::Boolean | DataType::Null) {
            return Err(site.error(format!("a filter needs true or false, this is {kind}")));
        }
        let calls = !hoist.calls.is_empty();
        self.calls(hoist)?;
        let filter = Filter::try_new(predicate, Arc::new(self.input()?.clone())).map(LogicalPlan::Filter);
        self.push(filter, &step.uid, self.changes())?;
        self.last_on_error(on_error);
        if calls {
            let kept = before.fields().iter().map(|field| Expr::Column(Column::from_name(field.name()))).collect();
            self.push_projection(kept, &format!("{}.columns", step.uid))?;
        }
        Ok(())
    }

    fn project(&mut self, step: &StepDecl, columns: &[Spanned<String>], on_error: OnError, keep: bool) -> Result<()> {
        let before = self.input()?.schema().as_ref().clone();
        let mut hoist = Hoist::new(&step.uid, on_error, before.clone());
        let mut named: Vec<(String, Expr)> = Vec::new();
        for sql in columns {
            let site = Site { text: &self.job.text, state: &self.state, number: step.number, sql };
            let parsed = site.parse(&before)?;
            let name = output_name(&site, &parsed)?;
            if named.iter().any(|(other, _)| *other == name) {
                return Err(site.error_at(&name, format!("two columns are called \"{name}\"")));
            }
            named.push((name, hoist.take_calls(&site, parsed)?));
        }
        self.calls(hoist)?;
        let exprs =
            if keep { kept_and_named(&before, named) } else { named.into_iter().map(|(_, expr)| expr).collect() };
        self.push_projection(exprs, &step.uid)?;
        self.last_on_error(on_error);
        Ok(())
    }

    fn last_on_error(&mut self, on_error: OnError) {
        self.nodes.iter_mut().last().into_iter().for_each(|node| node.on_error = on_error);
    }

    fn calls(&mut self, hoist: Hoist<'_>) -> Result<()> {
        for call in hoist.calls {
            let mut fields = self.schema().fields().to_vec();
            fields.push(Arc::clone(&call.output));
            let uid = call.uid.clone();
            self.over(NodeKind::Call(call), &uid, Arc::new(Schema::new(fields)))?;
        }
        Ok(())
    }

    fn over(&mut self, kind: NodeKind, uid: &str, schema: SchemaRef) -> Result<()> {
        let plans = self.inputs.iter().map(|input| input.plan.clone()).collect();
        let plan = PlanNode::plan(kind, plans, schema);
        self.push(plan, uid, self.changes())
    }

    fn push_projection(&mut self, exprs: Vec<Expr>, uid: &str) -> Result<()> {
        let projection = projection(exprs, Arc::new(self.input()?.clone())).map(LogicalPlan::Projection);
        self.push(projection, uid, self.changes())
    }

    /// Appends a node over the inputs; the next one reads its rows.
    fn push(&mut self, plan: Result<LogicalPlan, DataFusionError>, uid: &str, changes: Changes) -> Result<()> {
        let plan = plan.map_err(|error| internal(self.job, &error))?;
        let inputs = self.inputs.iter().map(|input| input.from).collect();
        let from = Output { node: self.nodes.len(), port: 0 };
        self.inputs = vec![Stream { from, plan: plan.clone(), changes }];
        let on_error = OnError::default();
        self.nodes.push(Node { uid: uid.to_string(), plan, inputs, changes, on_error });
        Ok(())
    }

    /// The plan of the first input.
    fn input(&self) -> Result<&LogicalPlan> {
        let first = self.inputs.first().map(|input| &input.plan);
        first.ok_or_else(|| internal(self.job, &"a node without an input"))
    }

    fn schema(&self) -> SchemaRef {
        self.inputs.first().map_or_else(|| Arc::new(Schema::empty()), Stream::schema)
    }

    /// What the rows of all inputs together do.
    fn changes(&self) -> Changes {
        self.inputs.iter().map(|input| input.changes).max().unwrap_or_default()
    }
}

// === impl Stream ===

impl Stream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }
}

/// A projection whose event time is still that of its input, or none.
fn projection(exprs: Vec<Expr>, input: Arc<LogicalPlan>) -> Result<Projection, DataFusionError> {
    let planned = Projection::try_new(exprs, input)?;
    let fields = event_time::projected(&planned.expr, planned.schema.fields());
    let metadata = planned.schema.metadata().clone();
    let qualified = planned.schema.iter().map(|(qualifier, _)| qualifier.cloned()).zip(fields).collect();
    let schema = DFSchema::new_with_metadata(qualified, metadata)?;
    Projection::try_new_with_schema(planned.expr, planned.input, Arc::new(schema))
}

/// The name that an expression gives its column: its alias, or the column it is.
fn output_name(site: &Site<'_>, expr: &Expr) -> Result<String> {
    match expr {
        Expr::Alias(alias) => Ok(alias.name.clone()),
        Expr::Column(column) => Ok(column.name.clone()),
        _ => {
            let sql = site.sql.get_ref();
            Err(site.error("the expression has no name").with_help(format!("write \"{sql} AS NAME\"")))
        }
    }
}

/// All columns of `before`, those in `named` replaced in their place, the others of `named` at the end.
fn kept_and_named(before: &DFSchema, mut named: Vec<(String, Expr)>) -> Vec<Expr> {
    let mut exprs = Vec::new();
    for field in before.fields() {
        let replaced = named.iter().position(|(name, _)| name == field.name());
        exprs.push(match replaced {
            Some(place) => named.remove(place).1,
            None => Expr::Column(Column::from_name(field.name())),
        });
    }
    exprs.extend(named.into_iter().map(|(_, expr)| expr));
    exprs
}
