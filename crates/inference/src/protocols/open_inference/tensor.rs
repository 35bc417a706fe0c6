//! Tensors on the wire: columns to bytes and back.
//!
//! Raw tensors are row-major and little-endian, as Arrow's buffers are, so numbers go out without a copy and come in without
//! one where they are aligned. `BYTES` has 4 bytes of length before each value. Nothing of an answer is believed: its type,
//! shape and length are compared with the signature and the rows asked before anything is allocated.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, FixedSizeListArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::{BufMut, Bytes, BytesMut};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};
use serde_json::Value;

use super::datatype::name_of;
use crate::hosts::{Signature, Slot};
use crate::protocols::columns::array_of;

#[cfg(not(target_endian = "little"))]
compile_error!("raw tensors are views of Arrow buffers, which this machine keeps in the other byte order");

/// A tensor to send.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) datatype: &'static str,
    pub(super) shape: Vec<i64>,
    /// Its values, one after the other.
    pub(super) values: ArrayRef,
}

/// A tensor that came.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
    pub(super) content: Content,
}

/// Its values, as they travelled.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Raw bytes.
    Raw(Bytes),
    /// JSON, flat or nested.
    Json(Value),
    /// The typed lists of gRPC, wider than or as wide as the tensor's own type.
    Typed(ArrayRef),
}

/// An Arrow buffer as the owner of `Bytes`.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// `column`, typed by `field`, as the tensor that `slot` takes.
///
/// # Errors
/// `Invalid` if type or shape do not fit, `Data` if a row is null.
pub(super) fn given(slot: &Slot, field: &Field, column: &ArrayRef) -> Result<Given> {
    let only = Signature { inputs: vec![slot.clone()], outputs: Vec::new() };
    only.check(&std::collections::BTreeMap::from([(slot.name.clone(), field.clone())]))?;
    let error = |kind| Error::new(kind, "pass column to model").with("input", &slot.name);
    if column.null_count() > 0 {
        return Err(error(Kind::Data).with("nulls", column.null_count()).source("models take no nulls"));
    }
    let datatype = name_of(&slot.value).ok_or_else(|| error(Kind::Invalid).with("type", &slot.value))?;
    let (values, axes) = match column.as_fixed_size_list_opt() {
        // `values` of a slice is the whole list's; its own rows begin at the offset.
        Some(list) => {
            let length = usize::try_from(list.value_length()).unwrap_or(0);
            let values = list.values().slice(list.offset() * length, list.len() * length);
            (values, TensorType::of(field).map(|tensor| tensor.shape).unwrap_or_default())
        }
        None => (Arc::clone(column), vec![1; slot.shape.len()]),
    };
    let shape = std::iter::once(column.len()).chain(axes).map(|axis| axis as i64).collect();
    Ok(Given { name: slot.name.clone(), datatype, shape, values })
}

// === impl Given ===

impl Given {
    /// The values as raw bytes.
    pub(super) fn raw(&self) -> Bytes {
        if let Some(flags) = self.values.as_boolean_opt() {
            return flags.values().iter().map(u8::from).collect();
        }
        if let Some(texts) = self.values.as_string_opt::<i32>() {
            return prefixed(texts.iter().map(|text| text.unwrap_or_default().as_bytes()));
        }
        if let Some(values) = self.values.as_binary_opt::<i32>() {
            return prefixed(values.iter().map(Option::unwrap_or_default));
        }
        let data = self.values.to_data();
        let width = self.values.data_type().primitive_width().unwrap_or(1);
        data.buffers().first().map_or_else(Bytes::new, |buffer| {
            Bytes::from_owner(Owner(buffer.slice_with_length(data.offset() * width, data.len() * width)))
        })
    }
}

/// Values with their lengths, 4 bytes each. Arrow's own offsets keep a value below 2 GiB.
fn prefixed<'a>(values: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut bytes = BytesMut::new();
    for value in values {
        bytes.put_u32_le(value.len() as u32);
        bytes.put_slice(value);
    }
    bytes.freeze()
}

