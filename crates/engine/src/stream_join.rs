//! Makes the operators of joins of two streams.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::time::event_time_place;
use forebay_operators::stream_join::as_of::as_of_join_with;
use forebay_operators::stream_join::regular::regular_join_with;
use forebay_operators::stream_join::timed::{Meeting, timed_join_with};
use forebay_operators::stream_join::{InputShape, JoinShape, Keeps};
use forebay_plan::graph::Step;
use forebay_plan::spec::{StreamJoinHow, StreamJoinKind, StreamJoinSpec};
use forebay_runtime::build::MakeOperator;
use forebay_state::keyed::StateSettings;

use crate::outside::Planted;

/// The operator of `join`.
///
/// # Errors
/// `Invalid` for columns that cannot be keys or cannot be kept.
pub fn stream_join(
    join: &StreamJoinSpec,
    step: &Step,
    state: &StateSettings,
    planted: &Planted,
) -> Result<MakeOperator> {
    let (left, right): (Vec<usize>, Vec<usize>) = join.on.iter().copied().unzip();
    let input = |port: usize, keys| {
        let schema = Arc::clone(&step.inputs[port]);
        let time = if join.kind.needs_time() { event_time_place(&schema) } else { None };
        InputShape { schema, keys, time }
    };
    let shape = JoinShape {
        left: input(0, left),
        right: input(1, right),
        output: Arc::clone(&step.output),
        appended: join.take.clone(),
        keeps: match join.how {
            StreamJoinHow::Inner => Keeps::Inner,
            StreamJoinHow::Left => Keeps::Left,
            StreamJoinHow::Right => Keeps::Right,
            StreamJoinHow::Full => Keeps::Full,
        },
    };
    let (kind, state, planted) = (join.kind, state.clone(), planted.clone());
    let make = move || {
        let settings = state.clone();
        let (timed, as_of, regular) = (planted.timed_join, planted.as_of_join, planted.regular_join);
        match kind {
            StreamJoinKind::Interval { before, after } => {
                timed_join_with(&shape, Meeting::Interval { before, after }, settings, timed)
            }
            StreamJoinKind::Window(size) => timed_join_with(&shape, Meeting::Window(size), settings, timed),
            StreamJoinKind::AsOf => as_of_join_with(&shape, settings, as_of),
            StreamJoinKind::Regular { ttl } => regular_join_with(&shape, ttl, settings, regular),
        }
    };
    make()?;
    Ok(Box::new(move |_| make()))
}
