//! What the batcher has to know of each row: its key, cost, length bucket, and when it has to be answered.
//!
//! Evaluated once for a batch of rows, not for each row. Never looks at a clock: moments are given.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::hash::hash64;
use forebay_core::keys::KeyColumns;
use forebay_core::{Batch, Error, Kind, Result};

use super::contents::Content;
use crate::expression::evaluate;

/// What a step says about the rows that it batches.
#[derive(Debug, Clone, Default)]
pub struct RowFacts {
    /// The columns that make a row's key; `None`: rows have none. All rows of a key come to one subtask.
    pub key: Option<KeyColumns>,
    /// What a row costs, an integer; null and less than one cost 1.
    pub cost: Option<Arc<dyn PhysicalExpr>>,
    /// How long a row is, an integer; null and less than zero are 0.
    pub length: Option<Arc<dyn PhysicalExpr>>,
    /// Greatest length of each bucket, ascending; longer rows share one more bucket. Empty: by powers of two.
    pub buckets: Vec<u64>,
    /// How long after its arrival a row has to be answered.
    pub deadline: Option<Duration>,
    /// Place of a column that says when a row has to be answered: a time of day, or a duration after its arrival. Null:
    /// it says nothing.
    pub deadline_column: Option<usize>,
}

/// The moment at which rows arrive, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// As the batcher counts.
    pub now: Duration,
    /// Microseconds since 1970.
    pub wall_micros: i64,
}

/// The facts of the rows of one batch, by place.
#[derive(Debug)]
pub(super) struct Known {
    keys: Option<Vec<u64>>,
    costs: Option<Int64Array>,
    buckets: Option<Vec<u32>>,
    /// Deadlines after arrival, then deadlines by time of day.
    due: Due,
    /// What the rows are known by, where they are also taken back.
    pub contents: Option<Vec<Content>>,
}

/// Deadlines of the rows of one batch.
#[derive(Debug, Default)]
struct Due {
    after: Option<Duration>,
    /// Microseconds after the arrival.
    column: Option<Int64Array>,
    /// `column` counts from 1970, not from the arrival.
    absolute: bool,
}

// === impl RowFacts ===

impl RowFacts {
    /// The facts of `batch`.
    ///
    /// # Errors
    /// `Data` if an expression fails: SQL has no errors of single rows.
    pub(super) fn of(&self, batch: &Batch) -> Result<Known> {
        let integers = |expression: &Arc<dyn PhysicalExpr>| as_int64(&evaluate(expression, batch)?);
        let length = self.length.as_ref().map(integers).transpose()?;
        Ok(Known {
            keys: self.key.as_ref().map(|key| hashes(key, batch)).transpose()?,
            costs: self.cost.as_ref().map(integers).transpose()?,
            buckets: length.map(|length| (0..length.len()).map(|place| self.bucket(&length, place)).collect()),
            due: self.due(batch)?,
            contents: None,
        })
    }

    fn bucket(&self, lengths: &Int64Array, place: usize) -> u32 {
        let length = if lengths.is_null(place) { 0 } else { u64::try_from(lengths.value(place)).unwrap_or(0) };
        if self.buckets.is_empty() {
            return u64::BITS - length.saturating_sub(1).leading_zeros();
        }
        self.buckets.partition_point(|longest| *longest < length) as u32
    }

    fn due(&self, batch: &Batch) -> Result<Due> {
        let Some(place) = self.deadline_column else { return Ok(Due { after: self.deadline, ..Due::default() }) };
        let column = batch.rows().column(place);
        let absolute = matches!(column.data_type(), DataType::Timestamp(..));
        let micros = match column.data_type() {
            DataType::Timestamp(_, zone) => cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            _ => cast(column, &DataType::Duration(TimeUnit::Microsecond)),
        };
        let micros = micros.map_err(|source| Error::new(Kind::Data, "read deadlines of rows").source(source))?;
        Ok(Due { after: self.deadline, column: Some(as_int64(&micros)?), absolute })
    }
}

// === impl Known ===

impl Known {
    pub fn key(&self, place: usize) -> Option<u64> {
        self.keys.as_ref().map(|keys| keys[place])
    }

    pub fn content(&self, place: usize) -> Option<&Content> {
        self.contents.as_ref().map(|contents| &contents[place])
    }

    pub fn cost(&self, place: usize) -> u64 {
        let cost = self.costs.as_ref().filter(|costs| !costs.is_null(place)).map(|costs| costs.value(place));
        cost.and_then(|cost| u64::try_from(cost).ok()).unwrap_or(1).max(1)
    }

    pub fn bucket(&self, place: usize) -> u32 {
        self.buckets.as_ref().map_or(0, |buckets| buckets[place])
    }

