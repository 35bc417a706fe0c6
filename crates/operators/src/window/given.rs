//! Results on their way out: rows of windows, gathered to batches.
//!
//! A row's id follows from the operator, the key, the window and the rows that are in it. The same result has the same id in
//! every attempt and at every parallelism, and another result of the same window has another; what hangs on ids, such as stored
//! answers of a model, never takes one for the other. Rows of one key share the split part of the id, so they stay together
//! and in order.
//!
//! Where rows are taken back, or each change is given, the values stand for the rows: after a row came and went the window is what
//! it was, whatever ids the two had. A row that is taken back then has the id under which it was given.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use forebay_core::hash::hash64_parts;
use forebay_core::keys::{Key, columns_of};
use forebay_core::row::{RowId, SplitId};
use forebay_core::row_kind::RowKind;
use forebay_core::{Batch, Error, Kind, Result};

use super::WindowSettings;
use super::aggregate::wrong;
use super::pane::Given;
use super::scalars::put;
use super::shape::Span;

/// See the module. Columns: the keys, where event time was cut `window_start`, `window_end` and `window_time`, the aggregates.
#[derive(Debug)]
pub(super) struct Results {
    uid: String,
    schema: SchemaRef,
    keys_count: usize,
    /// Whether the columns of times are there.
    timed: bool,
    /// Whether ids follow from values.
    by_value: bool,
    keys: Vec<Key>,
    spans: Vec<Span>,
    values: Vec<Vec<ScalarValue>>,
    ids: Vec<RowId>,
    kinds: Vec<RowKind>,
}

// === impl Results ===

impl Results {
    /// None yet; `keys` says how many columns are keys.
    pub fn new(uid: &str, settings: &WindowSettings, keys: usize) -> Self {
        let (schema, timed) = (Arc::clone(&settings.output), settings.time.is_some());
        let aggregates = schema.fields().len() - keys - if timed { 3 } else { 0 };
        Self {
            uid: uid.to_string(),
            schema,
            keys_count: keys,
            timed,
            by_value: settings.updates || settings.changes,
            keys: Vec::new(),
            spans: Vec::new(),
            values: vec![Vec::new(); aggregates],
            ids: Vec::new(),
            kinds: Vec::new(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody can tell the two results of one window apart, so that neither is taken back nor given.
    pub fn are_same(&self, one: &Given, other: &Given) -> bool {
        self.by_value && one.values == other.values
    }

    /// Adds a result of a window.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn push(&mut self, kind: RowKind, key: &Key, span: Span, given: Given) -> Result<()> {
        let split = SplitId(hash64_parts(&[self.uid.as_bytes(), key.as_bytes()]));
        let (start, end) = (span.start.0.to_be_bytes(), span.end.0.to_be_bytes());
        let ordinal = if self.by_value {
            let mut values = Vec::new();
            given.values.iter().try_for_each(|value| put(value, &mut values))?;
            hash64_parts(&[&start, &end, &values])
        } else {
            hash64_parts(&[&start, &end, &given.print.to_be_bytes(), &[kind.to_byte()]])
        };
        self.ids.push(RowId::new(split, ordinal));
        self.kinds.push(kind);
        self.keys.push(key.clone());
        self.spans.push(span);
        for (column, value) in self.values.iter_mut().zip(given.values) {
            column.push(value);
        }
        Ok(())
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
        if self.timed {
            columns.push(self.times(|span| span.start.0));
            columns.push(self.times(|span| span.end.0));
            columns.push(self.times(|span| span.last().0));
        }
        for values in &mut self.values {
            let column = ScalarValue::iter_to_array(std::mem::take(values));
            columns.push(column.map_err(|source| wrong("build column of aggregate", source))?);
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|source| Error::new(Kind::Internal, "build rows of windows").source(source))?;
        self.keys.clear();
        self.spans.clear();
        let batch = Batch::new(rows, std::mem::take(&mut self.ids))?;
        batch.with_kinds(std::mem::take(&mut self.kinds)).map(Some)
    }

    fn times(&self, of: impl Fn(&Span) -> i64) -> ArrayRef {
        let kind = self.schema.field(self.keys_count).data_type();
        let times = TimestampMicrosecondArray::from_iter_values(self.spans.iter().map(of));
        Arc::new(times.with_data_type(kind.clone()))
    }
}
