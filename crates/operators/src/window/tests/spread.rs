//! Variances and lines of rows some of which were taken back, beside DataFusion's over the rows that are left.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::functions_aggregate::{average, regr, stddev, sum, variance};
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use datafusion::scalar::ScalarValue;
use forebay_state::keyed::StateValue;
use proptest::prelude::*;

use super::super::Aggregate;
use super::super::cell::{Cell, Layout};
use super::super::pane::Pane;
use super::super::scalars::put;
use super::super::taken::{Taken, Values, numbers};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(["x", "y"].map(|name| Field::new(name, DataType::Float64, true)).to_vec()))
}

fn functions() -> Vec<(Arc<AggregateUDF>, usize)> {
    let one = [variance::var_samp_udaf(), variance::var_pop_udaf(), stddev::stddev_udaf(), stddev::stddev_pop_udaf()];
    let two = [
        regr::regr_slope_udaf(),
        regr::regr_intercept_udaf(),
        regr::regr_count_udaf(),
        regr::regr_r2_udaf(),
        regr::regr_avgx_udaf(),
        regr::regr_avgy_udaf(),
        regr::regr_sxx_udaf(),
        regr::regr_syy_udaf(),
        regr::regr_sxy_udaf(),
    ];
    one.into_iter().map(|function| (function, 1)).chain(two.into_iter().map(|function| (function, 2))).collect()
}

fn aggregate(function: &Arc<AggregateUDF>, arguments: usize) -> Aggregate {
    let arguments = ["x", "y"].iter().take(arguments).map(|name| col(name, &schema()).unwrap()).collect();
    let built = AggregateExprBuilder::new(Arc::clone(function), arguments).schema(schema()).alias("v").build();
    Aggregate::of_updates(Arc::new(built.unwrap()), None, &schema()).unwrap()
}

type Point = (Option<f64>, Option<f64>);

fn columns(rows: &[Point], arguments: usize) -> Vec<ArrayRef> {
    let (x, y): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    [x, y].into_iter().take(arguments).map(|column| Arc::new(Float64Array::from(column)) as ArrayRef).collect()
}

/// Of the rows `left` after `gone` were there too, one each batch, with a restart between.
fn over_updates(function: &Arc<AggregateUDF>, arguments: usize, gone: &[Point], left: &[Point]) -> Option<f64> {
    let aggregate = aggregate(function, arguments);
    let rows: Vec<Point> = gone.iter().chain(left).copied().collect();
    let columns = columns(&rows, arguments);
    let is_plain = matches!(function.name(), "sum" | "avg");
    let values = if is_plain { numbers(&columns[0]) } else { Values::Any(columns) };
    let taken = Taken { filter: None, values };
    let mut cell = Cell::new(&aggregate).unwrap();
    (0..rows.len() as u32).for_each(|row| cell.update(&aggregate, &taken, &[row], &[]).unwrap());
    let state = cell.state().unwrap();
    let kinds: Vec<DataType> = state.iter().map(ScalarValue::data_type).collect();
    assert_eq!(kinds, aggregate.state);
    cell = Cell::of_state(&aggregate, state).unwrap();
    (0..gone.len() as u32).for_each(|row| cell.update(&aggregate, &taken, &[], &[row]).unwrap());
    float(cell.evaluate(&aggregate, true).unwrap())
}

/// Of these rows alone, by DataFusion.
fn plainly(function: &Arc<AggregateUDF>, arguments: usize, rows: &[Point]) -> Option<f64> {
    let mut accumulator = aggregate(function, arguments).function.create_accumulator().unwrap();
    accumulator.update_batch(&columns(rows, arguments)).unwrap();
    float(accumulator.evaluate().unwrap())
}

fn float(value: ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64).unwrap() {
        ScalarValue::Float64(value) => value,
        other => panic!("{other:?}"),
    }
}

fn are_near(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) if expected.is_nan() => found.is_nan(),
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        (found, expected) => found == expected,
    }
}

fn points(values: &[(f64, f64)]) -> Vec<Point> {
    values.iter().map(|(x, y)| (Some(*x), Some(*y))).collect()
}

