//! Regions: connected components over pipelined edges.
//!
//! Committers are regions of their own, because only durable edges lead to them; models are in none. All tasks are in one
//! region, joined or not: they share their checkpoints and restart together.

use std::collections::BTreeMap;

use super::{Committer, Edge, Region, Task};

/// The regions over `tasks` and `committers`, in the order of their first part.
pub(super) fn of(tasks: &[Task], committers: &[Committer], edges: &[Edge]) -> Vec<Region> {
    let ids = tasks.iter().map(|task| task.id.as_str()).chain(committers.iter().map(|committer| committer.id.as_str()));
    let ids: Vec<&str> = ids.collect();
    let pipelined = edges.iter().filter(|edge| edge.kind.is_pipelined());
    let together = tasks.windows(2).map(|pair| (pair[0].id.as_str(), pair[1].id.as_str()));
    let pipelined: Vec<(&str, &str)> =
        pipelined.map(|edge| (edge.from.as_str(), edge.to.as_str())).chain(together).collect();
    let parts = components(&ids, &pipelined);
    let named = parts.into_iter().enumerate().map(|(place, parts)| Region {
        id: format!("r{}", place + 1),
        parts: parts.into_iter().map(str::to_string).collect(),
    });
    named.collect()
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
