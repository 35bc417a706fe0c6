//! Aggregate functions over the rows of a batch: DataFusion's, with the simplest ones done by hand.
//!
//! Counts, sums, means and extremes of plain numbers are most of what windows compute; taking them row by row costs a
//! fraction of a call with one slice for each key. All others are DataFusion accumulators. Both keep DataFusion's state values,
//! so a function may move from one to the other without a new format. Over rows that may be taken back later each has a second
//! form with a state of its own ([`Balance`](super::balance::Balance)).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;
use forebay_core::function::Evaluated;
use forebay_core::{Batch, Error, Kind, Result};

use super::balance;
use super::floats::OLDER_KINDS;
use super::spread::Statistic;
use super::taken::{Taken, Values, counted, numbers, ordered};
use crate::expression::evaluate_rows;
use crate::keyed_rows::order;
use crate::row_errors::Failed;

/// One aggregate of a window.
#[derive(Debug, Clone)]
pub struct Aggregate {
    pub(super) function: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    pub(super) form: Form,
    /// Types of the values that its state consists of.
    pub(super) state: Vec<DataType>,
    /// The type of its first argument where rows may be taken back.
    pub(super) taken_back: Option<DataType>,
    /// Types of its arguments, then of what they are ordered by.
    pub(super) arguments: Vec<DataType>,
}

/// How an aggregate is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Count,
    SumOfInts,
    SumOfFloats,
    Least,
    Most,
    Mean,
    /// How many different values; only over updates.
    Different,
    /// Of sums, squares and products; only over updates.
    Spread(Statistic),
    /// By an accumulator of DataFusion.
    Any,
}

// === impl Aggregate ===

impl Aggregate {
    /// `function` over the rows of `schema` for which `filter` is true, none of which is taken back.
    ///
    /// # Errors
    /// `Invalid` for a function whose state has no types.
    pub fn new(
        function: Arc<AggregateFunctionExpr>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        schema: &Schema,
    ) -> Result<Self> {
        let fields = function.state_fields().map_err(|source| wrong("plan aggregate", source))?;
        let state = fields.iter().map(|field| field.data_type().clone()).collect();
        let form = Form::of(&function, schema);
        let arguments = types_of(&function, schema)?;
        Ok(Self { function, filter, form, state, taken_back: None, arguments })
    }

    /// `function` over the rows of `schema` for which `filter` is true, any of which may be taken back, in any order.
    ///
    /// Which functions of DataFusion can take back any row, and not just the oldest, the planner knows; others must not come
    /// here.
    ///
    /// # Errors
    /// `Invalid` for a function that cannot take back a row.
    pub fn of_updates(
        function: Arc<AggregateFunctionExpr>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        schema: &Schema,
    ) -> Result<Self> {
        let form = Form::of_updates(&function, schema);
        let state = balance::state_kinds(&function, form)?;
        let arguments = types_of(&function, schema)?;
        let taken_back = Some(arguments.first().cloned().unwrap_or(DataType::Null));
        Ok(Self { function, filter, form, state, taken_back, arguments })
    }

    /// Whether it can go on from a state in which floats were rounded.
    pub(super) fn reads_rounded(&self) -> bool {
        !matches!(self.form, Form::Spread(_))
    }

    /// Types of its state as it is stored, where sums of floats are `exact` or still rounded.
    pub(super) fn stored_state(&self, exact: bool) -> &[DataType] {
        match self.form {
            Form::SumOfFloats | Form::Mean if self.taken_back.is_some() && !exact => &OLDER_KINDS,
            _ => &self.state,
        }
    }

    /// The rows that count; all without it.
    pub(super) fn filter(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        self.filter.as_ref()
    }

    /// Its arguments, then what they are ordered by; of the types [`Aggregate::arguments`].
    pub(super) fn expressions(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        expressions_of(&self.function)
    }

    /// The result that an accumulator of DataFusion gave.
    ///
    /// # Errors
    /// `Data` where it is too large for its type.
    pub(super) fn finished(&self, result: Result<ScalarValue, DataFusionError>) -> Result<ScalarValue> {
        match result {
            Ok(value) if is_too_long(&value) => Err(self.too_large("the sum has more digits than its type")),
            Ok(value) => Ok(value),
            Err(source @ (DataFusionError::Execution(_) | DataFusionError::ArrowError(..))) => {
                Err(self.too_large(&source.to_string()))
            }
            Err(source) => Err(wrong("finish aggregate", source).with("aggregate", self.function.name())),
        }
    }

    fn too_large(&self, reason: &str) -> Error {
        let advice =
            "if the result is too large for its type, cast the argument to a decimal of fewer digits, or to a double";
        Error::new(Kind::Data, "finish aggregate")
            .with("aggregate", self.function.name())
            .with("type", self.function.field().data_type())
            .source(format!("{reason}: {advice}"))
    }

    /// Whether what it saw of several sets of rows is merged for less than a row costs. That of DataFusion's accumulators is
    /// not: their states become arrays on the way, which over few rows costs more than adding each row to several windows.
    pub(super) fn merges_cheaply(&self) -> bool {
        self.form != Form::Any
    }

