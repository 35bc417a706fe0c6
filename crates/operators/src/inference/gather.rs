//! Collects single rows of several record batches, as rows or as columns, without a copy where they lie side by side.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{interleave, interleave_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::{Error, Kind, Result};

/// A row of a record batch, or nulls.
pub type Pick<'a> = Option<(&'a RecordBatch, usize)>;

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

/// Columns by name of rows picked from record batches that need not have one schema.
///
/// # Errors
/// `Data` if a record batch lacks the column, or has it with another type.
pub fn columns(picked: &[Pick<'_>], names: &[(String, DataType)]) -> Result<Vec<ArrayRef>> {
    let mut sources: Vec<&RecordBatch> = Vec::new();
    let mut places = Vec::with_capacity(picked.len());
    for pick in picked {
        // The first source of each column is a null.
        places.push(pick.map_or((0, 0), |(rows, place)| {
            let known = sources.iter().rposition(|source| same(source, rows));
            let source = known.unwrap_or_else(|| {
                sources.push(rows);
                sources.len() - 1
            });
            (source + 1, place)
        }));
    }
    let side_by_side =
        sources.len() == 1 && places.iter().enumerate().all(|(step, pick)| *pick == (1, places[0].1 + step));
    let column = |(name, kind): &(String, DataType)| {
        let refused = |why: &'static str| Error::new(Kind::Data, "read model answer").with("output", name).source(why);
        let given =
            sources.iter().map(|rows| rows.column_by_name(name).ok_or_else(|| refused("the model did not give it")));
        let given: Vec<&ArrayRef> = given.collect::<Result<_>>()?;
        if side_by_side {
            return Ok(given[0].slice(places[0].1, places.len()));
        }
        let null = new_null_array(kind, 1);
        let arrays: Vec<&dyn Array> = std::iter::once(&null).chain(given).map(AsRef::as_ref).collect();
        interleave(&arrays, &places).map_err(|source| refused("it has another type").source(source))
    };
    names.iter().map(column).collect()
}

/// Whether two record batches are the same one: same columns in memory.
fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    left.num_rows() == right.num_rows()
        && left.num_columns() == right.num_columns()
        && left.columns().iter().zip(right.columns()).all(|(left, right)| Arc::ptr_eq(left, right))
}
