//! Calls a built-in row function and adds its result as a column; a bad row costs only itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{not, nullif};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::function::{BoundFunction, Evaluated};
use forebay_core::on_error::OnError;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate_rows;
use crate::row_errors::Failed;
use crate::stateless::{Applied, Transform};

/// Adds the result of a row function as the last column.
#[derive(Debug)]
pub struct Call {
    function: Arc<dyn BoundFunction>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    on_error: OnError,
}

// === impl Call ===

impl Call {
    /// A call of `function` over the values of `arguments`; `schema` is the input's with the result column added last.
    pub fn new(
        function: Arc<dyn BoundFunction>,
        arguments: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
        on_error: OnError,
    ) -> Self {
        Self { function, arguments, schema, on_error }
    }

    fn add_column(&self, batch: &Batch, column: ArrayRef) -> Result<Batch> {
        let mut columns = batch.rows().columns().to_vec();
        columns.push(column);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|source| Error::new(Kind::Internal, "add result column").source(source))?;
        batch.with_rows(rows)
    }
}

impl Transform for Call {
    fn apply(&mut self, batch: Batch, context: &Context) -> Result<Applied> {
        let mut failed = Failed::default();
        let mut values: Vec<ArrayRef> = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            let Evaluated { column, errors } = evaluate_rows(argument, &batch)?;
            values.push(column);
            failed.extend(errors);
        }
        let Evaluated { column, errors } = self.function.evaluate(&values, batch.len())?;
        failed.extend(errors);
        if failed.is_empty() {
            return Ok(Applied { batch: Some(self.add_column(&batch, column)?), ..Applied::default() });
        }
        let good = failed.others(batch.len());
        if self.on_error == OnError::Null {
            let bad = not(&good).and_then(|bad| nullif(&column, &bad));
            let column = bad.map_err(|source| Error::new(Kind::Internal, "null failed rows").source(source))?;
            return Ok(Applied { batch: Some(self.add_column(&batch, column)?), ..Applied::default() });
        }
        let dead_letters = failed.into_letters(self.on_error, "call function", &batch, &context.identity.uid)?;
        Ok(Applied { batch: Some(self.add_column(&batch, column)?.filter(&good)?), dead_letters })
    }
}
