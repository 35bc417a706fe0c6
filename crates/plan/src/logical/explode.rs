//! Checks an explode step: its columns are lists, and their elements become columns that may be null.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use forebay_core::types::extension_name;
use toml::Spanned;

use super::event_time::without_mark;
use super::expression::columns_help;
use super::{Result, internal};
use crate::job_file::{ExplodeDecl, JobFile, JobFileError, StepDecl};
use crate::spec::ExplodeSpec;

/// The settings of the step, and its columns.
pub(super) fn check(
    job: &JobFile,
    step: &StepDecl,
    decl: &ExplodeDecl,
    input: &SchemaRef,
) -> Result<(ExplodeSpec, SchemaRef)> {
    let mut fields = input.fields().to_vec();
    let mut columns = Vec::with_capacity(decl.columns.len());
    for name in &decl.columns {
        let refused = |message: String| job.text.error(name.span(), format!("step {}: {message}", step.number));
        let Ok(place) = input.index_of(name.get_ref()) else {
            return Err(missing(job, input, name, refused(format!("there is no column \"{}\"", name.get_ref())))?);
        };
        let Some(element) = element(&fields[place]) else {
            let kind = extension_name(&fields[place]).map_or(fields[place].data_type().to_string(), str::to_string);
            let error = refused(format!("\"{}\" is {kind}, which is no list", name.get_ref()));
            return Err(
                error.with_help("explode takes columns of lists; make_array(...) and string_to_array(...) give some")
            );
        };
        fields[place] = element;
        columns.push(place);
    }
    let spec = ExplodeSpec { columns, ignore_empty_and_null: decl.ignore_empty_and_null };
    Ok((spec, Arc::new(Schema::new(fields))))
}

fn missing(job: &JobFile, input: &SchemaRef, name: &Spanned<String>, error: JobFileError) -> Result<JobFileError> {
    let known = DFSchema::try_from(Arc::clone(input)).map_err(|error| internal(job, &error))?;
    Ok(error.with_help(columns_help(name.get_ref(), &known)))
}

/// The column that the elements of the list `field` become; `None` if it is no list. A tensor is one value.
fn element(field: &FieldRef) -> Option<FieldRef> {
    let (DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _)) = field.data_type()
    else {
        return None;
    };
    if extension_name(field).is_some() {
        return None;
    }
    let element = Field::clone(&without_mark(inner)).with_name(field.name()).with_nullable(true);
    Some(Arc::new(element))
}
