//! Savepoints: checkpoints that a user keeps under a name, until the user removes them.
//!
//! A savepoint is one record that names the newest epoch of every region; what these epochs need is kept however old it is, in the
//! checkpoint folder and the journal, as long as the record exists. Only the logs of durable edges are copied (`savepoint_logs.rs`): one
//! that could not be trimmed would be full some day.
//!
//! **Against retention.** Removal of old checkpoints reads the savepoints after it has seen the newest epoch, and a savepoint is
//! written before it is checked that the epochs it names are still the newest: whichever comes first, the other sees it.
//! **Against crashes.** The record is written as incomplete, checked, and then marked complete. One that a crash left
//! incomplete keeps what it names, is shown as such, is refused by a restore, and can be removed. Removal goes the same way back.
//! **Several regions** go back together, and their logs with them, by one decision (`restore_decision.rs`).

use std::collections::BTreeMap;

use forebay_core::element::Epoch;
use forebay_core::store::Created;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::folder::CheckpointFolder;
use super::layout::Layout;
use super::protocol::PlantedBug;
use super::records::Records;
use super::savepoint_logs::{LogFile, Logs};
use super::sealed::{seal, unseal};

/// Version of the record; 1 of a job without durable edges.
const FORMAT: u32 = 2;
/// How often the newest epochs are looked at before a job that checkpoints faster than the store answers is given up on.
const TRIES_MAX: usize = 20;

/// One savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savepoint {
    /// Version of the record.
    pub format: u32,
    /// Its name, as in the record's path.
    pub name: String,
    /// When it was made, microseconds since 1970, for people.
    pub created_wall_micros: i64,
    /// The epoch that each region goes on from, by number of the region from 0.
    pub regions: BTreeMap<u32, Epoch>,
    /// The copied files of each durable edge's log, oldest first, by the edge's uid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edges: BTreeMap<String, Vec<LogFile>>,
    /// False until it was checked that nothing of it is missing.
    pub complete: bool,
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Keeps the newest checkpoint as `name`. The job may be running or not; `logs` are needed and read if it has several regions. Dropped half-way, it
    /// leaves at most an incomplete one, which keeps logs from being trimmed until it is removed.
    ///
    /// # Errors
    /// `Invalid` if a savepoint of that name exists, if the name cannot be a file's, if a region has no checkpoint yet, or if the logs of
    /// several regions are not there; `Corrupt` if the newest checkpoint or a log cannot be read; `Unavailable` if checkpoints follow each
    /// other so fast that none could be kept.
    pub async fn create_savepoint(&self, name: &str, logs: Option<&Logs>) -> Result<Savepoint> {
        let path = self.records.layout.savepoint(name)?;
        for _ in 0..TRIES_MAX {
            let regions = self.newest_of_each_region(name).await?;
            let begun = Savepoint {
                format: 1,
                name: name.to_string(),
                created_wall_micros: self.env.wall_micros(),
                regions,
                edges: BTreeMap::new(),
                complete: false,
            };
            if self.records.store.create(&path, seal(&begun)?).await? != Created::New {
                return Err(failed("create savepoint", Kind::Invalid, name)
                    .source("there is one of this name: choose another, or remove it first"));
            }
            if self.newest_of_each_region(name).await? == begun.regions {
                let complete = self.completed(begun, logs).await;
                return match &complete {
                    Ok(complete) => self.records.store.put(&path, seal(complete)?).await,
                    Err(_) => self.remove_savepoint(name).await,
                }
                .and(complete);
            }
            self.records.store.delete(&path).await?;
        }
        Err(failed("create savepoint", Kind::Unavailable, name)
            .source("the job took another checkpoint each time: try again, or lengthen its checkpoint_interval"))
    }

    /// The savepoint with all that belongs to it. The epochs that `begun` names are kept by now, so they can be read.
    async fn completed(&self, begun: Savepoint, logs: Option<&Logs>) -> Result<Savepoint> {
        // A region that has not begun yet has no folder: the others know of it.
        let mut known = begun.regions.keys().last().map_or(0, |last| last + 1);
        for (region, epoch) in &begun.regions {
            let folder = self.clone().of_region(*region);
            folder.records.make_durable(*epoch).await?;
            let manifest = folder.records.epoch(*epoch).await?;
            known = known.max(manifest.regions);
            if manifest.state_of.is_none() {
                return Err(no_checkpoint(&begun.name, *region));
            }
            let problems = folder.verify(Some(*epoch)).await?;
            if let Some(problem) = problems.first() {
                return Err(failed("create savepoint", Kind::Corrupt, &begun.name)
                    .with("region", format!("r{}", region + 1))
                    .with("file", &problem.path)
                    .source(problem.what.clone()));
            }
        }
        if let Some(missing) = (0..known).find(|region| !begun.regions.contains_key(region)) {
            return Err(no_checkpoint(&begun.name, missing));
        }
        if known < 2 {
            return Ok(Savepoint { complete: true, ..begun });
        }
        self.check_not_going_back(&begun.name).await?;
        let logs = logs.ok_or_else(|| {
            failed("create savepoint", Kind::Invalid, &begun.name)
                .source("the job has durable steps, whose logs lie beside the journal: pass `--journal DIR`")
        })?;
        let edges = self.copy_logs(&begun.name, logs).await?;
        self.check_not_going_back(&begun.name).await?;
        Ok(Savepoint { format: FORMAT, edges, complete: true, ..begun })
    }

    /// While only some regions have gone back, the newest of each do not fit together, and logs may be half put back.
    async fn check_not_going_back(&self, name: &str) -> Result<()> {
        match self.undone_restore().await?.regions.is_empty() {
            true => Ok(()),
            false => Err(failed("create savepoint", Kind::Invalid, name).source(
                "the job is on its way back to older checkpoints: start it with `--resume latest`, then try again",
            )),
        }
    }

    async fn newest_of_each_region(&self, name: &str) -> Result<BTreeMap<u32, Epoch>> {
        let mut newest = BTreeMap::new();
        for region in self.regions().await? {
            let folder = self.clone().of_region(region);
            let epoch = folder.records.epochs().await?.last().copied();
            newest.insert(region, epoch.ok_or_else(|| no_checkpoint(name, region))?);
        }
        match newest.is_empty() {
            false => Ok(newest),
            true => Err(failed("create savepoint", Kind::Invalid, name)
                .with("job", self.records.layout.job())
                .with("checkpoints", self.records.store.location())
                .source("the job has no checkpoint there")),
        }
    }

    /// The job's regions that have a folder, ascending.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn regions(&self) -> Result<Vec<u32>> {
        let job = self.records.layout.job();
        let entries = self.records.store.list(job).await?;
        let mut regions: Vec<u32> = entries.iter().filter_map(|entry| Layout::region_of(job, &entry.path)).collect();
        regions.sort_unstable();
        regions.dedup();
        Ok(regions)
    }

    /// The job's savepoints by name, incomplete ones too.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if one cannot be read.
    pub async fn savepoints(&self) -> Result<Vec<Savepoint>> {
        self.records.savepoints().await
    }

    /// The savepoint `name`, to be restored.
    ///
    /// # Errors
    /// `Invalid` if there is none of that name, or it was never completed; `Corrupt` if it cannot be read.
    pub async fn savepoint(&self, name: &str) -> Result<Savepoint> {
        self.records.layout.savepoint(name)?;
        let all = self.records.savepoints().await?;
        let Some(found) = all.iter().find(|savepoint| savepoint.name == name) else {
            let names: Vec<&str> = all.iter().map(|savepoint| savepoint.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_string() } else { names.join(", ") };
            return Err(failed("find savepoint", Kind::Invalid, name).with("savepoints", known));
        };
        if !found.complete {
            return Err(failed("find savepoint", Kind::Invalid, name)
                .source("it was begun and not completed: remove it, and use another"));
        }
        Ok(found.clone())
    }

    /// Removes the savepoint `name`; what only it kept goes with the job's next checkpoint. Dropped half-way, or undone by power
    /// loss, it leaves at most an incomplete one: the running job may have removed by then what it named.
    ///
    /// # Errors
    /// `Invalid` if there is none of that name.
    pub async fn remove_savepoint(&self, name: &str) -> Result<()> {
        let path = self.records.layout.savepoint(name)?;
        let Some(stored) = self.records.store.read(&path).await? else {
            return Err(failed("remove savepoint", Kind::Invalid, name).source("there is none of this name"));
        };
        let at_once = self.bug == Some(PlantedBug::RemoveSavepointAtOnce);
        // A damaged record is removed as it is.
        if let Ok(complete) = unseal::<Savepoint>(&path, &stored)
            && complete.complete
            && !at_once
        {
            self.records.store.put(&path, seal(&Savepoint { complete: false, ..complete })?).await?;
        }
        self.records.store.delete(&path).await?;
        self.remove_logs(name).await
    }
}

