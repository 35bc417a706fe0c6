//! Giving up old checkpoints, so that a job's folder stays bounded.
//!
//! Epoch records are never removed: a stalled attempt could otherwise publish under an old number. They are small. What a kept
//! epoch names is never removed, also if it lies in an older epoch's folder, nor is what the next snapshots of the running
//! attempt may build on: a subtask that has not yet heard of the newest checkpoint builds on one before it. Manifests go last, so that an interrupted call is
//! finished by the next one; from the first removal on the epochs count as no longer kept. What savepoints name stays.
//!
//! **Against a start that goes back.** First it is written what is no longer kept, then it is read whether somebody has claimed a
//! newer generation, and only then anything is removed. Whoever goes back does it the other way round: it claims a generation, and
//! then reads what is kept. Whichever comes first, the other sees it.
//!
//! Logs of durable edges are held for a savepoint only while it is made: then it has a copy, and a log that could not be trimmed
//! would be full some day.

use std::collections::BTreeSet;

use forebay_core::Result;
use forebay_core::element::Epoch;

use super::folder::CheckpointFolder;
use super::layout::number_in;
use super::manifest::{EpochKind, Manifest};
use super::protocol::PlantedBug;
use super::records::Retained;
use super::savepoint::Savepoint;
use super::sealed::seal;

