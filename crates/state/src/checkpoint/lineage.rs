//! Which files hold the state of a key group: the newest one, and those of earlier checkpoints that its deltas build on.
//!
//! A manifest says of each file which key groups of which operators it speaks for, and which checkpoint each builds on:
//!
//! ```text
//! "parts": { "window": "0-3@5,4-7,8@5" }      groups 0 to 3 and 8 hold what changed since the checkpoint of epoch 5,
//!                                             groups 4 to 7 hold everything
//! ```
//!
//! From a file the way leads to the file of that epoch which speaks for the group, and on to one that holds everything. An
//! operator's parallelism may differ from epoch to epoch: the way is the group's, not the subtask's. A link that leads nowhere is
//! an error, never an empty state. Files of format 1 have no parts; each of their entries holds everything.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;

use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::Lineage;
use forebay_core::{Error, Kind, Result};

use super::manifest::{Manifest, StateFile};
use super::snapshot_file::StateEntry;

/// Neighbouring groups that build on the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    groups: RangeInclusive<u16>,
    since: Option<Epoch>,
}

/// What a file holds, as its manifest says it.
pub(super) fn parts(entries: &[StateEntry], lineages: &BTreeMap<String, Lineage>) -> BTreeMap<String, String> {
    let mut groups: BTreeMap<&str, BTreeMap<KeyGroup, Option<Epoch>>> = BTreeMap::new();
    for entry in entries {
        groups.entry(&entry.operator).or_default().insert(entry.key_group, None);
    }
    for (operator, lineage) in lineages {
        let deltas = lineage.deltas.iter().map(|group| (*group, lineage.completed));
        groups.entry(operator).or_default().extend(deltas);
    }
    let parts = groups.into_iter().filter(|(_, groups)| !groups.is_empty());
    parts.map(|(operator, groups)| (operator.to_string(), text_of(&groups))).collect()
}

/// The oldest checkpoint that later snapshots of this subtask may build on; `None` if none of them ever builds on any.
pub(super) fn completed(lineages: &BTreeMap<String, Lineage>) -> Option<Epoch> {
    lineages.values().map(|lineage| lineage.completed.unwrap_or(Epoch(0))).min()
}

/// The files of one checkpoint, by epoch and operator, each with the groups it speaks for.
struct Pool<'a>(BTreeMap<(Epoch, &'a str), Vec<(Run, &'a StateFile)>>);

/// The files of earlier checkpoints that `files`, of a new one, build on. `known` holds all files of each checkpoint that they
/// may build on.
///
/// # Errors
/// `Internal` if a file builds on a checkpoint that is not known or does not hold the group.
pub(super) fn earlier(files: &[StateFile], known: &BTreeMap<Epoch, Vec<StateFile>>) -> Result<Vec<StateFile>> {
    let mut pools: BTreeMap<Epoch, Pool<'_>> = BTreeMap::new();
    let mut needed: BTreeMap<(Option<Epoch>, &str), &StateFile> = BTreeMap::new();
    for file in files {
        for (operator, text) in &file.parts {
            for Run { groups, since } in runs(file, text)? {
                let Some(since) = since else { continue };
                let pool = match pools.entry(since) {
                    Entry::Occupied(pool) => pool.into_mut(),
                    Entry::Vacant(place) => place.insert(Pool::new(known.get(&since).map_or(&[], Vec::as_slice))?),
                };
                for group in groups.map(KeyGroup) {
                    let way = pool.way(operator, group, since)?;
                    needed.extend(way.into_iter().map(|file| ((file.epoch, file.path.as_str()), file)));
                }
            }
        }
    }
    Ok(needed.into_values().cloned().collect())
}

// === impl Pool ===

impl<'a> Pool<'a> {
    fn new(files: &'a [StateFile]) -> Result<Self> {
        let mut pool: BTreeMap<(Epoch, &str), Vec<(Run, &StateFile)>> = BTreeMap::new();
        for file in files {
            let Some(epoch) = file.epoch else { continue };
            for (operator, text) in &file.parts {
                let runs = runs(file, text)?.into_iter().map(|run| (run, file));
                pool.entry((epoch, operator)).or_default().extend(runs);
            }
        }
        Ok(Self(pool))
    }

    /// The files that hold `group` of `operator` at checkpoint `since`, newest first.
    fn way(&self, operator: &str, group: KeyGroup, since: Epoch) -> Result<Vec<&'a StateFile>> {
        let (mut found, mut next) = (Vec::new(), Some(since));
        while let Some(epoch) = next {
            let mut runs = self.0.get(&(epoch, operator)).into_iter().flatten();
            let step = runs.find(|(run, _)| run.groups.contains(&group.0));
            let step = step.filter(|(run, _)| run.since.is_none_or(|older| older < epoch));
            let Some((run, file)) = step else {
                return Err(Error::new(Kind::Internal, "find state that a snapshot builds on")
                    .with("operator", operator)
                    .with("key_group", group.0)
                    .with("epoch", epoch)
                    .source("no state file of that checkpoint holds the group"));
            };
            found.push(*file);
            next = run.since;
        }
        Ok(found)
    }
}

