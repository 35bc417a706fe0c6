//! Columns built value by value without a builder's bookkeeping: none of them has nulls. Only those that are wanted are
//! made, each on its own: a column never depends on another having been made.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::{Error, Kind, Result};

/// A schema of columns without nulls.
pub(super) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), false);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The type of every time.
pub(super) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// One number a row.
pub(super) fn integers(numbers: &[u64], value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers.iter().map(|number| value(*number))))
}

/// One time a row, given in milliseconds.
pub(super) fn times(numbers: &[u64], millis: impl Fn(u64) -> u64) -> ArrayRef {
    let micros = numbers.iter().map(|number| (millis(*number) * 1000) as i64);
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros))
}

/// One text a row, of about `bytes` each.
pub(super) fn texts(numbers: &[u64], bytes: usize, write: impl Fn(u64, &mut Vec<u8>)) -> Result<ArrayRef> {
    let mut ends = Vec::with_capacity(numbers.len() + 1);
    ends.push(0);
    let mut values = Vec::with_capacity(numbers.len() * bytes);
    for number in numbers {
        write(*number, &mut values);
        ends.push(values.len() as i32);
    }
    let column = StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(ends)), values.into(), None)
        .map_err(|source| Error::new(Kind::Internal, "build nexmark column").source(source))?;
    Ok(Arc::new(column))
}

/// Rows of `schema`, whose columns `make` makes by name.
pub(super) fn rows(schema: &SchemaRef, make: impl Fn(&str) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| make(field.name())).collect::<Result<_>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|source| Error::new(Kind::Internal, "build nexmark rows").source(source))
}

/// The error for a column that the stream does not have.
pub(super) fn unknown(name: &str) -> Error {
    Error::new(Kind::Invalid, "make nexmark column").with("column", name)
}
