//! Checks a lookup join against the table's schema and makes its output columns.
//!
//! Key types must be equal on both sides: a silent cast would decide for the user which keys are the same.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use toml::Spanned;

use super::expression::columns_help;
use super::{Result, event_time, internal};
use crate::facts::Facts;
use crate::job_file::{JobFile, JobFileError, JoinDecl, StepDecl};
use crate::spec::{JoinHow, LookupJoinSpec};

/// The join with columns resolved, and the schema of its output.
pub(super) fn check(
    job: &JobFile,
    facts: &Facts,
    step: &StepDecl,
    decl: &JoinDecl,
    input: &SchemaRef,
) -> Result<(LookupJoinSpec, SchemaRef)> {
    let table = facts.tables.get(&step.number);
    let table = table.ok_or_else(|| internal(job, &format!("no schema of the table of step {}", step.number)))?;
    let table = &event_time::unmarked(table);
    let sides = Sides { job, step, input, table };
    let on: Vec<(usize, usize)> =
        decl.on.iter().map(|(stream, other)| sides.pair(stream, other)).collect::<Result<_>>()?;
    let take: Vec<usize> = (0..table.fields().len()).filter(|place| on.iter().all(|(_, key)| key != place)).collect();
    let schema = sides.output(&take, decl.how)?;
    let spec = LookupJoinSpec {
        uid: step.uid.clone(),
        table: decl.table.clone(),
        table_schema: Arc::clone(table),
        on,
        take,
        how: decl.how,
    };
    Ok((spec, schema))
}

struct Sides<'a> {
    job: &'a JobFile,
    step: &'a StepDecl,
    input: &'a SchemaRef,
    table: &'a SchemaRef,
}

// === impl Sides ===

impl Sides<'_> {
    fn pair(&self, stream: &str, other: &Spanned<String>) -> Result<(usize, usize)> {
        let left = self.place(self.input, stream, other, "column")?;
        let right = self.place(self.table, other.get_ref(), other, "table column")?;
        let (left_type, right_type) = (self.input.field(left).data_type(), self.table.field(right).data_type());
        if left_type != right_type {
            let message = format!("\"{stream}\" is {left_type}, the table's \"{}\" is {right_type}", other.get_ref());
            let help = format!(
                "cast the column first, for example with = [\"arrow_cast({stream}, '{right_type}') AS {stream}\"]"
            );
            return Err(self.error(other, message).with_help(help));
        }
        if !is_key(left_type) {
            let help = "accepted: text, whole numbers, true/false, dates and times";
            return Err(self.error(other, format!("{left_type} cannot be a key")).with_help(help));
        }
        Ok((left, right))
    }

    fn place(&self, schema: &SchemaRef, name: &str, at: &Spanned<String>, what: &str) -> Result<usize> {
        schema.index_of(name).or_else(|_| {
            let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(|error| internal(self.job, &error))?;
            let error = self.error(at, format!("there is no {what} \"{name}\""));
            Err(error.with_help(columns_help(name, &columns)))
        })
    }

    fn output(&self, take: &[usize], how: JoinHow) -> Result<SchemaRef> {
        let mut fields: Vec<Arc<Field>> = self.input.fields().to_vec();
        for place in take {
            let field = self.table.field(*place);
            if self.input.index_of(field.name()).is_ok() {
                let message =
                    format!("step {}: stream and table both have a column \"{}\"", self.step.number, field.name());
                let error = self.job.text.error(self.step.span.clone(), message);
                return Err(error.with_help("give the stream's column another name in an earlier select step"));
            }
            let nullable = field.is_nullable() || how == JoinHow::Left;
            fields.push(Arc::new(field.clone().with_nullable(nullable)));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn error(&self, at: &Spanned<String>, message: String) -> JobFileError {
        self.job.text.error(at.span(), format!("step {}: {message}", self.step.number))
    }
}

/// Types whose equality is exact and cheap.
fn is_key(kind: &DataType) -> bool {
    kind.is_integer()
        || kind.is_temporal()
        || matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean)
}
