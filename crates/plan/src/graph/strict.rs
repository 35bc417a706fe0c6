//! Numbers as their readers mean them, where DataFusion's kernels go by bits.
//!
//! - Sums, differences, products and negatives of whole numbers fail where they do not fit, instead of going on with what is left.
//! - Dates and times are compared in microseconds where they are none finer, so that all years fit.
//! - `-0.0` is the same as `0.0` to comparisons, `IN`, `CASE x WHEN`, `nullif` and `DISTINCT`, as in SQL and as keys here already
//!   are; Arrow's kernels put it before `0.0`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::aggregate::LoweredAggregate;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, InListExpr, Literal, NegativeExpr, cast};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

type Part = Arc<dyn PhysicalExpr>;

/// The expression over rows of `input`, strict.
pub(super) fn strict(expr: Part, input: &Schema) -> Result<Part> {
    let rewritten = expr.transform_up(|part| {
        let made = if let Some(negative) = part.downcast_ref::<NegativeExpr>() {
            negated(negative, input)?
        } else if let Some(binary) = part.downcast_ref::<BinaryExpr>() {
            Some(operated(binary, input)?)
        } else if let Some(list) = part.downcast_ref::<InListExpr>() {
            listed(list, input)?
        } else if let Some(case) = part.downcast_ref::<CaseExpr>() {
            chosen(case, input)?
        } else if let Some(call) = part.downcast_ref::<ScalarFunctionExpr>().filter(|call| call.name() == "nullif") {
            let arguments = unsigned_zeros(call.args(), input)?;
            Some(Arc::clone(&part).with_new_children(arguments)?)
        } else {
            None
        };
        Ok(made.map_or_else(|| Transformed::no(part), Transformed::yes))
    });
    rewritten.map(|rewritten| rewritten.data)
}

/// The aggregate over rows of `input`, its arguments and its filter strict.
///
/// # Errors
///
/// An internal error where DataFusion does not take the arguments back.
pub(super) fn strict_aggregate(lowered: LoweredAggregate, input: &Schema) -> Result<LoweredAggregate> {
    let LoweredAggregate { aggregate, filter, order_bys } = lowered;
    let parts = aggregate.all_expressions();
    let all = |parts: Vec<Part>| parts.into_iter().map(|part| strict(part, input)).collect::<Result<Vec<_>>>();
    let mut arguments = all(parts.args)?;
    if aggregate.is_distinct() {
        arguments = unsigned_zeros(&arguments, input)?;
    }
    let Some(made) = aggregate.with_new_expressions(arguments, all(parts.order_by_exprs)?) else {
        return internal_err!("{} takes no other arguments", aggregate.name());
    };
    let filter = filter.map(|filter| strict(filter, input)).transpose()?;
    Ok(LoweredAggregate { aggregate: Arc::new(made), filter, order_bys })
}

/// Sums and the like fail where they do not fit; floats are compared by value.
fn operated(binary: &BinaryExpr, input: &Schema) -> Result<Part> {
    let (left, right, op) = (binary.left(), binary.right(), *binary.op());
    if compares(op) && left.data_type(input)?.is_floating() {
        return Ok(Arc::new(BinaryExpr::new(unsigned_zero(left, input)?, op, unsigned_zero(right, input)?)));
    }
    if compares(op)
        && let (Some(left), Some(right)) = (in_micros(left, input)?, in_micros(right, input)?)
    {
        return Ok(Arc::new(BinaryExpr::new(left, op, right)));
    }
    Ok(Arc::new(binary.clone().with_fail_on_overflow(true)))
}

/// The time in microseconds, if nothing of it is lost by that, of one that is only cast to nanoseconds to be compared: those end in
/// the year 2262, and `DATE '9999-12-31'` is how many tables say "until further notice".
fn in_micros(part: &Part, input: &Schema) -> Result<Option<Part>> {
    let DataType::Timestamp(TimeUnit::Nanosecond, zone) = part.data_type(input)? else { return Ok(None) };
    if let Some(constant) = part.downcast_ref::<Literal>() {
        let ScalarValue::TimestampNanosecond(Some(time), zone) = constant.value() else { return Ok(None) };
        let micros = || Literal::new(ScalarValue::TimestampMicrosecond(Some(time / 1000), zone.clone()));
        return Ok((time % 1000 == 0).then(|| Arc::new(micros()) as Part));
    }
    let Some(cast_part) = part.downcast_ref::<CastExpr>() else { return Ok(None) };
    Ok(match cast_part.expr().data_type(input)? {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
        DataType::Timestamp(..) | DataType::Date32 => {
            Some(cast(Arc::clone(cast_part.expr()), input, DataType::Timestamp(TimeUnit::Microsecond, zone))?)
        }
        _ => None,
    })
}

/// `x IN (..)` of floats.
fn listed(list: &InListExpr, input: &Schema) -> Result<Option<Part>> {
    if !list.expr().data_type(input)?.is_floating() {
        return Ok(None);
    }
    let (expr, others) = (unsigned_zero(list.expr(), input)?, unsigned_zeros(list.list(), input)?);
    Ok(Some(Arc::new(InListExpr::try_new(expr, others, list.negated(), input)?)))
}

/// `CASE x WHEN ..` of a float.
fn chosen(case: &CaseExpr, input: &Schema) -> Result<Option<Part>> {
    let Some(base) = case.expr() else { return Ok(None) };
    if !base.data_type(input)?.is_floating() {
        return Ok(None);
    }
    let branches = case.when_then_expr().iter();
    let branches = branches.map(|(when, then)| Ok((unsigned_zero(when, input)?, Arc::clone(then))));
    let branches = branches.collect::<Result<_>>()?;
    let made = CaseExpr::try_new(Some(unsigned_zero(base, input)?), branches, case.else_expr().cloned())?;
    Ok(Some(Arc::new(made)))
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The least number has no negative; a difference can say so. Nothing for floats.
fn negated(negative: &NegativeExpr, input: &Schema) -> Result<Option<Part>> {
    let kind = negative.data_type(input)?;
    if !kind.is_signed_integer() {
        return Ok(None);
    }
    let zero = Arc::new(Literal::new(ScalarValue::new_zero(&kind)?));
    let difference = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
    Ok(Some(Arc::new(difference.with_fail_on_overflow(true))))
}

fn unsigned_zeros(parts: &[Part], input: &Schema) -> Result<Vec<Part>> {
    parts.iter().map(|part| unsigned_zero(part, input)).collect()
}

/// The same number, and `0.0` for `-0.0`: that is what adding `0.0` does, to nothing else.
fn unsigned_zero(part: &Part, input: &Schema) -> Result<Part> {
    let kind = part.data_type(input)?;
    if !kind.is_floating() {
        return Ok(Arc::clone(part));
    }
    let zero = ScalarValue::new_zero(&kind)?;
    // A list of constants is looked up by hash only as long as they are constants.
    if let Some(constant) = part.downcast_ref::<Literal>() {
        return Ok(Arc::new(Literal::new(constant.value().add(&zero)?)));
    }
    Ok(Arc::new(BinaryExpr::new(Arc::clone(part), Operator::Plus, Arc::new(Literal::new(zero)))))
}
