//! Where the regions of a job begin: what the user asked for, as one start of each region.
//!
//! Each region's newest checkpoint always fits the others' (see `forebay_state::edge`). When the user asks for an older one of
//! some region, usually because a newer one cannot be read, regions behind it may have read rows that it has not yet written:
//! they go back too, each to its newest checkpoint that fits. Nothing goes back unasked. The choice is written down before any
//! region claims its epoch, and carried out by whoever starts the job next if this process does not come to it.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::{Error, Kind, Result};
use forebay_state::checkpoint::{CheckpointFolder, Manifest, Resume, StateFile, Undone};
use forebay_state::edge::{Candidate, EdgeEnds, Positions, WriterState, consistent_restore};

use crate::edges::{Edges, reader_uid, writer_uid};

/// Where a job begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeJob {
    /// From nothing; refused where checkpoints exist.
    Fresh,
    /// From the newest checkpoint of every region; from nothing if there is none.
    Latest,
    /// From this epoch of a job that has one region.
    Epoch(Epoch),
    /// Some regions, by place, from these epochs or the newest before them that fit; the others from their newest that fits.
    Regions(BTreeMap<usize, Epoch>),
    /// From a savepoint, by name.
    Savepoint(String),
}

/// How the user names the region at `place`: `r1` is the first.
pub fn region_name(place: usize) -> String {
    format!("r{}", place + 1)
}

/// The place of the region that the user names so.
///
/// # Errors
/// What is expected, for people.
pub fn region_place(text: &str) -> std::result::Result<usize, String> {
    let number = text.strip_prefix('r').and_then(|digits| digits.parse::<usize>().ok());
    number.and_then(|number| number.checked_sub(1)).ok_or_else(|| "expected `r1`, `r2` and so on".to_string())
}

// === impl ResumeJob ===

impl FromStr for ResumeJob {
    type Err = String;

    /// What users write: `latest`, `7`, `r1=7,r2=9`, `savepoint:NAME`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(name) = text.strip_prefix("savepoint:") {
            return Ok(Self::Savepoint(name.to_string()));
        }
        match (text, text.parse::<u64>()) {
            ("latest", _) => Ok(Self::Latest),
            (_, Ok(epoch)) => Ok(Self::Epoch(Epoch(epoch))),
            _ => text.split(',').map(epoch_of_region).collect::<std::result::Result<_, _>>().map(Self::Regions),
        }
    }
}

fn epoch_of_region(text: &str) -> std::result::Result<(usize, Epoch), String> {
    let expected =
        || "expected `latest`, an epoch, `rN=EPOCH` with commas between several, or `savepoint:NAME`".to_string();
    let (name, epoch) = text.split_once('=').ok_or_else(expected)?;
    Ok((region_place(name)?, Epoch(epoch.parse().map_err(|_| expected())?)))
}

/// The start of every region, in the order of `folders`, as `asked`.
///
/// # Errors
/// `Invalid` if what is asked for does not exist or does not fit the job; `Corrupt` if nothing fits together.
pub(crate) async fn starts(asked: &ResumeJob, folders: &[CheckpointFolder], edges: &Edges) -> Result<Vec<Resume>> {
    let all = |resume| Ok(vec![resume; folders.len()]);
    match asked {
        ResumeJob::Fresh => all(Resume::Fresh),
        ResumeJob::Latest => latest(folders, edges).await,
        ResumeJob::Epoch(epoch) if folders.len() == 1 => all(Resume::Epoch(*epoch)),
        ResumeJob::Epoch(epoch) => Err(refused("go on from an older checkpoint")
            .with("epoch", epoch)
            .with("regions", folders.len())
            .source("the regions number their checkpoints apart: say which region, as in `--resume r1=7`")),
        ResumeJob::Regions(epochs) => fitting(epochs, folders, edges).await,
        ResumeJob::Savepoint(name) => savepoint(name, folders, edges).await,
    }
}

