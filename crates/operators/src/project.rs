//! Computes columns from columns: SQL expressions, one an output column.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate;
use crate::stateless::{Applied, Transform};

/// Computes the columns of `schema` from those of the input.
#[derive(Debug)]
pub struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

// === impl Project ===

impl Project {
    /// A projection: `expressions[i]` gives column `i` of `schema`, whose fields carry the extension metadata.
    pub fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Self {
        Self { expressions, schema }
    }
}

impl Transform for Project {
    fn apply(&mut self, batch: Batch, _context: &Context) -> Result<Applied> {
        let columns = self.expressions.iter().map(|expression| evaluate(expression, &batch)).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "project columns").source(source))?;
        Ok(Applied { batch: Some(batch.with_rows(rows)?), ..Applied::default() })
    }
}
