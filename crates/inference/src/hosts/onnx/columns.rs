//! Columns to tensors and back. Fixed-width inputs are views of the column's own buffer; outputs are copied once, since
//! the runtime frees its memory after the call.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeListArray, PrimitiveArray, StringArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorRef};

use crate::hosts::{Signature, Slot};

/// Runs `$body` with `$arrow` as the Arrow type of `$value`; `$other` for what is not a number.
macro_rules! with_number {
    ($value:expr, $arrow:ident => $body:expr, $other:expr) => {
        match $value {
            DataType::Float32 => {
                type $arrow = Float32Type;
                $body
            }
            DataType::Float64 => {
                type $arrow = Float64Type;
                $body
            }
            DataType::Float16 => {
                type $arrow = Float16Type;
                $body
            }
            DataType::Int8 => {
                type $arrow = Int8Type;
                $body
            }
            DataType::Int16 => {
                type $arrow = Int16Type;
                $body
            }
            DataType::Int32 => {
                type $arrow = Int32Type;
                $body
            }
            DataType::Int64 => {
                type $arrow = Int64Type;
                $body
            }
            DataType::UInt8 => {
                type $arrow = UInt8Type;
                $body
            }
            DataType::UInt16 => {
                type $arrow = UInt16Type;
                $body
            }
            DataType::UInt32 => {
                type $arrow = UInt32Type;
                $body
            }
            DataType::UInt64 => {
                type $arrow = UInt64Type;
                $body
            }
            _ => $other,
        }
    };
}

/// `column`, typed by `field`, as the tensor `[rows, shape...]` that `slot` takes.
///
/// # Errors
/// `Invalid` if type or shape do not fit, `Data` if a row is null.
pub(super) fn tensor_of<'a>(slot: &Slot, field: &Field, column: &'a ArrayRef) -> Result<SessionInputValue<'a>> {
    let only = Signature { inputs: vec![slot.clone()], outputs: Vec::new() };
    only.check(&std::collections::BTreeMap::from([(slot.name.clone(), field.clone())]))?;
    if column.null_count() > 0 {
        let error = Error::new(Kind::Data, "pass column to model").with("input", &slot.name);
        return Err(error.with("nulls", column.null_count()).source("models take no nulls"));
    }
    let (values, axes) = match column.as_fixed_size_list_opt() {
        Some(list) => (list.values(), TensorType::of(field).map(|tensor| tensor.shape).unwrap_or_default()),
        // One value a row passes as a vector of one where the model wants that.
        None => (column, vec![1; slot.shape.len()]),
    };
    let shape: Vec<i64> = std::iter::once(column.len()).chain(axes).map(|axis| axis as i64).collect();
    let value = with_number!(slot.value, Value => view::<Value>(shape, values), copied(shape, values));
    value.map_err(|source| Error::new(Kind::Invalid, "pass column to model").with("input", &slot.name).source(source))
}

fn view<T>(shape: Vec<i64>, values: &ArrayRef) -> Result<SessionInputValue<'_>, String>
where
    T: ArrowPrimitiveType,
    T::Native: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let values: &[T::Native] = values.as_primitive::<T>().values();
    let tensor = TensorRef::from_array_view((shape, values)).map_err(|source| source.to_string())?;
    Ok(tensor.into())
}

/// What onnxruntime lays out in another way than Arrow: booleans (a byte each) and strings.
fn copied(shape: Vec<i64>, values: &ArrayRef) -> Result<SessionInputValue<'static>, String> {
    if let Some(flags) = values.as_boolean_opt() {
        let flags: Vec<bool> = flags.values().iter().collect();
        return Tensor::from_array((shape, flags)).map(Into::into).map_err(|source| source.to_string());
    }
    let texts = values.as_string_opt::<i32>().ok_or_else(|| format!("type {} is not supported", values.data_type()))?;
    let texts: Vec<String> = texts.iter().map(|text| text.unwrap_or_default().to_string()).collect();
    Tensor::from_string_array((shape, &texts[..])).map(Into::into).map_err(|source| source.to_string())
}

/// The tensor `[rows, shape...]` as a column named by `slot`: plain values for one a row, else a fixed-shape tensor.
///
/// # Errors
/// `Internal` if the tensor is not of the type that the session declared.
pub(super) fn column_of(slot: &Slot, tensor: &DynValue) -> Result<(FieldRef, ArrayRef)> {
    let (shape, values) = with_number!(
        slot.value,
        Value => numbers::<Value>(tensor),
        if slot.value == DataType::Boolean { flags(tensor) } else { texts(tensor) }
    )
    .map_err(|source| Error::new(Kind::Internal, "read model output").with("output", &slot.name).source(source))?;
    let axes: Vec<usize> = shape.iter().skip(1).map(|axis| usize::try_from(*axis).unwrap_or(0)).collect();
    if axes.is_empty() {
        return Ok((Arc::new(Field::new(&slot.name, slot.value.clone(), false)), values));
    }
    let kind = TensorType::new(slot.value.clone(), axes);
    let length = i32::try_from(kind.row_values()).unwrap_or(i32::MAX);
    let item = Arc::new(Field::new("item", kind.value.clone(), false));
    let list = FixedSizeListArray::try_new(item, length, values, None)
        .map_err(|source| Error::new(Kind::Internal, "read model output").with("output", &slot.name).source(source))?;
    Ok((Arc::new(kind.field(&slot.name, false)), Arc::new(list)))
}

fn numbers<T>(tensor: &DynValue) -> Result<(Vec<i64>, ArrayRef), String>
where
    T: ArrowPrimitiveType,
    T::Native: PrimitiveTensorElementType,
{
    let (shape, values) = tensor.try_extract_tensor::<T::Native>().map_err(|source| source.to_string())?;
    let values = PrimitiveArray::<T>::new(ScalarBuffer::from(values.to_vec()), None);
    Ok((shape.to_vec(), Arc::new(values)))
}

fn flags(tensor: &DynValue) -> Result<(Vec<i64>, ArrayRef), String> {
    let (shape, values) = tensor.try_extract_tensor::<bool>().map_err(|source| source.to_string())?;
    Ok((shape.to_vec(), Arc::new(BooleanArray::from(values.to_vec()))))
}

fn texts(tensor: &DynValue) -> Result<(Vec<i64>, ArrayRef), String> {
    let (shape, values) = tensor.try_extract_strings().map_err(|source| source.to_string())?;
    Ok((shape.to_vec(), Arc::new(StringArray::from(values))))
}
