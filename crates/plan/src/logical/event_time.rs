//! Which column of a stream is its event time: marked in the source's schema, kept by whatever hands the column on.
//!
//! The mark is Arrow field metadata ([`EVENT_TIME`]), so it travels with the column through renames, and an expression over
//! the column is another column without it. At most one column of a stream has it. Files that Forebay wrote may bring the
//! mark along; it is taken off, because only `watermark` says what the event time of a source is.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use forebay_core::time::EVENT_TIME;

use super::expression::columns_help;
use super::{Result, internal};
use crate::job_file::{JobFile, SourceDecl};
use crate::spec::SourceFormat;

/// Time zone of event times that are read from text: what they name is a moment, whatever offset it is written with.
const TEXT_ZONE: &str = "+00:00";

/// `found`, the columns of a source's files, as its rows will have them: the event time marked and in microseconds.
pub(super) fn of_source(job: &JobFile, source: &SourceDecl, found: &Schema) -> Result<SchemaRef> {
    let found = unmarked(found);
    let Some(watermark) = &source.spec.watermark else { return Ok(found) };
    let (uid, name) = (&source.spec.uid, watermark.time.as_str());
    let Ok(place) = found.index_of(name) else {
        let columns = DFSchema::try_from(found.as_ref().clone()).map_err(|error| internal(job, &error))?;
        let message = format!("source \"{uid}\": there is no column \"{name}\"");
        return Err(job.text.error(source.time_span.clone(), message).with_help(columns_help(name, &columns)));
    };
    let mut fields = found.fields().to_vec();
    let Some(kind) = event_time_type(source.spec.format, fields[place].data_type()) else {
        let kind = fields[place].data_type();
        let message = format!("source \"{uid}\": the column \"{name}\" is {kind}, an event time is a timestamp");
        let help = "accepted: timestamps, and in jsonl and csv text such as 2026-01-31T12:00:00Z";
        return Err(job.text.error(source.time_span.clone(), message).with_help(help));
    };
    let marked = Field::clone(&fields[place]).with_data_type(kind).with_metadata(HashMap::from([mark()]));
    fields[place] = Arc::new(marked);
    Ok(Arc::new(Schema::new_with_metadata(fields, found.metadata().clone())))
}

/// `schema` without any mark.
pub(super) fn unmarked(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(without_mark).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The fields of a projection: of those marked, the first that is a column as it came in keeps the mark.
pub(super) fn projected(exprs: &[Expr], fields: &[FieldRef]) -> Vec<FieldRef> {
    let kept = exprs.iter().zip(fields).position(|(expr, field)| is_marked(field) && is_column(expr));
    let field = |(place, field)| if Some(place) == kept { Arc::clone(field) } else { without_mark(field) };
    fields.iter().enumerate().map(field).collect()
}

fn event_time_type(format: SourceFormat, found: &DataType) -> Option<DataType> {
    let text = matches!(format, SourceFormat::Jsonl | SourceFormat::Csv);
    match found {
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
        DataType::Utf8 if text => Some(DataType::Timestamp(TimeUnit::Microsecond, Some(TEXT_ZONE.into()))),
        _ => None,
    }
}

/// `field` as the event time of its stream.
pub(super) fn marked(field: Field) -> FieldRef {
    Arc::new(field.with_metadata(HashMap::from([mark()])))
}

fn mark() -> (String, String) {
    (EVENT_TIME.to_string(), "true".to_string())
}

fn is_marked(field: &FieldRef) -> bool {
    field.metadata().contains_key(EVENT_TIME)
}

/// `field` as one that is not the event time.
pub(super) fn without_mark(field: &FieldRef) -> FieldRef {
    if !is_marked(field) {
        return Arc::clone(field);
    }
    let mut metadata = field.metadata().clone();
    metadata.remove(EVENT_TIME);
    Arc::new(Field::clone(field).with_metadata(metadata))
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        _ => false,
    }
}
