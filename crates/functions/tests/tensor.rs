//! Functions on tensors: shapes and types that come out, rows that cannot, and every pair of value types.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float64Array, Int64Array, LargeListArray, ListArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use forebay_core::function::{Argument, Evaluated};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Kind, Result};

const DTYPES: [(&str, DataType); 12] = [
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("float16", DataType::Float16),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("bool", DataType::Boolean),
];

/// A tensor column of `shape`, of as many rows as `values` fill; the rows of `nulls` are null.
fn tensors(value: &DataType, shape: &[usize], values: Vec<Option<f64>>, nulls: &[usize]) -> (FieldRef, ArrayRef) {
    let field = TensorType::new(value.clone(), shape).field("pixels", true);
    let DataType::FixedSizeList(item, width) = field.data_type() else { panic!("a list") };
    let rows = values.len() / *width as usize;
    let item = Arc::new(item.as_ref().clone().with_nullable(values.contains(&None)));
    let field = Field::new("pixels", DataType::FixedSizeList(Arc::clone(&item), *width), true)
        .with_metadata(field.metadata().clone());
    let nulls = NullBuffer::from((0..rows).map(|row| !nulls.contains(&row)).collect::<Vec<_>>());
    let values = cast(&Float64Array::from(values), value).unwrap();
    (Arc::new(field), Arc::new(FixedSizeListArray::new(item, *width, values, Some(nulls))))
}

fn some(values: impl IntoIterator<Item = i32>) -> Vec<Option<f64>> {
    values.into_iter().map(|value| Some(f64::from(value))).collect()
}

fn call(name: &str, field: &FieldRef, more: &[Argument], column: &ArrayRef) -> Result<(FieldRef, Evaluated)> {
    let functions = forebay_functions::functions();
    let function = functions.iter().find(|function| function.name() == name).unwrap();
    let bound = function.bind(&[&[Argument::Column(Arc::clone(field))], more].concat())?;
    let found = bound.evaluate(std::slice::from_ref(column), column.len()).unwrap();
    assert_eq!((found.column.len(), found.column.data_type()), (column.len(), bound.output().data_type()));
    assert!(found.errors.iter().all(|(row, error)| found.column.is_null(*row) && error.kind() == Kind::Data));
    assert!(found.errors.is_sorted_by_key(|(row, _)| *row));
    Ok((bound.output(), found))
}

fn axes(axes: &[i64]) -> Vec<Argument> {
    axes.iter().map(|axis| Argument::Int(*axis)).collect()
}

fn dtype(name: &str) -> [Argument; 1] {
    [Argument::Text(name.to_string())]
}

/// The rows as numbers, and the errors as `row reason`.
fn shown(found: &Evaluated) -> (Vec<Option<Vec<f64>>>, Vec<String>) {
    let read = |row: Option<ArrayRef>| {
        row.map(|row| cast(&row, &DataType::Float64).unwrap().as_primitive::<Float64Type>().values().to_vec())
    };
    let errors = found.errors.iter().map(|(row, error)| {
        let chain = error.chain();
        format!("{row} {}", chain.trim_start_matches("use tensor (reason=").trim_end_matches(')'))
    });
    (found.column.as_fixed_size_list().iter().map(read).collect(), errors.collect())
}

#[test]
fn a_tensor_is_reshaped_where_it_lies() {
    let (field, column) = tensors(&DataType::UInt8, &[2, 3], some(0..18), &[1]);
    for (given, expected) in [
        (&[3, 2][..], &[3, 2][..]),
        (&[6], &[6]),
        (&[-1], &[6]),
        (&[1, -1, 2], &[1, 3, 2]),
        (&[6, -1], &[6, 1]),
        (&[1, 1, 6, 1], &[1, 1, 6, 1]),
    ] {
        let (output, found) = call("tensor_reshape", &field, &axes(given), &column).unwrap();
        assert_eq!(TensorType::of(&output), Some(TensorType::new(DataType::UInt8, expected)));
        let (rows, errors) = shown(&found);
        assert_eq!(rows[0].as_deref(), Some(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..]));
        assert_eq!((rows[1].as_deref(), rows[2].as_ref().map(|row| row[5]), errors.len()), (None, Some(17.0), 0));
        let address = |column: &ArrayRef| column.as_fixed_size_list().values().to_data().buffers()[0].as_ptr();
        assert_eq!(address(&found.column), address(&column), "no value is copied");
    }
    let (_, found) = call("tensor_reshape", &field, &axes(&[-1]), &column.slice(2, 1)).unwrap();
    assert_eq!(shown(&found).0, [Some(vec![12.0, 13.0, 14.0, 15.0, 16.0, 17.0])]);
}

