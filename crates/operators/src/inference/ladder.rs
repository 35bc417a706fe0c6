//! Other answers for rows that the step's model does not answer: another model, or what SQL makes of the row.
//!
//! Rung 0 is the step's model; those above it are tried in order, once each, when the one below has ended without an
//! answer. That it ended so is made durable first, as an outcome of its own (see [`Model::give_up`]): from then on the
//! rungs below are never asked about the row again, so that a replay comes to the same rung and the same answer.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::PhysicalExpr;
use forebay_core::{Batch, Error, Kind, Result};
use forebay_inference::call::Caller;
use forebay_inference::request::Outcome;

use super::{Model, Site};
use crate::expression::evaluate;

/// Another answer.
pub enum Rung {
    /// What expressions make of the row.
    Computed(Computed),
    /// Another model.
    Model(Second),
}

/// A model that is asked about rows which the step's model did not answer.
pub struct Second {
    /// Its name in the job file; part of its request ids.
    pub name: String,
    /// Its revision; part of its request ids.
    pub revision: String,
    /// Model input and the place of the column behind it.
    pub inputs: Vec<(String, usize)>,
    /// Where the model is.
    pub site: Site,
    /// What answers.
    pub model: Arc<dyn Model>,
    /// The place among those that ask it.
    pub gate: Caller,
}

/// A model output, its type, and the expression of that type that stands for it; null where there is none.
pub type ComputedColumn = (String, DataType, Option<Arc<dyn PhysicalExpr>>);

/// Answers made by expressions over the step's input.
#[derive(Clone)]
pub struct Computed {
    /// What it is called where the output says who answered.
    pub name: String,
    /// Every output.
    pub columns: Vec<ComputedColumn>,
    /// The answers to the batch that was asked about last; `None` if it could not be computed as a whole.
    latest: Option<(Arc<Batch>, Option<RecordBatch>)>,
}

// === impl Rung ===

impl Rung {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Computed(computed) => &computed.name,
            Self::Model(second) => &second.name,
        }
    }
}

impl fmt::Debug for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Computed ===

impl Computed {
    /// Answers called `name`, one expression an output.
    pub fn new(name: String, columns: Vec<ComputedColumn>) -> Self {
        Self { name, columns, latest: None }
    }

    /// The answer to row `place` of `batch`. Rows of one batch share one evaluation; where that fails, each is tried alone.
    ///
    /// # Errors
    /// `Data` if the row has no such value.
    pub fn answer(&mut self, batch: &Arc<Batch>, place: usize) -> Result<Outcome> {
        let known = self.latest.as_ref().is_some_and(|(latest, _)| Arc::ptr_eq(latest, batch));
        if !known {
            self.latest = Some((Arc::clone(batch), self.evaluate(batch).ok()));
        }
        if let Some((_, Some(rows))) = &self.latest {
            return Ok(Outcome::Answered { rows: rows.clone(), place });
        }
        let alone = Batch::new(batch.rows().slice(place, 1), vec![batch.ids()[place]])?;
        Ok(Outcome::Answered { rows: self.evaluate(&alone)?, place: 0 })
    }

    fn evaluate(&self, batch: &Batch) -> Result<RecordBatch> {
        let column = |(_, kind, expression): &(String, DataType, Option<Arc<dyn PhysicalExpr>>)| match expression {
            Some(expression) => evaluate(expression, batch),
            None => Ok(new_null_array(kind, batch.len())),
        };
        let columns: Vec<ArrayRef> = self.columns.iter().map(column).collect::<Result<_>>()?;
        let fields: Vec<Field> =
            self.columns.iter().map(|(name, kind, _)| Field::new(name, kind.clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| Error::new(Kind::Data, "compute fallback").source(source))
    }
}