    /// When the row has to be answered. `left` is what a row taken from a snapshot had left of its deadline after arrival;
    /// the time that the job was down does not count.
    pub fn due(&self, place: usize, arrival: Arrival, left: Option<Duration>) -> Option<Duration> {
        let Due { after, column, absolute } = &self.due;
        let column = column.as_ref().filter(|column| !column.is_null(place)).map(|column| column.value(place));
        let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let (by_clock, by_column) = match column {
            Some(at) if *absolute => (Some(micros(at.saturating_sub(arrival.wall_micros))), None),
            Some(after) => (None, Some(micros(after))),
            None => (None, None),
        };
        let own = left.or_else(|| after.iter().copied().chain(by_column).min());
        own.into_iter().chain(by_clock).min().map(|left| arrival.now.saturating_add(left))
    }
}

/// The hash of each row's key, from which its key group follows.
fn hashes(key: &KeyColumns, batch: &Batch) -> Result<Vec<u64>> {
    Ok(key.keys(batch.rows())?.iter().map(|key| hash64(key.as_bytes())).collect())
}

fn as_int64(column: &ArrayRef) -> Result<Int64Array> {
    let integers =
        cast(column, &DataType::Int64).map_err(|source| Error::new(Kind::Data, "read integers").source(source));
    Ok(integers?.as_primitive().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DurationMillisecondArray, RecordBatch, TimestampSecondArray};
    use datafusion::physical_expr::expressions::col;
    use forebay_core::RowId;
    use forebay_core::row::SplitId;

    fn batch(column: ArrayRef) -> Batch {
        let ids: Vec<RowId> = (0..column.len() as u64).map(|row| RowId::new(SplitId(1), row)).collect();
        Batch::new(RecordBatch::try_from_iter([("x", column)]).unwrap(), ids).unwrap()
    }

    fn integers(values: Vec<Option<i64>>) -> Batch {
        batch(Arc::new(Int64Array::from(values)))
    }

    #[test]
    fn costs_are_at_least_one_and_lengths_fall_into_buckets() {
        let batch = integers(vec![Some(64), Some(65), None, Some(-3), Some(5_000)]);
        let expression = col("x", batch.schema().as_ref()).unwrap();
        let of = |buckets: Vec<u64>| RowFacts {
            cost: Some(Arc::clone(&expression)),
            length: Some(Arc::clone(&expression)),
            buckets,
            ..RowFacts::default()
        };
        let known = of(vec![64, 256, 1024]).of(&batch).unwrap();
        assert_eq!((0..5).map(|place| known.cost(place)).collect::<Vec<_>>(), [64, 65, 1, 1, 5_000]);
        assert_eq!((0..5).map(|place| known.bucket(place)).collect::<Vec<_>>(), [0, 1, 0, 0, 3]);
        let known = of(Vec::new()).of(&batch).unwrap();
        assert_eq!((0..5).map(|place| known.bucket(place)).collect::<Vec<_>>(), [6, 7, 0, 0, 13], "powers of two");
    }

    #[test]
    fn equal_values_are_one_key_and_null_is_a_key_too() {
        let batch = integers(vec![Some(7), None, Some(8), Some(7), None]);
        let known = RowFacts { key: Some(KeyColumns::new(vec![0], &batch.schema()).unwrap()), ..RowFacts::default() }
            .of(&batch)
            .unwrap();
        let keys: Vec<u64> = (0..5).map(|place| known.key(place).unwrap()).collect();
        assert_eq!((keys[0], keys[1]), (keys[3], keys[4]));
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }

    #[test]
    fn the_earlier_deadline_counts_and_a_restored_row_goes_on_with_what_it_had_left() {
        let arrival = Arrival { now: Duration::from_secs(100), wall_micros: 5_000_000 };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let clock = batch(Arc::new(TimestampSecondArray::from(vec![Some(7), Some(60), None, Some(1)])));
        let facts = RowFacts { deadline: seconds(30), deadline_column: Some(0), ..RowFacts::default() };
        let known = facts.of(&clock).unwrap();
        let due = |place, left| known.due(place, arrival, left);
        assert_eq!([due(0, None), due(1, None), due(2, None)], [seconds(102), seconds(130), seconds(130)]);
        assert_eq!(due(3, None), seconds(100), "it had passed when the row came");
        assert_eq!([due(1, seconds(4)), due(0, seconds(4))], [seconds(104), seconds(102)]);
        let after = batch(Arc::new(DurationMillisecondArray::from(vec![Some(500), None])));
        let known = RowFacts { deadline_column: Some(0), ..RowFacts::default() }.of(&after).unwrap();
        assert_eq!(known.due(0, arrival, None), Some(Duration::from_millis(100_500)));
        assert_eq!(known.due(1, arrival, None), None);
    }
}
