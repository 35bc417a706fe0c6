//! An inference step as planned, turned into what its operator is made of.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use forebay_core::Result;
use forebay_core::keys::KeyColumns;
use forebay_inference::call::{Bound, Caller};
use forebay_operators::inference::contents::ContentColumns;
use forebay_operators::inference::facts::RowFacts;
use forebay_operators::inference::ladder::{Computed, Rung, Second};
use forebay_operators::inference::taking_back::UpdatesSettings;
use forebay_operators::stored_rows::check_storable;
use forebay_plan::graph::Step;
use forebay_plan::infer::{RowExpr, RowSpec};
use forebay_plan::spec::{InferSpec, Limit};
use forebay_state::keyed::StateSettings;

use crate::model::ServiceModel;

/// Makes a rung for each subtask.
pub(crate) enum MakeRung {
    /// The same for all.
    Computed(Computed),
    /// A model.
    Model { name: String, model: ServiceModel, revision: String, inputs: Vec<(String, usize)>, limit: Limit },
}

// === impl MakeRung ===

impl MakeRung {
    /// The rung of one subtask, which asks with `weight`.
    pub fn make(&self, weight: u32) -> Rung {
        match self {
            Self::Computed(computed) => Rung::Computed(computed.clone()),
            Self::Model { name, model, revision, inputs, limit } => Rung::Model(Second {
                name: name.clone(),
                revision: revision.clone(),
                inputs: inputs.clone(),
                site: model.site,
                gate: caller(model, *limit, weight),
                model: Arc::new(model.clone()),
            }),
        }
    }
}

/// The place of one subtask among those that ask `model`.
pub(crate) fn caller(model: &ServiceModel, limit: Limit, weight: u32) -> Caller {
    match limit {
        Limit::Follows { .. } => model.gate.caller(weight, None),
        Limit::Fixed(calls) => model.gate.caller(weight, Some(calls)),
        Limit::Pool { subtasks } => {
            let (least, each, parts) = (Limit::IN_FLIGHT, Limit::IN_FLIGHT_OF_REPLICA, usize::from(subtasks));
            model.gate.bounded_caller(weight, Bound::Share { least, each, parts })
        }
    }
}

/// Answers that are computed, of the types that the step's output has for them.
pub(crate) fn computed(name: &str, outputs: &[Option<RowExpr>], infer: &InferSpec, step: &Step) -> MakeRung {
    let kinds = step.output.fields().iter().skip(step.input().fields().len()).map(|field| field.data_type().clone());
    let named = infer.outputs.iter().map(|(output, _)| output.clone()).zip(kinds);
    let expressions = outputs.iter().map(|output| output.as_ref().map(|output| Arc::clone(&output.expr)));
    let columns = named.zip(expressions).map(|((output, kind), expression)| (output, kind, expression));
    MakeRung::Computed(Computed::new(name.to_string(), columns.collect()))
}

/// The name of each rung, if a column says who answered.
pub(crate) fn answered_by(infer: &InferSpec) -> Vec<String> {
    let rungs = infer.ladder.rungs.iter().map(|rung| rung.name().to_string());
    let names = std::iter::once(infer.model.clone()).chain(rungs);
    if infer.ladder.column.is_some() { names.collect() } else { Vec::new() }
}

/// What is kept of answers, where rows are also taken back.
///
/// # Errors
/// `Invalid` if a column cannot be a key or cannot be kept.
pub(crate) fn updates(infer: &InferSpec, step: &Step, state: &StateSettings) -> Result<Option<UpdatesSettings>> {
    let Some(answers) = &infer.answers else { return Ok(None) };
    let added = step.output.fields().iter().skip(step.input().fields().len()).cloned();
    check_storable(&Schema::new(added.collect::<Vec<_>>()))?;
    let contents = ContentColumns::new(answers.by.clone(), step.input())?;
    Ok(Some(UpdatesSettings { contents, ttl: answers.ttl, state: state.clone() }))
}

/// What the batcher has to know of each row.
///
/// # Errors
/// `Invalid` if a column cannot be a key.
pub(crate) fn facts(rows: &RowSpec, input: &SchemaRef) -> Result<RowFacts> {
    let expression = |expression: &Option<RowExpr>| expression.as_ref().map(|expression| Arc::clone(&expression.expr));
    let key = if rows.key.is_empty() { None } else { Some(KeyColumns::new(rows.key.clone(), input)?) };
    Ok(RowFacts {
        key,
        cost: expression(&rows.cost),
        length: expression(&rows.length),
        buckets: rows.buckets.clone(),
        deadline: rows.deadline,
        deadline_column: rows.deadline_column,
    })
}
