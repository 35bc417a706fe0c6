//! Tensors in Parquet files: a `FixedSizeList` column as fixed-size binary and back, both without a copy.
//!
//! Parquet has no fixed-size list; writing one value by value costs some twenty times the CPU of writing the same bytes.
//! A row is stored as its values, row-major and little-endian. The field keeps what is needed to read it back:
//!
//! | metadata key | value |
//! |---|---|
//! | `ARROW:extension:name` | `forebay.tensor_bytes` |
//! | `ARROW:extension:metadata` | `{"dtype":"uint8","shape":[224,224,3]}` |
//!
//! `dtype` is NumPy's name. Lists with other values, or whose values may be null, stay lists.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayData;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray, make_array};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use forebay_core::types::dtype;
use forebay_core::types::tensor::{FIXED_SHAPE_TENSOR, TensorType};
use forebay_core::types::{EXTENSION_METADATA, EXTENSION_NAME, extension_name};

/// Extension name of a tensor column stored as bytes.
pub const TENSOR_BYTES: &str = "forebay.tensor_bytes";

/// The extension's metadata.
#[derive(serde::Serialize, serde::Deserialize)]
struct Metadata {
    dtype: String,
    shape: Vec<usize>,
}

/// `field` as it is stored: fixed-size binary if it is a tensor that can be, else `None`.
pub fn stored_field(field: &Field) -> Option<Field> {
    let DataType::FixedSizeList(item, _) = field.data_type() else { return None };
    let tensor = TensorType::of(field)?;
    let dtype = dtype::name_of(&tensor.value)?;
    if item.is_nullable() || tensor.row_values() == 0 {
        return None;
    }
    let width = i32::try_from(tensor.row_values() * tensor.value.primitive_width()?).ok()?;
    let metadata = serde_json::to_string(&Metadata { dtype: dtype.to_string(), shape: tensor.shape }).ok()?;
    let stored = Field::new(field.name(), DataType::FixedSizeBinary(width), field.is_nullable());
    Some(stored.with_metadata(HashMap::from([
        (EXTENSION_NAME.to_string(), TENSOR_BYTES.to_string()),
        (EXTENSION_METADATA.to_string(), metadata),
    ])))
}

/// The values of `column` in the form of [`stored_field`]; shares its memory.
///
/// # Errors
/// If the column is no fixed-size list, or a value inside a row is null.
pub fn stored_column(column: &ArrayRef) -> Result<FixedSizeBinaryArray, ArrowError> {
    let list = column
        .as_fixed_size_list_opt()
        .ok_or_else(|| ArrowError::SchemaError(format!("a tensor column is {}", column.data_type())))?;
    let values = list.values();
    if values.null_count() > 0 && list.null_count() == 0 {
        return Err(ArrowError::InvalidArgumentError("a value inside a tensor is null".to_string()));
    }
    let width = values.data_type().primitive_width().unwrap_or(1);
    let data = values.to_data();
    let bytes = data.buffers()[0].slice_with_length(data.offset() * width, values.len() * width);
    let row = list.value_length() * i32::try_from(width).unwrap_or(i32::MAX);
    FixedSizeBinaryArray::try_new(row, bytes, list.nulls().cloned())
}

/// The tensor that a stored `field` holds, `None` if it is none.
fn tensor_of(field: &Field) -> Option<TensorType> {
    let DataType::FixedSizeBinary(width) = field.data_type() else { return None };
    if extension_name(field) != Some(TENSOR_BYTES) {
        return None;
    }
    let metadata: Metadata = serde_json::from_str(field.metadata().get(EXTENSION_METADATA)?).ok()?;
    let value = dtype::named(&metadata.dtype)?;
    let tensor = TensorType::new(value.clone(), metadata.shape).checked(usize::MAX).ok()?;
    let bytes = tensor.row_values() * value.primitive_width()?;
    (bytes == usize::try_from(*width).ok()?).then_some(tensor)
}

/// A field of Arrow's own tensors, by what is in its metadata.
#[derive(serde::Deserialize)]
struct Canonical {
    permutation: Option<Vec<usize>>,
}

/// # Errors
/// Says so where tensors have their axes stored in another order than they are read in, which rows cannot.
pub fn check_order(field: &Field) -> Result<(), String> {
    let metadata =
        field.metadata().get(EXTENSION_METADATA).filter(|_| extension_name(field) == Some(FIXED_SHAPE_TENSOR));
    match metadata.map(|text| serde_json::from_str(text)) {
        Some(Ok(Canonical { permutation: Some(order) })) if !order.is_sorted() => Err(format!(
            "the axes of column `{}` are stored in another order than they are read in (permutation {order:?}): write it \
             from arrays in C order",
            field.name()
        )),
        _ => Ok(()),
    }
}

