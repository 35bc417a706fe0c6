//! Writes what each row does into a first column, for sinks that keep changes as rows.
//!
//! The kind moves from beside the row into it: behind this operator every row only adds itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::stateless::{Applied, Transform};

/// Puts a text column (`+I`, `-U`, `+U`, `-D`) before the others.
#[derive(Debug)]
pub struct Kinds {
    schema: SchemaRef,
}

// === impl Kinds ===

impl Kinds {
    /// `schema` is that of the rows that go out: the text column, then those that come in.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl Transform for Kinds {
    fn apply(&mut self, batch: Batch, _context: &Context) -> Result<Applied> {
        let kinds: StringArray = (0..batch.len()).map(|place| Some(batch.kind(place).text())).collect();
        let columns = std::iter::once(Arc::new(kinds) as ArrayRef).chain(batch.rows().columns().iter().cloned());
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .map_err(|source| Error::new(Kind::Internal, "add column of kinds").source(source))?;
        Ok(Applied { batch: Some(Batch::new(rows, batch.ids().to_vec())?), ..Applied::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};
    use forebay_core::row::SplitId;
    use forebay_core::testing::ManualEnv;
    use forebay_core::{RowId, RowKind};

    #[test]
    fn what_each_row_does_becomes_its_first_column() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let ids: Vec<RowId> = (0..4).map(|ordinal| RowId::new(SplitId(1), ordinal)).collect();
        let schema =
            Schema::new(vec![Field::new("kind", DataType::Utf8, false), Field::new("n", DataType::Int64, true)]);
        let mut kinds = Kinds::new(Arc::new(schema));
        let mut written = |batch: Batch| {
            let out = kinds.apply(batch, &crate::tests::context(&ManualEnv::new(1))).unwrap().batch.unwrap();
            assert!(out.kinds().is_none() && out.ids() == ids.as_slice());
            out.rows().column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>().join(" ")
        };
        let batch = Batch::new(rows, ids.clone()).unwrap();
        assert_eq!(written(batch.clone()), "+I +I +I +I");
        let all = vec![RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];
        assert_eq!(written(batch.with_kinds(all).unwrap()), "+I -U +U -D");
    }
}