/// The oldest checkpoints that anything kept may still ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StillNeeded {
    /// Of the journal: savepoints count.
    pub journal: Epoch,
    /// Of the logs of durable edges: savepoints count until they are complete.
    pub edges: Epoch,
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Removes manifests and state older than the newest `keep` checkpoints (at least 1), but for what savepoints name. Answers the
    /// oldest checkpoints whose state a kept epoch holds: nothing before them will be asked for again, and epoch 0 if one holds the empty
    /// state. `None` while there are not yet `keep` checkpoints: everything may be.
    ///
    /// # Errors
    /// `Corrupt` if an epoch that is to be kept cannot be read: nothing is removed then. `Fenced` if a newer attempt has started: it
    /// may have gone back to what would be removed. Whatever the store fails with.
    pub async fn retain(&self, keep: usize) -> Result<Option<StillNeeded>> {
        let Some(kept) = self.newest_checkpoints(keep.max(1)).await? else { return Ok(None) };
        let Some(oldest) = kept.iter().map(|manifest| manifest.epoch).min() else { return Ok(None) };
        self.let_go_before(oldest).await?;
        let pinned = self.pinned_before(oldest).await?;
        self.refuse_after_newer_start().await?;
        let pins = pinned.iter().map(|(_, manifest)| manifest);
        let copied = self.copied_from().await?;
        let build_on = if self.bug == Some(PlantedBug::TrimMayBuildOn) { Vec::new() } else { self.may_build_on() };
        let keeps_earlier = self.bug != Some(PlantedBug::TrimBuiltOn);
        let needed = || kept.iter().chain(pins.clone());
        let earlier = needed().flat_map(|manifest| &manifest.earlier).filter(|_| keeps_earlier);
        let named = needed().flat_map(|manifest| &manifest.files).chain(earlier).chain(&build_on);
        let manifests = pinned.iter().map(|(path, _)| path.as_str());
        let named: BTreeSet<&str> = named.map(|file| file.path.as_str()).chain(manifests).collect();
        let layout = &self.records.layout;
        self.remove_older(&layout.states(), oldest, &named).await?;
        self.remove_older(&layout.committed_markers(), oldest, &named).await?;
        self.remove_older(&layout.manifests(), oldest, &named).await?;
        let logged = kept.iter().chain(pins.clone().filter(|manifest| copied.contains(&manifest.epoch)));
        let (journal, edges) = (oldest_state(needed()), oldest_state(logged));
        Ok(journal.map(|journal| StillNeeded { journal, edges: edges.unwrap_or(journal) }))
    }

    /// Writes down that checkpoints before `oldest` are no longer kept, but for those that are pinned.
    async fn let_go_before(&self, oldest: Epoch) -> Result<()> {
        let before = self.records.retained().await?;
        if before.oldest < oldest {
            let pinned = self.pinned_before(oldest).await?;
            let given_up = self.still_given_up(&before, &pinned).await?;
            self.records.store.put(&self.records.layout.retained(), seal(&Retained { oldest, given_up })?).await?;
        }
        Ok(())
    }

    async fn refuse_after_newer_start(&self) -> Result<()> {
        let (newest, own) = (self.records.generation().await?, self.own_generation());
        if own.is_none_or(|own| newest <= own) || self.bug == Some(PlantedBug::TrimUnderNewerStart) {
            return Ok(());
        }
        Err(self.fenced("remove old checkpoints", format!("generation {newest} was claimed")))
    }

    /// Those of the `pinned` epochs that the job went back behind, as far as what is kept now or was known `before` says so.
    async fn still_given_up(&self, before: &Retained, pinned: &[(String, Manifest)]) -> Result<BTreeSet<Epoch>> {
        let mut given_up = BTreeSet::new();
        for (_, manifest) in pinned {
            if before.given_up.contains(&manifest.epoch) || self.given_up_by(manifest).await?.is_some() {
                given_up.insert(manifest.epoch);
            }
        }
        Ok(given_up)
    }

    /// The epochs of savepoints that may still be copying logs.
    async fn copied_from(&self) -> Result<BTreeSet<Epoch>> {
        if self.bug == Some(PlantedBug::TrimWhileCopied) {
            return Ok(BTreeSet::new());
        }
        self.named_by_savepoints(|savepoint| !savepoint.complete).await
    }

    async fn named_by_savepoints(&self, which: impl Fn(&Savepoint) -> bool) -> Result<BTreeSet<Epoch>> {
        let (savepoints, region) = (self.records.savepoints().await?, self.records.layout.number());
        let named = savepoints.iter().filter(|savepoint| which(savepoint));
        Ok(named.filter_map(|savepoint| savepoint.regions.get(&region).copied()).collect())
    }

    /// The epochs before `oldest` that savepoints name: path and content of each one's manifest. An incomplete savepoint may name
    /// what was removed before its record was there, if whoever made it ended before it saw that; then there is nothing to keep.
    async fn pinned_before(&self, oldest: Epoch) -> Result<Vec<(String, Manifest)>> {
        let mut found = Vec::new();
        if self.bug == Some(PlantedBug::TrimSavepoints) {
            return Ok(found);
        }
        let complete = self.named_by_savepoints(|savepoint| savepoint.complete).await?;
        for epoch in self.records.pinned().await?.into_iter().filter(|epoch| *epoch < oldest) {
            let path = self.records.record(epoch).await?.map(|record| record.manifest).unwrap_or_default();
            match self.records.epoch(epoch).await {
                Ok(manifest) => found.push((path, manifest)),
                Err(_) if !complete.contains(&epoch) && self.records.store.read(&path).await?.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The newest `keep` checkpoints and the claims among and after them; `None` if there are fewer checkpoints.
    async fn newest_checkpoints(&self, keep: usize) -> Result<Option<Vec<Manifest>>> {
        let (mut kept, mut checkpoints) = (Vec::new(), 0);
        for epoch in self.records.kept_epochs().await?.into_iter().rev() {
            let manifest = self.records.epoch(epoch).await?;
            checkpoints += usize::from(manifest.kind == EpochKind::Checkpoint);
            kept.push(manifest);
            if checkpoints == keep {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    async fn remove_older(&self, folder: &str, oldest: Epoch, named: &BTreeSet<&str>) -> Result<()> {
        for entry in self.records.store.list(folder).await? {
            let is_older = number_in(&entry.path, folder).is_some_and(|epoch| epoch < oldest.0);
            if is_older && !named.contains(entry.path.as_str()) {
                self.records.store.delete(&entry.path).await?;
            }
        }
        Ok(())
    }
}

/// The oldest checkpoint whose state one of `manifests` holds; 0 if one is a claim of the empty state, from which a job asks for
/// everything again.
fn oldest_state<'a>(manifests: impl Iterator<Item = &'a Manifest>) -> Option<Epoch> {
    manifests.map(|manifest| manifest.state_of.unwrap_or(Epoch(0))).min()
}
