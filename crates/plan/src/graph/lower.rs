//! From logical nodes to steps: expressions become physical, schemas keep their extension metadata.
//!
//! The logical plan is one line, so its nodes are walked from the sink down and turned round.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;

use super::{CallSpec, ProjectedColumn, Step, StepAction};
use crate::logical::Laid;
use crate::logical::hoist::sql_text;
use crate::logical::node::{NodeKind, PlanNode};

/// The steps after the source, in order.
pub(super) fn steps(laid: &Laid) -> Result<Vec<Step>> {
    let mut nodes = Vec::new();
    let mut next = Some(&laid.plan);
    while let Some(node) = next {
        nodes.push(node);
        next = node.inputs().into_iter().next();
    }
    nodes.reverse();
    if nodes.len() != laid.uids.len() {
        return internal_err!("{} nodes and {} uids", nodes.len(), laid.uids.len());
    }
    let named = nodes.into_iter().zip(&laid.uids).skip(1);
    named.map(|(node, uid)| Lower { state: &laid.state, node }.step(uid)).collect()
}

struct Lower<'a> {
    state: &'a SessionState,
    node: &'a LogicalPlan,
}

// === impl Lower ===

impl Lower<'_> {
    fn step(&self, uid: &str) -> Result<Step> {
        let Some(input) = self.node.inputs().into_iter().next().map(|input| input.schema()) else {
            return internal_err!("{uid} has no input");
        };
        let mut output: SchemaRef = Arc::clone(self.node.schema().inner());
        let action = match self.node {
            LogicalPlan::Filter(filter) => StepAction::Filter {
                predicate: self.physical(&filter.predicate, input)?,
                text: sql_text(&filter.predicate),
            },
            LogicalPlan::Projection(projection) => {
                let step = self.project(&projection.expr, input)?;
                output = step.0;
                step.1
            }
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<PlanNode>() {
                Some(node) => self.ours(&node.kind, input)?,
                None => return internal_err!("the node {} is not ours", extension.node.name()),
            },
            other => return internal_err!("the node {} has no step", other.display()),
        };
        Ok(Step { uid: uid.to_string(), input: Arc::clone(input.inner()), output, action })
    }

    fn ours(&self, kind: &NodeKind, input: &DFSchema) -> Result<StepAction> {
        Ok(match kind {
            NodeKind::Source(source) => return internal_err!("the source {} is not the first node", source.uid),
            NodeKind::Call(call) => StepAction::Call(CallSpec {
                text: call.text.clone(),
                function: Arc::clone(&call.function),
                arguments: call.arguments.iter().map(|expr| self.physical(expr, input)).collect::<Result<_>>()?,
                output: Arc::clone(&call.output),
                on_error: call.on_error,
            }),
            NodeKind::Infer(infer) => StepAction::Infer(infer.clone()),
            NodeKind::LookupJoin(join) => StepAction::LookupJoin(join.clone()),
            NodeKind::Sink(sink) => StepAction::Sink(sink.clone()),
        })
    }

    /// The projection and its schema without the table-wide metadata that DataFusion may add.
    fn project(&self, exprs: &[Expr], input: &DFSchema) -> Result<(SchemaRef, StepAction)> {
        let fields = self.node.schema().fields();
        let mut columns = Vec::with_capacity(exprs.len());
        for (expr, field) in exprs.iter().zip(fields) {
            let physical = self.physical(expr, input)?;
            let kind = physical.data_type(input.as_arrow())?;
            if kind != *field.data_type() {
                return internal_err!("{} is {kind} when run and {} when planned", field.name(), field.data_type());
            }
            columns.push(ProjectedColumn { expr: physical, field: Arc::clone(field), text: sql_text(expr) });
        }
        Ok((Arc::new(Schema::new(fields.clone())), StepAction::Project { columns }))
    }

    fn physical(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        self.state.create_physical_expr(expr.clone(), input)
    }
}