#[test]
fn a_row_that_was_taken_back_leaves_no_trace_in_a_spread() {
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    let cases = [
        // A column that became constant.
        (vec![(0.1, 0.3), (0.7, 0.9), (1.3, 0.2)], vec![(0.7, 0.5), (0.7, 0.6), (0.7, 0.9)]),
        // Nothing first, then milliseconds.
        (vec![(0.0, 0.0); 5], (0..5).map(|at| (1.767e12 + f64::from(at), f64::from(at % 3))).collect()),
        (vec![(1e9, 1e9), (1e160, -1e160)], vec![(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]),
        (vec![(nan, 1.0), (1.0, infinity), (-infinity, nan)], vec![(2.0, 1.0), (1.0, 4.0), (3.0, 0.5)]),
        (vec![(nan, 1.0), (3.0, 4.0)], vec![(2.0, 1.0)]),
        (vec![(0.1, 0.2)], vec![]),
    ];
    for (gone, left) in cases {
        for (function, arguments) in functions() {
            let found = over_updates(&function, arguments, &points(&gone), &points(&left));
            let expected = plainly(&function, arguments, &points(&left));
            let name = function.name();
            assert!(are_near(found, expected), "{name} of {left:?} after {gone:?}: {found:?}, not {expected:?}");
        }
    }
}

#[test]
fn a_spread_of_equal_values_is_exactly_none() {
    let (gone, left) = (points(&[(0.1, 0.2), (0.7, 1e9)]), points(&[(0.7, 0.7), (0.7, 0.7), (0.7, 0.7)]));
    let all: Vec<_> =
        functions().iter().map(|(function, arguments)| over_updates(function, *arguments, &gone, &left)).collect();
    assert_eq!(all[..4], [Some(0.0); 4]);
    assert_eq!(all[4..8], [None, None, Some(3.0), None]);
    assert_eq!(all[8..], [Some(0.7), Some(0.7), Some(0.0), Some(0.0), Some(0.0)]);
}

#[test]
fn a_sum_that_was_too_large_is_that_of_the_rows_that_are_left() {
    let (gone, left) = (points(&[(1e308, 0.0), (1e308, 0.0)]), points(&[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]));
    assert_eq!(over_updates(&sum::sum_udaf(), 1, &gone, &left), Some(6.0));
    assert_eq!(over_updates(&average::avg_udaf(), 1, &gone, &left), Some(2.0));
}

#[test]
fn panes_with_rounded_sums_are_read_and_those_with_variances_are_not() {
    let (sum, deviation) = (aggregate(&sum::sum_udaf(), 1), aggregate(&stddev::stddev_udaf(), 1));
    assert!(sum.reads_rounded() && !deviation.reads_rounded());
    let layout = Layout { aggregates: vec![sum], counted: true };
    // Start, print, no result, two rows; the sum, what it had rounded off, the counts.
    let mut stored = vec![0; 17];
    stored.extend_from_slice(&2i64.to_le_bytes());
    let floats = [0.5, 0.25].map(|value| ScalarValue::Float64(Some(value)));
    let counts = [2, 0, 0, 0].map(|count| ScalarValue::Int64(Some(count)));
    floats.iter().chain(&counts).for_each(|value| put(value, &mut stored).unwrap());
    let bytes = |pane: &Pane| {
        let mut out = Vec::new();
        pane.encode(&mut out);
        out
    };
    let mut pane = Pane::decode(&stored).unwrap();
    assert_eq!(bytes(&pane), stored, "it was not needed");
    assert_eq!(pane.live(&layout).unwrap().rows, Some(2));
    let again = Pane::decode(&bytes(&pane)).unwrap();
    assert_ne!(bytes(&again), stored);
    for pane in [pane, again] {
        assert_eq!(pane.result(&layout).unwrap().values, [ScalarValue::Float64(Some(0.75))]);
    }
}

fn row() -> impl Strategy<Value = Point> {
    let value = || prop::option::weighted(0.9, prop_oneof![4 => -10.0..10.0f64, 2 => Just(0.7), 1 => Just(1e12)]);
    (value(), value())
}

proptest! {
    #[test]
    fn spreads_are_those_of_the_rows_that_are_left(
        gone in prop::collection::vec(row(), 0..8),
        left in prop::collection::vec((prop::option::of(-10.0..10.0f64), -10.0..10.0f64), 0..8),
    ) {
        let left: Vec<Point> = left.into_iter().map(|(x, y)| (x, Some(y))).collect();
        for (function, arguments) in functions() {
            let (found, expected) = (over_updates(&function, arguments, &gone, &left), plainly(&function, arguments, &left));
            // A line through two points has a slope of any size, which DataFusion rounds by how far they are apart.
            let is_steep = expected.is_some_and(|expected| expected.abs() > 1e4);
            prop_assert!(is_steep || are_near(found, expected), "{} is {found:?}, not {expected:?}", function.name());
        }
    }
}
