//! A batch taken apart: keys, times and stored rows.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

use super::order::OrderColumn;
use super::{InputShape, Row, Side, order};
use crate::stored_rows::RowWriter;

/// How the batches of one input are read.
pub(super) struct Input {
    keys: KeyColumns,
    nulls_are_keys: bool,
    order: Vec<OrderColumn>,
    time: Option<usize>,
}

/// A batch that is being worked off.
pub(super) struct Work {
    side: Side,
    batch: Batch,
    keys: Vec<Key>,
    /// True where a key column is null.
    keyless: Option<Vec<bool>>,
    times: Vec<EventTime>,
    /// What each row is ordered by; empty without.
    orders: Vec<Vec<u8>>,
    /// True where the row was put aside; empty if none was.
    aside: Vec<bool>,
    /// The stored rows one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    next: usize,
}

// === impl Input ===

impl Input {
    pub fn new(shape: &InputShape, nulls_are_keys: bool, order: Vec<OrderColumn>) -> Result<Self> {
        let keys = KeyColumns::new(shape.keys.clone(), &shape.schema)?;
        Ok(Self { keys, nulls_are_keys, order, time: shape.time })
    }

    /// The event time of each row; the least time where it is null or the stream has none.
    fn times(&self, batch: &Batch) -> Result<Vec<EventTime>> {
        let Some(place) = self.time else { return Ok(vec![EventTime::MIN; batch.len()]) };
        let column = batch.rows().column(place).as_primitive_opt::<TimestampMicrosecondType>();
        let column = column.ok_or_else(|| Error::new(Kind::Internal, "read event time").with("column", place))?;
        Ok(column.iter().map(|micros| micros.map_or(EventTime::MIN, EventTime)).collect())
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
            orders: if self.order.is_empty() { Vec::new() } else { order::encode(batch.rows(), &self.order)? },
            aside: Vec::new(),
            batch: batch.clone(),
            keys,
            bytes,
            ends,
            next: 0,
        })
    }

    fn keyless(&self, batch: &Batch) -> Option<Vec<bool>> {
        if self.nulls_are_keys {
            return None;
        }
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
    /// Takes rows out, those for which `is_out` says yes; answers their places.
    pub fn put_aside(&mut self, mut is_out: impl FnMut(Option<&Key>, EventTime) -> Result<bool>) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        for (place, (key, time)) in self.keys.iter().zip(&self.times).enumerate() {
            let is_keyless = self.keyless.as_ref().is_some_and(|keyless| keyless[place]);
            if is_out((!is_keyless).then_some(key), *time)? {
                out.push(place);
            }
        }
        if !out.is_empty() {
            self.aside = vec![false; self.keys.len()];
            out.iter().for_each(|place| self.aside[*place] = true);
        }
        Ok(out)
    }

    /// The next row.
    pub fn next(&mut self) -> Option<Row<'_>> {
        while self.aside.get(self.next) == Some(&true) {
            self.next += 1;
        }
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
            order: self.orders.get(place).map_or(&[], Vec::as_slice),
            bytes: &self.bytes[start..end],
        })
    }
}
