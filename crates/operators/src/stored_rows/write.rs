//! Batch to bytes, a row at a time.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use forebay_core::{Error, Kind, Result};

use super::{NULL, PLAIN, TAGGED, VALUE, plain, width};

/// The rows of a batch, ready to be written as bytes.
pub struct RowWriter {
    columns: Vec<Column>,
}

struct Column {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanArray),
    Fixed {
        bytes: Buffer,
        width: usize,
    },
    Bytes {
        ends: Vec<usize>,
        bytes: Buffer,
    },
    /// Where the elements of each row begin and end.
    List {
        ends: Vec<usize>,
        elements: Box<Column>,
    },
    /// Every row has this many.
    FixedList {
        length: usize,
        elements: Box<Column>,
    },
    Struct(Vec<Column>),
}

// === impl RowWriter ===

impl RowWriter {
    /// The rows of `rows`.
    ///
    /// # Errors
    /// `Internal` for a column of a type that cannot be stored.
    pub fn new(rows: &RecordBatch) -> Result<Self> {
        Ok(Self { columns: rows.columns().iter().map(column).collect::<Result<_>>()? })
    }

    /// Appends the row at `place`.
    ///
    /// # Panics
    /// If `place` is out of range.
    pub fn write(&self, place: usize, out: &mut Vec<u8>) {
        self.columns.iter().for_each(|column| column.write(place, out));
    }
}

// === impl Column ===

impl Column {
    fn write(&self, place: usize, out: &mut Vec<u8>) {
        if matches!(self.values, Values::Null) || self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(place)) {
            out.push(NULL);
            return;
        }
        out.push(VALUE);
        match &self.values {
            Values::Null => {}
            Values::Boolean(values) => out.push(u8::from(values.value(place))),
            Values::Fixed { bytes, width } => out.extend_from_slice(&bytes[place * width..(place + 1) * width]),
            Values::Bytes { ends, bytes } => {
                let value = &bytes[ends[place]..ends[place + 1]];
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(value);
            }
            Values::List { ends, elements } => elements.write_list(ends[place], ends[place + 1], out),
            Values::FixedList { length, elements } => elements.write_list(place * length, (place + 1) * length, out),
            Values::Struct(columns) => columns.iter().for_each(|column| column.write(place, out)),
        }
    }

    fn write_list(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&((end - start) as u32).to_le_bytes());
        // The list's own elements decide, not those of other rows: the same row is the same bytes in every batch.
        let has_nulls = |nulls: &NullBuffer| nulls.slice(start, end - start).null_count() > 0;
        match &self.values {
            Values::Fixed { bytes, width } if !self.nulls.as_ref().is_some_and(has_nulls) => {
                out.push(PLAIN);
                out.extend_from_slice(&bytes[start * width..end * width]);
            }
            _ => {
                out.push(TAGGED);
                (start..end).for_each(|place| self.write(place, out));
            }
        }
    }
}

fn column(array: &ArrayRef) -> Result<Column> {
    let refused = || Error::new(Kind::Internal, "store rows").with("type", array.data_type());
    let stored = plain(array.data_type()).ok_or_else(refused)?;
    if stored != *array.data_type() {
        let values = cast(array, &stored).map_err(|source| refused().source(source))?;
        return column(&values);
    }
    let data = array.to_data();
    let values = match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(array.as_boolean().clone()),
        DataType::Utf8 | DataType::Binary => bytes(&data, &offsets::<i32>(&data)),
        DataType::LargeUtf8 | DataType::LargeBinary => bytes(&data, &offsets::<i64>(&data)),
        DataType::List(_) => {
            Values::List { ends: offsets::<i32>(&data), elements: Box::new(column(array.as_list::<i32>().values())?) }
        }
        DataType::LargeList(_) => {
            Values::List { ends: offsets::<i64>(&data), elements: Box::new(column(array.as_list::<i64>().values())?) }
        }
        DataType::FixedSizeList(_, length) => {
            let elements = Box::new(column(array.as_fixed_size_list().values())?);
            Values::FixedList { length: usize::try_from(*length).map_err(|_| refused())?, elements }
        }
        DataType::Struct(_) => Values::Struct(array.as_struct().columns().iter().map(column).collect::<Result<_>>()?),
        kind => {
            let width = width(kind).ok_or_else(refused)?;
            Values::Fixed { bytes: data.buffers()[0].slice(data.offset() * width), width }
        }
    };
    Ok(Column { nulls: array.nulls().filter(|nulls| nulls.null_count() > 0).cloned(), values })
}

fn bytes(data: &ArrayData, ends: &[usize]) -> Values {
    Values::Bytes { ends: ends.to_vec(), bytes: data.buffers()[1].clone() }
}

/// Where values begin, and where the last one ends.
fn offsets<O: arrow::array::OffsetSizeTrait>(data: &ArrayData) -> Vec<usize> {
    let raw = data.buffers()[0].typed_data::<O>();
    if data.is_empty() {
        return vec![0];
    }
    raw[data.offset()..=data.offset() + data.len()].iter().map(|offset| offset.as_usize()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::FixedSizeListArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_row_is_the_same_bytes_whatever_its_neighbours_hold() {
        let lists = |rows: Vec<Option<Vec<Option<i32>>>>| -> Vec<u8> {
            let column: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows, 2));
            let rows = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
            let mut bytes = Vec::new();
            RowWriter::new(&rows).unwrap().write(0, &mut bytes);
            bytes
        };
        let alone = lists(vec![Some(vec![Some(1), Some(2)])]);
        assert_eq!(lists(vec![Some(vec![Some(1), Some(2)]), Some(vec![None, Some(3)])]), alone);
        assert_eq!(lists(vec![Some(vec![Some(1), Some(2)]), None]), alone);
        assert_ne!(lists(vec![Some(vec![Some(1), None])]), alone);
    }
}
