//! From a planned window step to the operator that runs it.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::Result;
use forebay_core::keys::KeyColumns;
use forebay_operators::window::{Aggregate, Shape, WindowBug, WindowSettings};
use forebay_plan::graph::{Step, WindowStep};
use forebay_plan::window::{Emit, WindowShape};
use forebay_state::keyed::StateSettings;

/// The settings of the operator of `step`, which does `window`, with its state within `state`.
///
/// # Errors
/// `Invalid` for a key or an aggregate that cannot be run.
pub fn settings(
    window: &WindowStep,
    step: &Step,
    state: &StateSettings,
    bug: Option<WindowBug>,
) -> Result<WindowSettings> {
    let (spec, input) = (&window.spec, step.input());
    // Sessions aggregate the rows that are left anew.
    let takes_back = spec.updates && !matches!(spec.shape, WindowShape::Session(_));
    let aggregate = |planned: &forebay_plan::graph::WindowAggregate| {
        let make = if takes_back { Aggregate::of_updates } else { Aggregate::new };
        make(Arc::clone(&planned.function), planned.filter.clone(), input)
    };
    let aggregates: Vec<Aggregate> = window.aggregates.iter().map(aggregate).collect::<Result<_>>()?;
    Ok(WindowSettings {
        shape: shape(spec.shape),
        slices: WindowSettings::shares_slices(shape(spec.shape), &aggregates, spec.updates),
        keys: KeyColumns::new(spec.keys.clone(), input)?,
        time: spec.time,
        lateness: micros(spec.allowed_lateness),
        updates: spec.updates,
        changes: spec.emit == Emit::Changes,
        ttl: spec.ttl,
        aggregates,
        output: Arc::clone(&step.output),
        state: state.clone(),
        bug,
    })
}

fn shape(shape: WindowShape) -> Shape {
    match shape {
        WindowShape::Tumble(size) => Shape::Tumble { size: micros(size) },
        WindowShape::Slide { size, every } => Shape::Slide { size: micros(size), every: micros(every) },
        WindowShape::Whole => Shape::Whole,
        WindowShape::Session(gap) => Shape::Session { gap: micros(gap) },
    }
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
