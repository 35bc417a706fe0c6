//! What a model said as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use forebay_core::Result;
use serde_json::Value;

use super::OpenAi;
use super::answer::{Said, Usage};
use super::schema::Structure;
use crate::protocols::columns::array_of;

/// What to do about a server that counts no tokens.
const UNCOUNTED: &str = "no tokens are counted: the answer has no `usage`. Let the server count them, or ask it as \
                         `http_json`, which needs none";

// === impl OpenAi ===

impl OpenAi {
    /// What was said to each row as columns.
    pub(super) fn columns(&self, said: &[Said]) -> Result<RecordBatch> {
        let bad = |row: usize, why: String| self.endpoint.bad_answer(format!("row {row}: {why}"));
        let mut columns: Vec<(FieldRef, ArrayRef)> = vec![match &self.answer {
            Some(structure) => self.answers(said, structure)?,
            None => {
                let texts = said.iter().enumerate().map(|(row, said)| said.spoken().map_err(|why| bad(row, why)));
                text_column("text", texts.collect::<Result<Vec<_>>>()?)
            }
        }];
        let reason = |said: &'_ Said| said.finish_reason.clone().unwrap_or_default();
        columns.push(text_column("finish_reason", said.iter().map(reason).collect()));
        if self.settings.tokens {
            let uncounted = |row| bad(row, UNCOUNTED.to_string());
            let usages = said.iter().enumerate().map(|(row, said)| said.usage.ok_or_else(|| uncounted(row)));
            let usages: Vec<Usage> = usages.collect::<Result<_>>()?;
            columns.push(token_column("prompt_tokens", usages.iter().map(|usage| usage.prompt_tokens)));
            columns.push(token_column("completion_tokens", usages.iter().map(|usage| usage.completion_tokens)));
        }
        self.batch(columns)
    }

    /// The structured answers to each row.
    fn answers(&self, said: &[Said], structure: &Structure) -> Result<(FieldRef, ArrayRef)> {
        let bad = |why: String| self.endpoint.bad_answer(why);
        let read =
            |(row, said): (usize, &Said)| said.structured(structure).map_err(|why| bad(format!("row {row}: {why}")));
        let values: Vec<Value> = said.iter().enumerate().map(read).collect::<Result<_>>()?;
        let kind = &structure.kind;
        let array = array_of(kind, false, &values.iter().collect::<Vec<_>>());
        let array = array.map_err(|why| bad(format!("not as the schema says: {why}")))?;
        Ok((Arc::new(Field::new("answer", kind.clone(), false)), array))
    }

    pub(super) fn batch(&self, columns: Vec<(FieldRef, ArrayRef)>) -> Result<RecordBatch> {
        let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| self.endpoint.bad_answer(source.to_string()))
    }
}

fn text_column<T: AsRef<str>>(name: &str, texts: Vec<T>) -> (FieldRef, ArrayRef) {
    let texts = StringArray::from_iter_values(texts);
    (Arc::new(Field::new(name, DataType::Utf8, false)), Arc::new(texts))
}

fn token_column(name: &str, tokens: impl Iterator<Item = u64>) -> (FieldRef, ArrayRef) {
    let tokens = tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    (Arc::new(Field::new(name, DataType::Int64, false)), Arc::new(Int64Array::from_iter_values(tokens)))
}