    /// What it takes of `batch`. Rows that it counts and of which something cannot be computed join `failed`, those that it does
    /// not count are not looked at.
    ///
    /// # Errors
    /// `Data` for a failure that lies in an expression and not in a value.
    pub(super) fn take(&self, batch: &Batch, failed: &mut Failed) -> Result<Taken> {
        let mut filter = None;
        if let Some(expression) = &self.filter {
            let Evaluated { column, errors } = evaluate_rows(expression, batch)?;
            failed.extend(errors);
            filter = Some(column.as_boolean().clone());
        }
        let counts = |row: usize| filter.as_ref().is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let mut value = |expression: &Arc<dyn PhysicalExpr>| -> Result<ArrayRef> {
            let Evaluated { column, errors } = evaluate_rows(expression, batch)?;
            failed.extend(errors.into_iter().filter(|(row, _)| counts(*row)));
            Ok(column)
        };
        let arguments = self.expressions();
        let values = match self.form {
            Form::Any | Form::Spread(_) => Values::Any(arguments.iter().map(value).collect::<Result<_>>()?),
            form => {
                let argument = arguments.first().ok_or_else(no_argument)?;
                match (form, argument.downcast_ref::<Literal>()) {
                    (Form::Count, Some(literal)) => counted(literal, batch.len()),
                    (Form::Count, None) => Values::Nulls(value(argument)?.logical_nulls()),
                    _ if self.taken_back.is_some() && form.keeps_values() => ordered(value(argument)?)?,
                    _ => numbers(&value(argument)?),
                }
            }
        };
        Ok(Taken { filter, values })
    }

    /// What it takes of rows with these columns, one for each of [`Aggregate::expressions`], none of which is taken back. Of a
    /// plain count only nulls are looked at.
    ///
    /// # Errors
    /// `Internal` if one is missing.
    pub(super) fn take_columns(&self, filter: Option<&ArrayRef>, columns: Vec<ArrayRef>) -> Result<Taken> {
        let values = match (self.form, columns.first().ok_or_else(no_argument)?) {
            (Form::Any, _) => Values::Any(columns),
            (Form::Count, column) => Values::Nulls(column.logical_nulls()),
            (_, column) => numbers(column),
        };
        Ok(Taken { filter: filter.map(|filter| filter.as_boolean().clone()), values })
    }
}

fn expressions_of(function: &AggregateFunctionExpr) -> Vec<Arc<dyn PhysicalExpr>> {
    let mut expressions = function.all_expressions();
    expressions.args.append(&mut expressions.order_by_exprs);
    expressions.args
}

fn types_of(function: &AggregateFunctionExpr, schema: &Schema) -> Result<Vec<DataType>> {
    let types = expressions_of(function).iter().map(|argument| argument.data_type(schema)).collect::<Result<_, _>>();
    types.map_err(|source| wrong("plan aggregate", source))
}

fn no_argument() -> Error {
    Error::new(Kind::Internal, "find argument")
}

// === impl Form ===

impl Form {
    /// Whether it keeps each value where rows may be taken back.
    pub fn keeps_values(self) -> bool {
        matches!(self, Self::Least | Self::Most | Self::Different)
    }

    fn of_updates(function: &AggregateFunctionExpr, schema: &Schema) -> Self {
        let arguments = function.expressions();
        let are_floats =
            || arguments.iter().all(|column| column.data_type(schema).is_ok_and(|kind| kind == DataType::Float64));
        if let Some(statistic) = Statistic::of(function.fun().name())
            && !function.is_distinct()
            && are_floats()
        {
            return Self::Spread(statistic);
        }
        let [argument] = arguments.as_slice() else { return Self::Any };
        let has_order = || argument.data_type(schema).is_ok_and(|kind| order::comparable(&kind).is_some());
        match function.fun().name() {
            "min" if has_order() => Self::Least,
            "max" if has_order() => Self::Most,
            "count" if function.is_distinct() && has_order() => Self::Different,
            _ => Self::of(function, schema),
        }
    }

    fn of(function: &AggregateFunctionExpr, schema: &Schema) -> Self {
        let arguments = function.expressions();
        let [argument] = arguments.as_slice() else { return Self::Any };
        if function.is_distinct() || !function.order_bys().is_empty() {
            return Self::Any;
        }
        let micros = |kind: &DataType| matches!(kind, DataType::Timestamp(TimeUnit::Microsecond, _));
        match (function.fun().name(), argument.data_type(schema)) {
            ("count", _) => Self::Count,
            ("sum", Ok(DataType::Int64)) => Self::SumOfInts,
            ("sum", Ok(DataType::Float64)) => Self::SumOfFloats,
            ("min", Ok(kind)) if kind == DataType::Int64 || micros(&kind) => Self::Least,
            ("max", Ok(kind)) if kind == DataType::Int64 || micros(&kind) => Self::Most,
            ("avg", Ok(DataType::Float64)) => Self::Mean,
            _ => Self::Any,
        }
    }
}

/// Whether it has more digits than its type: DataFusion adds up decimals without looking.
fn is_too_long(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Decimal128(Some(value), precision, _) => {
            10u128.checked_pow(u32::from(*precision)).is_some_and(|limit| value.unsigned_abs() >= limit)
        }
        _ => false,
    }
}

pub(super) fn wrong(attempted: &str, source: DataFusionError) -> Error {
    Error::new(Kind::Internal, attempted).source(source)
}
