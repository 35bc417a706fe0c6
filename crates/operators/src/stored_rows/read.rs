//! Bytes to columns: rows are gathered one by one and become a batch's columns at once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BooleanBufferBuilder, FixedSizeListArray, GenericListArray, NullArray,
    NullBufferBuilder, OffsetSizeTrait, StructArray, make_array,
};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use forebay_core::{Error, Kind, Result};

use super::{NULL, PLAIN, TAGGED, VALUE, plain, width};

/// Gathers rows of one schema.
pub struct RowReader {
    columns: Vec<Column>,
    kinds: Vec<DataType>,
    rows: usize,
    bytes: usize,
}

struct Column {
    kind: DataType,
    rows: usize,
    nulls: NullBufferBuilder,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanBufferBuilder),
    Fixed { bytes: MutableBuffer, width: usize },
    Bytes { ends: Vec<usize>, bytes: MutableBuffer },
    List { ends: Vec<usize>, elements: Box<Column> },
    FixedList { length: usize, elements: Box<Column> },
    Struct(Vec<Column>),
}

type Read<T> = std::result::Result<T, &'static str>;

// === impl RowReader ===

impl RowReader {
    /// A reader of rows of `schema`.
    ///
    /// # Errors
    /// `Invalid` as of [`check_storable`](super::check_storable).
    pub fn new(schema: &Schema) -> Result<Self> {
        super::check_storable(schema)?;
        let kinds: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let columns = kinds.iter().map(|kind| Column::new(plain(kind).unwrap_or(DataType::Null))).collect();
        Ok(Self { columns, kinds, rows: 0, bytes: 0 })
    }

    /// How many rows were gathered.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the rows that were gathered.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gathers the row of these bytes.
    ///
    /// # Errors
    /// `Corrupt` if they are no row of the schema; the reader is then of no more use.
    pub fn push(&mut self, row: &[u8]) -> Result<()> {
        let corrupt = |reason: &str| Error::new(Kind::Corrupt, "read stored row").source(reason.to_string());
        let mut rest = row;
        for column in &mut self.columns {
            column.read(&mut rest).map_err(corrupt)?;
        }
        if !rest.is_empty() {
            return Err(corrupt("it is longer than its columns"));
        }
        self.rows += 1;
        self.bytes += row.len();
        Ok(())
    }

    /// Gathers a row of nulls.
    pub fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::null);
        self.rows += 1;
    }

    /// The columns of all rows gathered, and begins anew.
    ///
    /// # Errors
    /// `Corrupt` if text is not UTF-8.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        (self.rows, self.bytes) = (0, 0);
        let wrong = |source: ArrowError| Error::new(Kind::Corrupt, "read stored rows").source(source);
        let columns = self.columns.iter_mut().zip(&self.kinds).map(|(column, kind)| {
            let array = column.finish()?;
            if array.data_type() == kind { Ok(array) } else { cast(&array, kind) }
        });
        columns.collect::<std::result::Result<_, _>>().map_err(wrong)
    }
}

// === impl Column ===

