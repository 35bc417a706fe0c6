//! Functions on embeddings: what they make of good rows, of bad ones, and of every kind of column.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float64Array, LargeListArray, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use forebay_core::function::{Argument, Evaluated};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Kind, Result};
use proptest::prelude::*;

type Rows = Vec<Option<Vec<Option<f64>>>>;

fn lists(rows: Rows) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
}

fn list(values: &[f64]) -> ArrayRef {
    lists(vec![Some(values.iter().copied().map(Some).collect())])
}

fn column(values: &ArrayRef) -> Argument {
    Argument::Column(Arc::new(Field::new("v", values.data_type().clone(), true)))
}

fn text(value: &str) -> Argument {
    Argument::Text(value.to_string())
}

fn call(name: &str, arguments: &[Argument], columns: &[ArrayRef]) -> Result<Evaluated> {
    let functions = forebay_functions::functions();
    let bound = functions.iter().find(|function| function.name() == name).unwrap().bind(arguments)?;
    let rows = columns[0].len();
    let found = bound.evaluate(columns, rows).unwrap();
    assert_eq!((found.column.len(), found.column.data_type()), (rows, bound.output().data_type()));
    assert!(found.errors.iter().all(|(row, error)| found.column.is_null(*row) && error.kind() == Kind::Data));
    assert!(found.errors.is_sorted_by_key(|(row, _)| *row));
    Ok(found)
}

/// One row of two columns: the value, or the error's whole story.
fn compare(name: &str, left: ArrayRef, right: ArrayRef) -> Result<f64, String> {
    let found = call(name, &[column(&left), column(&right)], &[left, right]).unwrap();
    match found.errors.first() {
        Some((_, error)) => Err(error.chain()),
        None => Ok(found.column.as_primitive::<Float64Type>().value(0)),
    }
}

fn case(name: &str, left: &[f64], right: &[f64], expected: f64) {
    let check = |found: f64| {
        let near = found == expected || (found - expected).abs() <= 2e-16 * expected.abs();
        assert!(near || found.is_nan() && expected.is_nan(), "{name} {left:?} {right:?}: {found}");
    };
    check(compare(name, list(left), list(right)).unwrap());
    match call(name, &[column(&list(left)), text(&format!("{right:?}"))], &[list(left)]) {
        Ok(found) => check(found.column.as_primitive::<Float64Type>().value(0)),
        Err(error) => assert!(right.is_empty() || right.iter().any(|value| !value.is_finite()), "{error}"),
    }
}

#[test]
fn two_embeddings_become_a_number() {
    case("dot_product", &[1.0, 2.0, 3.0], &[4.0, -5.0, 6.0], 12.0);
    case("dot_product", &[], &[], 0.0);
    case("euclidean_distance", &[1.0, 2.0], &[4.0, 6.0], 5.0);
    case("euclidean_distance", &[1.0, 2.0], &[1.0, 2.0], 0.0);
    case("euclidean_distance", &[], &[], 0.0);
    case("cosine_similarity", &[3.0, 4.0], &[6.0, 8.0], 1.0);
    case("cosine_similarity", &[1.0, 0.0], &[0.0, 2.0], 0.0);
    case("cosine_similarity", &[1.0, 1.0], &[-1.0, -1.0], -1.0);
    case("cosine_distance", &[1.0, 0.0], &[-3.0, 0.0], 2.0);
    case("cosine_distance", &[1.0, 0.0], &[5.0, 0.0], 0.0);
}

#[test]
fn values_that_are_no_numbers_give_what_arithmetic_gives() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    for name in ["dot_product", "euclidean_distance", "cosine_similarity", "cosine_distance"] {
        case(name, &[1.0, nan], &[1.0, 1.0], nan);
        case(name, &[1.0, 1.0], &[nan, 0.0], nan);
    }
    case("dot_product", &[inf, 1.0], &[1.0, 1.0], inf);
    case("euclidean_distance", &[inf, 1.0], &[1.0, 1.0], inf);
    case("euclidean_distance", &[inf], &[inf], nan);
    case("cosine_similarity", &[inf, 1.0], &[1.0, 1.0], nan);
}

