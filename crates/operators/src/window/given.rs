//! Results on their way out: rows of windows, gathered to batches.
//!
//! A row's id follows from the operator, the key, the window and the rows that are in it. The same result has the same id in
//! every attempt and at every parallelism, and another result of the same window has another; what hangs on ids, such as stored
//! answers of a model, never takes one for the other. Rows of one key share the split part of the id, so they stay together
//! and in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use forebay_core::hash::hash64_parts;
use forebay_core::keys::{Key, columns_of};
use forebay_core::row::{RowId, SplitId};
use forebay_core::row_kind::RowKind;
use forebay_core::{Batch, Error, Kind, Result};

use super::aggregate::wrong;
use super::pane::Given;
use super::shape::Span;

/// See the module. Columns: the keys, where event time was cut `window_start`, `window_end` and `window_time`, the aggregates.
#[derive(Debug)]
pub(super) struct Results {
    uid: String,
    schema: SchemaRef,
    keys_count: usize,
    /// Whether the columns of times are there.
    timed: bool,
    keys: Vec<Key>,
    spans: Vec<Span>,
    values: Vec<Vec<ScalarValue>>,
    ids: Vec<RowId>,
    kinds: Vec<RowKind>,
}

// === impl Results ===

impl Results {
    /// None yet; `keys` says how many columns of `schema` are keys, `timed` whether the times of windows come behind them.
    pub fn new(uid: &str, schema: SchemaRef, keys: usize, timed: bool) -> Self {
        let aggregates = schema.fields().len() - keys - if timed { 3 } else { 0 };
        Self {
            uid: uid.to_string(),
            schema,
            keys_count: keys,
            timed,
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

    /// Adds a result of a window.
    pub fn push(&mut self, kind: RowKind, key: &Key, span: Span, given: Given) {
        let split = SplitId(hash64_parts(&[self.uid.as_bytes(), key.as_bytes()]));
        let (start, end) = (span.start.0.to_be_bytes(), span.end.0.to_be_bytes());
        let ordinal = hash64_parts(&[&start, &end, &given.print.to_be_bytes(), &[kind.to_byte()]]);
        self.ids.push(RowId::new(split, ordinal));
        self.kinds.push(kind);
        self.keys.push(key.clone());
        self.spans.push(span);
        for (column, value) in self.values.iter_mut().zip(given.values) {
            column.push(value);
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
