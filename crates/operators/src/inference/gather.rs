//! Collects single rows of several record batches into one, without a copy where they lie side by side.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Kind, Result};

/// Rows picked from record batches of one schema, in the order added.
#[derive(Debug, Default)]
pub struct Gather {
    sources: Vec<RecordBatch>,
    picked: Vec<(usize, usize)>,
}

// === impl Gather ===

impl Gather {
    /// Picks row `place` of `rows`.
    pub fn add(&mut self, rows: &RecordBatch, place: usize) {
        let known = self.sources.iter().rposition(|source| same(source, rows));
        let source = known.unwrap_or_else(|| {
            self.sources.push(rows.clone());
            self.sources.len() - 1
        });
        self.picked.push((source, place));
    }

    /// The picked rows as one record batch; empty, of `schema`, if none were picked.
    ///
    /// # Errors
    /// `Internal` if the schemas differ.
    pub fn finish(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let Some(first) = self.picked.first().copied() else { return Ok(RecordBatch::new_empty(Arc::clone(schema))) };
        let side_by_side = self.picked.iter().enumerate().all(|(step, pick)| *pick == (first.0, first.1 + step));
        if side_by_side {
            return Ok(self.sources[first.0].slice(first.1, self.picked.len()));
        }
        interleave_record_batch(&self.sources.iter().collect::<Vec<_>>(), &self.picked)
            .map_err(|source| Error::new(Kind::Internal, "gather rows").source(source))
    }
}

/// Whether two record batches are the same one: same columns in memory.
fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    left.num_rows() == right.num_rows()
        && left.num_columns() == right.num_columns()
        && left.columns().iter().zip(right.columns()).all(|(left, right)| Arc::ptr_eq(left, right))
}
