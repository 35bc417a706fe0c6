//! What is kept of each row: the values that the aggregates take of it, each once.
//!
//! Expressions that several aggregates share are computed and kept once, literals not at all; of what is only counted, whether
//! it is there. Two rows of one time for which these values are the same are the same row to every aggregate, so a row is
//! taken back by them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::scalar::ScalarValue;
use forebay_core::function::Evaluated;
use forebay_core::{Batch, Error, Kind, Result};

use super::super::aggregate::{Aggregate, Form, wrong};
use super::super::cell::Cell;
use super::super::taken::Taken;
use crate::expression::evaluate_rows;
use crate::row_errors::Failed;
use crate::stored_rows::{RowReader, RowWriter};

/// Rows that aggregates are given at once: enough that arrays cost little, few enough that a long session is never in memory
/// twice.
const ROWS_AT_ONCE: usize = 4096;

/// See the module.
pub(super) struct Columns {
    kept: Vec<Column>,
    schema: SchemaRef,
    /// What each aggregate takes.
    takes: Vec<Takes>,
    aggregates: Vec<Aggregate>,
    reader: RowReader,
}

/// One value of each row.
struct Column {
    expression: Arc<dyn PhysicalExpr>,
    kind: DataType,
    /// Kept is only whether it is there: true or null.
    is_counted: bool,
}

/// Where the values of one aggregate are.
struct Takes {
    /// Among the columns.
    filter: Option<usize>,
    /// Of each of [`Aggregate::expressions`].
    arguments: Vec<Argument>,
}

enum Argument {
    Column(usize),
    Literal(ScalarValue),
}

/// The aggregates of the rows that were given so far.
pub(super) struct Sum {
    cells: Vec<Cell>,
}

// === impl Columns ===

impl Columns {
    /// What `aggregates` need; of [`Aggregate::new`], because each result begins anew.
    ///
    /// # Errors
    /// `Invalid` for a value of a type that cannot be kept.
    pub fn new(aggregates: &[Aggregate]) -> Result<Self> {
        let mut kept = Vec::new();
        // Those whose values are needed first, so that counts share them.
        for aggregate in aggregates.iter().filter(|aggregate| aggregate.form != Form::Count) {
            of_aggregate(aggregate, &mut kept);
        }
        let takes = aggregates.iter().map(|aggregate| of_aggregate(aggregate, &mut kept)).collect();
        let field = |(place, column): (usize, &Column)| Field::new(place.to_string(), column.stored(), true);
        let schema = Arc::new(Schema::new(kept.iter().enumerate().map(field).collect::<Vec<_>>()));
        let reader = RowReader::new(&schema)?;
        Ok(Self { kept, schema, takes, aggregates: aggregates.to_vec(), reader })
    }

    /// The rows of `batch`, ready to be written as bytes, and those of which an aggregate that counts them cannot be given what it
    /// takes.
    ///
    /// # Errors
    /// `Data` for a failure that lies in an expression and not in a value.
    pub fn writer(&self, batch: &Batch) -> Result<(RowWriter, Failed)> {
        let evaluated = self.kept.iter().map(|column| column.of(batch)).collect::<Result<Vec<_>>>()?;
        let (columns, errors): (Vec<_>, Vec<_>) = evaluated.into_iter().map(|each| (each.column, each.errors)).unzip();
        let failed = self.failed(&columns, errors);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|source| Error::new(Kind::Internal, "keep arguments of aggregates").source(source))?;
        Ok((RowWriter::new(&rows)?, failed))
    }

    /// The `errors` of each column in rows that count for an aggregate which takes the column.
    fn failed(&self, columns: &[ArrayRef], errors: Vec<Vec<(usize, Error)>>) -> Failed {
        let mut failed = Failed::default();
        for (place, errors) in errors.into_iter().enumerate() {
            failed.extend(
                errors.into_iter().filter(|(row, _)| self.takes.iter().any(|takes| takes.needs(place, *row, columns))),
            );
        }
        failed
    }

    /// The aggregates of no rows.
    pub fn sum(&self) -> Result<Sum> {
        Ok(Sum { cells: self.aggregates.iter().map(Cell::new).collect::<Result<_>>()? })
    }

    /// Gives `sum` a row so many times. It may wait for others: [`Columns::finish`] comes last, with the same sum.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no row, `Data` if an aggregate cannot take it.
    pub fn add(&mut self, sum: &mut Sum, content: &[u8], count: u64) -> Result<()> {
        for _ in 0..count {
            self.reader.push(content)?;
            if self.reader.rows() >= ROWS_AT_ONCE {
                self.flush(sum)?;
            }
        }
        Ok(())
    }

    /// The results of all rows that `sum` was given.
    ///
    /// # Errors
    /// As [`Columns::add`].
    pub fn finish(&mut self, mut sum: Sum) -> Result<Vec<ScalarValue>> {
        self.flush(&mut sum)?;
        let cells = sum.cells.iter_mut().zip(&self.aggregates);
        cells.map(|(cell, aggregate)| cell.evaluate(aggregate, false)).collect()
    }

    /// Types of the results.
    pub fn kinds(&self) -> impl Iterator<Item = DataType> {
        self.aggregates.iter().map(|aggregate| aggregate.function.field().data_type().clone())
    }

    fn flush(&mut self, sum: &mut Sum) -> Result<()> {
        let count = self.reader.rows();
        if count == 0 {
            return Ok(());
        }
        let columns = self.reader.finish()?;
        let rows: Vec<u32> = (0..count as u32).collect();
        for ((cell, aggregate), takes) in sum.cells.iter_mut().zip(&self.aggregates).zip(&self.takes) {
            cell.update(aggregate, &takes.of(aggregate, &columns, count)?, &rows, &[])?;
        }
        Ok(())
    }
}

