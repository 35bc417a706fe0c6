//! Checks a window step: key, event time, aggregates, and the columns that come out.
//!
//! Aggregates are parsed, coerced and typed by DataFusion, each one call of one function with a name. What it computes from
//! aggregates belongs into a step behind, what it aggregates may be any expression.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable};
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use forebay_core::keys::can_be_key;
use forebay_core::time::event_time_place;
use toml::Spanned;

use super::expression::{Site, named};
use super::session::RowUdf;
use super::taken_back;
use super::{Result, coerce, event_time, internal, runnable};
use crate::job_file::{JobFile, StepDecl, WindowDecl};
use crate::spec::Changes;
use crate::window::{WindowShape, WindowSpec};

/// Columns that every window step gives behind its key.
pub(super) const TIMES: [&str; 3] = ["window_start", "window_end", "window_time"];

/// Those of a window of this shape.
pub(crate) fn times(shape: WindowShape) -> &'static [&'static str] {
    if shape == WindowShape::Whole { &[] } else { &TIMES }
}

/// What a window step is checked against.
pub(super) struct WindowSite<'a> {
    pub job: &'a JobFile,
    pub state: &'a SessionState,
    pub step: &'a StepDecl,
    pub decl: &'a WindowDecl,
    pub input: &'a DFSchema,
    /// What the input's rows do.
    pub changes: Changes,
}

// === impl WindowSite ===

