//! Values that a function gives, and how they become bytes of stored rows.

use arrow::datatypes::{DataType, TimeUnit};
use forebay_core::time::EventTime;

use crate::stored_rows::{NULL, VALUE};

/// A value of a column. Numbers, text, bytes, moments and options of them become cells by themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// For boolean columns.
    Bool(bool),
    /// For columns of integers of any width, and of floating-point numbers.
    Int(i128),
    /// For columns of floating-point numbers.
    Float(f64),
    /// For text.
    Text(&'a str),
    /// For binary.
    Bytes(&'a [u8]),
    /// For timestamps of any unit.
    Time(EventTime),
}

// === cells to bytes ===

/// How it went.
pub(super) enum Put {
    Done,
    OutOfRange,
    WrongType,
}

/// Appends `cell` as `stored_rows` has a value of type `kind`.
pub(super) fn put(cell: Cell<'_>, kind: &DataType, out: &mut Vec<u8>) -> Put {
    match (cell, kind) {
        (Cell::Null, _) => out.push(NULL),
        (Cell::Bool(value), DataType::Boolean) => out.extend_from_slice(&[VALUE, u8::from(value)]),
        (Cell::Int(value), _) if kind.is_integer() => return put_int(value, kind, out),
        (Cell::Int(value), _) if kind.is_floating() => return put(Cell::Float(value as f64), kind, out),
        (Cell::Float(value), DataType::Float64) => put_fixed(&value.to_le_bytes(), out),
        (Cell::Float(value), DataType::Float32) => put_fixed(&(value as f32).to_le_bytes(), out),
        (Cell::Text(value), DataType::Utf8 | DataType::LargeUtf8) => put_piece(value.as_bytes(), out),
        (Cell::Bytes(value), DataType::Binary | DataType::LargeBinary) => put_piece(value, out),
        (Cell::Time(EventTime(micros)), DataType::Timestamp(unit, _)) => {
            let value = match unit {
                TimeUnit::Second => Some(micros.div_euclid(1_000_000)),
                TimeUnit::Millisecond => Some(micros.div_euclid(1000)),
                TimeUnit::Microsecond => Some(micros),
                TimeUnit::Nanosecond => micros.checked_mul(1000),
            };
            let Some(value) = value else { return Put::OutOfRange };
            put_fixed(&value.to_le_bytes(), out);
        }
        _ => return Put::WrongType,
    }
    Put::Done
}

fn put_int(value: i128, kind: &DataType, out: &mut Vec<u8>) -> Put {
    let (width, least, most) = match kind {
        DataType::Int8 => (1, i128::from(i8::MIN), i128::from(i8::MAX)),
        DataType::Int16 => (2, i128::from(i16::MIN), i128::from(i16::MAX)),
        DataType::Int32 => (4, i128::from(i32::MIN), i128::from(i32::MAX)),
        DataType::Int64 => (8, i128::from(i64::MIN), i128::from(i64::MAX)),
        DataType::UInt8 => (1, 0, i128::from(u8::MAX)),
        DataType::UInt16 => (2, 0, i128::from(u16::MAX)),
        DataType::UInt32 => (4, 0, i128::from(u32::MAX)),
        _ => (8, 0, i128::from(u64::MAX)),
    };
    if !(least..=most).contains(&value) {
        return Put::OutOfRange;
    }
    put_fixed(&value.to_le_bytes()[..width], out);
    Put::Done
}

fn put_fixed(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(VALUE);
    out.extend_from_slice(bytes);
}

fn put_piece(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(VALUE);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

// === impl Cell ===

macro_rules! cell_from {
    ($($type:ty => |$value:ident| $cell:expr),+ $(,)?) => {$(
        impl<'a> From<$type> for Cell<'a> {
            fn from($value: $type) -> Self {
                $cell
            }
        }
    )+};
}

cell_from! {
    bool => |value| Cell::Bool(value),
    i32 => |value| Cell::Int(value.into()),
    i64 => |value| Cell::Int(value.into()),
    u32 => |value| Cell::Int(value.into()),
    u64 => |value| Cell::Int(value.into()),
    usize => |value| Cell::Int(value as i128),
    f32 => |value| Cell::Float(value.into()),
    f64 => |value| Cell::Float(value),
    &'a str => |value| Cell::Text(value),
    &'a String => |value| Cell::Text(value),
    &'a [u8] => |value| Cell::Bytes(value),
    &'a Vec<u8> => |value| Cell::Bytes(value),
    EventTime => |value| Cell::Time(value),
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}
