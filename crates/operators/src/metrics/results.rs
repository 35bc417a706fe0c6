//! Rows of figures on their way out, gathered to batches.
//!
//! A row's id follows from the operator, the key, the interval and the figures: a row that is taken back has the id under which
//! it was given, and the same result has the same id in every attempt.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::hash::hash64_parts;
use forebay_core::keys::{Key, columns_of};
use forebay_core::row::{RowId, SplitId};
use forebay_core::row_kind::RowKind;
use forebay_core::{Batch, Error, Kind, Result};
use forebay_state::keyed::Space;

use super::tally::Figures;
use super::{MetricsSettings, change, micros};

/// See the module.
pub(super) struct Results {
    uid: String,
    schema: SchemaRef,
    /// How many columns are keys.
    keys_count: usize,
    /// Length of an interval, in microseconds.
    every: Option<i64>,
    keys: Vec<Key>,
    ends: Vec<i64>,
    figures: Vec<Figures>,
    ids: Vec<RowId>,
    kinds: Vec<RowKind>,
}

// === impl Results ===

impl Results {
    /// None yet.
    pub fn new(uid: &str, settings: &MetricsSettings) -> Self {
        Self {
            uid: uid.to_string(),
            schema: SchemaRef::clone(&settings.output),
            keys_count: settings.keys.places().len(),
            every: settings.every.map(micros),
            keys: Vec::new(),
            ends: Vec::new(),
            figures: Vec::new(),
            ids: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds what turns the row that a pane gave last into the one that holds now.
    pub fn replace(&mut self, key: &Key, space: &Space, old: Option<Figures>, new: Option<Figures>) {
        for (kind, figures) in change(old, new) {
            let split = SplitId(hash64_parts(&[self.uid.as_bytes(), key.as_bytes()]));
            let mut bytes = Vec::new();
            figures.put(&mut bytes);
            self.ids.push(RowId::new(split, hash64_parts(&[space.as_bytes(), &bytes])));
            self.kinds.push(kind);
            self.keys.push(key.clone());
            self.ends.push(space.time().map_or(0, |end| end.0));
            self.figures.push(figures);
        }
    }

    /// All that wait, as a batch.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn take(&mut self) -> Result<Option<Batch>> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        let fields = self.schema.fields();
        let kinds: Vec<DataType> = fields[..self.keys_count].iter().map(|field| field.data_type().clone()).collect();
        let mut columns = columns_of(&self.keys, &kinds)?;
        if let Some(every) = self.every {
            columns.extend([every, 0, 1].map(|earlier| self.times(earlier)));
        }
        for place in 0..2 {
            columns.push(Arc::new(Int64Array::from_iter_values(self.figures.iter().map(|row| row.counts[place]))));
        }
        for place in 0..fields.len() - columns.len() {
            columns.push(Arc::new(Float64Array::from_iter(self.figures.iter().map(|row| row.ratios[place]))));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.ids.len()));
        let rows = RecordBatch::try_new_with_options(SchemaRef::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "build rows of metrics").source(source))?;
        self.keys.clear();
        self.ends.clear();
        self.figures.clear();
        let batch = Batch::new(rows, std::mem::take(&mut self.ids))?;
        batch.with_kinds(std::mem::take(&mut self.kinds)).map(Some)
    }

    /// Ends of the intervals, that much earlier.
    fn times(&self, earlier: i64) -> ArrayRef {
        let kind = self.schema.field(self.keys_count).data_type();
        let times = self.ends.iter().map(|end| end.saturating_sub(earlier));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_data_type(kind.clone()))
    }
}
