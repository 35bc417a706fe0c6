//! Evaluation of DataFusion physical expressions over the rows of a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::function::Evaluated;
use forebay_core::{Batch, Error, Kind, Result};

/// The value of `expression` for every row of `batch`.
///
/// # Errors
/// `Data` if evaluation fails (a cast, a division by zero): SQL has no per-row errors, so the whole batch is at fault.
pub fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &Batch) -> Result<ArrayRef> {
    raw(expression, batch).map_err(|source| wrong(expression, source))
}

/// The value of `expression` for every row of `batch`, and the rows for which it fails, whose value is null.
///
/// SQL has no errors of rows, so a batch that fails is halved until its bad rows are alone. A row that does not fail by itself
/// is not at fault, whatever the rows beside it make of a condition.
///
/// # Errors
/// `Data` for a failure that lies in the expression and not in a value.
pub fn evaluate_rows(expression: &Arc<dyn PhysicalExpr>, batch: &Batch) -> Result<Evaluated> {
    match raw(expression, batch) {
        Ok(column) => Ok(Evaluated { column, errors: Vec::new() }),
        Err(error) if !is_of_a_value(&error) => Err(wrong(expression, error)),
        Err(_) => in_pieces(expression, batch),
    }
}

/// Halves until every piece can be evaluated or is one row.
fn in_pieces(expression: &Arc<dyn PhysicalExpr>, batch: &Batch) -> Result<Evaluated> {
    let kind = expression.data_type(&batch.rows().schema()).map_err(|source| wrong(expression, source))?;
    let (mut pieces, mut errors): (Vec<ArrayRef>, _) = (Vec::new(), Vec::new());
    let mut left = vec![(0, batch.len())];
    while let Some((start, rows)) = left.pop() {
        match raw(expression, &batch.slice(start, rows)) {
            Ok(column) => pieces.push(column),
            Err(error) if rows == 1 => {
                pieces.push(new_null_array(&kind, 1));
                errors.push((start, wrong(expression, error)));
            }
            Err(_) => {
                let half = rows / 2;
                left.extend([(start + half, rows - half), (start, half)]);
            }
        }
    }
    Ok(Evaluated { column: joined(&pieces, &kind)?, errors })
}

fn joined(pieces: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
    let pieces: Vec<_> = pieces.iter().map(AsRef::as_ref).collect();
    if pieces.is_empty() {
        return Ok(new_null_array(kind, 0));
    }
    concat(&pieces).map_err(|source| Error::new(Kind::Internal, "put values together").source(source))
}

fn raw(expression: &Arc<dyn PhysicalExpr>, batch: &Batch) -> Result<ArrayRef, DataFusionError> {
    expression.evaluate(batch.rows()).and_then(|value| value.into_array(batch.len()))
}

fn wrong(expression: &Arc<dyn PhysicalExpr>, source: DataFusionError) -> Error {
    Error::new(Kind::Data, "evaluate expression").with("expression", expression).source(source)
}

/// Whether another value may do better.
fn is_of_a_value(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::Execution(_) | DataFusionError::External(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::InvalidArgumentError(_)
        ),
        _ => false,
    }
}
