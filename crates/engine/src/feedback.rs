//! Makes the operators of the feedback loop.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::keys::KeyColumns;
use forebay_core::time::event_time_place;
use forebay_operators::feedback::{self, FeedbackBug, FeedbackSettings};
use forebay_operators::metrics::{Metrics, MetricsBug, MetricsSettings, Scale};
use forebay_operators::stream_join::InputShape;
use forebay_plan::graph::Step;
use forebay_plan::spec::{FeedbackSpec, MetricsSpec};
use forebay_runtime::build::MakeOperator;
use forebay_state::keyed::StateSettings;

/// The operator of a feedback step.
///
/// # Errors
/// `Invalid` for columns that cannot be keys or cannot be kept.
pub fn feedback(
    spec: &FeedbackSpec,
    step: &Step,
    state: &StateSettings,
    bug: Option<FeedbackBug>,
) -> Result<MakeOperator> {
    let (predictions, labels) = spec.join.on.iter().copied().unzip();
    let input = |port: usize, keys| {
        let schema = Arc::clone(&step.inputs[port]);
        let time = event_time_place(&schema);
        InputShape { schema, keys, time }
    };
    let settings = FeedbackSettings {
        predictions: input(0, predictions),
        labels: input(1, labels),
        output: Arc::clone(&step.output),
        appended: spec.join.take.clone(),
        wait: spec.wait,
        before: spec.before,
        retention: spec.retention,
        state: state.clone(),
        bug,
    };
    feedback::feedback(&settings)?;
    Ok(Box::new(move |_| feedback::feedback(&settings)))
}

/// The operator of a metrics step.
///
/// # Errors
/// `Invalid` for columns that cannot be keys.
pub fn metrics(
    spec: &MetricsSpec,
    step: &Step,
    state: &StateSettings,
    bug: Option<MetricsBug>,
) -> Result<MakeOperator> {
    let settings = MetricsSettings {
        keys: KeyColumns::new(spec.keys.clone(), step.input())?,
        time: spec.time,
        score: spec.score,
        label: spec.label,
        every: spec.every,
        lateness: spec.allowed_lateness,
        scale: Scale { threshold: spec.threshold.value(), bins: spec.bins },
        reference: spec.reference,
        output: Arc::clone(&step.output),
        state: state.clone(),
        bug,
    };
    Ok(Box::new(move |_| Ok(Box::new(Metrics::new(settings.clone())))))
}
