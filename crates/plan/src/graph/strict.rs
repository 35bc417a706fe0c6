//! Numbers as their readers mean them, where DataFusion's kernels go by bits.
//!
//! - Sums, differences, products and negatives of whole numbers fail where they do not fit, instead of going on with what is left.
//! - `-0.0` compares equal to `0.0`, as in SQL and as keys here already are; Arrow's kernels put it before `0.0`.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};

type Part = Arc<dyn PhysicalExpr>;

/// The expression over rows of `input`, strict.
pub(super) fn strict(expr: Part, input: &Schema) -> Result<Part> {
    let done = expr.transform_up(|part| {
        if let Some(negative) = part.downcast_ref::<NegativeExpr>() {
            let is_whole = negative.data_type(input)?.is_signed_integer();
            return if is_whole { zero_minus(negative, input) } else { Ok(Transformed::no(part)) };
        }
        let Some(binary) = part.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(part)) };
        let (left, right) = (binary.left(), binary.right());
        let made = if compares(*binary.op()) && left.data_type(input)?.is_floating() {
            BinaryExpr::new(unsigned_zero(left, input)?, *binary.op(), unsigned_zero(right, input)?)
        } else {
            binary.clone().with_fail_on_overflow(true)
        };
        Ok(Transformed::yes(Arc::new(made) as Part))
    });
    done.map(|done| done.data)
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// The least number has no negative; a difference can say so.
fn zero_minus(negative: &NegativeExpr, input: &Schema) -> Result<Transformed<Part>> {
    let zero = Arc::new(Literal::new(ScalarValue::new_zero(&negative.data_type(input)?)?));
    let difference = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
    Ok(Transformed::yes(Arc::new(difference.with_fail_on_overflow(true)) as Part))
}

/// The same number, and `0.0` for `-0.0`: that is what adding `0.0` does, to nothing else.
fn unsigned_zero(part: &Part, input: &Schema) -> Result<Part> {
    let kind = part.data_type(input)?;
    if !kind.is_floating() {
        return Ok(Arc::clone(part));
    }
    let zero: Part = Arc::new(Literal::new(ScalarValue::new_zero(&kind)?));
    Ok(Arc::new(BinaryExpr::new(Arc::clone(part), Operator::Plus, zero)))
}
