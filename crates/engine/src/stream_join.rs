//! Makes the operators of joins of two streams.

use std::sync::Arc;

use forebay_core::Result;
use forebay_core::time::event_time_place;
use forebay_operators::stream_join::as_of::as_of_join;
use forebay_operators::stream_join::regular::regular_join;
use forebay_operators::stream_join::timed::{Meeting, timed_join};
use forebay_operators::stream_join::{InputShape, JoinShape, Keeps};
use forebay_plan::graph::Step;
use forebay_plan::spec::{StreamJoinHow, StreamJoinKind, StreamJoinSpec};
use forebay_runtime::build::MakeOperator;
use forebay_state::keyed::StateSettings;

/// The operator of `join`.
///
/// # Errors
/// `Invalid` for columns that cannot be keys or cannot be kept.
pub fn stream_join(join: &StreamJoinSpec, step: &Step) -> Result<MakeOperator> {
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
    let kind = join.kind;
    let make = move || {
        let settings = StateSettings::default();
        match kind {
            StreamJoinKind::Interval { before, after } => {
                timed_join(&shape, Meeting::Interval { before, after }, settings)
            }
            StreamJoinKind::Window(size) => timed_join(&shape, Meeting::Window(size), settings),
            StreamJoinKind::AsOf => as_of_join(&shape, settings),
            StreamJoinKind::Regular { ttl } => regular_join(&shape, ttl, settings),
        }
    };
    make()?;
    Ok(Box::new(move |_| make()))
}
