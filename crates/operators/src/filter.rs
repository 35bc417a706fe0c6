//! Keeps the rows for which a SQL condition is true; null counts as false.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate;
use crate::stateless::{Applied, Transform};

/// Keeps the rows for which `predicate` is true.
#[derive(Debug)]
pub struct Filter {
    predicate: Arc<dyn PhysicalExpr>,
}

// === impl Filter ===

impl Filter {
    /// A filter by `predicate`, a boolean expression over the input columns.
    pub fn new(predicate: Arc<dyn PhysicalExpr>) -> Self {
        Self { predicate }
    }
}

impl Transform for Filter {
    fn apply(&mut self, batch: Batch, _context: &Context) -> Result<Applied> {
        let keep = evaluate(&self.predicate, &batch)?;
        if *keep.data_type() != DataType::Boolean {
            return Err(Error::new(Kind::Invalid, "filter rows")
                .with("predicate", &self.predicate)
                .with("type", keep.data_type()));
        }
        Ok(Applied { batch: Some(batch.filter(keep.as_boolean())?), ..Applied::default() })
    }
}
