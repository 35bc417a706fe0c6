//! Small batches for this crate's tests.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::element::Element;
use forebay_core::row::SplitId;
use forebay_core::{Batch, RowId};

/// Rows `n` in `range`, one column `n`, ids of split 1.
pub fn batch(range: Range<i64>) -> Batch {
    let ids: Vec<RowId> = range.clone().map(|n| RowId::new(SplitId(1), n as u64)).collect();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap(), ids).unwrap()
}

/// An element in short: rows by the numbers of the first and the last.
pub fn shown(element: &Element) -> String {
    match element {
        Element::Batch(batch) => format!("{}-{}", batch.ids()[0].ordinal, batch.ids()[batch.len() - 1].ordinal),
        other => format!("{other:?}"),
    }
}
