//! Computes columns from columns: SQL expressions, one an output column; a row for which one fails costs only itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::function::Evaluated;
use forebay_core::on_error::OnError;
use forebay_core::operator::Context;
use forebay_core::{Batch, Error, Kind, Result};

use crate::expression::evaluate_rows;
use crate::row_errors::Failed;
use crate::stateless::{Applied, Transform};

/// Computes the columns of `schema` from those of the input.
#[derive(Debug)]
pub struct Project {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    on_error: OnError,
}

// === impl Project ===

impl Project {
    /// A projection: `expressions[i]` gives column `i` of `schema`, whose fields carry the extension metadata. With
    /// [`OnError::Null`] the column of an expression that fails is null, if it may be; else its row is a dead letter.
    pub fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef, on_error: OnError) -> Self {
        Self { expressions, schema, on_error }
    }

    fn made(&self, batch: &Batch, columns: Vec<ArrayRef>) -> Result<Batch> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "project columns").source(source))?;
        batch.with_rows(rows)
    }
}

impl Transform for Project {
    fn apply(&mut self, batch: Batch, context: &Context) -> Result<Applied> {
        let mut failed = Failed::default();
        let mut columns = Vec::with_capacity(self.expressions.len());
        for (expression, field) in self.expressions.iter().zip(self.schema.fields()) {
            let Evaluated { column, errors } = evaluate_rows(expression, &batch)?;
            columns.push(column);
            if self.on_error != OnError::Null || !field.is_nullable() {
                failed.extend(errors);
            }
        }
        if failed.is_empty() {
            return Ok(Applied { batch: Some(self.made(&batch, columns)?), ..Applied::default() });
        }
        let good = failed.others(batch.len());
        let kept = columns.iter().map(|column| filter(column, &good)).collect::<Result<_, _>>();
        let kept = kept.map_err(|source| Error::new(Kind::Internal, "filter columns").source(source))?;
        let made = self.made(&batch.filter(&good)?, kept)?;
        let dead_letters = failed.into_letters(self.on_error, "compute columns", &batch, &context.identity.uid)?;
        Ok(Applied { batch: Some(made), dead_letters })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::logical_expr::Operator as Op;
    use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
    use forebay_core::RowId;
    use forebay_core::row::SplitId;
    use forebay_core::testing::ManualEnv;
    use proptest::prelude::*;

    use super::*;
    use crate::filter::Filter;
    use crate::tests::context;

    /// `12 / n`, which fails where `n` is 0.
    fn quotient() -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(lit(12_i64), Op::Divide, Arc::new(Column::new("n", 0))))
    }

    fn rows(values: &[i64]) -> Batch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from(values.to_vec()));
        let ids = (0..values.len() as u64).map(|row| RowId::new(SplitId(1), row)).collect::<Vec<_>>();
        Batch::new(RecordBatch::try_new(schema, vec![column]).unwrap(), ids).unwrap()
    }

    fn project(on_error: OnError, is_nullable: bool) -> Project {
        let fields = vec![Field::new("n", DataType::Int64, false), Field::new("q", DataType::Int64, is_nullable)];
        Project::new(vec![Arc::new(Column::new("n", 0)), quotient()], Arc::new(Schema::new(fields)), on_error)
    }

    fn applied(mut transform: impl Transform, values: &[i64]) -> Result<Applied> {
        transform.apply(rows(values), &context(&ManualEnv::new(1)))
    }

    fn cells(batch: &Batch, column: usize) -> Vec<Option<i64>> {
        batch.rows().column(column).as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn what_fails_is_a_dead_letter_or_null_or_the_end() {
        let letters = applied(project(OnError::DeadLetter, false), &[3, 0, 4]).unwrap();
        let made = letters.batch.unwrap();
        assert_eq!((cells(&made, 1), made.ids()[1].ordinal), (vec![Some(4), Some(3)], 2));
        assert_eq!((letters.dead_letters.len(), letters.dead_letters[0].input.as_str()), (1, "{\"n\": 0}"));
        let nulls = applied(project(OnError::Null, true), &[3, 0]).unwrap();
        assert_eq!((cells(&nulls.batch.unwrap(), 1), nulls.dead_letters.len()), (vec![Some(4), None], 0));
        let may_not_be_null = applied(project(OnError::Null, false), &[3, 0]).unwrap();
        assert_eq!((may_not_be_null.batch.unwrap().len(), may_not_be_null.dead_letters.len()), (1, 1));
        let error = applied(project(OnError::Fail, false), &[3, 0]).unwrap_err();
        assert!(error.kind() == Kind::Data && error.chain().contains("row="), "{}", error.chain());
    }

    #[test]
    fn a_row_that_a_condition_spares_is_not_at_fault() {
        let spared = BinaryExpr::new(Arc::new(Column::new("n", 0)), Op::NotEq, lit(0_i64));
        let large = BinaryExpr::new(quotient(), Op::Gt, lit(3_i64));
        let both: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(Arc::new(spared), Op::And, Arc::new(large)));
        let kept = applied(Filter::new(both, OnError::Fail), &[0, 3, 4, 0, 2]).unwrap();
        assert_eq!(cells(&kept.batch.unwrap(), 0), [Some(3), Some(2)]);
    }

    proptest! {
        #[test]
        fn rows_fail_by_themselves(values in prop::collection::vec(-2_i64..4, 0..40)) {
            let made = applied(project(OnError::DeadLetter, false), &values).unwrap();
            let left = made.batch.map(|batch| cells(&batch, 1)).unwrap_or_default();
            let expected: Vec<_> = values.iter().filter(|value| **value != 0).map(|value| Some(12 / value)).collect();
            prop_assert_eq!(left, expected);
            prop_assert_eq!(made.dead_letters.len(), values.iter().filter(|value| **value == 0).count());
            let filter = BinaryExpr::new(quotient(), Op::Lt, lit(7_i64));
            let made = applied(Filter::new(Arc::new(filter), OnError::DeadLetter), &values).unwrap();
            let left = made.batch.map(|batch| cells(&batch, 0)).unwrap_or_default();
            let small: Vec<_> = values.iter().filter(|value| **value != 0 && 12 / **value < 7).map(|value| Some(*value)).collect();
            prop_assert_eq!(left, small);
            prop_assert_eq!(made.dead_letters.len(), values.iter().filter(|value| **value == 0).count());
        }
    }
}
