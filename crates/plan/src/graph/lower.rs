//! From logical nodes to steps: expressions become physical, schemas keep their extension metadata.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::cast;
use forebay_core::on_error::OnError;

use super::strict::{strict, strict_aggregate};
use super::{CallSpec, ProjectedColumn, Step, StepAction, WindowAggregate, WindowStep};
use crate::logical::hoist::sql_text;
use crate::logical::node::{NodeKind, PlanNode, WindowNode};
use crate::logical::{Laid, Node, Output, runnable, window};
use crate::spec::SourceSpec;

/// A source or step, before it has a task.
pub(super) struct Part {
    pub what: What,
    /// What it reads, by input port.
    pub inputs: Vec<Output>,
}

/// See [`Part`].
#[expect(clippy::large_enum_variant, reason = "plans have few of these, and a box would only be in the way")]
pub(super) enum What {
    Source(SourceSpec, SchemaRef),
    Step(Step),
}

/// The sources and steps, each behind its inputs.
pub(super) fn parts(laid: &Laid) -> Result<Vec<Part>> {
    let part = |node: &Node| {
        let what = match PlanNode::of(&node.plan) {
            Some(NodeKind::Source(source)) => What::Source(source.clone(), Arc::clone(node.plan.schema().inner())),
            _ => What::Step(Lower { state: &laid.state, node: &node.plan }.step(node)?),
        };
        Ok(Part { what, inputs: node.inputs.clone() })
    };
    laid.nodes.iter().map(part).collect()
}

/// An aggregate without its name. Where DataFusion rewrote the call and named it after its text (`count(*)`), that text.
fn call_text(expr: &Expr) -> String {
    match expr {
        Expr::Alias(outer) => match outer.expr.as_ref() {
            Expr::Alias(inner) => inner.name.clone(),
            call => sql_text(call),
        },
        call => sql_text(call),
    }
}

struct Lower<'a> {
    state: &'a SessionState,
    node: &'a LogicalPlan,
}

// === impl Lower ===

impl Lower<'_> {
    fn step(&self, Node { uid, changes, on_error, .. }: &Node) -> Result<Step> {
        let inputs = self.node.inputs();
        let Some(input) = inputs.first().map(|input| input.schema()) else {
            return internal_err!("{uid} has no input");
        };
        let mut output: SchemaRef = Arc::clone(self.node.schema().inner());
        let action = match self.node {
            LogicalPlan::Filter(filter) => StepAction::Filter {
                predicate: self.physical(&filter.predicate, input)?,
                text: sql_text(&filter.predicate),
                on_error: *on_error,
            },
            LogicalPlan::Projection(projection) => {
                let step = self.project(&projection.expr, input, *on_error)?;
                output = step.0;
                step.1
            }
            other => match PlanNode::of(other) {
                Some(kind) => self.ours(kind, input)?,
                None => return internal_err!("the node {} has no step", other.display()),
            },
        };
        let sides = PlanNode::of(self.node).map(NodeKind::sides).unwrap_or_default();
        let inputs = inputs.iter().map(|input| Arc::clone(input.schema().inner())).collect();
        Ok(Step { uid: uid.clone(), inputs, output, changes: *changes, sides, action })
    }

    fn ours(&self, kind: &NodeKind, input: &DFSchema) -> Result<StepAction> {
        Ok(match kind {
            NodeKind::Source(source) => return internal_err!("the source {} is no step", source.uid),
            NodeKind::Side { uid, name } => return internal_err!("the side output {uid}.{name} is no step"),
            NodeKind::Call(call) => StepAction::Call(CallSpec {
                text: call.text.clone(),
                function: Arc::clone(&call.function),
                arguments: call.arguments.iter().map(|expr| self.physical(expr, input)).collect::<Result<_>>()?,
                output: Arc::clone(&call.output),
                on_error: call.on_error,
            }),
            NodeKind::Infer(infer) => StepAction::Infer(infer.clone()),
            NodeKind::LookupJoin(join) => StepAction::LookupJoin(join.clone()),
            NodeKind::StreamJoin(join) => StepAction::StreamJoin(join.clone()),
            NodeKind::Union(streams) => StepAction::Union { streams: streams.clone() },
            NodeKind::Window(window) => self.window(window, input)?,
            NodeKind::Durable(durable) => StepAction::Durable(durable.clone()),
            NodeKind::Deduplicate(spec) => StepAction::Deduplicate(spec.clone()),
            NodeKind::Top(spec) => StepAction::Top(spec.clone()),
            NodeKind::Feedback(spec) => StepAction::Feedback(spec.clone()),
            NodeKind::Metrics(spec) => StepAction::Metrics(spec.clone()),
            NodeKind::Explode(spec) => StepAction::Explode(spec.clone()),
            NodeKind::Limit(spec) => StepAction::Limit(spec.clone()),
            NodeKind::Sample(spec) => StepAction::Sample(*spec),
            NodeKind::Process(spec) => StepAction::Process(spec.clone()),
            NodeKind::Sink(sink) => StepAction::Sink(sink.clone()),
        })
    }

    fn window(&self, node: &WindowNode, input: &DFSchema) -> Result<StepAction> {
        let first = node.spec.keys.len() + window::times(node.spec.shape).len();
        let mut aggregates = Vec::with_capacity(node.aggregates.len());
        for (expr, field) in node.aggregates.iter().zip(self.node.schema().fields().iter().skip(first)) {
            let lowered = strict_aggregate(window::lower(self.state, expr, input)?, input.as_arrow())?;
            window::same_type(field, lowered.aggregate.field().data_type())?;
            let text = format!("{} AS {}", call_text(expr), field.name());
            aggregates.push(WindowAggregate { function: lowered.aggregate, filter: lowered.filter, text });
        }
        Ok(StepAction::Window(WindowStep { spec: node.spec.clone(), aggregates }))
    }

    /// The projection and its schema without the table-wide metadata that DataFusion may add.
    fn project(&self, exprs: &[Expr], input: &DFSchema, on_error: OnError) -> Result<(SchemaRef, StepAction)> {
        let fields = self.node.schema().fields();
        let mut columns = Vec::with_capacity(exprs.len());
        for (expr, field) in exprs.iter().zip(fields) {
            // What a function of constants gives may be narrower once they are known: round(price, 1).
            let physical = cast(self.physical(expr, input)?, input.as_arrow(), field.data_type().clone())?;
            columns.push(ProjectedColumn { expr: physical, field: Arc::clone(field), text: sql_text(expr) });
        }
        Ok((Arc::new(Schema::new(fields.clone())), StepAction::Project { columns, on_error }))
    }

    fn physical(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let rewritten = runnable(expr.clone(), input).and_then(|expr| self.state.create_physical_expr(expr, input));
        // A constant that cannot be computed is an error of the run: rows may never come to it.
        let made = rewritten.or_else(|_| self.state.create_physical_expr(expr.clone(), input))?;
        strict(made, input.as_arrow())
    }
}
