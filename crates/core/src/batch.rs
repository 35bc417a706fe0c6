//! A batch: Arrow rows that move together, each with its stable id and the change that it states.
//!
//! Rows, ids and kinds are kept in step by every operation here; there is no way to change one without the others. Most
//! streams only append: then no kinds are held at all. Cloning is cheap (reference counts).

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Kind, Result};
use crate::row::RowId;
use crate::row_kind::RowKind;

/// Arrow rows with one [`RowId`] and one [`RowKind`] each.
#[derive(Debug, Clone)]
pub struct Batch {
    rows: RecordBatch,
    ids: Arc<[RowId]>,
    /// None: all are inserts.
    kinds: Option<Arc<[RowKind]>>,
}

// === impl Batch ===

impl Batch {
    /// Joins rows and their ids; every row is an insert.
    ///
    /// # Errors
    /// `Internal` if the counts differ.
    pub fn new(rows: RecordBatch, ids: impl Into<Arc<[RowId]>>) -> Result<Self> {
        let ids = ids.into();
        if rows.num_rows() != ids.len() {
            return Err(Error::new(Kind::Internal, "join rows and ids")
                .with("rows", rows.num_rows())
                .with("ids", ids.len()));
        }
        Ok(Self { rows, ids, kinds: None })
    }

