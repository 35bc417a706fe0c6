//! Takes the calls of row functions out of an expression, each into a step of its own with a generated column.
//!
//! A row function reports bad rows beside its result; an expression has no place for that. So `f(g(x), 8) AS y` becomes
//! call `g(x)`, call `f(<g>, 8)`, then `<f> AS y`, from the inside out. The same call twice in one step is made once.
//! A hoisted call runs for every row, also where it stood inside `CASE`, `AND` or `OR`.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable};
use forebay_core::function::{Argument, RowFunction};
use forebay_core::on_error::OnError;

use super::coerce;
use super::expression::{Site, literal};
use super::node::CallNode;
use super::session::{RowUdf, argument};
use crate::job_file::JobFileError;

/// Collects the calls of one step of the job file.
pub(super) struct Hoist<'a> {
    /// The calls so far, in the order in which they must run.
    pub calls: Vec<CallNode>,
    /// The step's columns followed by one for each call.
    pub schema: DFSchema,
    step_uid: &'a str,
    on_error: OnError,
    /// The expression behind each call, to make the same call once.
    made: Vec<Expr>,
}

// === impl Hoist ===

impl<'a> Hoist<'a> {
    pub fn new(step_uid: &'a str, on_error: OnError, schema: DFSchema) -> Self {
        Self { calls: Vec::new(), schema, step_uid, on_error, made: Vec::new() }
    }

    /// `expr` with its calls replaced by their columns, types coerced.
    pub fn take_calls(&mut self, site: &Site<'_>, expr: Expr) -> Result<Expr, JobFileError> {
        let mut refused = None;
        let rewritten = expr.transform_up(|part| match part {
            Expr::ScalarFunction(call) if RowUdf::of(&call.func).is_some() => {
                self.take_call(site, call).map(Transformed::yes).map_err(|error| {
                    refused = Some(error);
                    DataFusionError::Plan("refused".to_string())
                })
            }
            other => Ok(Transformed::no(other)),
        });
        match (refused, rewritten) {
            (Some(error), _) => Err(error),
            (None, Ok(rewritten)) => {
                let coerced = coerce(rewritten.data, &self.schema);
                let checked =
                    coerced.and_then(|expr| site.state.create_physical_expr(expr.clone(), &self.schema).map(|_| expr));
                checked.map_err(|error| site.explained(&error, &self.schema))
            }
            (None, Err(error)) => Err(site.explained(&error, &self.schema)),
        }
    }

    fn take_call(&mut self, site: &Site<'_>, call: ScalarFunction) -> Result<Expr, JobFileError> {
        let whole = Expr::ScalarFunction(call.clone());
        if let Some(place) = self.made.iter().position(|made| *made == whole) {
            return Ok(column(self.calls[place].output.name()));
        }
        let Some(function) = RowUdf::of(&call.func) else { return Ok(whole) };
        let (given, arguments) = self.arguments(site, &call.args)?;
        let bound = function.bind(&given).map_err(|error| {
            site.error_at(function.name(), error.chain()).with_kind(error.kind()).with_help(usage(function))
        })?;
        let uid = self.uid(function.name());
        let nullable = bound.output().is_nullable() || self.on_error == OnError::Null;
        let output: FieldRef = Arc::new(bound.output().as_ref().clone().with_name(&uid).with_nullable(nullable));
        self.extend(site, &output)?;
        let text = self.readable(&whole);
        self.calls.push(CallNode {
            uid,
            text,
            function: bound,
            arguments,
            output: Arc::clone(&output),
            on_error: self.on_error,
        });
        self.made.push(whole);
        Ok(column(output.name()))
    }

    /// What `bind` is told, and the expressions of the column arguments.
    fn arguments(&self, site: &Site<'_>, args: &[Expr]) -> Result<(Vec<Argument>, Vec<Expr>), JobFileError> {
        let mut given = Vec::new();
        let mut columns = Vec::new();
        for expr in args {
            let explained = |error: &DataFusionError| site.explained(error, &self.schema);
            let expr = coerce(expr.clone(), &self.schema).map_err(|error| explained(&error))?;
            let (_, field) = expr.to_field(&self.schema).map_err(|error| explained(&error))?;
            let argument = argument(&field, literal(&expr).as_ref())
                .map_err(|error| site.error(error.chain()).with_kind(error.kind()))?;
            if matches!(argument, Argument::Column(_)) {
                columns.push(expr);
            }
            given.push(argument);
        }
        Ok((given, columns))
    }

    fn extend(&mut self, site: &Site<'_>, output: &FieldRef) -> Result<(), JobFileError> {
        let added = DFSchema::try_from(Schema::new(vec![Arc::clone(output)]));
        let joined = added.and_then(|added| self.schema.join(&added));
        self.schema = joined.map_err(|error| site.explained(&error, &self.schema))?;
        Ok(())
    }

    /// `step-2.image_to_tensor`, then `step-2.image_to_tensor-2` for the next call of it in the step.
    fn uid(&self, function: &str) -> String {
        let first = format!("{}.{function}", self.step_uid);
        let same = |call: &&CallNode| call.uid == first || call.uid.starts_with(&format!("{first}-"));
        match self.calls.iter().filter(same).count() {
            0 => first,
            earlier => format!("{first}-{}", earlier + 1),
        }
    }

    /// The call as people would write it: calls inside it in full, not as generated columns.
    fn readable(&self, call: &Expr) -> String {
        let text = sql_text(call);
        self.calls.iter().rev().fold(text, |text, inner| text.replace(inner.output.name(), &inner.text))
    }
}

/// An expression as SQL, for people; names of columns stand without quotes.
pub(crate) fn sql_text(expr: &Expr) -> String {
    let plain = expr.clone().transform(|part| match part {
        Expr::Literal(value, _) => Ok(Transformed::yes(column(&literal_text(&value)))),
        other => Ok(Transformed::no(other)),
    });
    plain.map_or_else(|_| expr.to_string(), |plain| plain.data.to_string())
}

/// A literal as SQL writes it; DataFusion's own display adds the type.
fn literal_text(value: &ScalarValue) -> String {
    match value.try_as_str() {
        Some(Some(text)) => format!("'{}'", text.replace('\'', "''")),
        _ => value.to_string(),
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn usage(function: &Arc<dyn RowFunction>) -> String {
    format!("usage: {}", function.usage())
}
