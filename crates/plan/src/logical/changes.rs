//! What each kind of step takes and gives: rows that only add, or rows that also take back.
//!
//! Every kind says so here once; a step that cannot take updates is refused when the job is planned.

use datafusion::logical_expr::LogicalPlan;

use super::node::{NodeKind, PlanNode};
use crate::job_file::Action;
use crate::spec::{Changes, DeduplicateKeep, JoinHow, StreamJoinHow, StreamJoinKind};
use crate::window::Emit;

/// Why a step cannot take updates, and what to do.
pub(super) struct Refusal {
    /// Goes on from "step N".
    pub why: &'static str,
    /// What to do.
    pub help: &'static str,
}

/// What the step gives if its inputs are `inputs`.
pub(super) fn given(action: &Action, inputs: &[Changes]) -> Result<Changes, Refusal> {
    let taken = inputs.iter().copied().max().unwrap_or_default();
    match action {
        // A late row, or one more row, replaces a result that was given.
        Action::Window(window) if window.emit == Emit::Changes || !window.allowed_lateness.is_zero() => {
            Ok(Changes::Updates)
        }
        // Each result is given once, when nothing can change it any more.
        Action::Window(_) => Ok(Changes::Append),
        Action::Deduplicate(_) if taken == Changes::Updates => Err(Refusal {
            why: "keeps one row of several, and its input also takes back rows",
            help: "deduplicate takes streams that only add rows; put it before the step that makes updates",
        }),
        Action::Deduplicate(decl) if decl.keep == DeduplicateKeep::First => Ok(Changes::Append),
        // A row is replaced by a better one, a missing label by one that comes.
        Action::Deduplicate(_) | Action::Top(_) | Action::Feedback(_) => Ok(Changes::Updates),
        Action::Metrics(metrics) if metrics.every.is_some() && metrics.allowed_lateness.is_zero() => {
            Ok(Changes::Append)
        }
        Action::Metrics(_) => Ok(Changes::Updates),
        Action::Limit(_) if taken == Changes::Updates => Err(Refusal {
            why: "counts rows, and its input also takes back rows",
            help: "limit takes streams that only add rows; put it before the step that makes updates",
        }),
        // A row that is taken back may have another id than the one that was given.
        Action::Sample(_) if taken == Changes::Updates => Err(Refusal {
            why: "chooses rows by their ids, and its input also takes back rows",
            help: "sample takes streams that only add rows; put it before the step that makes updates",
        }),
        Action::Limit(_) | Action::Sample(_) => Ok(Changes::Append),
        // Each row for itself: what a row does to the result is what it did before.
        Action::Filter(..) | Action::Select(..) | Action::With(..) | Action::Join(_) | Action::Union(_) => Ok(taken),
        Action::Durable(_) | Action::Explode(_) => Ok(taken),
        Action::StreamJoin(join) => match join.kind {
            StreamJoinKind::Regular { .. } if join.how == StreamJoinHow::Inner => Ok(taken),
            // A row without a partner is taken back when one comes.
            StreamJoinKind::Regular { .. } => Ok(Changes::Updates),
            // The joined stream may be the changes of a table, whose versions hold from one to the next.
            StreamJoinKind::AsOf if inputs.first() == Some(&Changes::Updates) => Err(Refusal {
                why: "joins each row once its time has come, and its own rows are also taken back",
                help: "only the stream that it joins may have updates; a join without within, window and as_of takes them on both sides",
            }),
            StreamJoinKind::AsOf => Ok(Changes::Append),
            _ if taken == Changes::Updates => Err(Refusal {
                why: "joins in event time, and one of its inputs also takes back rows, most of which would be late by then",
                help: "a join without within, window and as_of takes updates, and as_of takes those of the stream that it joins",
            }),
            _ => Ok(Changes::Append),
        },
        // A row that takes back another gets the answer that was given for it.
        Action::Infer(_) => Ok(taken),
        // The function says so itself; see `process`.
        Action::Process(_) => Ok(taken),
    }
}

/// Refuses changes of a table of which a step on the way drops rows: where the new half of a change is dropped, a join as of a
/// row's time would go on with the version before.
pub(super) fn whole_versions(table: &LogicalPlan) -> Result<(), Refusal> {
    let drops = match PlanNode::of(table) {
        None => matches!(table, LogicalPlan::Filter(_)),
        Some(NodeKind::LookupJoin(join)) => join.how == JoinHow::Inner,
        Some(
            NodeKind::Call(_) | NodeKind::Infer(_) | NodeKind::Explode(_) | NodeKind::Union(_) | NodeKind::Durable(_),
        ) => false,
        // The step that makes the changes says all of them.
        Some(_) => return Ok(()),
    };
    if drops {
        return Err(Refusal {
            why: "joins with the versions of a table, and a step between drops rows of it, so that a version would hold on after its end",
            help: "filter behind the join, with how = \"left\" if rows without a partner are to stay",
        });
    }
    table.inputs().into_iter().try_for_each(whole_versions)
}
