//! From a job file to a DataFusion logical plan, checked against the facts.
//!
//! The plan is one line of nodes from source to sink. Filters and projections are DataFusion's own nodes and expressions
//! are parsed, type-checked and coerced by it; everything else is a [`node::PlanNode`]. Calls of row functions are taken
//! out of expressions first (`hoist`), so that a bad row is one row's error.

mod expression;
pub(crate) mod hoist;
mod infer;
mod join;
pub mod node;
mod session;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan, Projection};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use forebay_core::Kind;
use forebay_core::function::RowFunction;
use forebay_core::on_error::OnError;
use toml::Spanned;

use crate::facts::Facts;
use crate::job_file::{Action, JobFile, JobFileError, StepDecl};
use expression::Site;
use hoist::Hoist;
use node::{NodeKind, PlanNode};

type Result<T, E = JobFileError> = std::result::Result<T, E>;

/// A logical plan and where each of its nodes comes from.
#[derive(Debug)]
pub(crate) struct Laid {
    /// The plan, the sink on top.
    pub plan: LogicalPlan,
    /// For each node, from the source up, the uid of its step.
    pub uids: Vec<String>,
    /// The session that parsed it, for physical expressions.
    pub state: SessionState,
}

/// Builds the plan of `job`.
pub(crate) fn build(job: &JobFile, facts: &Facts, functions: &[Arc<dyn RowFunction>]) -> Result<Laid> {
    let state = session::open(functions).map_err(|error| internal(job, &error))?;
    let kind = NodeKind::Source(job.source.clone());
    let plan = PlanNode::plan(kind, Vec::new(), Arc::clone(&facts.source_schema));
    let plan = plan.map_err(|error| job.text.error(0..0, format!("the source's columns: {error}")))?;
    let mut builder = Builder { job, facts, state, plan, uids: vec![job.source.uid.clone()] };
    for step in &job.steps {
        builder.step(step)?;
    }
    builder.over(NodeKind::Sink(job.sink.clone()), &job.sink.uid, builder.schema())?;
    Ok(Laid { plan: builder.plan, uids: builder.uids, state: builder.state })
}

/// Types as DataFusion would coerce them in a query.
pub(crate) fn coerce(expr: Expr, schema: &DFSchema) -> Result<Expr, DataFusionError> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    ExprSimplifier::new(context).coerce(expr, schema)
}

/// An error that no user can mend.
pub(crate) fn internal(job: &JobFile, error: &dyn std::fmt::Display) -> JobFileError {
    job.text.error(0..0, format!("the planner failed: {error}")).with_kind(Kind::Internal)
}

struct Builder<'a> {
    job: &'a JobFile,
    facts: &'a Facts,
    state: SessionState,
    plan: LogicalPlan,
    uids: Vec<String>,
}

// === impl Builder ===

impl Builder<'_> {
    fn step(&mut self, step: &StepDecl) -> Result<()> {
        match &step.action {
            Action::Filter(sql, on_error) => self.filter(step, sql, *on_error),
            Action::Select(columns, on_error) => self.project(step, columns, *on_error, false),
            Action::With(columns, on_error) => self.project(step, columns, *on_error, true),
            Action::Infer(decl) => {
                let (spec, schema) = infer::check(self.job, self.facts, step, decl, &self.schema())?;
                self.over(NodeKind::Infer(spec), &step.uid, schema)
            }
            Action::Join(decl) => {
                let (spec, schema) = join::check(self.job, self.facts, step, decl, &self.schema())?;
                self.over(NodeKind::LookupJoin(spec), &step.uid, schema)
            }
        }
    }

    fn filter(&mut self, step: &StepDecl, sql: &Spanned<String>, on_error: OnError) -> Result<()> {
        let before = self.plan.schema().as_ref().clone();
        let mut hoist = Hoist::new(&step.uid, on_error, before.clone());
        let site = Site { text: &self.job.text, state: &self.state, number: step.number, sql };
        let predicate = hoist.take_calls(&site, site.parse(&before)?)?;
        let kind = predicate.get_type(&hoist.schema).map_err(|error| site.explained(&error, &hoist.schema))?;
        if !matches!(kind, DataType::Boolean | DataType::Null) {
            return Err(site.error(format!("a filter needs true or false, this is {kind}")));
        }
        let calls = !hoist.calls.is_empty();
        self.calls(hoist)?;
        let filter = Filter::try_new(predicate, Arc::new(self.plan.clone())).map(LogicalPlan::Filter);
        self.push(filter, &step.uid)?;
        if calls {
            let kept = before.fields().iter().map(|field| Expr::Column(Column::from_name(field.name()))).collect();
            self.push_projection(kept, &format!("{}.columns", step.uid))?;
        }
        Ok(())
    }

    fn project(&mut self, step: &StepDecl, columns: &[Spanned<String>], on_error: OnError, keep: bool) -> Result<()> {
        let before = self.plan.schema().as_ref().clone();
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
        self.push_projection(exprs, &step.uid)
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
        let plan = PlanNode::plan(kind, vec![self.plan.clone()], schema);
        self.push(plan, uid)
    }

    fn push_projection(&mut self, exprs: Vec<Expr>, uid: &str) -> Result<()> {
        let projection = Projection::try_new(exprs, Arc::new(self.plan.clone())).map(LogicalPlan::Projection);
        self.push(projection, uid)
    }

    fn push(&mut self, plan: Result<LogicalPlan, DataFusionError>, uid: &str) -> Result<()> {
        self.plan = plan.map_err(|error| internal(self.job, &error))?;
        self.uids.push(uid.to_string());
        Ok(())
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }
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
