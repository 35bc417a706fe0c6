//! Arrow arrays as lengths and buffers, in the order of Arrow's own IPC: an array before its children, depth first.
//!
//! Slices carry only their own rows. Types whose layout needs more than lengths and buffers (dictionaries, unions, views,
//! run ends) do not travel so: their rows stay on the socket. Nothing here knows where buffers lie.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, OffsetSizeTrait, make_array};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{BinaryType, ByteArrayType, DataType, Field, LargeBinaryType, LargeUtf8Type, Schema, Utf8Type};
use forebay_core::{Error, Kind, Result};

/// One array of a tree, without its children.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// How many values.
    pub length: usize,
    /// Validity first, then what the type has; `None` for one that is not there.
    pub buffers: Vec<Option<Buffer>>,
}

/// What a buffer is for, and so what a wrong byte in it could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Values of so many bytes, of which every bit pattern is one.
    Values(usize),
    /// Bits and offsets: what is read unchecked once it was checked.
    Structure,
    /// The bytes that offsets speak of; how many there are is found in those.
    Text,
}

/// Where parts come from when arrays are built.
pub trait Source {
    /// The length of the next part.
    fn length(&mut self) -> Result<usize>;

    /// The next buffer, `bytes_min` long, or longer if it is [`Role::Text`]; `None` if it is not there.
    fn buffer(&mut self, role: Role, bytes_min: usize) -> Result<Option<Buffer>>;
}

/// How arrays of a type lie in memory.
enum Shape<'a> {
    Nothing,
    Fixed(usize),
    Bits,
    /// Offsets of so many bytes, then bytes.
    Bytes(usize),
    /// Offsets of so many bytes, then a child.
    List(usize, &'a Field),
    FixedList(usize, &'a Field),
    Struct(Vec<&'a Field>),
}

/// True if rows of `schema` can be told as parts.
pub fn travels(schema: &Schema) -> bool {
    schema.fields().iter().all(|field| type_travels(field.data_type()))
}

fn type_travels(data_type: &DataType) -> bool {
    match shape(data_type) {
        None => false,
        Some(Shape::List(_, child) | Shape::FixedList(_, child)) => type_travels(child.data_type()),
        Some(Shape::Struct(children)) => children.iter().all(|child| type_travels(child.data_type())),
        Some(_) => true,
    }
}

fn shape(data_type: &DataType) -> Option<Shape<'_>> {
    Some(match data_type {
        DataType::Null => Shape::Nothing,
        DataType::Boolean => Shape::Bits,
        DataType::Utf8 | DataType::Binary => Shape::Bytes(4),
        DataType::LargeUtf8 | DataType::LargeBinary => Shape::Bytes(8),
        DataType::List(child) => Shape::List(4, child),
        DataType::LargeList(child) => Shape::List(8, child),
        DataType::FixedSizeList(child, size) => Shape::FixedList(usize::try_from(*size).ok()?, child),
        DataType::FixedSizeBinary(width) => Shape::Fixed(usize::try_from(*width).ok()?),
        DataType::Struct(fields) => Shape::Struct(fields.iter().map(AsRef::as_ref).collect()),
        other => Shape::Fixed(other.primitive_width()?),
    })
}

/// Adds the parts of `array` to `parts`. Buffers are shared with it, except for the few that a slice has to have anew.
///
/// # Errors
/// `Internal` for a type that does not travel.
pub fn take_apart(array: &dyn Array, parts: &mut Vec<Part>) -> Result<()> {
    let (length, data_type) = (array.len(), array.data_type());
    let shape = shape(data_type).ok_or_else(|| not_travelling(data_type))?;
    let validity = array.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().sliced());
    match shape {
        Shape::Nothing => parts.push(Part { length, buffers: Vec::new() }),
        Shape::Fixed(width) => parts.push(Part { length, buffers: vec![validity, Some(fixed(array, width))] }),
        Shape::Bits => parts.push(Part { length, buffers: vec![validity, Some(array.as_boolean().values().sliced())] }),
        Shape::Bytes(_) => {
            let (offsets, bytes) = bytes_of(array);
            parts.push(Part { length, buffers: vec![validity, Some(offsets), Some(bytes)] });
        }
        Shape::List(width, _) => {
            let (offsets, child) = if width == 4 { list_of::<i32>(array) } else { list_of::<i64>(array) };
            parts.push(Part { length, buffers: vec![validity, Some(offsets)] });
            take_apart(&child, parts)?;
        }
        Shape::FixedList(size, _) => {
            parts.push(Part { length, buffers: vec![validity] });
            take_apart(&array.as_fixed_size_list().values().slice(0, length * size), parts)?;
        }
        Shape::Struct(_) => {
            parts.push(Part { length, buffers: vec![validity] });
            array.as_struct().columns().iter().try_for_each(|child| take_apart(child, parts))?;
        }
    }
    Ok(())
}

