//! A batch taken apart: keys, times and stored rows.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

use super::{InputShape, Row, Side};
use crate::clock::Clock;
use crate::stored_rows::RowWriter;

/// How the batches of one input are read.
pub(super) struct Input {
    keys: KeyColumns,
    time: Option<usize>,
}

/// A batch that is being joined.
pub(super) struct Work {
    side: Side,
    batch: Batch,
    keys: Vec<Key>,
    /// True where a key column is null.
    keyless: Option<Vec<bool>>,
    times: Vec<EventTime>,
    /// The stored rows one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    next: usize,
}

// === impl Input ===

impl Input {
    pub fn new(shape: &InputShape) -> Result<Self> {
        Ok(Self { keys: super::keys(shape)?, time: shape.time })
    }

    /// The event time of each row; the least time where it is null or the stream has none.
    pub fn times(&self, batch: &Batch) -> Result<Vec<EventTime>> {
        let Some(place) = self.time else { return Ok(vec![EventTime::MIN; batch.len()]) };
        let column = batch.rows().column(place).as_primitive_opt::<TimestampMicrosecondType>();
        let column = column.ok_or_else(|| Error::new(Kind::Internal, "read event time").with("column", place))?;
        Ok(column.iter().map(|micros| micros.map_or(EventTime::MIN, EventTime)).collect())
    }

    /// The watermark of each row's key; for rows without a key the newest.
    pub fn watermarks(&self, batch: &Batch, clock: &Clock) -> Result<Vec<EventTime>> {
        let (keys, keyless) = (self.keys.keys(batch.rows())?, self.keyless(batch));
        let is_keyless = |place: usize| keyless.as_ref().is_some_and(|keyless| keyless[place]);
        let of = |(place, key)| if is_keyless(place) { clock.seen() } else { clock.of(key) };
        Ok(keys.iter().enumerate().map(of).collect())
    }

    /// `batch` taken apart.
    pub fn work(&self, side: Side, batch: &Batch) -> Result<Work> {
        let keys = self.keys.keys(batch.rows())?;
        let writer = RowWriter::new(batch.rows())?;
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(batch.len()));
        for place in 0..batch.len() {
            writer.write(place, &mut bytes);
            ends.push(bytes.len());
        }
        Ok(Work {
            side,
            keyless: self.keyless(batch),
            times: self.times(batch)?,
            batch: batch.clone(),
            keys,
            bytes,
            ends,
            next: 0,
        })
    }

    fn keyless(&self, batch: &Batch) -> Option<Vec<bool>> {
        let columns: Vec<_> = self.keys.places().iter().map(|place| batch.rows().column(*place)).collect();
        if columns.iter().all(|column| column.logical_null_count() == 0) {
            return None;
        }
        let nulls: Vec<_> = columns.iter().filter_map(|column| column.logical_nulls()).collect();
        Some((0..batch.len()).map(|place| nulls.iter().any(|nulls| nulls.is_null(place))).collect())
    }
}

// === impl Work ===

impl Work {
    /// The next row.
    pub fn next(&mut self) -> Option<Row<'_>> {
        let place = self.next;
        let end = *self.ends.get(place)?;
        self.next += 1;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        let is_keyless = self.keyless.as_ref().is_some_and(|keyless| keyless[place]);
        Some(Row {
            side: self.side,
            id: self.batch.ids()[place],
            kind: self.batch.kind(place),
            key: (!is_keyless).then(|| &self.keys[place]),
            time: self.times[place],
            bytes: &self.bytes[start..end],
        })
    }
}