impl WindowSite<'_> {
    /// The settings, the aggregates, and the schema of the output; `keys` are the names of the key columns.
    pub fn check(&self, keys: &[String]) -> Result<(WindowSpec, Vec<Expr>, SchemaRef)> {
        let time =
            if self.decl.shape == WindowShape::Whole { None } else { Some(self.event_time("to cut windows by")?) };
        let places = self.keys(keys)?;
        let input = self.input.as_arrow();
        let unmarked = event_time::unmarked(input);
        let mut fields: Vec<FieldRef> = places.iter().map(|place| Arc::clone(&unmarked.fields()[*place])).collect();
        if let Some(time) = time {
            let moment = input.field(time).data_type();
            fields.extend(TIMES[..2].iter().map(|name| Arc::new(Field::new(*name, moment.clone(), false))));
            fields.push(event_time::marked(Field::new(TIMES[2], moment.clone(), false)));
        }
        let mut aggregates = Vec::new();
        for sql in &self.decl.aggregates {
            let (expr, field) = self.aggregate(sql)?;
            if fields.iter().any(|other| other.name() == field.name()) {
                let site = self.site(sql);
                let message = format!("two columns are called \"{}\"", field.name());
                return Err(site.error_at(field.name(), message).with_help("give the aggregate another name"));
            }
            fields.push(field);
            aggregates.push(expr);
        }
        let spec = WindowSpec {
            uid: self.step.uid.clone(),
            shape: self.decl.shape,
            keys: places,
            time,
            allowed_lateness: self.decl.allowed_lateness,
            updates: self.changes == Changes::Updates,
            emit: self.decl.emit,
            ttl: self.decl.ttl.map(|ttl| Ok((self.event_time("to forget keys by")?, ttl))).transpose()?,
        };
        Ok((spec, aggregates, Arc::new(Schema::new(fields))))
    }

    fn event_time(&self, why: &str) -> Result<usize> {
        event_time_place(self.input.as_arrow()).ok_or_else(|| {
            let message = format!("step {}: its rows have no event time {why}", self.step.number);
            let error = self.job.text.error(self.step.span.clone(), message);
            error.with_help(
                "the source says watermark = { time = \"COLUMN\" }, and the steps between hand the column on as it is",
            )
        })
    }

    fn keys(&self, names: &[String]) -> Result<Vec<usize>> {
        let mut places = Vec::new();
        for (name, sql) in names.iter().zip(&self.decl.by) {
            let site = self.site(sql);
            let place = self.input.as_arrow().index_of(name).map_err(|error| internal(self.job, &error))?;
            let kind = self.input.as_arrow().field(place).data_type();
            if !can_be_key(kind) {
                let help = "a key is a number, text, binary, true/false, a date or a time";
                return Err(site.error(format!("\"{name}\" is {kind}, which cannot be a key")).with_help(help));
            }
            if times(self.decl.shape).contains(&name.as_str()) || places.contains(&place) {
                let message = format!("two columns are called \"{name}\"");
                return Err(site.error_at(name, message).with_help("name it with AS"));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// One aggregate, types coerced, and its column.
    fn aggregate(&self, sql: &Spanned<String>) -> Result<(Expr, FieldRef)> {
        let site = self.site(sql);
        let parsed = site.parse_aggregate(self.input)?;
        let name = match &parsed {
            // Without AS, DataFusion may name a call after its text.
            Expr::Alias(alias) if !alias.name.contains('(') => Some(&alias.name),
            _ => None,
        };
        let Expr::AggregateFunction(call) = named(&parsed) else {
            let help = "aggregate here, and compute with the results in a with step behind";
            return Err(site.error("an aggregate is one call of one aggregate function").with_help(help));
        };
        let Some(name) = name else {
            return Err(site
                .error("the aggregate has no name")
                .with_help(format!("write \"{} AS NAME\"", sql.get_ref())));
        };
        if calls_row_function(&parsed).map_err(|error| internal(self.job, &error))? {
            let help = "call the function in a with step before and aggregate its column";
            return Err(site.error("a row function cannot stand inside an aggregate").with_help(help));
        }
        let explained = |error: &DataFusionError| {
            if error.to_string().contains("failed to match any signature") {
                let message = format!("{} does not take arguments of these types", call.func.name());
                return site.error(message).with_help("cast them: function(CAST(column AS BIGINT))");
            }
            site.explained(error, self.input)
        };
        let expr = coerce(parsed.clone(), self.input).map_err(|error| explained(&error))?;
        let lowered = lower(self.state, &expr, self.input).map_err(|error| explained(&error))?;
        lowered.aggregate.create_accumulator().map_err(|error| explained(&error))?;
        let sorts_itself = lowered.aggregate.fun().supports_within_group_clause();
        if lowered.aggregate.order_sensitivity().hard_requires() && !sorts_itself {
            let help = "leave out ORDER BY, or sort the result in a step behind";
            return Err(site.error(format!("{} would need its rows sorted first", name_of(&lowered))).with_help(help));
        }
        if self.changes == Changes::Updates {
            self.check_updates(&lowered, &site)?;
        }
        let (_, field) = expr.to_field(self.input).map_err(|error| explained(&error))?;
        let kind = lowered.aggregate.field().data_type().clone();
        Ok((expr, Arc::new(Field::new(name, kind, field.is_nullable()))))
    }

    /// Refuses an aggregate that cannot take rows back. Sessions keep their rows and aggregate those that are left: they take any
    /// whose values can be kept.
    fn check_updates(&self, lowered: &LoweredAggregate, site: &Site<'_>) -> Result<()> {
        let input = self.input.as_arrow();
        if !matches!(self.decl.shape, WindowShape::Session(_)) {
            return taken_back::check(&lowered.aggregate, input).map_err(|why| {
                let name = name_of(lowered);
                let message = format!("{name} cannot take back a row, and the input of the step takes rows back");
                site.error(message).with_help(why)
            });
        }
        match taken_back::unstorable(&lowered.aggregate, input).map_err(|error| internal(self.job, &error))? {
            None => Ok(()),
            Some(kind) => {
                let message = format!("{} takes a value of type {kind}, which cannot be kept", name_of(lowered));
                let help =
                    "the input takes rows back, and a session keeps what its aggregates take; cast it, or leave it out";
                Err(site.error(message).with_help(help))
            }
        }
    }

    fn site<'b>(&'b self, sql: &'b Spanned<String>) -> Site<'b> {
        Site { text: &self.job.text, state: self.state, number: self.step.number, sql }
    }
}

/// An aggregate as it is run, over rows of `input`.
pub(crate) fn lower(state: &SessionState, expr: &Expr, input: &DFSchema) -> Result<LoweredAggregate, DataFusionError> {
    let runnable = |part| Ok(Transformed::yes(runnable(part, input)?));
    let expr = &expr.clone().map_children(runnable)?.data;
    LoweredAggregateBuilder::new(expr, input, input.as_arrow(), state.execution_props()).build()
}

fn name_of(lowered: &LoweredAggregate) -> String {
    let function: &AggregateUDF = lowered.aggregate.fun();
    let distinct = if lowered.aggregate.is_distinct() { "(DISTINCT ..)" } else { "" };
    format!("{}{distinct}", function.name())
}

fn calls_row_function(expr: &Expr) -> Result<bool, DataFusionError> {
    let mut found = false;
    expr.apply(|part| {
        found |= matches!(part, Expr::ScalarFunction(call) if RowUdf::of(&call.func).is_some());
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Whether `kind` is what it was when the plan was made; a slip of the planner otherwise.
pub(crate) fn same_type(planned: &Field, kind: &DataType) -> Result<(), DataFusionError> {
    if planned.data_type() == kind {
        return Ok(());
    }
    Err(DataFusionError::Internal(format!(
        "{} is {kind} when run and {} when planned",
        planned.name(),
        planned.data_type()
    )))
}