/// The newest of each, but for what an earlier start decided and did not come to.
async fn latest(folders: &[CheckpointFolder], edges: &Edges) -> Result<Vec<Resume>> {
    let [first, _, ..] = folders else { return Ok(vec![Resume::Latest; folders.len()]) };
    let undone = first.undone_restore().await?;
    if let Some(name) = &undone.savepoint {
        let savepoint = first.savepoint(name).await.map_err(|error| {
            error.with("to do", "an earlier start began to go back to it: go back to another one, if it is gone")
        })?;
        edges.put_back(&savepoint, first, |place| !undone.regions.contains_key(&(place as u32))).await?;
    }
    let start =
        |place: usize| undone.regions.get(&(place as u32)).map_or(Resume::Latest, |epoch| Resume::Epoch(*epoch));
    Ok((0..folders.len()).map(start).collect())
}

/// The epochs of a savepoint. Of several regions: decided for all of them at once, with the logs between them put back.
async fn savepoint(name: &str, folders: &[CheckpointFolder], edges: &Edges) -> Result<Vec<Resume>> {
    let Some(first) = folders.first() else { return Ok(Vec::new()) };
    let savepoint = first.savepoint(name).await?;
    let epoch = |place: usize| savepoint.regions.get(&(place as u32)).map(|epoch| Resume::Epoch(*epoch));
    let starts: Option<Vec<Resume>> = (0..folders.len()).map(epoch).collect();
    let same_edges = savepoint.edges.keys().map(String::as_str).eq(edges.uids());
    let fits = |starts: &Vec<Resume>| starts.len() == savepoint.regions.len() && same_edges;
    let starts = starts.filter(fits).ok_or_else(|| {
        refused("go on from savepoint")
            .with("savepoint", name)
            .with("its regions", savepoint.regions.len())
            .with("regions of the job", folders.len())
            .source("durable steps were added, removed or renamed since")
    })?;
    if starts.len() > 1 {
        // What is decided has to be possible: every later start carries it out.
        for (folder, epoch) in folders.iter().zip(savepoint.regions.values()) {
            folder.refuse_given_up(*epoch).await?;
        }
        first.decide_restore(&savepoint.regions, Some(name)).await?;
        edges.put_back(&savepoint, first, |_| false).await?;
    }
    Ok(starts)
}

async fn fitting(asked: &BTreeMap<usize, Epoch>, folders: &[CheckpointFolder], edges: &Edges) -> Result<Vec<Resume>> {
    if let Some(unknown) = asked.keys().find(|place| **place >= folders.len()) {
        return Err(refused("go on from an older checkpoint")
            .with("region", region_name(*unknown))
            .with("regions", folders.len())
            .source("the job has no such region"));
    }
    let Some(first) = folders.first() else { return Ok(Vec::new()) };
    let asked = &with_undone(asked, &first.undone_restore().await?)?;
    // What cannot be had fences nobody.
    for (place, epoch) in asked {
        folders[*place].restorable(Some(*epoch)).await?;
    }
    for folder in folders {
        folder.fence().await?;
    }
    let ends = edges.ends().await?;
    let mut candidates = BTreeMap::new();
    for (place, folder) in folders.iter().enumerate() {
        candidates.insert(region_name(place), readable(folder, asked.get(&place).copied(), &ends).await?);
    }
    let chosen = consistent_restore(&candidates, &ends)?;
    let mut starts = Vec::new();
    for (place, folder) in folders.iter().enumerate() {
        starts.push(start_of(folder, &region_name(place), &chosen).await?);
    }
    let decided = starts.iter().enumerate().filter_map(|(place, start)| match start {
        Resume::Epoch(epoch) => Some((place as u32, *epoch)),
        Resume::Latest | Resume::Fresh => None,
    });
    first.decide_restore(&decided.collect(), None).await?;
    Ok(starts)
}

/// How one region begins.
async fn start_of(folder: &CheckpointFolder, region: &str, chosen: &BTreeMap<String, Option<Epoch>>) -> Result<Resume> {
    match chosen.get(region).copied().flatten() {
        Some(epoch) => Ok(Resume::Epoch(epoch)),
        // A region that never published begins with nothing; one that did cannot go back to that.
        None if folder.list().await?.is_empty() => Ok(Resume::Latest),
        None => Err(Error::new(Kind::Corrupt, "choose checkpoints that fit together")
            .with("region", region)
            .source("none of its checkpoints can be used: start in another folder")),
    }
}

