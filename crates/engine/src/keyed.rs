//! Makes the operators that keep some rows of each key.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::time::event_time_place;
use forebay_operators::deduplicate::{self, DeduplicateBug, DeduplicateSettings, Keep};
use forebay_operators::stream_join::InputShape;
use forebay_operators::top::{self, OrderColumn, TopBug, TopSettings};
use forebay_plan::graph::Step;
use forebay_plan::spec::{DeduplicateKeep, DeduplicateOrder, DeduplicateSpec, TopSpec};
use forebay_runtime::build::MakeOperator;
use forebay_state::keyed::StateSettings;

/// The operator of a deduplicate step.
///
/// # Errors
/// `Invalid` for columns that cannot be keys or cannot be kept.
pub fn deduplicate(
    spec: &DeduplicateSpec,
    step: &Step,
    state: &StateSettings,
    bug: Option<DeduplicateBug>,
) -> Result<MakeOperator> {
    let settings = DeduplicateSettings {
        input: input(spec.keys.clone(), step),
        output: Arc::clone(&step.output),
        keep: match (spec.keep, spec.order) {
            (DeduplicateKeep::First, DeduplicateOrder::Arrival) => Keep::FirstToCome,
            (DeduplicateKeep::First, DeduplicateOrder::EventTime) => Keep::Earliest,
            (DeduplicateKeep::Last, DeduplicateOrder::Arrival) => Keep::LastToCome,
            (DeduplicateKeep::Last, DeduplicateOrder::EventTime) => Keep::Latest,
        },
        ttl: spec.ttl,
        state: state.clone(),
        bug,
    };
    deduplicate::deduplicate(&settings)?;
    Ok(Box::new(move |_| deduplicate::deduplicate(&settings)))
}

/// The operator of a top step.
///
/// # Errors
/// `Invalid` for columns that cannot be keys or cannot be kept.
pub fn top(spec: &TopSpec, step: &Step, state: &StateSettings, bug: Option<TopBug>) -> Result<MakeOperator> {
    let column = |(place, descending): &(usize, bool)| OrderColumn { place: *place, descending: *descending };
    let settings = TopSettings {
        input: input(spec.keys.clone(), step),
        rows: spec.rows,
        order: spec.order.iter().map(column).collect(),
        ranks: spec.ranks,
        updates: spec.updates,
        ttl: spec.ttl,
        output: Arc::clone(&step.output),
        state: state.clone(),
        bug,
    };
    top::top(&settings)?;
    Ok(Box::new(move |_| top::top(&settings)))
}

fn input(keys: Vec<usize>, step: &Step) -> InputShape {
    let schema = Arc::clone(step.input());
    let time = event_time_place(&schema);
    InputShape { schema, keys, time }
}
