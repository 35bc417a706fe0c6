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
