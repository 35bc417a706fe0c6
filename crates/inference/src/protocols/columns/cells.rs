//! Cells of Arrow columns as JSON values.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type};
use arrow::datatypes::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use forebay_core::types::tensor::TensorType;
use serde_json::{Map, Number, Value};

use super::Mismatch;

/// Row `row` of `array`, typed by `field`: tensors as nested arrays of their shape, structs as objects, nulls as `null`.
///
/// # Errors
/// NaN and infinities, which JSON cannot say; types that have no one form in JSON (binary, times, decimals: cast them to
/// text first).
pub fn cell(field: &Field, array: &dyn Array, row: usize) -> Result<Value, Mismatch> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match field.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => number(array.as_primitive::<Float16Type>().value(row).to_f64())?,
        DataType::Float32 => single(array.as_primitive::<Float32Type>().value(row))?,
        DataType::Float64 => number(array.as_primitive::<Float64Type>().value(row))?,
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::List(item) => list(item, array.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(item) => list(item, array.as_list::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(item, _) => {
            let flat = list(item, array.as_fixed_size_list().value(row).as_ref())?;
            shaped(flat, &TensorType::of(field).map(|tensor| tensor.shape).unwrap_or_default())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            let mut object = Map::with_capacity(fields.len());
            for (field, column) in fields.iter().zip(columns.columns()) {
                object.insert(field.name().clone(), cell(field, column, row)?);
            }
            Value::Object(object)
        }
        other => return Err(Mismatch(format!("a value of type {other} has no one form in JSON; cast it to text"))),
    })
}

fn list(item: &Field, values: &dyn Array) -> Result<Value, Mismatch> {
    (0..values.len()).map(|place| cell(item, values, place)).collect::<Result<_, _>>().map(Value::Array)
}

/// A flat array as nested arrays of `shape`.
fn shaped(flat: Value, shape: &[usize]) -> Value {
    let (Value::Array(items), [_, inner @ ..]) = (&flat, shape) else { return flat };
    if inner.is_empty() {
        return flat;
    }
    let length: usize = inner.iter().product::<usize>().max(1);
    items.chunks(length).map(|row| shaped(Value::Array(row.to_vec()), inner)).collect()
}

/// The shortest decimal that is the same `f32`, as a person would write it: 0.1, not 0.10000000149011612.
fn single(value: f32) -> Result<Value, Mismatch> {
    let written = if value.is_finite() { value.to_string().parse().ok() } else { None };
    number(written.unwrap_or(f64::from(value)))
}

fn number(value: f64) -> Result<Value, Mismatch> {
    Number::from_f64(value).map(Value::Number).ok_or_else(|| Mismatch(format!("{value} cannot be said in JSON")))
}