#[test]
fn the_largest_and_smallest_values_keep_their_direction() {
    case("cosine_similarity", &[1e300, 0.0], &[1e300, 0.0], 1.0);
    case("cosine_similarity", &[1e300, 1e300], &[-1e-300, -1e-300], -1.0);
    case("cosine_similarity", &[f64::MAX, 0.0], &[0.0, f64::MIN_POSITIVE], 0.0);
    case("cosine_similarity", &[5e-324, 0.0], &[5e-324, 0.0], 1.0);
    case("euclidean_distance", &[3e200, 0.0], &[0.0, 4e200], 5e200);
    case("euclidean_distance", &[3e-200, 0.0], &[0.0, 4e-200], 5e-200);
}

#[test]
fn rows_that_cannot_be_compared_are_errors_of_their_own() {
    let refused = |name: &str, left: ArrayRef, right: ArrayRef, expected: &str| {
        let story = compare(name, left, right).unwrap_err();
        assert_eq!(story, format!("use embedding (reason={expected})"));
    };
    for name in ["dot_product", "euclidean_distance", "cosine_similarity", "cosine_distance"] {
        refused(name, list(&[1.0, 2.0]), list(&[1.0]), "it has 2 values, the other 1");
        refused(name, list(&[1.0]), lists(vec![Some(vec![None])]), "a value of it is null");
    }
    for name in ["cosine_similarity", "cosine_distance"] {
        refused(name, list(&[0.0, -0.0]), list(&[1.0, 2.0]), "all values are zero, which is no direction");
        refused(name, list(&[1e300, 0.0]), list(&[0.0, 0.0]), "all values are zero, which is no direction");
        refused(name, list(&[]), list(&[]), "all values are zero, which is no direction");
    }
}

#[test]
fn a_bad_row_and_a_null_row_leave_the_others_alone() {
    let left = lists(vec![Some(vec![Some(1.0)]), None, Some(vec![]), Some(vec![Some(2.0)]), Some(vec![Some(3.0)])]);
    let right = list(&[7.0]);
    let right = arrow::compute::concat(&[&right, &right, &right, &lists(vec![None]), &right]).unwrap();
    let found = call("dot_product", &[column(&left), column(&right)], &[left.clone(), right.clone()]).unwrap();
    let values: Vec<Option<f64>> = found.column.as_primitive::<Float64Type>().iter().collect();
    assert_eq!(values, [Some(7.0), None, None, None, Some(21.0)]);
    assert_eq!(found.errors.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2]);
    // A part of a batch begins where its own rows do.
    let (left, right) = (left.slice(3, 2), right.slice(3, 2));
    let found = call("dot_product", &[column(&left), column(&right)], &[left, right]).unwrap();
    let values: Vec<Option<f64>> = found.column.as_primitive::<Float64Type>().iter().collect();
    assert_eq!((values, found.errors.len()), (vec![None, Some(21.0)], 0));
    assert_eq!(call("dot_product", &[column(&list(&[])), text("[1]")], &[lists(vec![])]).unwrap().column.len(), 0);
}

/// The same embedding in every kind of column that is taken.
fn kinds(values: &[f64]) -> Vec<ArrayRef> {
    let numbers: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let fixed = |value: DataType| -> ArrayRef {
        let item = Arc::new(Field::new("item", value.clone(), false));
        let numbers = cast(&numbers, &value).unwrap();
        Arc::new(FixedSizeListArray::try_new(item, values.len() as i32, numbers, None).unwrap())
    };
    let whole = values.iter().map(|value| Some(*value as i64)).collect::<Vec<_>>();
    let single = values.iter().map(|value| Some(*value as f32)).collect::<Vec<_>>();
    vec![
        list(values),
        Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>([Some(single.clone())])),
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([Some(single)])),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(whole)])),
        fixed(DataType::Float32),
        fixed(DataType::Float64),
        fixed(DataType::Float16),
        fixed(DataType::Int8),
    ]
}

#[test]
fn columns_of_every_kind_are_compared_with_each_other() {
    for left in kinds(&[3.0, -4.0]) {
        for right in kinds(&[6.0, 8.0]) {
            let found = compare("dot_product", left.clone(), right.clone()).unwrap();
            assert_eq!(found, -14.0, "{} {}", left.data_type(), right.data_type());
        }
    }
}

#[test]
fn normalised_embeddings_keep_their_type() {
    for given in kinds(&[3.0, -4.0]) {
        let found = call("l2_normalize", &[column(&given)], std::slice::from_ref(&given)).unwrap().column;
        let item = match (given.data_type(), found.data_type()) {
            (DataType::FixedSizeList(_, left), DataType::FixedSizeList(item, right)) if left == right => item,
            (DataType::List(_), DataType::List(item)) | (DataType::LargeList(_), DataType::LargeList(item)) => item,
            (given, found) => panic!("{given} became {found}"),
        };
        assert!(matches!(item.data_type(), DataType::Float32 | DataType::Float64));
        let found = cast(&found, &DataType::new_list(DataType::Float32, true)).unwrap();
        assert_eq!(found.as_list::<i32>().value(0).as_primitive::<Float32Type>().values().to_vec(), [0.6, -0.8]);
    }
}

