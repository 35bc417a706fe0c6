//! A batch that is being worked off: its keys, and the columns that the function reads.

use std::cell::OnceCell;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

use crate::stored_rows::RowWriter;

/// See the module.
pub(super) struct Work {
    pub batch: Batch,
    pub keys: Vec<Key>,
    /// Those that the function reads, each with its place in the batch.
    pub columns: Vec<(usize, ArrayRef)>,
    time: Option<ArrayRef>,
    /// Made when the first row is handed on or kept.
    writer: OnceCell<RowWriter>,
    pub next: usize,
}

// === impl Work ===

impl Work {
    /// `batch` with the keys of its rows, the columns at these places as these types, and the event time at `time`.
    pub fn new(batch: Batch, keys: &KeyColumns, columns: &[(usize, DataType)], time: Option<usize>) -> Result<Self> {
        let read = |(place, kind): &(usize, DataType)| {
            let column = batch.rows().column(*place);
            let read = cast(column, kind).map_err(|source| Error::new(Kind::Internal, "read column").source(source))?;
            Ok((*place, read))
        };
        Ok(Self {
            keys: keys.keys(batch.rows())?,
            columns: columns.iter().map(read).collect::<Result<_>>()?,
            time: time.map(|place| batch.rows().column(place).clone()),
            batch,
            writer: OnceCell::new(),
            next: 0,
        })
    }

    /// The event time of the row at `place`, if it has one.
    pub fn time(&self, place: usize) -> Option<EventTime> {
        let times = self.time.as_ref()?.as_primitive_opt::<TimestampMicrosecondType>()?;
        times.is_valid(place).then(|| EventTime(times.value(place)))
    }

    /// Appends the whole row at `place`.
    pub fn write(&self, place: usize, out: &mut Vec<u8>) -> Result<()> {
        if self.writer.get().is_none() {
            let _ = self.writer.set(RowWriter::new(self.batch.rows())?);
        }
        if let Some(writer) = self.writer.get() {
            writer.write(place, out);
        }
        Ok(())
    }
}
