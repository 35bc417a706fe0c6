//! Going back to older checkpoints of several regions, as one decision.
//!
//! Regions claim their epochs apart. A crash between two claims would leave one region gone back and another one not, which has
//! read what is no longer written: the newest of each would not fit together any more. So the decision is written first, as one
//! record that is created once. Whoever starts the job later carries out what is left of it: a region whose newest epoch is
//! still the one of the decision has not gone back yet. A decision for a savepoint names it, because the logs of durable edges
//! have to be put back before their writers start.

use std::collections::BTreeMap;

use forebay_core::element::Epoch;
use forebay_core::store::Created;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::folder::CheckpointFolder;
use super::layout::number_in;
use super::protocol::{Event, PlantedBug};
use super::records::Records;
use super::sealed::{seal, unseal};

/// Version of the record; 1 as long as it names no savepoint.
const FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Decision {
    format: u32,
    /// By number of the region from 0.
    regions: BTreeMap<u32, GoBack>,
    /// The savepoint whose logs are put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    savepoint: Option<String>,
}

/// What is left of a decision to go back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// The epochs of the regions that have not gone back yet, by number from 0.
    pub regions: BTreeMap<u32, Epoch>,
    /// The savepoint that they go back to, if it is one.
    pub savepoint: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GoBack {
    /// The region's newest epoch when it was decided.
    newest: Epoch,
    /// The epoch to go on from.
    from: Epoch,
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Fences all earlier attempts of this region and starts none: they publish and remove nothing any more, but for what one is
    /// removing just now, which counts as no longer kept already. So a start that has to choose among checkpoints, before it claims
    /// an epoch, chooses among those that stay.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn fence(&self) -> Result<()> {
        loop {
            let next = self.records.generation().await? + 1;
            if let Event::GenerationClaimed(true) = self.claim_generation(next).await? {
                return Ok(());
            }
        }
    }

    /// Decides that the regions go on from these epochs, by number of the region, of `savepoint` if they are those of one. Before any of
    /// them restarts; dropped half-way, the decision is there or it is not. What it hangs on survives power loss from then on.
    ///
    /// # Errors
    /// `Fenced` if somebody else decided at the same time; `Invalid` for a region without an epoch, or if there is no such savepoint.
    pub async fn decide_restore(&self, epochs: &BTreeMap<u32, Epoch>, savepoint: Option<&str>) -> Result<()> {
        if self.bug == Some(PlantedBug::GoBackUndecided) {
            return Ok(());
        }
        let invalid = |reason: &'static str| Error::new(Kind::Invalid, "decide restore").source(reason);
        let mut regions = BTreeMap::new();
        for (region, from) in epochs {
            let newest = self.newest_of(*region).await?;
            let newest = newest.ok_or_else(|| invalid("it has no epoch").with("region", region))?;
            self.clone().of_region(*region).records.make_durable(newest).await?;
            regions.insert(*region, GoBack { newest, from: *from });
        }
        if let Some(name) = savepoint {
            let found = self.records.read_durable(&self.records.layout.savepoint(name)?).await?;
            found.ok_or_else(|| invalid("it was removed meanwhile").with("savepoint", name))?;
        }
        let number = self.records.newest_decision().await?.map_or(1, |(number, _)| number + 1);
        let savepoint = savepoint.map(ToString::to_string);
        let format = if savepoint.is_some() { FORMAT } else { 1 };
        let bytes = seal(&Decision { format, regions, savepoint })?;
        match self.records.store.create(&self.records.layout.restore_decision(number), bytes).await? {
            Created::New => Ok(()),
            Created::AlreadyThere => {
                Err(Error::new(Kind::Fenced, "decide restore").source("another process decided first"))
            }
        }
    }

    /// What is left of the newest decision.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, if the decision cannot be read; `Invalid` if a newer release wrote it.
    pub async fn undone_restore(&self) -> Result<Undone> {
        let mut undone = Undone::default();
        if let Some((_, path)) = self.records.newest_decision().await? {
            // What one region carries out may survive a power loss that takes the decision away from the others.
            self.records.read_durable(&path).await?;
        }
        let Some(decision) = self.records.decision().await? else { return Ok(undone) };
        for (region, GoBack { newest, from }) in decision.regions {
            if self.newest_of(region).await? == Some(newest) {
                undone.regions.insert(region, from);
            }
        }
        undone.savepoint = decision.savepoint.filter(|_| !undone.regions.is_empty());
        Ok(undone)
    }

    async fn newest_of(&self, region: u32) -> Result<Option<Epoch>> {
        Ok(self.clone().of_region(region).records.epochs().await?.last().copied())
    }
}

// === impl Records ===

impl Records {
    /// The epoch that this region was decided to go back to, as long as it has not: it stays, also if it was a savepoint alone that
    /// kept it and the savepoint is removed meanwhile. Every later start would ask for it.
    ///
    /// # Errors
    /// As [`CheckpointFolder::undone_restore`].
    pub(super) async fn decided(&self) -> Result<Option<Epoch>> {
        let mut decision = self.decision().await?;
        let going = decision.as_mut().and_then(|decision| decision.regions.remove(&self.layout.number()));
        let Some(GoBack { newest, from }) = going else { return Ok(None) };
        Ok((self.epochs().await?.last() == Some(&newest)).then_some(from))
    }

    /// The newest decision.
    async fn decision(&self) -> Result<Option<Decision>> {
        let Some((_, path)) = self.newest_decision().await? else { return Ok(None) };
        let Some(bytes) = self.store.read(&path).await? else { return Ok(None) };
        let decision: Decision = unseal(&path, &bytes)?;
        if decision.format > FORMAT {
            return Err(Error::new(Kind::Invalid, "read restore decision")
                .with("file", path)
                .with("format", decision.format)
                .source(format!("written by a newer release; this one reads up to format {FORMAT}")));
        }
        Ok(Some(decision))
    }

    async fn newest_decision(&self) -> Result<Option<(u64, String)>> {
        let folder = self.layout.restore_decisions();
        let entries = self.store.list(&folder).await?;
        Ok(entries.into_iter().filter_map(|entry| Some((number_in(&entry.path, &folder)?, entry.path))).max())
    }
}
