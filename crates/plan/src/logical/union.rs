//! Checks that the streams of a union have the same columns.
//!
//! Names, types and order must be equal, and the same column must be the event time; only where null can be may differ.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use forebay_core::time::event_time_place;

use super::Result;
use crate::job_file::{JobFile, StepDecl};

/// The columns of all `inputs` together.
pub(super) fn check(job: &JobFile, step: &StepDecl, inputs: &[SchemaRef]) -> Result<SchemaRef> {
    let Some((first, others)) = inputs.split_first() else { return Ok(Arc::new(Schema::empty())) };
    let mut fields = first.fields().to_vec();
    for (other, stream) in others.iter().zip(&step.inputs[1..]) {
        let refused = |why: String| {
            let message = format!(
                "step {}: the streams \"{}\" and \"{}\" do not fit: {why}",
                step.number, step.inputs[0].uid, stream.uid
            );
            let help = "make the columns the same in earlier select steps, names, types and order";
            job.text.error(stream.span.clone(), message).with_help(help)
        };
        fields = together(&fields, other, refused)?;
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn together<E>(fields: &[FieldRef], other: &Schema, refused: impl Fn(String) -> E) -> Result<Vec<FieldRef>, E> {
    if fields.len() != other.fields().len() {
        return Err(refused(format!("{} and {} columns", fields.len(), other.fields().len())));
    }
    let so_far = Schema::new(fields.to_vec());
    let times = (event_time_place(&so_far), event_time_place(other));
    let mut joined = Vec::with_capacity(fields.len());
    for (left, right) in fields.iter().zip(other.fields()) {
        if left.name() != right.name() {
            return Err(refused(format!("\"{}\" here is \"{}\" there", left.name(), right.name())));
        }
        if left.data_type() != right.data_type() {
            let (name, left, right) = (left.name(), left.data_type(), right.data_type());
            return Err(refused(format!("\"{name}\" is {left} here and {right} there")));
        }
        if times.0 != times.1 {
            let name = |schema: &Schema, place: Option<usize>| {
                place.map_or("none".to_string(), |place| format!("\"{}\"", schema.field(place).name()))
            };
            let (left, right) = (name(&so_far, times.0), name(other, times.1));
            return Err(refused(format!("event time is {left} here and {right} there")));
        }
        if left.metadata() != right.metadata() {
            return Err(refused(format!("\"{}\" means different things", left.name())));
        }
        let nullable = left.is_nullable() || right.is_nullable();
        joined.push(Arc::new(Field::clone(left).with_nullable(nullable)));
    }
    Ok(joined)
}
