//! What a row of an update stream is known by: its content.
//!
//! A row that takes back another has the same values in every column and another id, so the answer to that other row is found by
//! content. It is cut in two: the columns by which rows come to this subtask, from which the key group follows, and the rest.
//! Two rows have one content exactly when both parts are equal byte by byte, in whatever batches they came.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::time::{EventTime, event_time_place};
use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::Space;

use crate::stored_rows::{RowWriter, check_storable};

/// How contents are read off rows.
#[derive(Debug, Clone)]
pub struct ContentColumns {
    keys: KeyColumns,
    rest: Vec<usize>,
    time: Option<usize>,
}

/// The content of a row, and its event time.
#[derive(Debug, Clone)]
pub struct Content {
    /// The columns that rows come to this subtask by, and the others.
    pub(super) parts: (Key, Space),
    /// The least time where it is null or the stream has none.
    pub(super) time: EventTime,
}

// === impl ContentColumns ===

impl ContentColumns {
    /// Contents of rows of `schema` that are exchanged by the columns at `keys`.
    ///
    /// # Errors
    /// `Invalid`, naming the column: one of `keys` cannot be a key, or another cannot be stored.
    pub fn new(keys: Vec<usize>, schema: &Schema) -> Result<Self> {
        let rest: Vec<usize> = (0..schema.fields().len()).filter(|place| !keys.contains(place)).collect();
        let others = schema.project(&rest).map_err(|source| wrong("find columns").source(source))?;
        check_storable(&others)?;
        Ok(Self { keys: KeyColumns::new(keys, schema)?, rest, time: event_time_place(schema) })
    }

    /// The content of every row.
    ///
    /// # Errors
    /// `Internal` if `rows` have another schema.
    pub(super) fn of(&self, rows: &RecordBatch) -> Result<Vec<Content>> {
        let (keys, times) = (self.keys.keys(rows)?, self.times(rows)?);
        let others = rows.project(&self.rest).map_err(|source| wrong("read contents").source(source))?;
        let (writer, mut bytes) = (RowWriter::new(&others)?, Vec::new());
        let content = |(place, (key, time))| {
            bytes.clear();
            writer.write(place, &mut bytes);
            Content { parts: (key, Space::new(&bytes)), time }
        };
        Ok(keys.into_iter().zip(times).enumerate().map(content).collect())
    }

    fn times(&self, rows: &RecordBatch) -> Result<Vec<EventTime>> {
        let Some(place) = self.time else { return Ok(vec![EventTime::MIN; rows.num_rows()]) };
        let column = rows.column(place).as_primitive_opt::<TimestampMicrosecondType>();
        let column = column.ok_or_else(|| wrong("read event time").with("column", place))?;
        Ok(column.iter().map(|micros| micros.map_or(EventTime::MIN, EventTime)).collect())
    }
}

fn wrong(attempted: &str) -> Error {
    Error::new(Kind::Internal, attempted)
}

// === impl Content ===

impl Content {
    /// The key group that rows of this content belong to, of `groups` in all.
    pub fn group(&self, groups: u16) -> KeyGroup {
        self.parts.0.group(groups)
    }
}