// === impl Taken ===

impl Taken {
    /// The tensor as the column of `slot` for `rows` rows.
    ///
    /// # Errors
    /// Says how type, shape, length or values differ from what was asked.
    pub(super) fn column(self, slot: &Slot, rows: usize, nan_allowed: bool) -> Result<(FieldRef, ArrayRef), String> {
        if name_of(&slot.value) != Some(self.datatype.as_str()) {
            return Err(format!("it is {}, expected {slot}", shown(&self.datatype)));
        }
        let axes = self.axes(slot, rows)?;
        let count = axes.iter().try_fold(rows, |all, axis| all.checked_mul(*axis));
        let count = count.ok_or_else(|| format!("its shape {:?} is beyond any memory", self.shape))?;
        let values = match self.content {
            Content::Raw(bytes) => raw_values(&slot.value, bytes, count)?,
            Content::Json(value) => json_values(&slot.value, &value, count)?,
            Content::Typed(array) => typed_values(&slot.value, &array, count)?,
        };
        if !nan_allowed && let Some(place) = first_not_finite(&values) {
            let row = place / axes.iter().product::<usize>().max(1);
            return Err(format!("row {row} is NaN or infinite, which the settings do not allow"));
        }
        wrapped(slot, axes, values, rows)
    }

    /// The axes of one row, compared with what was asked.
    fn axes(&self, slot: &Slot, rows: usize) -> Result<Vec<usize>, String> {
        let lengths: Option<Vec<usize>> = self.shape.iter().map(|axis| usize::try_from(*axis).ok()).collect();
        let lengths = lengths.ok_or_else(|| format!("its shape {:?} has a negative axis", self.shape))?;
        match lengths.split_first() {
            Some((first, _)) if *first != rows => Err(format!("{first} answers to {rows} rows")),
            Some((_, axes))
                if axes.len() == slot.shape.len()
                    && axes.iter().zip(&slot.shape).all(|(axis, own)| own.is_none_or(|own| own == *axis)) =>
            {
                Ok(axes.to_vec())
            }
            _ => Err(format!("its shape is {:?}, expected {slot}", self.shape)),
        }
    }
}

fn wrapped(slot: &Slot, axes: Vec<usize>, values: ArrayRef, rows: usize) -> Result<(FieldRef, ArrayRef), String> {
    if axes.is_empty() {
        return Ok((Arc::new(Field::new(&slot.name, slot.value.clone(), false)), values));
    }
    let kind = TensorType::new(slot.value.clone(), axes);
    let length = i32::try_from(kind.row_values()).map_err(|_| format!("a row of {} values", kind.row_values()))?;
    let item = Arc::new(Field::new("item", kind.value.clone(), false));
    let list = FixedSizeListArray::try_new_with_length(item, length, values, None, rows);
    Ok((Arc::new(kind.field(&slot.name, false)), Arc::new(list.map_err(|source| source.to_string())?)))
}

fn raw_values(value: &DataType, bytes: Bytes, count: usize) -> Result<ArrayRef, String> {
    match value {
        DataType::Utf8 => {
            let texts = strings(&bytes, count)?.into_iter().enumerate();
            let text =
                |(place, bytes)| std::str::from_utf8(bytes).map_err(|_| format!("value {place} is no UTF-8 text"));
            Ok(Arc::new(StringArray::from(texts.map(text).collect::<Result<Vec<_>, _>>()?)))
        }
        DataType::Binary => Ok(Arc::new(BinaryArray::from(strings(&bytes, count)?))),
        DataType::Boolean => {
            check_length(&bytes, count, 1)?;
            Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(count, |place| bytes[place] != 0), None)))
        }
        DataType::Int8 => numbers::<Int8Type>(bytes, count),
        DataType::Int16 => numbers::<Int16Type>(bytes, count),
        DataType::Int32 => numbers::<Int32Type>(bytes, count),
        DataType::Int64 => numbers::<Int64Type>(bytes, count),
        DataType::UInt8 => numbers::<UInt8Type>(bytes, count),
        DataType::UInt16 => numbers::<UInt16Type>(bytes, count),
        DataType::UInt32 => numbers::<UInt32Type>(bytes, count),
        DataType::UInt64 => numbers::<UInt64Type>(bytes, count),
        DataType::Float16 => numbers::<Float16Type>(bytes, count),
        DataType::Float32 => numbers::<Float32Type>(bytes, count),
        DataType::Float64 => numbers::<Float64Type>(bytes, count),
        other => Err(format!("type {other} is not taken")),
    }
}

