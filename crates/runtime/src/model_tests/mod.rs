//! Model check of credit, alignment and overtaking: the subtasks and channels that production runs, in every order in which they
//! may be called, with every moment at which a model answers, a sink takes rows again, or a checkpoint begins.
//!
//! The reader's rows go two ways and meet again in the sink, so the barrier of one way waits there for that of the other: where
//! credit of one way depended on the other, this would stop for ever. In every state: a channel holds no more than its window, or
//! one larger batch, and one more that a barrier pushed; credit is what is queued or withheld; what the slow model holds is
//! bounded however many barriers pass; no barrier waits for an answer; nobody who could go on sleeps; and what a complete checkpoint holds is a cut.
//!
//! Subtasks cannot be copied, so a state is the way to it, and two are the same if everything shows the same.

mod flow;
mod operators;
mod promises;
mod world;

use forebay_modelcheck::{bound, breaks, holds};

use self::flow::Flow;
use self::promises::{AWAKE, BEYOND, CUT, HELD, OVERSIZE, OVERTOOK, PASSES, WAITED, WITHHELD};
use crate::planted::RuntimeBug;

/// Five rows in three batches, of which one is larger than a window.
fn flow() -> Flow {
    Flow {
        window: 2,
        batches: vec![1, 3, 1],
        barriers: 1,
        overtakes: false,
        stalled: false,
        fine: false,
        reaches: &[WAITED],
        bug: None,
    }
}

/// Single rows, more than what may be in flight.
fn rows(count: usize) -> Flow {
    Flow { window: 1, batches: vec![1; count], ..flow() }
}

#[test]
fn credit_and_aligned_barriers_stop_no_job() {
    holds("F aligned", Flow { reaches: &[WAITED, OVERSIZE], barriers: bound(1, 2), ..flow() });
    holds("F aligned, sink stalled", Flow { stalled: true, reaches: &[WITHHELD, BEYOND], ..rows(bound(3, 5)) });
    holds("F aligned, turn by turn", Flow { fine: true, reaches: &[], ..rows(bound(1, 2)) });
}

#[test]
fn credit_and_overtaking_barriers_stop_no_job() {
    let model = Flow { overtakes: true, reaches: &[WAITED, OVERTOOK], ..flow() };
    holds("F overtaking", Flow { barriers: bound(1, 2), ..model.clone() });
    let stalled = Flow { stalled: true, window: 1, batches: vec![1; bound(3, 4)], barriers: bound(1, 2), ..model };
    holds("F overtaking, sink stalled", stalled);
}

#[test]
fn each_wrong_credit_and_each_wrong_barrier_is_refuted() {
    for (bug, model, expected) in [
        (RuntimeBug::OversizeRefused, flow(), AWAKE),
        (RuntimeBug::SenderNotWoken, flow(), AWAKE),
        (RuntimeBug::NotWokenByBarrier, rows(3), PASSES),
        (RuntimeBug::AbsorbedWithCredit, Flow { barriers: 3, ..rows(5) }, HELD),
        (RuntimeBug::NoAlignment, flow(), CUT),
        (RuntimeBug::OvertakenForgotten, Flow { overtakes: true, stalled: true, ..rows(4) }, CUT),
    ] {
        breaks(&format!("F {bug:?}"), Flow { bug: Some(bug), reaches: &[], ..model }, &[expected]);
    }
}
