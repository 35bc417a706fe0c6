//! Puts finished rows and their answers together: output batch, dead letters, or an error, as the step declares.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::on_error::OnError;
use forebay_core::{Batch, Error, Kind, Result, RowId};
use forebay_inference::request::Outcome;

use super::gather::Gather;
use super::table::Entry;

/// How answers become columns.
#[derive(Debug, Clone)]
pub struct AnswerColumns {
    /// Model output behind each added column, in the order of the added columns.
    pub outputs: Vec<String>,
    /// Schema of the result: the input columns that stay, then the added ones.
    pub schema: SchemaRef,
    /// Places of the input columns that stay.
    pub kept: Vec<usize>,
    /// What becomes of rows that failed.
    pub on_error: OnError,
}

/// What a set of finished rows became.
#[derive(Debug)]
pub struct Assembled {
    /// Rows with their answers; `None` if every row failed.
    pub batch: Option<Batch>,
    /// Rows that failed.
    pub dead_letters: Vec<DeadLetter>,
}

// === impl AnswerColumns ===

impl AnswerColumns {
    /// Joins rows and answers.
    ///
    /// # Errors
    /// The row's own kind where `on_error` is `Fail`; `Data` if an answer lacks a declared output.
    pub fn assemble(&self, entries: &[Entry], operator: &str) -> Result<Assembled> {
        let (mut answered, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.outcome.as_ref().expect("only finished rows are given out") {
                Outcome::Answered { rows, place } => answered.push((entry, rows, *place)),
                Outcome::Failed { kind, reason, .. } => failed.push((entry, *kind, reason)),
            }
        }
        if self.on_error == OnError::Fail
            && let Some((entry, kind, reason)) = failed.first()
        {
            return Err(Error::new(*kind, "infer row").with("row", row_id(entry)).source(reason.as_str()));
        }
        let mut parts = Vec::new();
        if !answered.is_empty() {
            parts.push(self.join(&answered)?);
        }
        let mut dead_letters = Vec::new();
        if self.on_error == OnError::Null && !failed.is_empty() {
            parts.push(self.nulls(&failed.iter().map(|(entry, ..)| *entry).collect::<Vec<_>>())?);
        } else {
            dead_letters = failed.iter().map(|(entry, kind, reason)| letter(entry, *kind, reason, operator)).collect();
        }
        let batch = match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Batch::concat(&self.schema, &parts)?),
        };
        Ok(Assembled { batch, dead_letters })
    }

    fn join(&self, answered: &[(&Entry, &RecordBatch, usize)]) -> Result<Batch> {
        let mut answers = Gather::default();
        answered.iter().for_each(|(_, rows, place)| answers.add(rows, *place));
        let answers = answers.finish(&Arc::new(Schema::empty()))?;
        let added = self.outputs.iter().map(|output| {
            answers.column_by_name(output).cloned().ok_or_else(|| {
                Error::new(Kind::Data, "read model answer").with("output", output).source("the model did not give it")
            })
        });
        let added: Vec<ArrayRef> = added.collect::<Result<_>>()?;
        self.with_columns(&answered.iter().map(|(entry, ..)| *entry).collect::<Vec<_>>(), added)
    }

    fn nulls(&self, entries: &[&Entry]) -> Result<Batch> {
        let added = &self.schema.fields()[self.kept.len()..];
        let added = added.iter().map(|field| new_null_array(field.data_type(), entries.len())).collect();
        self.with_columns(entries, added)
    }

    fn with_columns(&self, entries: &[&Entry], added: Vec<ArrayRef>) -> Result<Batch> {
        let mut inputs = Gather::default();
        entries.iter().for_each(|entry| inputs.add(entry.batch.rows(), entry.place));
        let inputs = inputs.finish(&entries[0].batch.schema())?;
        let mut columns: Vec<ArrayRef> = self.kept.iter().map(|place| Arc::clone(inputs.column(*place))).collect();
        columns.extend(added);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|source| {
            Error::new(Kind::Data, "join rows and answers").with("columns", self.outputs.join(",")).source(source)
        })?;
        Batch::new(rows, entries.iter().map(|entry| row_id(entry)).collect::<Vec<_>>())
    }
}

fn row_id(entry: &Entry) -> RowId {
    entry.batch.ids()[entry.place]
}

fn letter(entry: &Entry, kind: Kind, reason: &str, operator: &str) -> DeadLetter {
    DeadLetter {
        row: row_id(entry),
        operator: operator.to_string(),
        kind,
        reason: reason.to_string(),
        attempts: entry.attempts.max(1),
        input: describe_row(&entry.batch, entry.place),
    }
}