fn check_length(bytes: &[u8], count: usize, width: usize) -> Result<(), String> {
    match count.checked_mul(width) {
        Some(expected) if expected == bytes.len() => Ok(()),
        _ => Err(format!("{} bytes came for {count} values of {width} bytes", bytes.len())),
    }
}

/// The buffer itself where it is aligned, as it is in most answers, else a copy.
fn numbers<T: ArrowPrimitiveType>(bytes: Bytes, count: usize) -> Result<ArrayRef, String> {
    let width = size_of::<T::Native>();
    check_length(&bytes, count, width)?;
    let aligned = bytes.as_ptr().align_offset(align_of::<T::Native>()) == 0;
    let buffer = if aligned { Buffer::from(bytes) } else { Buffer::from_slice_ref(&bytes) };
    Ok(Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::new(buffer, 0, count), None)))
}

/// `count` values with their lengths before them, as views.
fn strings(bytes: &[u8], count: usize) -> Result<Vec<&[u8]>, String> {
    // Each value takes 4 bytes at least, which bounds what is set aside.
    if count > bytes.len() / 4 {
        return Err(format!("{} bytes came for {count} values with 4 bytes of length each", bytes.len()));
    }
    let mut values = Vec::with_capacity(count);
    let mut rest = bytes;
    for place in 0..count {
        let cut = || format!("value {place} is cut off");
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (value, after) = after
            .split_at_checked(length)
            .ok_or_else(|| format!("value {place} says it has {length} bytes, {} are left", after.len()))?;
        values.push(value);
        rest = after;
    }
    if rest.is_empty() { Ok(values) } else { Err(format!("{} bytes are left over", rest.len())) }
}

fn json_values(value: &DataType, data: &Value, count: usize) -> Result<ArrayRef, String> {
    let mut flat = Vec::new();
    flatten(data, &mut flat);
    if flat.len() != count {
        return Err(format!("{} values came, its shape has {count}", flat.len()));
    }
    if *value == DataType::Utf8
        && let Some(place) = flat.iter().position(|value| !value.is_string())
    {
        return Err(format!("value {place} is no text"));
    }
    array_of(value, false, &flat).map_err(|why| why.to_string())
}

fn flatten<'a>(value: &'a Value, flat: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, flat)),
        value => flat.push(value),
    }
}

fn typed_values(value: &DataType, array: &ArrayRef, count: usize) -> Result<ArrayRef, String> {
    if array.len() != count {
        return Err(format!("{} values came, its shape has {count}", array.len()));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, value, &strict).map_err(|source| source.to_string())
}

fn first_not_finite(values: &ArrayRef) -> Option<usize> {
    match values.data_type() {
        DataType::Float16 => values.as_primitive::<Float16Type>().values().iter().position(|v| !v.is_finite()),
        DataType::Float32 => values.as_primitive::<Float32Type>().values().iter().position(|v| !v.is_finite()),
        DataType::Float64 => values.as_primitive::<Float64Type>().values().iter().position(|v| !v.is_finite()),
        _ => None,
    }
}

fn shown(datatype: &str) -> String {
    crate::protocols::refusal::cut(datatype)
}

#[cfg(test)]
mod tests;