/// One row at length 1, or the error's whole story.
fn normalized(values: &[f64]) -> Result<Vec<f64>, String> {
    let given = list(values);
    let found = call("l2_normalize", &[column(&given)], &[given]).unwrap();
    match found.errors.first() {
        Some((_, error)) => Err(error.chain()),
        None => Ok(found.column.as_list::<i32>().value(0).as_primitive::<Float64Type>().values().to_vec()),
    }
}

#[test]
fn lengths_out_of_the_ordinary_become_one() {
    assert_eq!(normalized(&[0.0, -2.0]).unwrap(), [0.0, -1.0]);
    assert_eq!(normalized(&[3e300, 4e300]).unwrap(), [0.6, 0.8]);
    assert_eq!(normalized(&[3e-300, 4e-300]).unwrap(), [0.6, 0.8]);
    assert_eq!(normalized(&[f64::MAX; 4]).unwrap(), [0.5; 4]);
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(normalized(&[1.0, odd]).unwrap().iter().all(|value| value.is_nan()));
    }
    assert!(normalized(&[0.0, 0.0]).unwrap_err().contains("no direction"));
    assert!(normalized(&[]).unwrap_err().contains("no direction"));
}

#[test]
fn nulls_and_bad_rows_keep_their_place_among_normalised_ones() {
    let given = lists(vec![
        Some(vec![Some(2.0)]),
        None,
        Some(vec![Some(0.0)]),
        Some(vec![Some(1.0), None]),
        Some(vec![Some(0.0), Some(9.0)]),
    ]);
    let found = call("l2_normalize", &[column(&given)], &[given]).unwrap();
    assert_eq!(found.errors.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [2, 3]);
    let rows: Vec<Option<Vec<f64>>> = found.column.as_list::<i32>().iter().map(read).collect();
    assert_eq!(rows, [Some(vec![1.0]), None, None, None, Some(vec![0.0, 1.0])]);
}

fn read(row: Option<ArrayRef>) -> Option<Vec<f64>> {
    row.map(|row| row.as_primitive::<Float64Type>().values().to_vec())
}

#[test]
fn truncated_embeddings_are_tensors_of_one_axis() {
    let given = lists(vec![
        Some(vec![Some(1.0), Some(2.0), Some(3.0)]),
        None,
        Some(vec![Some(4.0)]),
        Some(vec![Some(5.0), Some(6.0)]),
        Some(vec![Some(5.0), Some(6.0), None]),
    ]);
    let found = call("truncate_embedding", &[column(&given), Argument::Int(2)], &[given]).unwrap();
    let rows: Vec<Option<Vec<f64>>> = found.column.as_fixed_size_list().iter().map(read).collect();
    assert_eq!(rows, [Some(vec![1.0, 2.0]), None, None, Some(vec![5.0, 6.0]), None]);
    let stories: Vec<String> = found.errors.iter().map(|(row, error)| format!("{row} {}", error.chain())).collect();
    let expected = "2 use embedding (reason=it has 1 values, fewer than 2)";
    assert_eq!(stories, [expected, "4 use embedding (reason=a value of it is null)"]);
}

#[test]
fn tensors_of_one_axis_are_embeddings_and_those_of_two_are_not() {
    let functions = forebay_functions::functions();
    let named = |name: &str| functions.iter().find(|function| function.name() == name).unwrap().clone();
    let tensor =
        |shape: &[usize]| Argument::Column(Arc::new(TensorType::new(DataType::Float32, shape).field("v", false)));
    let output = named("l2_normalize").bind(&[tensor(&[8])]).unwrap().output();
    assert_eq!(TensorType::of(&output), Some(TensorType::embedding(8)));
    let output = named("truncate_embedding").bind(&[tensor(&[8]), Argument::Int(8)]).unwrap().output();
    assert_eq!(TensorType::of(&output), Some(TensorType::embedding(8)));
    let error = named("l2_normalize").bind(&[tensor(&[2, 4])]).unwrap_err();
    assert!(error.to_string().contains("tensors of one axis"), "{error}");
}

