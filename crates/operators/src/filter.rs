//! Keeps the rows for which a SQL condition is true; null counts as false. A row for which it fails costs only itself.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::function::Evaluated;
use forebay_core::on_error::OnError;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate_rows;
use crate::row_errors::Failed;
use crate::stateless::{Applied, Transform};

/// Keeps the rows for which `predicate` is true.
#[derive(Debug)]
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
    on_error: OnError,
}

// === impl Filter ===

impl Filter {
    /// A filter by `predicate`, a boolean expression over the input columns. With [`OnError::Null`] rows for which it fails are
    /// not kept.
    pub fn new(predicate: Arc<dyn PhysicalExpr>, on_error: OnError) -> Self {
        Self { predicate, on_error }
    }
}

impl Transform for Filter {
    fn apply(&mut self, batch: Batch, context: &Context) -> Result<Applied> {
        let Evaluated { column: keep, errors } = evaluate_rows(&self.predicate, &batch)?;
        if *keep.data_type() != DataType::Boolean {
            return Err(Error::new(Kind::Invalid, "filter rows")
                .with("predicate", &self.predicate)
                .with("type", keep.data_type()));
        }
        let mut failed = Failed::default();
        if self.on_error != OnError::Null {
            failed.extend(errors);
        }
        let dead_letters = failed.into_letters(self.on_error, "filter rows", &batch, &context.identity.uid)?;
        Ok(Applied { batch: Some(batch.filter(keep.as_boolean())?), dead_letters })
    }
}
