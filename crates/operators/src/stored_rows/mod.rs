//! Rows as bytes, one block a row: how operators keep whole rows in keyed state.
//!
//! The encoding is a format of its own, stored in checkpoints, not that of a library: for each column a tag (0 null, 1 a value),
//! then the value. Fixed-width values are the bytes that Arrow holds, little-endian; text and binary have a length of four
//! bytes before them; a list has its count, then its elements, as plain bytes where they are fixed-width without nulls.
//! Dictionaries and views are stored as the values they stand for. A row stands for itself: it can be kept, moved and
//! dropped alone, and a batch does not stay in memory because one of its rows does.
//!
//! [`RowWriter`] turns the rows of a batch into bytes, [`RowReader`] gathers rows of bytes into columns again.

mod read;
mod write;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use forebay_core::{Error, Kind, Result};

pub use read::RowReader;
pub use write::RowWriter;

pub(crate) const NULL: u8 = 0;
pub(crate) const VALUE: u8 = 1;

/// Elements of a list, each with its tag.
const TAGGED: u8 = 0;
/// Elements of a list as Arrow holds them.
const PLAIN: u8 = 1;

/// Whether rows with columns of `kind` can be kept.
pub fn can_be_stored(kind: &DataType) -> bool {
    plain(kind).is_some()
}

/// Refuses a schema with a column that cannot be kept.
///
/// # Errors
/// `Invalid`, naming the column.
pub fn check_storable(schema: &Schema) -> Result<()> {
    match schema.fields().iter().find(|field| !can_be_stored(field.data_type())) {
        None => Ok(()),
        Some(field) => Err(Error::new(Kind::Invalid, "keep rows in state")
            .with("column", field.name())
            .with("type", field.data_type())
            .source("a column of this type cannot be kept: leave it out in a select step before")),
    }
}

/// The type that values of `kind` are stored as; `None` if they cannot be.
pub(crate) fn plain(kind: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match kind {
        D::Utf8View => D::Utf8,
        D::BinaryView => D::Binary,
        D::Dictionary(_, value) => plain(value)?,
        D::Null | D::Boolean | D::Utf8 | D::LargeUtf8 | D::Binary | D::LargeBinary | D::FixedSizeBinary(_) => {
            kind.clone()
        }
        D::List(field) => D::List(plain_field(field)?),
        D::LargeList(field) => D::LargeList(plain_field(field)?),
        D::FixedSizeList(field, length) => D::FixedSizeList(plain_field(field)?, *length),
        D::Struct(fields) => D::Struct(fields.iter().map(plain_field).collect::<Option<_>>()?),
        other if other.primitive_width().is_some() => kind.clone(),
        _ => return None,
    })
}

fn plain_field(field: &FieldRef) -> Option<FieldRef> {
    Some(std::sync::Arc::new(Field::clone(field).with_data_type(plain(field.data_type())?)))
}

/// Bytes of one value of a fixed-width type.
fn width(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok(),
        DataType::Boolean => None,
        other => other.primitive_width(),
    }
}
