//! JSON values as Arrow columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use forebay_core::types::tensor::TensorType;
use serde_json::Value;

use super::Mismatch;
use crate::hosts::Slot;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// One value a row as the column of `slot`, without nulls: plain values, or tensors from arrays nested as the shape is.
/// Axes of any length take the length of the first row, and all rows must have it.
///
/// # Errors
/// Says which row does not fit and why.
pub fn column_of(slot: &Slot, values: &[&Value]) -> Result<(FieldRef, ArrayRef), Mismatch> {
    if slot.shape.is_empty() {
        let array = array_of(&slot.value, false, values)?;
        return Ok((Arc::new(Field::new(&slot.name, slot.value.clone(), false)), array));
    }
    let empty = || slot.shape.iter().map(|axis| axis.unwrap_or(0)).collect();
    let shape: Vec<usize> = values.first().map_or_else(empty, |first| shape_of(first, slot.shape.len()));
    let fits = slot.shape.iter().zip(&shape).all(|(axis, length)| axis.is_none_or(|axis| axis == *length));
    if !fits {
        return Err(Mismatch(format!("row 0: an array of shape {shape:?}, expected {slot}")));
    }
    let mut flat = Vec::new();
    for (row, value) in values.iter().enumerate() {
        flatten(value, &shape, &mut flat).map_err(|why| Mismatch(format!("row {row}: {why}, expected {slot}")))?;
    }
    let kind = TensorType::new(slot.value.clone(), shape);
    let length = i32::try_from(kind.row_values()).map_err(|_| Mismatch(format!("too many values a row: {slot}")))?;
    let item = Arc::new(Field::new("item", kind.value.clone(), false));
    let items = array_of(&kind.value, false, &flat)?;
    let list = FixedSizeListArray::try_new_with_length(item, length, items, None, values.len());
    Ok((Arc::new(kind.field(&slot.name, false)), Arc::new(list.map_err(|source| Mismatch(source.to_string()))?)))
}

/// `values` as an array of type `wanted`.
///
/// # Errors
/// Says which value does not fit and why.
pub fn array_of(wanted: &DataType, nullable: bool, values: &[&Value]) -> Result<ArrayRef, Mismatch> {
    if let (false, Some(row)) = (nullable, values.iter().position(|value| value.is_null())) {
        return Err(Mismatch(format!("value {row} is null")));
    }
    match wanted {
        DataType::Boolean => collect(values, "a boolean", Value::as_bool).map(|v| Arc::new(BooleanArray::from(v)) as _),
        DataType::Int8 => whole::<Int8Type>(values),
        DataType::Int16 => whole::<Int16Type>(values),
        DataType::Int32 => whole::<Int32Type>(values),
        DataType::Int64 => whole::<Int64Type>(values),
        DataType::UInt8 => whole::<UInt8Type>(values),
        DataType::UInt16 => whole::<UInt16Type>(values),
        DataType::UInt32 => whole::<UInt32Type>(values),
        DataType::UInt64 => whole::<UInt64Type>(values),
        DataType::Float16 => real::<Float16Type>(values, Half::from_f64),
        DataType::Float32 => real::<Float32Type>(values, |value| value as f32),
        DataType::Float64 => real::<Float64Type>(values, |value| value),
        DataType::Utf8 => Ok(texts(values)),
        DataType::Struct(_) => object(wanted, values),
        DataType::List(item) => list(item, values),
        other => Err(Mismatch(format!("JSON is not read as {other}"))),
    }
}

