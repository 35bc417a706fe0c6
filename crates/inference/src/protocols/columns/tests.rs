//! Values there and back, and what does not fit.

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields};
use forebay_core::types::tensor::TensorType;
use serde_json::{Value, json};

use super::*;
use crate::hosts::Slot;

fn slot(value: DataType, shape: &[Option<usize>]) -> Slot {
    Slot { name: "x".into(), value, shape: shape.to_vec() }
}

/// Reads `values` as `slot` and writes them back.
fn round(slot: &Slot, values: &Value) -> Result<Value, String> {
    let rows: Vec<&Value> = values.as_array().unwrap().iter().collect();
    let (field, column) = column_of(slot, &rows).map_err(|why| why.0)?;
    let again = (0..rows.len()).map(|row| cell(&field, column.as_ref(), row).map_err(|why| why.0));
    again.collect::<Result<_, _>>().map(Value::Array)
}

#[test]
fn values_survive_the_way_in_and_out() {
    let same = |value: DataType, shape: &[Option<usize>], values: Value| {
        assert_eq!(round(&slot(value, shape), &values), Ok(values));
    };
    same(DataType::Int8, &[], json!([-128, 127]));
    same(DataType::UInt64, &[], json!([0, u64::MAX]));
    same(DataType::Int64, &[], json!([i64::MIN, i64::MAX]));
    same(DataType::Float32, &[], json!([0.1, -2.5e30]));
    same(DataType::Float64, &[], json!([0.1, 1e300]));
    same(DataType::Float16, &[], json!([0.5, -2.0]));
    same(DataType::Boolean, &[], json!([true, false]));
    same(DataType::Utf8, &[], json!(["é", ""]));
    same(DataType::Float32, &[Some(2), None], json!([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]));
    same(DataType::Int32, &[Some(2)], json!([]));
}

#[test]
fn what_does_not_fit_is_named() {
    let fails = |value: DataType, shape: &[Option<usize>], values: Value, expected: &str| {
        assert_eq!(round(&slot(value, shape), &values).unwrap_err(), expected);
    };
    fails(DataType::Int8, &[], json!([1, 128]), "value 1 is 128, expected a number of type Int8");
    fails(DataType::Int64, &[], json!([1.5]), "value 0 is 1.5, expected a number of type Int64");
    fails(DataType::UInt8, &[], json!([-1]), "value 0 is -1, expected a number of type UInt8");
    fails(DataType::Float32, &[], json!([1e39]), "value 0 is 1e+39, expected a finite number of type Float32");
    fails(DataType::Float32, &[], json!([null]), "value 0 is null");
    fails(DataType::Float64, &[], json!(["NaN"]), "value 0 is \"NaN\", expected a finite number of type Float64");
    fails(DataType::Int64, &[Some(2)], json!([[1, 2], [3]]), "row 1: an array of 1 values, expected int64[rows, 2]");
    fails(DataType::Int64, &[Some(2)], json!([[1, 2, 3]]), "row 0: an array of shape [3], expected int64[rows, 2]");
    fails(DataType::Int64, &[None], json!([[1, [2]]]), "value 1 is an array, expected a number of type Int64");
}

#[test]
fn structs_and_lists_nest() {
    let inner = Field::new("item", DataType::Struct(Fields::from(vec![Field::new("n", DataType::Int64, true)])), false);
    let fields = Fields::from(vec![Field::new("name", DataType::Utf8, false), Field::new_list("parts", inner, true)]);
    let wanted = DataType::Struct(fields);
    let rows = json!([{ "name": "a", "parts": [{ "n": 1 }, {}] }, { "name": "b", "more": 1 }]);
    let values: Vec<&Value> = rows.as_array().unwrap().iter().collect();
    let array = array_of(&wanted, false, &values).unwrap();
    let field = Field::new("x", wanted.clone(), false);
    assert_eq!(cell(&field, array.as_ref(), 0), Ok(json!({ "name": "a", "parts": [{ "n": 1 }, { "n": null }] })));
    assert_eq!(cell(&field, array.as_ref(), 1), Ok(json!({ "name": "b", "parts": null })));
    let why = |value: Value| array_of(&wanted, false, &[&value]).unwrap_err().0;
    assert_eq!(why(json!({ "parts": [] })), "value 0 lacks `name`");
    assert_eq!(
        why(json!({ "name": "a", "parts": [{ "n": "1" }] })),
        "`parts`: `n`: value 0 is \"1\", expected a number of type Int64"
    );
}

#[test]
fn what_json_cannot_say_is_not_sent() {
    let column = Float32Array::from(vec![f32::NAN]);
    let why = cell(&Field::new("x", DataType::Float32, false), &column, 0).unwrap_err();
    assert_eq!(why.0, "NaN cannot be said in JSON");
    let why = cell(&Field::new("x", DataType::Binary, false), &arrow::array::BinaryArray::from(vec![&b"a"[..]]), 0);
    assert!(why.unwrap_err().0.contains("cast it to text"));
}

#[test]
fn a_slice_of_a_tensor_column_keeps_its_rows() {
    let kind = TensorType::new(DataType::Float32, [2]);
    let (_, column) = column_of(&slot(DataType::Float32, &[Some(2)]), &[&json!([1, 2]), &json!([3, 4])]).unwrap();
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap().slice(1, 1);
    assert_eq!(cell(&kind.field("x", false), batch.column(0), 0), Ok(json!([3.0, 4.0])));
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from(vec![Some("a"), None]));
    assert_eq!(cell(&Field::new("t", DataType::Utf8, true), &texts, 1), Ok(Value::Null));
}