/// The array of type `data_type` whose parts come from `source`, checked as Arrow checks what comes from outside.
///
/// # Errors
/// Those of `source`; `Corrupt` if the buffers make no array.
pub fn put_together(data_type: &DataType, source: &mut impl Source) -> Result<ArrayRef> {
    Ok(make_array(data_of(data_type, source)?))
}

fn data_of(data_type: &DataType, source: &mut impl Source) -> Result<ArrayData> {
    let shape = shape(data_type).ok_or_else(|| not_travelling(data_type))?;
    let length = source.length()?;
    let too_long = || corrupt().with("values", length);
    let mut builder = ArrayData::builder(data_type.clone()).len(length);
    if !matches!(shape, Shape::Nothing) {
        builder = builder.null_bit_buffer(source.buffer(Role::Structure, length.div_ceil(8))?);
    }
    let offsets_bytes = |width: usize| if length == 0 { Some(0) } else { length.checked_add(1)?.checked_mul(width) };
    let (own, children) = match shape {
        Shape::Nothing => (Vec::new(), Vec::new()),
        Shape::Fixed(width) => {
            (vec![(Role::Values(width), length.checked_mul(width).ok_or_else(too_long)?)], Vec::new())
        }
        Shape::Bits => (vec![(Role::Structure, length.div_ceil(8))], Vec::new()),
        Shape::Bytes(width) => {
            let offsets = offsets_bytes(width).ok_or_else(too_long)?;
            (vec![(Role::Structure, offsets), (Role::Text, 0)], Vec::new())
        }
        Shape::List(width, child) => (vec![(Role::Structure, offsets_bytes(width).ok_or_else(too_long)?)], vec![child]),
        Shape::FixedList(_, child) => (Vec::new(), vec![child]),
        Shape::Struct(children) => (Vec::new(), children),
    };
    for (role, bytes_min) in own {
        let buffer = source.buffer(role, bytes_min)?;
        builder = builder.add_buffer(match buffer {
            Some(buffer) => buffer,
            None if bytes_min == 0 => Buffer::default(),
            None => return Err(corrupt().source("a buffer is missing")),
        });
    }
    for child in children {
        builder = builder.add_child_data(data_of(child.data_type(), source)?);
    }
    builder.build().map_err(|source| corrupt().source(source))
}

/// The bytes of the values of an array of fixed width.
fn fixed(array: &dyn Array, width: usize) -> Buffer {
    let data = array.to_data();
    data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width)
}

fn bytes_of(array: &dyn Array) -> (Buffer, Buffer) {
    fn of<T: ByteArrayType>(array: &dyn Array) -> (Buffer, Buffer) {
        let array = array.as_bytes::<T>();
        let (offsets, first, last) = from_zero(array.offsets());
        (offsets, array.values().slice_with_length(first, last - first))
    }
    match array.data_type() {
        DataType::Utf8 => of::<Utf8Type>(array),
        DataType::LargeUtf8 => of::<LargeUtf8Type>(array),
        DataType::LargeBinary => of::<LargeBinaryType>(array),
        _ => of::<BinaryType>(array),
    }
}

fn list_of<O: OffsetSizeTrait>(array: &dyn Array) -> (Buffer, ArrayRef) {
    let array = array.as_list::<O>();
    let (offsets, first, last) = from_zero(array.offsets());
    (offsets, array.values().slice(first, last - first))
}

/// Offsets that begin at 0, and where those given begin and end.
fn from_zero<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (Buffer, usize, usize) {
    // There is at least one offset in any such buffer.
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    if first.as_usize() == 0 {
        return (offsets.inner().inner().clone(), 0, last.as_usize());
    }
    let moved: Vec<O> = offsets.iter().map(|offset| *offset - first).collect();
    (Buffer::from_vec(moved), first.as_usize(), last.as_usize())
}

fn not_travelling(data_type: &DataType) -> Error {
    Error::new(Kind::Internal, "lay out rows in shared memory").with("type", data_type)
}

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "read rows in shared memory")
}

#[cfg(test)]
mod tests;