// === impl Records ===

impl Records {
    pub(super) async fn savepoints(&self) -> Result<Vec<Savepoint>> {
        let mut found = Vec::new();
        for entry in self.store.list(&self.layout.savepoints()).await? {
            // It may have been removed since.
            let Some(bytes) = self.store.read(&entry.path).await? else { continue };
            let savepoint: Savepoint = unseal(&entry.path, &bytes)?;
            if savepoint.format > FORMAT {
                return Err(failed("read savepoint", Kind::Invalid, &savepoint.name)
                    .with("format", savepoint.format)
                    .source(format!("written by a newer release; this one reads up to format {FORMAT}")));
            }
            found.push(savepoint);
        }
        Ok(found)
    }

    /// Epochs of this region that savepoints name, and the one that it was decided to go back to, ascending.
    pub(super) async fn pinned(&self) -> Result<Vec<Epoch>> {
        let region = self.layout.number();
        let savepoints = self.savepoints().await?;
        let mut pinned: Vec<Epoch> =
            savepoints.iter().filter_map(|savepoint| savepoint.regions.get(&region).copied()).collect();
        pinned.extend(self.decided().await?);
        pinned.sort_unstable();
        pinned.dedup();
        Ok(pinned)
    }
}

fn failed(attempted: &str, kind: Kind, name: &str) -> Error {
    Error::new(kind, attempted).with("savepoint", name)
}

fn no_checkpoint(name: &str, region: u32) -> Error {
    failed("create savepoint", Kind::Invalid, name)
        .with("region", format!("r{}", region + 1))
        .source("it has no checkpoint yet: try again after its first")
}