#[test]
fn lists_of_the_right_length_become_tensors_and_others_are_errors() {
    let rows = [
        Some(vec![Some(1), Some(2), Some(3), Some(4)]),
        None,
        Some(vec![Some(5)]),
        Some(vec![Some(6), None, Some(7), Some(8)]),
        Some(vec![]),
        Some(vec![Some(9), Some(10), Some(11), Some(12)]),
    ];
    let lists: [ArrayRef; 2] = [
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows.clone())),
        Arc::new(LargeListArray::from_iter_primitive::<Int64Type, _, _>(rows)),
    ];
    for column in lists {
        let field = Arc::new(Field::new("v", column.data_type().clone(), true));
        let (output, found) = call("tensor_reshape", &field, &axes(&[2, 2]), &column).unwrap();
        assert_eq!(TensorType::of(&output), Some(TensorType::new(DataType::Int64, [2, 2])));
        let (rows, errors) = shown(&found);
        let first = Some(vec![1.0, 2.0, 3.0, 4.0]);
        let last = Some(vec![9.0, 10.0, 11.0, 12.0]);
        assert_eq!(rows, [first, None, None, None, None, last.clone()]);
        assert_eq!(errors, ["2 it has 1 values, not 4", "3 a value of it is null", "4 it has 0 values, not 4"]);
        assert_eq!(found.column.as_fixed_size_list().values().null_count(), 0);
        let (_, found) = call("tensor_reshape", &field, &axes(&[2, 2]), &column.slice(4, 2)).unwrap();
        assert_eq!(shown(&found).0, [None, last]);
        let (_, found) = call("tensor_reshape", &field, &axes(&[2, 2]), &column.slice(0, 0)).unwrap();
        assert_eq!(found.column.len(), 0);
    }
}

#[test]
fn every_type_of_values_becomes_every_other() {
    for (_, from) in &DTYPES {
        for (name, to) in &DTYPES {
            let (field, column) = tensors(from, &[2, 2], some([0, 1, 1, 0, 1, 0, 0, 1]), &[]);
            let (output, found) = call("tensor_cast", &field, &dtype(name), &column).unwrap();
            assert_eq!(TensorType::of(&output), Some(TensorType::new(to.clone(), [2, 2])));
            let expected = [Some(vec![0.0, 1.0, 1.0, 0.0]), Some(vec![1.0, 0.0, 0.0, 1.0])];
            assert_eq!(shown(&found), (expected.to_vec(), Vec::new()), "{from} to {name}");
        }
    }
}

#[test]
fn a_row_whose_values_do_not_fit_is_an_error_of_its_own() {
    let case = |from: DataType, to: &str, value: f64, expected: Option<f64>| {
        let (field, column) = tensors(&from, &[1], vec![Some(1.0), Some(value)], &[]);
        let (_, found) = call("tensor_cast", &field, &dtype(to), &column).unwrap();
        let (rows, errors) = shown(&found);
        assert_eq!(rows[0], Some(vec![1.0]));
        let reason = format!("1 a value of it does not fit {to}");
        assert_eq!(errors, if expected.is_none() { vec![reason] } else { Vec::new() }, "{value} {from} to {to}");
        assert_eq!(rows[1], expected.map(|value| vec![value]), "{value} {from} to {to}");
    };
    case(DataType::Float32, "uint8", 255.9, Some(255.0));
    case(DataType::Int32, "float16", 65_504.0, Some(65_504.0));
    case(DataType::Int32, "float16", 70_000.0, None);
    case(DataType::Float32, "float16", 70_000.0, Some(f64::INFINITY));
    case(DataType::Float32, "uint8", 256.0, None);
    case(DataType::Float32, "uint8", -0.9, Some(0.0));
    case(DataType::Float32, "uint8", -1.0, None);
    case(DataType::Float32, "int8", -1.9, Some(-1.0));
    case(DataType::Float64, "int64", 1e19, None);
    case(DataType::Float64, "int64", f64::NAN, None);
    case(DataType::Float64, "int32", f64::INFINITY, None);
    case(DataType::Int64, "uint8", 300.0, None);
    case(DataType::Int64, "uint64", -1.0, None);
    case(DataType::UInt8, "int8", 128.0, None);
    case(DataType::Float64, "float32", 1e300, Some(f64::INFINITY));
    case(DataType::Float32, "float16", 70_000.0, Some(f64::INFINITY));
    case(DataType::Int32, "float16", 2049.0, Some(2048.0));
    case(DataType::Float64, "bool", 0.5, Some(1.0));
    // A place where arrow casts NaN to a truth value.
    case(DataType::Float64, "bool", 0.0, Some(0.0));
}

