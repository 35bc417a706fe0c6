//! Columns built value by value without a builder's bookkeeping: none of them has nulls.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::{Error, Kind, Result};

/// A text column under construction.
pub(super) struct Texts {
    /// Bytes of all values; whoever appends a value calls [`Texts::end`] after it.
    pub bytes: Vec<u8>,
    ends: Vec<i32>,
}

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

/// The columns as rows of `schema`.
pub(super) fn rows(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|source| Error::new(Kind::Internal, "build nexmark rows").source(source))
}

// === impl Texts ===

impl Texts {
    /// An empty column with room for `rows` values of about `bytes` each.
    pub fn new(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(rows * bytes), ends }
    }

    /// The value is complete.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len() as i32);
    }

    /// Bytes of the value at `row`.
    pub fn length(&self, row: usize) -> u64 {
        (self.ends[row + 1] - self.ends[row]) as u64
    }

    /// The finished column.
    pub fn finish(self) -> Result<ArrayRef> {
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let column = StringArray::try_new(ends, self.bytes.into(), None)
            .map_err(|source| Error::new(Kind::Internal, "build nexmark column").source(source))?;
        Ok(Arc::new(column))
    }
}