fn collect<T>(values: &[&Value], what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<Option<T>>, Mismatch> {
    let one = |(row, value): (usize, &&Value)| match (value, read(value)) {
        (Value::Null, _) => Ok(None),
        (_, Some(read)) => Ok(Some(read)),
        (value, None) => Err(Mismatch(format!("value {row} is {}, expected {what}", shown(value)))),
    };
    values.iter().enumerate().map(one).collect()
}

fn whole<T>(values: &[&Value]) -> Result<ArrayRef, Mismatch>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64> + TryFrom<u64>,
{
    let read = |value: &Value| match (value.as_i64(), value.as_u64()) {
        (Some(signed), _) => T::Native::try_from(signed).ok(),
        (None, Some(unsigned)) => T::Native::try_from(unsigned).ok(),
        (None, None) => None,
    };
    let values = collect(values, &format!("a number of type {}", T::DATA_TYPE), read)?;
    Ok(Arc::new(PrimitiveArray::<T>::from_iter(values)))
}

fn real<T: ArrowPrimitiveType>(values: &[&Value], narrow: impl Fn(f64) -> T::Native) -> Result<ArrayRef, Mismatch>
where
    T::Native: Into<f64>,
{
    let read = |value: &Value| value.as_f64().map(&narrow).filter(|narrowed| (*narrowed).into().is_finite());
    let values = collect(values, &format!("a finite number of type {}", T::DATA_TYPE), read)?;
    Ok(Arc::new(PrimitiveArray::<T>::from_iter(values)))
}

fn texts(values: &[&Value]) -> ArrayRef {
    let text = |value: &&Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    Arc::new(values.iter().map(text).collect::<StringArray>())
}

fn object(wanted: &DataType, values: &[&Value]) -> Result<ArrayRef, Mismatch> {
    let DataType::Struct(fields) = wanted else { return Err(Mismatch("no struct".to_string())) };
    if let Some((row, value)) = values.iter().enumerate().find(|(_, value)| !value.is_object() && !value.is_null()) {
        return Err(Mismatch(format!("value {row} is {}, expected an object", shown(value))));
    }
    let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let of = |value: &&'_ Value| value.get(field.name()).is_none_or(Value::is_null) && !value.is_null();
        if let (false, Some(row)) = (field.is_nullable(), values.iter().position(of)) {
            return Err(Mismatch(format!("value {row} lacks `{}`", field.name())));
        }
        let cells: Vec<&Value> = values.iter().map(|value| value.get(field.name()).unwrap_or(&Value::Null)).collect();
        // Under a null struct the children are null too, whatever the field says.
        let nullable = field.is_nullable() || nulls.null_count() > 0;
        let column = array_of(field.data_type(), nullable, &cells);
        columns.push(column.map_err(|why| Mismatch(format!("`{}`: {why}", field.name())))?);
    }
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, values.len());
    Ok(Arc::new(array.map_err(|source| Mismatch(source.to_string()))?))
}

fn list(item: &FieldRef, values: &[&Value]) -> Result<ArrayRef, Mismatch> {
    let arrays = collect(values, "an array", |value| value.as_array().cloned())?;
    let nulls: NullBuffer = arrays.iter().map(Option::is_some).collect();
    let lengths = arrays.iter().map(|array| array.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let flat: Vec<&Value> = arrays.iter().flatten().flatten().collect();
    let flat = array_of(item.data_type(), item.is_nullable(), &flat)?;
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    let array = ListArray::try_new(Arc::clone(item), offsets, flat, nulls);
    Ok(Arc::new(array.map_err(|source| Mismatch(source.to_string()))?))
}

/// The lengths of the outer `axes` axes of nested arrays, by their first items.
fn shape_of(value: &Value, axes: usize) -> Vec<usize> {
    let mut shape = Vec::new();
    let mut next = Some(value);
    while let (Some(Value::Array(items)), true) = (next, shape.len() < axes) {
        shape.push(items.len());
        next = items.first();
    }
    shape.resize(axes, 0);
    shape
}

fn flatten<'a>(value: &'a Value, shape: &[usize], flat: &mut Vec<&'a Value>) -> Result<(), String> {
    let [length, inner @ ..] = shape else {
        flat.push(value);
        return Ok(());
    };
    match value.as_array() {
        Some(items) if items.len() == *length => items.iter().try_for_each(|item| flatten(item, inner, flat)),
        Some(items) => Err(format!("an array of {} values", items.len())),
        None => Err(shown(value)),
    }
}

/// A value as errors show it: its kind, and itself if it is short.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.len() <= 20 => format!("\"{text}\""),
        Value::String(_) => "a text".to_string(),
        Value::Array(_) => "an array".to_string(),
        Value::Object(_) => "an object".to_string(),
    }
}
