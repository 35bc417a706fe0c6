//! Which aggregates can take back a row that they were given.
//!
//! The operator does the plain ones itself and keeps values where it must. Of DataFusion's own accumulators those are named here
//! that take back any row: several others that say they take rows back (`array_agg`) take back the oldest, whatever the row,
//! because that is what a frame of a window function needs.

use arrow::datatypes::Schema;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::keyed::can_be_ordered;

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

const HELP: &str = "count, sum, avg, min, max, median, percentile_cont, bit_xor, the variances and regr_* can; \
                    or put the step before the one that makes updates";
