//! Calls a built-in row function and adds its result as a column; a bad row costs only itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::function::BoundFunction;
use forebay_core::on_error::OnError;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate;
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
        let values: Vec<ArrayRef> =
            self.arguments.iter().map(|argument| evaluate(argument, &batch)).collect::<Result<_>>()?;
        let evaluated = self.function.evaluate(&values, batch.len())?;
        let failed: BTreeMap<usize, Error> = evaluated.errors.into_iter().collect();
        let good = || (0..batch.len()).map(|place| !failed.contains_key(&place)).collect::<Vec<bool>>();
        match (failed.is_empty(), self.on_error) {
            (true, _) => Ok(Applied { batch: Some(self.add_column(&batch, evaluated.column)?), ..Applied::default() }),
            (false, OnError::Fail) => {
                let (place, error) = failed.into_iter().next().expect("failed is not empty");
                Err(Error::new(error.kind(), "call function").with("row", batch.ids()[place]).source(error))
            }
            (false, OnError::Null) => {
                let bad: BooleanArray = good().into_iter().map(|good| Some(!good)).collect();
                let column = arrow::compute::nullif(&evaluated.column, &bad)
                    .map_err(|source| Error::new(Kind::Internal, "null failed rows").source(source))?;
                Ok(Applied { batch: Some(self.add_column(&batch, column)?), ..Applied::default() })
            }
            (false, OnError::DeadLetter) => {
                let letters = failed.iter().map(|(place, error)| dead_letter(&batch, *place, error, context)).collect();
                let kept = self.add_column(&batch, evaluated.column)?.filter(&BooleanArray::from(good()))?;
                Ok(Applied { batch: Some(kept), dead_letters: letters })
            }
        }
    }
}

fn dead_letter(batch: &Batch, place: usize, error: &Error, context: &Context) -> DeadLetter {
    DeadLetter {
        row: batch.ids()[place],
        operator: context.identity.uid.clone(),
        kind: error.kind(),
        reason: error.chain(),
        attempts: 1,
        input: describe_row(batch, place),
    }
}