/// The key groups that a file of `manifest` holds, each with the files to read for it, oldest first.
pub(super) type Ways<'a> = BTreeMap<(&'a str, KeyGroup), Vec<&'a str>>;

/// The ways of each of `manifest`'s newest files, in their order.
///
/// # Errors
/// `Corrupt` if a link leads nowhere.
pub(super) fn ways(manifest: &Manifest) -> Result<Vec<Ways<'_>>> {
    let pool = Pool::new(&manifest.earlier)?;
    let corrupt =
        |file: &StateFile, error| Error::new(Kind::Corrupt, "read state file").with("file", &file.path).source(error);
    let mut found = Vec::new();
    for file in &manifest.files {
        let mut ways = Ways::new();
        for (operator, text) in &file.parts {
            for Run { groups, since } in runs(file, text)? {
                for group in groups.map(KeyGroup) {
                    let earlier = since.map(|since| pool.way(operator, group, since)).transpose();
                    let earlier = earlier.map_err(|error| corrupt(file, error))?.unwrap_or_default();
                    let paths = earlier.iter().rev().chain([&file]).map(|file| file.path.as_str()).collect();
                    ways.insert((operator.as_str(), group), paths);
                }
            }
        }
        found.push(ways);
    }
    Ok(found)
}

fn text_of(groups: &BTreeMap<KeyGroup, Option<Epoch>>) -> String {
    let mut runs: Vec<Run> = Vec::new();
    for (group, since) in groups {
        match runs.last_mut() {
            Some(run) if run.since == *since && run.groups.end() + 1 == group.0 => {
                run.groups = *run.groups.start()..=group.0;
            }
            _ => runs.push(Run { groups: group.0..=group.0, since: *since }),
        }
    }
    let text = |run: &Run| {
        let (first, last) = (run.groups.start(), run.groups.end());
        let groups = if first == last { format!("{first}") } else { format!("{first}-{last}") };
        run.since.map_or(groups.clone(), |since| format!("{groups}@{since}"))
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

fn runs(file: &StateFile, text: &str) -> Result<Vec<Run>> {
    let parsed: Option<Vec<Run>> = text.split(',').map(parse_run).collect();
    parsed.ok_or_else(|| {
        Error::new(Kind::Corrupt, "read parts of state file").with("file", &file.path).with("parts", text)
    })
}

fn parse_run(text: &str) -> Option<Run> {
    let (groups, since) = match text.split_once('@') {
        Some((groups, since)) => (groups, Some(Epoch(since.parse().ok()?))),
        None => (text, None),
    };
    let (first, last) = groups.split_once('-').unwrap_or((groups, groups));
    let groups = first.parse().ok()?..=last.parse().ok()?;
    (!groups.is_empty()).then_some(Run { groups, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, epoch: u64, parts: &str) -> StateFile {
        StateFile {
            path: name.into(),
            epoch: Some(Epoch(epoch)),
            parts: [("op".to_string(), parts.to_string())].into(),
            ..StateFile::default()
        }
    }

    fn names(files: &[StateFile]) -> Vec<&str> {
        files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn parts_are_written_as_runs_and_read_back() {
        let groups: BTreeMap<KeyGroup, Option<Epoch>> =
            [(0, Some(5)), (1, Some(5)), (2, None), (3, None), (9, Some(5)), (10, Some(4))]
                .map(|(group, since)| (KeyGroup(group), since.map(Epoch)))
                .into();
        assert_eq!(text_of(&groups), "0-1@5,2-3,9@5,10@4");
        let read = runs(&file("f", 6, ""), "0-1@5,2-3,9@5,10@4").unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read[3], Run { groups: 10..=10, since: Some(Epoch(4)) });
        for bad in ["", "3-1", "a", "1@", "1,", "1-2-3", "70000"] {
            assert_eq!(runs(&file("f", 6, ""), bad).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn only_what_a_group_still_builds_on_is_named() {
        // Two subtasks at epochs 2 and 3, one at 4: group 0 was whole at 3, group 1 builds on 3 and 2.
        let at_2 = vec![file("a2", 2, "0"), file("b2", 2, "1")];
        let at_3 = vec![file("a3", 3, "0"), file("b3", 3, "1@2")];
        let known: BTreeMap<Epoch, Vec<StateFile>> =
            [(Epoch(2), at_2.clone()), (Epoch(3), [at_3, at_2].concat())].into();
        assert_eq!(names(&earlier(&[file("c4", 4, "0-1@3")], &known).unwrap()), ["b2", "a3", "b3"]);
        assert_eq!(names(&earlier(&[file("c4", 4, "0@3,1")], &known).unwrap()), ["a3"]);
        assert!(earlier(&[file("c4", 4, "0-1")], &known).unwrap().is_empty());
        for nowhere in ["2@3", "0@1"] {
            assert_eq!(earlier(&[file("c4", 4, nowhere)], &known).unwrap_err().kind(), Kind::Internal);
        }
    }
}