#[test]
fn wrong_arguments_are_named_when_the_query_is_planned() {
    let case = |name: &str, arguments: &[Argument], expected: &str| {
        let functions = forebay_functions::functions();
        let error = functions.iter().find(|function| function.name() == name).unwrap().bind(arguments).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = error.to_string();
        assert!(shown.contains(expected) && shown.starts_with(&format!("call {name}(")), "{shown:?}: {expected:?}");
    };
    let fixed = |length: usize| column(&kinds(&vec![1.0; length])[4]);
    case("dot_product", &[fixed(3)], "arguments=1, accepted=2 to 2");
    case("dot_product", &[fixed(3), fixed(2)], "argument=other, given=column v of type FixedSizeList");
    case("dot_product", &[fixed(3), fixed(2)], "accepted=3 values, as the embedding has, values=2");
    case("dot_product", &[fixed(3), text("[1, 2]")], "accepted=3 values");
    for odd in ["", "[]", "[1", "1, 2, 3", "[1, x, 2]", "[1, 2, 3,]", "[1, nan, 2]", "[inf, 0, 0]", "[[1, 2, 3]]"] {
        case("dot_product", &[fixed(3), text(odd)], "accepted=a column of embeddings, or finite numbers");
    }
    case("dot_product", &[text("[1]"), fixed(1)], "argument=embedding, given='[1]'");
    case("dot_product", &[fixed(1), Argument::Int(1)], "argument=other, given=1");
    let names: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
    case("l2_normalize", &[column(&names)], "argument=embedding, given=column v of type Utf8");
    case("truncate_embedding", &[fixed(3), Argument::Int(4)], "given=4, accepted=a whole number in 1..=3");
    case("truncate_embedding", &[column(&list(&[])), Argument::Int(65_537)], "a whole number in 1..=65536");
    case("truncate_embedding", &[fixed(3), Argument::Int(0)], "argument=dimensions, given=0");
}

/// Pairs of one length, in single precision.
fn pairs() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    (0..70usize).prop_flat_map(|length| {
        let values = || proptest::collection::vec(-1e6f32..1e6, length);
        (values(), values())
    })
}

fn single(values: &[f32]) -> ArrayRef {
    let values = values.iter().copied().map(Some).collect::<Vec<_>>();
    Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([Some(values)]))
}

proptest! {
    #[test]
    fn sums_agree_with_a_naive_one((left, right) in pairs()) {
        let (wide_left, wide_right): (Vec<f64>, Vec<f64>) =
            left.iter().zip(&right).map(|(left, right)| (f64::from(*left), f64::from(*right))).unzip();
        let together = || wide_left.iter().zip(&wide_right);
        let dot: f64 = together().map(|(left, right)| left * right).sum();
        // What rounding may do to a sum: as much as to one of its absolute terms.
        let room = 1e-12 * together().map(|(left, right)| (left * right).abs()).sum::<f64>();
        let distance = together().map(|(left, right)| (left - right).powi(2)).sum::<f64>().sqrt();
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let norms = norm(&wide_left) * norm(&wide_right);
        for (left, right) in [(single(&left), single(&right)), (list(&wide_left), single(&right))] {
            let found = compare("dot_product", left.clone(), right.clone()).unwrap();
            prop_assert!((found - dot).abs() <= room, "{found} {dot}");
            let found = compare("euclidean_distance", left.clone(), right.clone()).unwrap();
            prop_assert!((found - distance).abs() <= 1e-12 * distance, "{found} {distance}");
            let found = compare("cosine_similarity", left.clone(), right.clone());
            match found {
                Ok(cosine) => {
                    prop_assert!((-1.0..=1.0).contains(&cosine));
                    prop_assert!((cosine - dot / norms).abs() <= 1e-12, "{cosine} {}", dot / norms);
                    let apart = compare("cosine_distance", left, right).unwrap();
                    prop_assert_eq!(apart, 1.0 - cosine);
                }
                Err(story) => prop_assert!(norms == 0.0, "{story}"),
            }
        }
    }

    #[test]
    fn normalised_embeddings_have_length_one(values in proptest::collection::vec(any::<f64>(), 1..40)) {
        prop_assume!(values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0));
        let found = normalized(&values).unwrap();
        let length = found.iter().map(|value| value * value).sum::<f64>().sqrt();
        prop_assert!((length - 1.0).abs() < 1e-12, "{length}");
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let scale = found.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        for (found, value) in found.iter().zip(&values) {
            prop_assert!((found / scale - value / largest).abs() < 1e-12);
        }
    }
}