/// What is `asked` for, together with what an earlier start decided and did not come to: a region that has not gone back yet
/// holds rows of epochs that others have given up.
fn with_undone(asked: &BTreeMap<usize, Epoch>, undone: &Undone) -> Result<BTreeMap<usize, Epoch>> {
    let mut all = asked.clone();
    if let Some(name) = &undone.savepoint {
        return Err(refused("go on from an older checkpoint").with("savepoint", name).source(
            "the job is on its way back to this savepoint, and its logs may be half put back: start it with \
             `--resume latest` or from a savepoint",
        ));
    }
    for (region, epoch) in &undone.regions {
        all.entry(*region as usize).and_modify(|asked| *asked = (*epoch).min(*asked)).or_insert(*epoch);
    }
    Ok(all)
}

/// The checkpoints of one region that can be read, with how far it had read and written, oldest first.
async fn readable(folder: &CheckpointFolder, upto: Option<Epoch>, ends: &[EdgeEnds]) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for manifest in folder.restorable(upto).await? {
        match candidate(folder, &manifest, ends).await {
            Ok(candidate) => found.push(candidate),
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::warn!("checkpoint {} is passed over: {}", manifest.epoch, error.chain());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn candidate(folder: &CheckpointFolder, manifest: &Manifest, ends: &[EdgeEnds]) -> Result<Candidate> {
    if let Some(problem) = folder.verify(Some(manifest.epoch)).await?.into_iter().next() {
        return Err(Error::new(Kind::Corrupt, "verify checkpoint").with("file", problem.path).source(problem.what));
    }
    let of_edges =
        |operator: &str| ends.iter().any(|end| operator == reader_uid(&end.edge) || operator == writer_uid(&end.edge));
    // In files of format 1 nothing says which operators are inside.
    let wanted = |file: &StateFile| file.parts.is_empty() || file.parts.keys().any(|operator| of_edges(operator));
    let entries = folder.load(manifest, wanted).await?;
    let of = |operator: String| -> Vec<(KeyGroup, &Bytes)> {
        let mine = entries.iter().filter(|entry| entry.operator == operator);
        mine.map(|entry| (entry.key_group, &entry.bytes)).collect()
    };
    let mut candidate = Candidate { epoch: Some(manifest.epoch), ..Candidate::default() };
    for end in ends {
        let (reads, writes) = (of(reader_uid(&end.edge)), of(writer_uid(&end.edge)));
        if !reads.is_empty() {
            let read = Positions::read(reads.into_iter().map(|(group, bytes)| (group, bytes.as_ref())))?;
            candidate.read.insert(end.edge.clone(), read);
        }
        if !writes.is_empty() {
            let writers = WriterState::of(writes.into_iter().map(|(group, bytes)| (group, bytes.as_ref())))?;
            candidate.written.insert(end.edge.clone(), Positions::written(&writers));
        }
    }
    Ok(candidate)
}

fn refused(attempted: &'static str) -> Error {
    Error::new(Kind::Invalid, attempted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_names_the_newest_an_epoch_regions_or_a_savepoint() {
        let read = |text: &str| text.parse::<ResumeJob>();
        assert_eq!(read("latest"), Ok(ResumeJob::Latest));
        assert_eq!(read("7"), Ok(ResumeJob::Epoch(Epoch(7))));
        assert_eq!(read("r1=7"), Ok(ResumeJob::Regions([(0, Epoch(7))].into())));
        assert_eq!(read("r3=7,r1=12"), Ok(ResumeJob::Regions([(0, Epoch(12)), (2, Epoch(7))].into())));
        assert_eq!(read("savepoint:before"), Ok(ResumeJob::Savepoint("before".to_string())));
        for bad in ["", "newest", "r0=1", "r1", "r1=x", "1=7", "r1=7,", "r=7"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
