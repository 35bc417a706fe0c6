//! Makes the operators of process functions.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::process::ProcessSite;
use forebay_operators::process::{ProcessBug, ProcessSettings};
use forebay_plan::graph::Step;
use forebay_plan::spec::ProcessSpec;
use forebay_runtime::build::MakeOperator;
use forebay_state::keyed::StateSettings;

use crate::components::Components;

/// The operator of a process step.
///
/// # Errors
/// `Internal` if the plan was made with other components.
pub fn process(
    spec: &ProcessSpec,
    step: &Step,
    state: &StateSettings,
    components: &Components,
    bug: Option<ProcessBug>,
) -> Result<MakeOperator> {
    let function = Arc::clone(components.find(&spec.function)?);
    let site =
        ProcessSite { input: Arc::clone(step.input()), keys: spec.keys.clone(), settings: spec.settings.clone() };
    let sides = spec.sides.iter().map(|(name, _)| name.clone()).collect();
    let settings = ProcessSettings { site, sides, state: state.clone(), bug };
    Ok(Box::new(move |_| function.operator(&settings)))
}
