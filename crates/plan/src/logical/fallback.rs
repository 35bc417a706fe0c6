//! Checks what an inference step says about its rows and its other answers: columns, expressions, types, second models.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable};
use forebay_core::keys::can_be_key;
use toml::Spanned;

use super::expression::{Site, columns_help};
use super::infer::{Wiring, takes};
use super::session::RowUdf;
use super::{Result, internal};
use super::{coerce, runnable};
use crate::facts::Facts;
use crate::infer::{LadderSpec, RowExpr, RowSpec, RungSpec};
use crate::job_file::{ConstantValue, FallbackDecl, JobFileError};
use crate::nearest::listed;

/// Checks one inference step.
pub(super) struct Rows<'a> {
    pub wiring: &'a Wiring<'a>,
    pub facts: &'a Facts,
    pub state: &'a SessionState,
    schema: DFSchema,
}

// === impl Rows ===

impl<'a> Rows<'a> {
    pub fn new(wiring: &'a Wiring<'a>, facts: &'a Facts, state: &'a SessionState) -> Result<Self> {
        let schema = DFSchema::try_from(wiring.input.as_ref().clone());
        let schema = schema.map_err(|error| internal(wiring.job, &error))?;
        Ok(Self { wiring, facts, state, schema })
    }

    /// What the step says about its rows.
    pub fn rows(&self) -> Result<RowSpec> {
        let (decl, settings) = (self.wiring.decl, &self.wiring.decl.settings);
        let number = |sql: &Option<Spanned<String>>| sql.as_ref().map(|sql| self.integer(sql)).transpose();
        Ok(RowSpec {
            key: decl.key.iter().map(|column| self.key(column)).collect::<Result<_>>()?,
            cost: number(&decl.cost)?,
            batch_cost: settings.batch_cost,
            length: number(&decl.length)?,
            buckets: settings.buckets.clone(),
            deadline: settings.deadline,
            deadline_column: decl.deadline_column.as_ref().map(|column| self.deadline(column)).transpose()?,
            close_on_watermark: settings.close_on_watermark,
        })
    }

    /// The step's other answers for `outputs`, the kept ones as the model has them, and `columns`, as the rows have them.
    pub fn ladder(&self, outputs: &[(String, String)], columns: &[Field]) -> Result<LadderSpec> {
        let decl = self.wiring.decl;
        let named: Vec<(&str, &Field)> = outputs.iter().map(|(name, _)| name.as_str()).zip(columns).collect();
        let rungs = decl.fallback.iter().map(|rung| self.rung(rung, &named)).collect::<Result<_>>()?;
        let column = decl.fallback_column.as_ref().map(|column| self.free_name(column, columns)).transpose()?;
        Ok(LadderSpec { rungs, column, after: decl.settings.fallback_after })
    }

    fn place(&self, column: &Spanned<String>, what: &str) -> Result<usize> {
        let name = column.get_ref();
        self.wiring.input.index_of(name).map_err(|_| {
            let message = format!("there is no column \"{name}\" for {what}");
            self.wiring.error(column, message).with_help(columns_help(name, &self.schema))
        })
    }

    fn key(&self, column: &Spanned<String>) -> Result<usize> {
        let place = self.place(column, "the key")?;
        let kind = self.wiring.input.field(place).data_type();
        if can_be_key(kind) {
            return Ok(place);
        }
        Err(self.wiring.error(column, format!("a column of type {kind} cannot be a key")))
    }

    fn deadline(&self, column: &Spanned<String>) -> Result<usize> {
        let place = self.place(column, "the deadline")?;
        match self.wiring.input.field(place).data_type() {
            DataType::Timestamp(..) | DataType::Duration(_) => Ok(place),
            other => {
                let message = format!("a deadline is a timestamp or a duration, \"{}\" is {other}", column.get_ref());
                Err(self
                    .wiring
                    .error(column, message)
                    .with_help("cast it in an earlier with step: arrow_cast(COLUMN, 'Timestamp(Millisecond, None)')"))
            }
        }
    }

    fn integer(&self, sql: &Spanned<String>) -> Result<RowExpr> {
        let (site, expr) = self.typed(sql)?;
        let kind = expr.get_type(&self.schema).map_err(|error| site.explained(&error, &self.schema))?;
        if !kind.is_numeric() {
            return Err(site.error(format!("a number is needed here, this is {kind}")));
        }
        self.ready(&site, expr, &DataType::Int64)
    }

