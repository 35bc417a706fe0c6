//! Puts finished rows and their answers together: output batch, dead letters, or an error, as the step declares.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::on_error::OnError;
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_inference::request::Outcome;

use super::gather::{self, Gather, Pick};
use super::table::Entry;

/// How answers become columns.
#[derive(Debug, Clone)]
pub struct AnswerColumns {
    /// Model output behind each added column, in the order of the added columns.
    pub outputs: Vec<String>,
    /// Schema of the result: the input columns that stay, then the added ones, then, if `answered_by` has names, a text
    /// column that says who answered, null where nobody did.
    pub schema: SchemaRef,
    /// Places of the input columns that stay.
    pub kept: Vec<usize>,
    /// The name of each rung, the step's model first; empty if no column says who answered.
    pub answered_by: Vec<String>,
    /// What becomes of rows that failed.
    pub on_error: OnError,
}

/// What a set of finished rows became.
#[derive(Debug)]
pub struct Assembled {
    /// Rows with their answers, in the order given; `None` if every row became a dead letter.
    pub batch: Option<Batch>,
    /// Rows that failed.
    pub dead_letters: Vec<DeadLetter>,
}

/// What is to be done about a row that ends the job.
const ASK_AGAIN: &str = "mend the row, or the model and its version: a stored failure is not asked about again";

// === impl AnswerColumns ===

impl AnswerColumns {
    /// Joins rows and answers.
    ///
    /// # Errors
    /// The row's own kind where `on_error` is `Fail`; `Data` if an answer lacks a declared output.
    pub fn assemble(&self, entries: &[Entry], operator: &str) -> Result<Assembled> {
        let (mut staying, mut dead_letters): (Vec<(&Entry, Pick<'_>)>, _) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.outcome.as_ref().expect("only finished rows are given out") {
                Outcome::Answered { rows, place } => staying.push((entry, Some((rows, *place)))),
                Outcome::Failed { kind, reason, .. } | Outcome::GivenUp { kind, reason } => match self.on_error {
                    OnError::Null => staying.push((entry, None)),
                    OnError::DeadLetter => dead_letters.push(letter(entry, *kind, reason, operator)),
                    OnError::Fail => {
                        let failed = Error::new(*kind, "infer row").with("row", row_id(entry)).with("to do", ASK_AGAIN);
                        return Err(failed.source(reason.as_str()));
                    }
                },
            }
        }
        let batch = if staying.is_empty() { None } else { Some(self.join(&staying)?) };
        Ok(Assembled { batch, dead_letters })
    }

    /// Whether a finished row is given out, and is not a dead letter.
    pub(super) fn gives(&self, entry: &Entry) -> bool {
        matches!(entry.outcome, Some(Outcome::Answered { .. })) || self.on_error == OnError::Null
    }

    fn join(&self, staying: &[(&Entry, Pick<'_>)]) -> Result<Batch> {
        let mut inputs = Gather::default();
        staying.iter().for_each(|(entry, _)| inputs.add(entry.batch.rows(), entry.place));
        let inputs = inputs.finish(&staying[0].0.batch.schema())?;
        let mut columns: Vec<ArrayRef> = self.kept.iter().map(|place| Arc::clone(inputs.column(*place))).collect();
        let added = &self.schema.fields()[self.kept.len()..];
        let kinds = added.iter().map(|field| field.data_type().clone());
        let outputs: Vec<(String, DataType)> = self.outputs.iter().cloned().zip(kinds).collect();
        let picked: Vec<Pick<'_>> = staying.iter().map(|(_, pick)| *pick).collect();
        columns.extend(gather::columns(&picked, &outputs)?);
        if !self.answered_by.is_empty() {
            columns.push(Arc::new(staying.iter().map(|(entry, pick)| self.by(entry, *pick)).collect::<StringArray>()));
        }
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|source| {
            Error::new(Kind::Data, "join rows and answers").with("columns", self.outputs.join(",")).source(source)
        })?;
        let batch = Batch::new(rows, staying.iter().map(|(entry, _)| row_id(entry)).collect::<Vec<_>>())?;
        if staying.iter().all(|(entry, _)| entry.batch.kinds().is_none()) {
            return Ok(batch);
        }
        batch.with_kinds(staying.iter().map(|(entry, _)| entry.batch.kind(entry.place)).collect::<Vec<_>>())
    }

    /// Who answered the row.
    fn by<'a>(&'a self, entry: &Entry, pick: Pick<'a>) -> Option<&'a str> {
        let (rows, place) = pick?;
        if !entry.is_kept {
            return self.answered_by.get(entry.rung).map(String::as_str);
        }
        let names = rows.columns().last()?.as_string_opt::<i32>()?;
        names.is_valid(place).then(|| names.value(place))
    }
}

fn row_id(entry: &Entry) -> RowId {
    entry.batch.ids()[entry.place]
}

/// The dead letter of a row that ended with `reason`.
pub(super) fn letter(entry: &Entry, kind: Kind, reason: &str, operator: &str) -> DeadLetter {
    DeadLetter {
        row: row_id(entry),
        operator: operator.to_string(),
        kind,
        reason: reason.to_string(),
        attempts: entry.attempts.saturating_add(entry.attempts_before).max(1),
        input: describe_row(&entry.batch, entry.place),
    }
}