impl Column {
    fn new(kind: DataType) -> Self {
        let inner = |kind: &DataType| Box::new(Self::new(kind.clone()));
        let values = match &kind {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                Values::Bytes { ends: vec![0], bytes: MutableBuffer::new(0) }
            }
            DataType::List(field) | DataType::LargeList(field) => {
                Values::List { ends: vec![0], elements: inner(field.data_type()) }
            }
            DataType::FixedSizeList(field, length) => {
                let length = usize::try_from(*length).unwrap_or_default();
                Values::FixedList { length, elements: inner(field.data_type()) }
            }
            DataType::Struct(fields) => {
                Values::Struct(fields.iter().map(|field| Self::new(field.data_type().clone())).collect())
            }
            other => match width(other) {
                Some(width) => Values::Fixed { bytes: MutableBuffer::new(0), width },
                None => Values::Null,
            },
        };
        Self { kind, rows: 0, nulls: NullBufferBuilder::new(0), values }
    }

    fn read(&mut self, rest: &mut &[u8]) -> Read<()> {
        match take(rest, 1)?[0] {
            NULL => {
                self.null();
                return Ok(());
            }
            VALUE => {}
            _ => return Err("a value has an unknown tag"),
        }
        match &mut self.values {
            Values::Null => return Err("a column of nulls has a value"),
            Values::Boolean(values) => values.append(take(rest, 1)?[0] != 0),
            Values::Fixed { bytes, width } => bytes.extend_from_slice(take(rest, *width)?),
            Values::Bytes { ends, bytes } => {
                let length = count(rest)?;
                bytes.extend_from_slice(take(rest, length)?);
                ends.push(bytes.len());
            }
            Values::List { ends, elements } => {
                let length = count(rest)?;
                elements.read_list(length, rest)?;
                ends.push(elements.rows);
            }
            Values::FixedList { length, elements } => {
                if count(rest)? != *length {
                    return Err("a list of fixed length has another");
                }
                elements.read_list(*length, rest)?;
            }
            Values::Struct(columns) => columns.iter_mut().try_for_each(|column| column.read(rest))?,
        }
        self.nulls.append_non_null();
        self.rows += 1;
        Ok(())
    }

    fn read_list(&mut self, length: usize, rest: &mut &[u8]) -> Read<()> {
        match (take(rest, 1)?[0], &mut self.values) {
            (PLAIN, Values::Fixed { bytes, width }) => {
                bytes.extend_from_slice(take(rest, length.checked_mul(*width).ok_or("a list is too long")?)?);
                self.nulls.append_n_non_nulls(length);
                self.rows += length;
                Ok(())
            }
            (TAGGED, _) => (0..length).try_for_each(|_| self.read(rest)),
            _ => Err("a list has an unknown form"),
        }
    }

    fn null(&mut self) {
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.append(false),
            Values::Fixed { bytes, width } => bytes.extend_zeros(*width),
            Values::Bytes { ends, .. } | Values::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            Values::FixedList { length, elements } => (0..*length).for_each(|_| elements.null()),
            Values::Struct(columns) => columns.iter_mut().for_each(Self::null),
        }
        self.nulls.append_null();
        self.rows += 1;
    }

    fn finish(&mut self) -> std::result::Result<ArrayRef, ArrowError> {
        let kind = self.kind.clone();
        let mut done = std::mem::replace(self, Self::new(kind.clone()));
        let nulls = done.nulls.finish();
        Ok(match (done.values, &kind) {
            (Values::Null, _) => Arc::new(NullArray::new(done.rows)),
            (Values::Boolean(mut values), _) => {
                make_array(data(kind, done.rows, nulls, vec![values.finish().into_inner()])?)
            }
            (Values::Fixed { bytes, .. }, _) => make_array(data(kind, done.rows, nulls, vec![bytes.into()])?),
            (Values::Bytes { ends, bytes }, DataType::Utf8 | DataType::Binary) => {
                make_array(data(kind, done.rows, nulls, vec![offsets::<i32>(&ends)?.into_inner(), bytes.into()])?)
            }
            (Values::Bytes { ends, bytes }, _) => {
                make_array(data(kind, done.rows, nulls, vec![offsets::<i64>(&ends)?.into_inner(), bytes.into()])?)
            }
            (Values::List { ends, mut elements }, DataType::List(field)) => {
                let offsets = OffsetBuffer::new(offsets::<i32>(&ends)?);
                Arc::new(GenericListArray::<i32>::try_new(Arc::clone(field), offsets, elements.finish()?, nulls)?)
            }
            (Values::List { ends, mut elements }, DataType::LargeList(field)) => {
                let offsets = OffsetBuffer::new(offsets::<i64>(&ends)?);
                Arc::new(GenericListArray::<i64>::try_new(Arc::clone(field), offsets, elements.finish()?, nulls)?)
            }
            (Values::FixedList { mut elements, .. }, DataType::FixedSizeList(field, length)) => {
                Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *length, elements.finish()?, nulls)?)
            }
            (Values::Struct(mut columns), DataType::Struct(fields)) => {
                let columns = columns.iter_mut().map(Self::finish).collect::<std::result::Result<_, _>>()?;
                Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?)
            }
            (_, other) => return Err(ArrowError::InvalidArgumentError(format!("stored column of type {other}"))),
        })
    }
}

fn data(
    kind: DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
    buffers: Vec<Buffer>,
) -> std::result::Result<ArrayData, ArrowError> {
    ArrayData::builder(kind).len(rows).nulls(nulls).buffers(buffers).build()
}

fn offsets<O: OffsetSizeTrait>(ends: &[usize]) -> std::result::Result<ScalarBuffer<O>, ArrowError> {
    let too_long = || ArrowError::InvalidArgumentError("the rows are too long for one batch".to_string());
    let offsets: Option<Vec<O>> = ends.iter().map(|end| O::from_usize(*end)).collect();
    Ok(offsets.ok_or_else(too_long)?.into())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Read<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length).ok_or("it ends early")?;
    *rest = tail;
    Ok(head)
}

fn count(rest: &mut &[u8]) -> Read<usize> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or("it ends early")?;
    *rest = tail;
    Ok(u32::from_le_bytes(*head) as usize)
}