#[test]
fn what_lies_under_a_null_row_never_makes_an_error() {
    let (field, column) = tensors(&DataType::Float64, &[2], vec![Some(1e9), None, Some(1.0), Some(2.0)], &[0]);
    let (_, found) = call("tensor_cast", &field, &dtype("uint8"), &column).unwrap();
    assert_eq!(shown(&found), (vec![None, Some(vec![1.0, 2.0])], Vec::new()));
    let (field, column) = tensors(&DataType::Float64, &[2], vec![Some(1e9), None, Some(1.0), Some(2.0)], &[1]);
    let (_, found) = call("tensor_cast", &field, &dtype("uint8"), &column).unwrap();
    assert_eq!(shown(&found), (vec![None, None], vec!["0 a value of it is null".to_string()]));
}

#[test]
fn wrong_arguments_are_named_when_the_query_is_planned() {
    let case = |name: &str, field: &FieldRef, more: &[Argument], expected: &str| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let error = call(name, field, more, &column).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let shown = error.to_string();
        assert!(shown.contains(expected) && shown.starts_with(&format!("call {name}(")), "{shown:?}: {expected:?}");
    };
    let plain = |kind: DataType| Arc::new(Field::new("n", kind, true));
    let (pixels, _) = tensors(&DataType::UInt8, &[2, 3], some(0..6), &[]);
    let list = plain(DataType::new_list(DataType::Float32, true));
    let reshape = "tensor_reshape";
    case(reshape, &pixels, &[], "arguments=1, accepted=2 to 33");
    case(reshape, &pixels, &axes(&[1; 33]), "arguments=34");
    case(reshape, &pixels, &axes(&[4, 2]), "accepted=a shape of 6 values, as the tensor has, shape=[4, 2]");
    case(reshape, &pixels, &axes(&[4, -1]), "accepted=a shape of 6 values");
    case(reshape, &pixels, &axes(&[7, -1]), "accepted=a shape of 6 values");
    case(reshape, &pixels, &axes(&[-1, -1]), "given=-1, accepted=-1 once");
    case(reshape, &pixels, &axes(&[0, 6]), "argument=axis, given=0");
    case(reshape, &pixels, &axes(&[-2, 3]), "argument=axis, given=-2");
    case(reshape, &pixels, &dtype("6"), "argument=axis, given='6'");
    case(reshape, &list, &axes(&[-1]), "given=-1, accepted=its length");
    case(reshape, &list, &axes(&[1 << 14, 1 << 13]), "a shape of at most 256 MiB");
    case(reshape, &list, &axes(&[i64::from(i32::MAX); 8]), "a shape of at most 256 MiB");
    case(reshape, &plain(DataType::Int64), &axes(&[1]), "given=column n of type Int64, accepted=a column of tensors");
    case(reshape, &plain(DataType::new_list(DataType::Utf8, true)), &axes(&[1]), "a column of tensors");
    case("tensor_cast", &list, &dtype("uint8"), "tensor_reshape makes them of lists");
    case("tensor_cast", &pixels, &dtype("complex64"), "argument=dtype, given='complex64', accepted='float32' or");
    case("tensor_cast", &pixels, &axes(&[8]), "argument=dtype, given=8");
    let large = Arc::new(TensorType::new(DataType::UInt8, [1 << 28]).field("large", true));
    case("tensor_cast", &large, &dtype("uint16"), "a type in which a row takes at most 256 MiB");
}
