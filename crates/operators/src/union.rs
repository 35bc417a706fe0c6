//! Puts the rows of several streams into one.
//!
//! A row gets a new id, made from the union, the stream it came from and its old id. Two streams of a union may both hold
//! one row of a source (a stream that branched and meets again); behind the union they are two rows, and what hangs on ids,
//! such as stored answers, must not take one for the other. Rows of one split stay together and in order.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use forebay_core::hash::hash64_parts;
use forebay_core::operator::{Context, Drained, Operator, Out, Restored, Room};
use forebay_core::row::{RowId, SplitId};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};

/// The rows of all its inputs; it has room when everything it got was taken.
#[derive(Debug)]
pub struct Union {
    streams: Vec<String>,
    schema: SchemaRef,
    uid: String,
    outs: VecDeque<Out>,
}

// === impl Union ===

impl Union {
    /// A union of `streams`, named by input port; `schema` is that of all of them, nullable where one of them is.
    pub fn new(streams: &[String], schema: SchemaRef) -> Self {
        Self { streams: streams.to_vec(), schema, uid: String::new(), outs: VecDeque::new() }
    }

    /// The ids behind the union of rows of `stream`. Runs of rows of one split are the rule, so its hash is kept.
    fn ids(&self, stream: &str, ids: &[RowId]) -> Vec<RowId> {
        let mut last: Option<(SplitId, SplitId)> = None;
        let mut split_of = |split: SplitId| match last {
            Some((from, to)) if from == split => to,
            _ => {
                let parts: [&[u8]; 3] = [self.uid.as_bytes(), stream.as_bytes(), &split.0.to_be_bytes()];
                let to = SplitId(hash64_parts(&parts));
                last = Some((split, to));
                to
            }
        };
        ids.iter().map(|id| RowId::new(split_of(id.split), id.ordinal)).collect()
    }
}

impl Operator for Union {
    fn open(&mut self, context: Context, _restored: Restored) -> Result<()> {
        self.uid = context.identity.uid;
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        self.on_batch_at(0, batch)
    }

    fn on_batch_at(&mut self, port: u8, batch: Batch) -> Result<()> {
        let stream = self.streams.get(usize::from(port));
        let stream = stream.ok_or_else(|| Error::new(Kind::Internal, "find stream of union").with("port", port))?;
        let ids = self.ids(stream, batch.ids());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let columns = batch.rows().columns().to_vec();
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "unite rows").source(source))?;
        let united = Batch::new(rows, ids)?;
        let united = match batch.kinds() {
            Some(kinds) => united.with_kinds(kinds.to_vec())?,
            None => united,
        };
        self.outs.push_back(Out::Batch(united));
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.outs.push_back(Out::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(self.outs.pop_front())
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() { Drained::Done } else { Drained::Pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use forebay_core::RowKind;
    use forebay_core::testing::ManualEnv;

    fn batch(ids: &[(u64, u64)]) -> Batch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|(_, ordinal)| *ordinal as i64)));
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let ids: Vec<RowId> = ids.iter().map(|(split, ordinal)| RowId::new(SplitId(*split), *ordinal)).collect();
        Batch::new(RecordBatch::try_new(schema, vec![numbers]).unwrap(), ids).unwrap()
    }

    fn union(streams: &[&str]) -> Union {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let streams: Vec<String> = streams.iter().map(ToString::to_string).collect();
        let mut union = Union::new(&streams, schema);
        union.open(crate::tests::context(&ManualEnv::new(1)), Restored::default()).unwrap();
        union
    }

    fn given(union: &mut Union, port: u8, batch: Batch) -> Batch {
        union.on_batch_at(port, batch).unwrap();
        assert_eq!(union.room(), Room::Full);
        let Some(Out::Batch(batch)) = union.poll().unwrap() else { panic!("a batch") };
        batch
    }

    #[test]
    fn one_row_in_two_streams_is_two_rows_behind_and_keeps_its_ids_through_a_restart() {
        let rows = [(1, 0), (1, 7), (2, 7), (1, 9)];
        let (mut first, mut second) = (union(&["a", "b"]), union(&["b", "a", "c"]));
        let (left, right) = (given(&mut first, 0, batch(&rows)), given(&mut first, 1, batch(&rows)));
        assert!(left.ids().iter().zip(right.ids()).all(|(left, right)| left.split != right.split));
        assert_eq!(left.ids(), given(&mut second, 1, batch(&rows)).ids());
        let splits: Vec<SplitId> = left.ids().iter().map(|id| id.split).collect();
        assert!(splits[0] == splits[1] && splits[0] == splits[3] && splits[0] != splits[2]);
        assert_eq!(left.ids().iter().map(|id| id.ordinal).collect::<Vec<_>>(), [0, 7, 7, 9]);
    }

    #[test]
    fn kinds_and_watermarks_pass_and_columns_may_be_null() {
        let mut union = union(&["a", "b"]);
        let kinds = vec![RowKind::UpdateBefore, RowKind::UpdateAfter];
        let out = given(&mut union, 1, batch(&[(1, 0), (1, 1)]).with_kinds(kinds.clone()).unwrap());
        assert_eq!(out.kinds(), Some(kinds.as_slice()));
        assert!(out.schema().field(0).is_nullable());
        union.on_watermark(EventTime(5)).unwrap();
        assert!(matches!(union.poll().unwrap(), Some(Out::Watermark(EventTime(5)))));
        assert_eq!((union.drain().unwrap(), union.poll().unwrap().is_none()), (Drained::Done, true));
        assert!(union.on_batch_at(2, batch(&[(1, 0)])).is_err());
    }
}
