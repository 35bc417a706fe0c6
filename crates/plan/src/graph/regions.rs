//! Regions: what pipelined edges join, and what they may promise at a durable edge.
//!
//! Committers are regions of their own, because only durable edges lead to them; models are in none. Tasks that ask the same
//! model are in one region, because they share its journal. What reads no durable edge, joined or not, is the first region:
//! only a `durable` step cuts a job.

use std::collections::{BTreeMap, BTreeSet};

use super::{Committer, Edge, EdgeKind, ModelService, Region, Step, StepAction, Task};
use crate::job_file::{JobFile, JobFileError};
use crate::spec::DurableMode;

/// The regions over `tasks` and `committers`, in the order of their first part.
pub(super) fn of(tasks: &[Task], committers: &[Committer], edges: &[Edge]) -> Vec<Region> {
    let ids = tasks.iter().map(|task| task.id.as_str()).chain(committers.iter().map(|committer| committer.id.as_str()));
    let ids: Vec<&str> = ids.collect();
    let pipelined = edges.iter().filter(|edge| edge.kind.is_pipelined());
    let mut pairs: Vec<(&str, &str)> = pipelined.map(|edge| (edge.from.as_str(), edge.to.as_str())).collect();
    pairs.extend(sharing_models(tasks));
    let joined = components(&ids[..tasks.len()], &pairs);
    pairs.extend(first_region(tasks, &joined));
    let named = components(&ids, &pairs).into_iter().enumerate().map(|(place, parts)| Region {
        id: format!("r{}", place + 1),
        parts: parts.into_iter().map(str::to_string).collect(),
    });
    named.collect()
}

/// Refuses durable edges that cut nothing, and those that promise more than the region in front of them can keep.
pub(super) fn check(
    job: &JobFile,
    tasks: &[Task],
    models: &BTreeMap<String, ModelService>,
    edges: &[Edge],
    regions: &[Region],
) -> Result<(), JobFileError> {
    let region = |id: &str| regions.iter().find(|region| region.parts.iter().any(|part| part == id));
    for edge in edges.iter().filter(|edge| edge.kind == EdgeKind::Logged) {
        let Some(durable) = tasks.iter().find(|task| task.id == edge.to).and_then(Task::durable) else { continue };
        let refused = |message: String| {
            let step = job.steps.iter().find(|step| step.uid == durable.uid);
            job.text.error(step.map_or(0..0, |step| step.span.clone()), message)
        };
        if region(&edge.from) == region(&edge.to) {
            let error = refused(format!("the durable step \"{}\" does not cut the job in two", durable.uid));
            return Err(error.with_help(
                "what is in front of it and what is behind it must not meet in another way, nor ask the same model",
            ));
        }
        let before = before(edge, edges);
        let front = tasks.iter().filter(|task| before.contains(task.id.as_str()));
        let other = front.flat_map(|task| &task.steps).find(|step| !repeats(step, models));
        if let (DurableMode::IdDedupe, Some(step)) = (durable.mode, other) {
            let error =
                refused(format!("step \"{}\" in front of \"{}\" may give other rows again", step.uid, durable.uid));
            return Err(error.with_help("mode = \"commit_read\" is right whatever stands in front of it"));
        }
    }
    Ok(())
}

/// The tasks whose rows come to the durable edge `cut` without crossing another.
fn before<'a>(cut: &'a Edge, edges: &'a [Edge]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([cut.from.as_str()]);
    let mut next = vec![cut.from.as_str()];
    while let Some(task) = next.pop() {
        let into = edges.iter().filter(|edge| edge.to == task && edge.kind.is_pipelined());
        next.extend(into.map(|edge| edge.from.as_str()).filter(|from| found.insert(*from)));
    }
    found
}

/// Whether a step gives the same rows under the same ids when it runs again: by itself, or because a journal answers.
fn repeats(step: &Step, models: &BTreeMap<String, ModelService>) -> bool {
    match &step.action {
        StepAction::Infer(infer) => {
            let mut asked = std::iter::once(infer.model.as_str()).chain(infer.ladder.models());
            let timed = infer.rows.deadline.is_some() || infer.rows.deadline_column.is_some();
            let journalled = |name: &str| models.get(name).is_some_and(|model| model.spec.journal);
            asked.all(journalled) && !timed && infer.ladder.after.is_none()
        }
        StepAction::Filter { .. } | StepAction::Project { .. } | StepAction::Call(_) | StepAction::LookupJoin(_) => {
            true
        }
        StepAction::Union { .. } | StepAction::Durable(_) | StepAction::Sink(_) => true,
        StepAction::Explode(_) | StepAction::Sample(_) => true,
        // What they give depends on how rows of several subtasks or streams interleave.
        StepAction::StreamJoin(_) | StepAction::Window(_) | StepAction::Deduplicate(_) | StepAction::Top(_) => false,
        StepAction::Feedback(_) | StepAction::Metrics(_) | StepAction::Limit(_) | StepAction::Process(_) => false,
    }
}

/// Pairs of tasks that ask the same model.
fn sharing_models(tasks: &[Task]) -> Vec<(&str, &str)> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    let mut pairs = Vec::new();
    for task in tasks {
        for step in &task.steps {
            let StepAction::Infer(infer) = &step.action else { continue };
            for model in std::iter::once(infer.model.as_str()).chain(infer.ladder.models()) {
                pairs.push((*first.entry(model).or_insert(&task.id), task.id.as_str()));
            }
        }
    }
    pairs
}

/// Pairs that join all `groups` in which no task reads a durable edge.
fn first_region<'a>(tasks: &[Task], groups: &[Vec<&'a str>]) -> Vec<(&'a str, &'a str)> {
    let behind: BTreeSet<&str> =
        tasks.iter().filter(|task| task.durable().is_some()).map(|task| task.id.as_str()).collect();
    let firsts = groups.iter().filter(|group| !group.iter().any(|id| behind.contains(id)));
    let firsts: Vec<&str> = firsts.filter_map(|group| group.first().copied()).collect();
    firsts.windows(2).map(|pair| (pair[0], pair[1])).collect()
}

/// `ids` grouped so that two joined by `pairs`, in either direction or through others, are in the same group. Groups and
/// members keep the order of `ids`.
fn components<'a>(ids: &[&'a str], pairs: &[(&str, &str)]) -> Vec<Vec<&'a str>> {
    let mut group: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    for (left, right) in pairs {
        let (Some(left), Some(right)) = (group.get(left).copied(), group.get(right).copied()) else { continue };
        let (into, from) = (left.min(right), left.max(right));
        group.values_mut().filter(|place| **place == from).for_each(|place| *place = into);
    }
    let mut members: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for id in ids {
        members.entry(group[id]).or_default().push(id);
    }
    members.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_parts_share_a_group_in_any_direction() {
        let groups = components(&["a", "b", "c", "d", "e"], &[("d", "b"), ("a", "d"), ("x", "c")]);
        assert_eq!(groups, [vec!["a", "b", "d"], vec!["c"], vec!["e"]]);
    }
}