/// Where `aggregate` finds its values among `kept`, to which it adds those that are missing.
fn of_aggregate(aggregate: &Aggregate, kept: &mut Vec<Column>) -> Takes {
    let mut place = |expression: &Arc<dyn PhysicalExpr>, kind: DataType, is_counted: bool| {
        let serves = |column: &Column| {
            &column.expression == expression && (column.is_counted == is_counted || !column.is_counted)
        };
        kept.iter().position(serves).unwrap_or_else(|| {
            kept.push(Column { expression: Arc::clone(expression), kind, is_counted });
            kept.len() - 1
        })
    };
    let filter = aggregate.filter().map(|filter| place(filter, DataType::Boolean, false));
    let arguments = aggregate.expressions().into_iter().zip(&aggregate.arguments).map(|(expression, kind)| {
        match expression.downcast_ref::<Literal>() {
            Some(literal) => Argument::Literal(literal.value().clone()),
            None => Argument::Column(place(&expression, kind.clone(), aggregate.form == Form::Count)),
        }
    });
    let arguments = arguments.collect();
    Takes { filter, arguments }
}

// === impl Column ===

impl Column {
    /// The type that is kept.
    fn stored(&self) -> DataType {
        if self.is_counted { DataType::Boolean } else { self.kind.clone() }
    }

    fn of(&self, batch: &Batch) -> Result<Evaluated> {
        let Evaluated { column, errors } = evaluate_rows(&self.expression, batch)?;
        if !self.is_counted {
            return Ok(Evaluated { column, errors });
        }
        let there = BooleanArray::new(BooleanBuffer::new_set(column.len()), column.logical_nulls());
        Ok(Evaluated { column: Arc::new(there), errors })
    }
}

// === impl Takes ===

impl Takes {
    /// Whether the value of a row in the column `place` is looked at.
    fn needs(&self, place: usize, row: usize, columns: &[ArrayRef]) -> bool {
        let takes = |argument: &Argument| matches!(argument, Argument::Column(taken) if *taken == place);
        let counts = |filter: usize| {
            let filter = columns[filter].as_boolean();
            filter.is_valid(row) && filter.value(row)
        };
        self.filter == Some(place) || (self.arguments.iter().any(takes) && self.filter.is_none_or(counts))
    }

    fn of(&self, aggregate: &Aggregate, columns: &[ArrayRef], rows: usize) -> Result<Taken> {
        let argument = |argument: &Argument| match argument {
            Argument::Column(place) => Ok(Arc::clone(&columns[*place])),
            Argument::Literal(value) => value.to_array_of_size(rows).map_err(|source| wrong("repeat literal", source)),
        };
        let arguments = self.arguments.iter().map(argument).collect::<Result<_>>()?;
        aggregate.take_columns(self.filter.map(|place| &columns[place]), arguments)
    }
}
