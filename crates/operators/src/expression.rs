//! Evaluation of DataFusion physical expressions over the rows of a batch.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::{Batch, Error, Kind, Result};

/// The value of `expression` for every row of `batch`.
///
/// # Errors
/// `Data` if evaluation fails (a cast, a division by zero): SQL has no per-row errors, so the whole batch is at fault.
pub fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &Batch) -> Result<ArrayRef> {
    let evaluated = expression.evaluate(batch.rows()).and_then(|value| value.into_array(batch.len()));
    evaluated
        .map_err(|source| Error::new(Kind::Data, "evaluate expression").with("expression", expression).source(source))
}
