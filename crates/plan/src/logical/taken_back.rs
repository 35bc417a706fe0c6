//! Which aggregates can take back a row that they were given, and which can be computed anew of rows that are kept.
//!
//! The operator does the plain ones itself and keeps values where it must. Of DataFusion's own accumulators those are named here
//! that take back any row: several others that say they take rows back (`array_agg`) take back the oldest, whatever the row,
//! because that is what a frame of a window function needs.

use arrow::datatypes::{DataType, Schema};
use datafusion::common::DataFusionError;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::keyed::can_be_ordered;
use super::stream_join::can_be_stored;

/// DataFusion's functions that take back any row: sums that can be undone, and those that keep all values.
const ANY_ROW: [&str; 19] = [
    "count",
    "sum",
    "avg",
    "bit_xor",
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
    "median",
    "percentile_cont",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

/// Whether `aggregate` over rows of `input` can take any of them back; if not, what to do instead.
pub(super) fn check(aggregate: &AggregateFunctionExpr, input: &Schema) -> Result<(), &'static str> {
    let arguments = aggregate.expressions();
    let name = aggregate.fun().name();
    let has_order = || arguments.iter().all(|column| column.data_type(input).is_ok_and(|kind| can_be_ordered(&kind)));
    match name {
        "min" | "max" if has_order() => Ok(()),
        "min" | "max" => Err("values of this type have no order here; cast them to a number or to text"),
        "count" if aggregate.is_distinct() && arguments.len() == 1 && has_order() => Ok(()),
        _ if aggregate.is_distinct() => Err(
            "of the DISTINCT ones only count(DISTINCT one column) can; put a deduplicate step before, or leave DISTINCT out",
        ),
        _ if ANY_ROW.contains(&name) => Ok(()),
        _ => Err(HELP),
    }
}

/// The type of a value that `aggregate` takes of rows of `input` and that cannot be kept, if there is one. Of what a plain count
/// takes is kept only whether it is there.
pub(super) fn unstorable(
    aggregate: &AggregateFunctionExpr,
    input: &Schema,
) -> Result<Option<DataType>, DataFusionError> {
    let taken = aggregate.all_expressions();
    if aggregate.fun().name() == "count" && !aggregate.is_distinct() && taken.args.len() == 1 {
        return Ok(None);
    }
    let kinds = taken.args.iter().chain(&taken.order_by_exprs).map(|value| value.data_type(input));
    let kinds: Vec<DataType> = kinds.collect::<Result<_, _>>()?;
    Ok(kinds.into_iter().find(|kind| !can_be_stored(kind)))
}

const HELP: &str = "count, sum, avg, min, max, median, percentile_cont, bit_xor, the variances and regr_* can; \
                    or put the step before the one that makes updates";