/// A field as rows have it: a stored tensor becomes a tensor again, any other stays as it is.
pub fn restored_field(field: &Field) -> Field {
    match tensor_of(field) {
        Some(tensor) => tensor.field(field.name(), field.is_nullable()),
        None => field.clone(),
    }
}

/// A column as rows have it; see [`restored_field`]. Shares memory where it is aligned.
///
/// # Errors
/// If the bytes do not fit the field.
pub fn restored_column(field: &Field, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(tensor) = tensor_of(field) else { return Ok(Arc::clone(column)) };
    let bytes = column
        .as_fixed_size_binary_opt()
        .ok_or_else(|| ArrowError::SchemaError(format!("a stored tensor is {}", column.data_type())))?;
    let width = tensor.value.primitive_width().unwrap_or(1);
    let start = bytes.value_offset(0) as usize;
    let buffer = bytes.to_data().buffers()[0].clone();
    let length = column.len() * tensor.row_values();
    let values = ArrayData::builder(tensor.value.clone())
        .len(length)
        .add_buffer(buffer.slice_with_length(start, length * width))
        .align_buffers(true)
        .build()?;
    let DataType::FixedSizeList(item, row) = tensor.storage() else { return Ok(Arc::clone(column)) };
    Ok(Arc::new(FixedSizeListArray::try_new(item, row, make_array(values), bytes.nulls().cloned())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Int32Array};

    fn column(nulls: Option<Vec<bool>>) -> (Field, ArrayRef) {
        let tensor = TensorType::new(DataType::Float32, [2, 1]);
        let values: ArrayRef = Arc::new(Float32Array::from_iter_values((0..8).map(|value| value as f32)));
        let DataType::FixedSizeList(item, row) = tensor.storage() else { unreachable!() };
        let list = FixedSizeListArray::try_new(item, row, values, nulls.map(Into::into)).unwrap();
        (tensor.field("t", true), Arc::new(list))
    }

    #[test]
    fn axes_stored_in_another_order_are_refused() {
        let field = |metadata: &str| {
            let tensor = TensorType::new(DataType::Float32, [2, 3]);
            let names = [(EXTENSION_NAME, FIXED_SHAPE_TENSOR), (EXTENSION_METADATA, metadata)];
            tensor.field("t", true).with_metadata(names.map(|(key, text)| (key.to_string(), text.to_string())).into())
        };
        for good in [r#"{"shape":[2,3]}"#, r#"{"shape":[2,3],"permutation":[0,1]}"#, r#"{"permutation":null}"#] {
            assert_eq!(check_order(&field(good)), Ok(()));
        }
        let why = check_order(&field(r#"{"shape":[2,3],"dim_names":["a","b"],"permutation":[1,0]}"#)).unwrap_err();
        assert!(why.contains("column `t`") && why.contains("[1, 0]"), "{why}");
    }

    #[test]
    fn tensors_round_trip_with_nulls_and_slices() {
        for (nulls, start) in
            [(None, 0), (Some(vec![true, false, true, true]), 0), (Some(vec![true, false, true, true]), 1)]
        {
            let (field, whole) = column(nulls);
            let part = whole.slice(start, 3);
            let stored: ArrayRef = Arc::new(stored_column(&part).unwrap());
            let stored_field = stored_field(&field).unwrap();
            assert_eq!(restored_field(&stored_field), field);
            assert_eq!(&restored_column(&stored_field, &stored).unwrap(), &part);
            assert_eq!(&restored_column(&stored_field, &stored.slice(1, 2)).unwrap(), &part.slice(1, 2));
        }
    }

    #[test]
    fn storing_shares_the_memory_of_the_tensor() {
        let (_, whole) = column(None);
        let values = whole.as_fixed_size_list().values().to_data();
        let stored = stored_column(&whole).unwrap();
        assert_eq!(stored.value_data().as_ptr(), values.buffers()[0].as_ptr());
    }

    #[test]
    fn what_is_no_plain_tensor_stays_a_list() {
        let list = |value, nullable| {
            Field::new("x", DataType::FixedSizeList(Arc::new(Field::new("item", value, nullable)), 2), false)
        };
        assert_eq!(stored_field(&list(DataType::Utf8, false)), None);
        assert_eq!(stored_field(&list(DataType::Int32, true)), None);
        assert!(stored_field(&list(DataType::Int32, false)).is_some());
        assert!(stored_column(&(Arc::new(Int32Array::from(vec![1])) as ArrayRef)).is_err());
    }
}
