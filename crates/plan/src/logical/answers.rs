//! Checks an inference over rows that are also taken back: what rows are known by, and whether their answers can be kept.
//!
//! A row that takes back another has its content and another id. So all rows of one content have to come to one subtask: by the key
//! of the step where it has one, else by every column that can be a key.

use arrow::datatypes::{Field, FieldRef, SchemaRef};
use datafusion::common::DFSchema;
use forebay_core::keys::can_be_key;

use super::infer::Wiring;
use super::keyed::KeyedSite;
use super::stream_join::can_be_stored;
use super::{Result, internal};
use crate::infer::{AnswersSpec, RowSpec};
use crate::spec::Changes;

/// What is kept of answers in `added` columns, if the input has updates.
pub(super) fn answers(
    wiring: &Wiring<'_>,
    rows: &RowSpec,
    added: &[Field],
    changes: Changes,
) -> Result<Option<AnswersSpec>> {
    let (input, ttl) = (wiring.input, wiring.decl.settings.ttl);
    if changes != Changes::Updates {
        if ttl.is_some() {
            let error =
                wiring.error(&wiring.decl.model, "ttl says nothing of rows that are never taken back".to_string());
            return Err(error.with_help("remove it: only answers that may be taken back are kept"));
        }
        return Ok(None);
    }
    if ttl.is_some() {
        let schema = DFSchema::try_from(input.as_ref().clone()).map_err(|error| internal(wiring.job, &error))?;
        KeyedSite { job: wiring.job, step: wiring.step, input: &schema }.event_time()?;
    }
    let by = if rows.key.is_empty() { content_keys(input) } else { rows.key.clone() };
    let others = input.fields().iter().enumerate().filter(|(place, _)| !by.contains(place)).map(|(_, field)| field);
    if let Some(field) = others.map(FieldRef::as_ref).chain(added).find(|field| !can_be_stored(field.data_type())) {
        let (name, kind) = (field.name(), field.data_type());
        let message = format!("its input has updates, and the column \"{name}\" is {kind} and cannot be kept");
        let help = "leave it out in a select step before, or ask the model before the step that makes updates";
        return Err(wiring.error(&wiring.decl.model, message).with_help(help));
    }
    if by.is_empty() {
        let message = "its input has updates, and no column of it can be a key".to_string();
        let help = "rows that take back others are known by their content: add a column that is a number or text";
        return Err(wiring.error(&wiring.decl.model, message).with_help(help));
    }
    Ok(Some(AnswersSpec { by, ttl }))
}

/// The places of all columns that can be a key: rows of one content are of one key by them.
pub(crate) fn content_keys(input: &SchemaRef) -> Vec<usize> {
    (0..input.fields().len()).filter(|place| can_be_key(input.field(*place).data_type())).collect()
}