    /// A parsed expression without calls of row functions.
    fn typed<'b>(&'b self, sql: &'b Spanned<String>) -> Result<(Site<'b>, Expr)> {
        let wiring = self.wiring;
        let site = Site { text: &wiring.job.text, state: self.state, number: wiring.step.number, sql };
        let expr = site.parse(&self.schema)?;
        let mut calls = false;
        let visited = expr.apply(|part| {
            calls |= matches!(part, Expr::ScalarFunction(call) if RowUdf::of(&call.func).is_some());
            Ok(if calls { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        visited.map_err(|error| internal(wiring.job, &error))?;
        if calls {
            let help = "compute it as a column in a with step before";
            return Err(site.error("a row function cannot stand here").with_help(help));
        }
        let expr = coerce(expr, &self.schema).map_err(|error| site.explained(&error, &self.schema))?;
        Ok((site, expr))
    }

    fn ready(&self, site: &Site<'_>, expr: Expr, kind: &DataType) -> Result<RowExpr> {
        let expr = expr.cast_to(kind, &self.schema).and_then(|expr| runnable(expr, &self.schema));
        let expr = expr.and_then(|expr| self.state.create_physical_expr(expr, &self.schema));
        let expr = expr.map_err(|error| site.explained(&error, &self.schema))?;
        Ok(RowExpr { text: site.sql.get_ref().clone(), expr })
    }

    fn rung(&self, decl: &FallbackDecl, outputs: &[(&str, &Field)]) -> Result<RungSpec> {
        match decl {
            FallbackDecl::Constant(values) => {
                self.computed("constant", values, outputs, |value, kind| self.constant(value, kind))
            }
            FallbackDecl::Sql(values) => self.computed("sql", values, outputs, |sql, kind| {
                let (site, expr) = self.typed(sql)?;
                let given = expr.get_type(&self.schema).map_err(|error| site.explained(&error, &self.schema))?;
                if kind.is_integer() && given.is_numeric() && !given.is_integer() {
                    let error =
                        site.error(format!("the output is {kind}, and this is {given}, which may have a fraction"));
                    return Err(error.with_help("round it: CAST(round(..) AS BIGINT)"));
                }
                self.ready(&site, expr, kind)
            }),
            FallbackDecl::Model { model, limit } => Ok(RungSpec::Model {
                model: model.get_ref().clone(),
                inputs: self.second(model, outputs)?,
                limit: *limit,
            }),
        }
    }

    fn computed<T>(
        &self,
        name: &str,
        values: &BTreeMap<String, Spanned<T>>,
        outputs: &[(&str, &Field)],
        value: impl Fn(&Spanned<T>, &DataType) -> Result<RowExpr>,
    ) -> Result<RungSpec> {
        for (name, value) in values {
            if !outputs.iter().any(|(output, _)| output == name) {
                let known = listed(outputs.iter().map(|(output, _)| *output));
                let error = self.wiring.error(value, format!("there is no kept output \"{name}\" to fall back from"));
                return Err(error.with_help(format!("the step keeps {known}")));
            }
        }
        let one = |(output, field): &(&str, &Field)| {
            values.get(*output).map(|given| value(given, field.data_type())).transpose()
        };
        Ok(RungSpec::Computed { name: name.to_string(), outputs: outputs.iter().map(one).collect::<Result<_>>()? })
    }

    fn constant(&self, value: &Spanned<ConstantValue>, kind: &DataType) -> Result<RowExpr> {
        let given = value.get_ref();
        let refused = || {
            let error = self.wiring.error(value, format!("the output is {kind}, {given} is not"));
            error.with_help("an output that is not named becomes null; sql = { ... } can take a column")
        };
        let scalar = match given {
            ConstantValue::Bool(value) if *kind == DataType::Boolean => ScalarValue::from(*value),
            ConstantValue::Integer(value) if kind.is_numeric() => ScalarValue::from(*value),
            ConstantValue::Float(value) if kind.is_floating() => ScalarValue::from(*value),
            ConstantValue::Text(value) if is_text(kind) => ScalarValue::from(value.as_str()),
            _ => return Err(refused()),
        };
        let scalar = scalar.cast_to(kind).map_err(|_| refused())?;
        let expr = self.state.create_physical_expr(Expr::Literal(scalar, None), &self.schema);
        let expr = expr.map_err(|error| internal(self.wiring.job, &error))?;
        Ok(RowExpr { text: given.to_string(), expr })
    }

    /// The inputs of a second model, fed by what the step feeds to the first; it has to give the same outputs.
    fn second(&self, model: &Spanned<String>, outputs: &[(&str, &Field)]) -> Result<Vec<(String, usize)>> {
        let (wiring, name) = (self.wiring, model.get_ref());
        let missing = || internal(wiring.job, &format!("no signature of {name}"));
        let signature = self.facts.signatures.get(name).ok_or_else(missing)?;
        for (output, _) in outputs {
            let first = wiring.signature.output(output);
            let same = signature.output(output).zip(first).is_some_and(|(other, first)| {
                (&other.value, other.row_shape()) == (&first.value, first.row_shape()) && other.has_row_axis()
            });
            if !same {
                let wanted = first.map(ToString::to_string).unwrap_or_default();
                let message = format!("\"{name}\" does not give the output \"{output}\" as {wanted}");
                let known = signature.outputs.iter().map(|field| format!("{} {field}", field.name)).collect::<Vec<_>>();
                return Err(wiring.error(model, message).with_help(format!("it gives {}", known.join(", "))));
            }
        }
        let input = |field: &forebay_core::model::ModelField| {
            let fed = wiring.decl.inputs.get(&field.name);
            let place = fed.and_then(|column| wiring.input.index_of(column.get_ref()).ok());
            let place = place.filter(|place| takes(field, wiring.input.field(*place)));
            place.map(|place| (field.name.clone(), place)).ok_or_else(|| {
                let message =
                    format!("nothing that fits feeds the input \"{}\" of \"{name}\", it takes {field}", field.name);
                wiring.error(model, message).with_help("a second model is fed by the inputs of the step")
            })
        };
        signature.inputs.iter().map(input).collect()
    }

    fn free_name(&self, column: &Spanned<String>, columns: &[Field]) -> Result<String> {
        let name = column.get_ref();
        let taken = columns.iter().any(|field| field.name() == name) || self.wiring.input.index_of(name).is_ok();
        if taken || name.is_empty() {
            let error: JobFileError = self.wiring.error(column, format!("fallback_column cannot be \"{name}\""));
            return Err(error.with_help("choose a name that no other column has"));
        }
        Ok(name.clone())
    }
}

/// The last column of a step that says who answered.
pub(super) fn answered_by(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The columns that `input` and `added` make.
pub(super) fn joined(input: &SchemaRef, added: Vec<Field>) -> SchemaRef {
    let fields = input.fields().iter().cloned().chain(added.into_iter().map(std::sync::Arc::new));
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}