    /// The same rows, stating these changes.
    ///
    /// # Errors
    /// `Internal` if the counts differ.
    pub fn with_kinds(mut self, kinds: impl Into<Arc<[RowKind]>>) -> Result<Self> {
        let kinds = kinds.into();
        if kinds.len() != self.len() {
            return Err(Error::new(Kind::Internal, "join rows and kinds")
                .with("rows", self.len())
                .with("kinds", kinds.len()));
        }
        self.kinds = kinds.iter().any(|kind| *kind != RowKind::Insert).then_some(kinds);
        Ok(self)
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without rows. An empty batch never travels on an edge.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The ids, one a row.
    pub fn ids(&self) -> &[RowId] {
        &self.ids
    }

    /// The changes that the rows state, one a row; `None` when all are inserts.
    pub fn kinds(&self) -> Option<&[RowKind]> {
        self.kinds.as_deref()
    }

    /// The change that the row at `place` states.
    ///
    /// # Panics
    /// If `place` is out of range.
    pub fn kind(&self, place: usize) -> RowKind {
        self.kinds.as_ref().map_or(RowKind::Insert, |kinds| kinds[place])
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// Bytes that the rows occupy, ids included; slices count only their part where Arrow can tell.
    pub fn size_bytes(&self) -> usize {
        let columns: usize = self
            .rows
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
            .sum();
        let kinds = self.kinds.as_ref().map_or(0, |kinds| kinds.len());
        columns + kinds + self.ids.len() * size_of::<RowId>()
    }

    /// The same ids and kinds over other rows, one for one.
    ///
    /// # Errors
    /// `Internal` if the counts differ.
    pub fn with_rows(&self, rows: RecordBatch) -> Result<Self> {
        let batch = Self::new(rows, Arc::clone(&self.ids))?;
        Ok(Self { kinds: self.kinds.clone(), ..batch })
    }

    /// `length` rows from `start`, without a copy of the rows.
    pub fn slice(&self, start: usize, length: usize) -> Self {
        let range = start..start + length;
        let kinds = self.kinds.as_ref().map(|kinds| kinds[range.clone()].into());
        Self { rows: self.rows.slice(start, length), ids: self.ids[range].into(), kinds }
    }

    /// The rows for which `keep` is true; null counts as false.
    ///
    /// # Errors
    /// `Internal` if `keep` has another length.
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        let rows = filter_record_batch(&self.rows, keep)
            .map_err(|source| Error::new(Kind::Internal, "filter batch").source(source))?;
        let kept = |place: usize| keep.is_valid(place) && keep.value(place);
        let places: Vec<usize> = (0..self.len()).filter(|place| kept(*place)).collect();
        self.picked(rows, &places)
    }

    /// The rows at `places`, in that order.
    ///
    /// # Errors
    /// `Internal` if a place is out of range.
    pub fn take(&self, places: &[usize]) -> Result<Self> {
        let wrong = |_| Error::new(Kind::Internal, "take rows").with("rows", self.len());
        let indices: Vec<u32> =
            places.iter().map(|place| u32::try_from(*place)).collect::<Result<_, _>>().map_err(wrong)?;
        let rows = take_record_batch(&self.rows, &UInt32Array::from(indices))
            .map_err(|source| Error::new(Kind::Internal, "take rows").source(source))?;
        self.picked(rows, places)
    }

    /// All rows of `batches` in order, as one batch of `schema`.
    ///
    /// # Errors
    /// `Internal` if a batch has another schema.
    pub fn concat(schema: &SchemaRef, batches: &[Batch]) -> Result<Self> {
        let rows = arrow::compute::concat_batches(schema, batches.iter().map(Batch::rows))
            .map_err(|source| Error::new(Kind::Internal, "concatenate batches").source(source))?;
        let ids: Vec<RowId> = batches.iter().flat_map(|batch| batch.ids.iter().copied()).collect();
        let all = Self::new(rows, ids)?;
        if batches.iter().all(|batch| batch.kinds.is_none()) {
            return Ok(all);
        }
        let kinds = batches.iter().flat_map(|batch| (0..batch.len()).map(|place| batch.kind(place)));
        all.with_kinds(kinds.collect::<Vec<_>>())
    }

    /// `rows` with the ids and kinds at `places`.
    fn picked(&self, rows: RecordBatch, places: &[usize]) -> Result<Self> {
        let batch = Self::new(rows, places.iter().map(|place| self.ids[*place]).collect::<Vec<_>>())?;
        match &self.kinds {
            None => Ok(batch),
            Some(kinds) => batch.with_kinds(places.iter().map(|place| kinds[*place]).collect::<Vec<_>>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::SplitId;
    use arrow::array::{ArrayRef, Int64Array};

    fn batch(values: &[i64]) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let ids: Vec<RowId> = values.iter().map(|value| RowId::new(SplitId(1), *value as u64)).collect();
        Batch::new(rows, ids).unwrap()
    }

    #[test]
    fn filter_and_take_keep_rows_and_ids_in_step() {
        let kept = batch(&[1, 2, 3]).filter(&BooleanArray::from(vec![Some(true), None, Some(true)])).unwrap();
        assert_eq!(kept.ids().iter().map(|id| id.ordinal).collect::<Vec<_>>(), [1, 3]);
        let taken = batch(&[1, 2, 3]).take(&[2, 0]).unwrap();
        assert_eq!(taken.ids().iter().map(|id| id.ordinal).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn kinds_follow_their_rows_and_vanish_when_all_are_inserts() {
        use RowKind::{Delete, Insert, UpdateAfter};
        let changes = batch(&[1, 2, 3]).with_kinds(vec![Insert, UpdateAfter, Delete]).unwrap();
        assert_eq!(changes.slice(1, 2).kinds(), Some(&[UpdateAfter, Delete][..]));
        assert_eq!(changes.take(&[2, 0]).unwrap().kinds(), Some(&[Delete, Insert][..]));
        assert_eq!(changes.take(&[0]).unwrap().kinds(), None);
        let all = Batch::concat(&changes.schema(), &[batch(&[9]), changes.clone()]).unwrap();
        assert_eq!(all.kinds(), Some(&[Insert, Insert, UpdateAfter, Delete][..]));
        assert_eq!(changes.with_rows(batch(&[4, 5, 6]).rows().clone()).unwrap().kind(2), Delete);
        assert!(batch(&[1]).with_kinds(Vec::new()).is_err());
    }

    #[test]
    fn rows_and_ids_of_other_counts_are_refused() {
        let rows = batch(&[1, 2]).rows().clone();
        assert_eq!(Batch::new(rows, Vec::new()).unwrap_err().kind(), Kind::Internal);
    }
}
