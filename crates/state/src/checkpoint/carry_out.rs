//! Carrying out, one by one, the actions that the pure cores ask for.
//!
//! Every action may be repeated after an error or a crash: creates find their own content, commits are idempotent. Nothing
//! here decides what comes next.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::store::Created;
use forebay_core::{Error, Kind, Result};

use super::folder::{CheckpointFolder, Committers};
use super::manifest::{EpochRecord, Manifest, SinkCommittables};
use super::protocol::{Action, Event};
use super::restart::Resume;
use super::sealed::seal;

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Does what a core asks for and tells what came of it. `resume` is what the restart in progress was asked for.
    pub(super) async fn carry_out(&self, action: Action, resume: Resume, committers: &Committers) -> Result<Event> {
        let (records, layout) = (&self.records, &self.records.layout);
        match action {
            Action::ListEpochs => Ok(Event::NewestEpoch(records.epochs().await?.last().copied())),
            Action::ReadGeneration => Ok(Event::Generation(records.generation().await?)),
            Action::ClaimGeneration(generation) => self.claim_generation(generation).await,
            Action::ReadEpoch(epoch) => self.read_epoch(epoch, resume).await,
            Action::LookForCommitted(epoch) => {
                Ok(Event::CommitMarker(records.store.read(&layout.committed(epoch)).await?.is_some()))
            }
            Action::Commit(manifest) => commit(&manifest, committers).await,
            Action::WriteCommitted(epoch) => {
                records.store.create(&layout.committed(epoch), Bytes::from_static(b"committed\n")).await?;
                Ok(Event::CommitMarked)
            }
            Action::WriteManifest(encoded) => {
                records.store.create(&encoded.record.manifest, encoded.bytes.clone()).await?;
                Ok(Event::ManifestWritten)
            }
            Action::CreateEpoch { record, overwrite } => self.create_epoch(&record, overwrite).await,
            Action::AbortStaged { before } => abort_staged(before, committers).await,
            Action::End(ending) => Err(Error::new(Kind::Internal, "carry out").with("ending", format!("{ending:?}"))),
        }
    }

    pub(super) async fn claim_generation(&self, generation: u64) -> Result<Event> {
        let content = format!("{}\n", self.env.wall_micros());
        let path = self.records.layout.generation(generation);
        let created = self.records.store.create(&path, content.into()).await?;
        Ok(Event::GenerationClaimed(created == Created::New))
    }

    async fn read_epoch(&self, epoch: Epoch, resume: Resume) -> Result<Event> {
        self.records.make_durable(epoch).await?;
        match self.records.epoch(epoch).await {
            Ok(manifest) => Ok(Event::EpochRead(Arc::new(manifest))),
            // The user chose an older state knowingly: the broken newest epoch then only lends its number.
            Err(error) if error.kind() == Kind::Corrupt && matches!(resume, Resume::Epoch(asked) if asked != epoch) => {
                Ok(Event::NewestUnreadable)
            }
            Err(error) => Err(self.with_way_out(error, epoch).await),
        }
    }

    async fn create_epoch(&self, record: &EpochRecord, overwrite: bool) -> Result<Event> {
        let (path, bytes) = (self.records.layout.epoch(record.epoch), seal(record)?);
        if overwrite {
            self.records.store.put(&path, bytes).await?;
            return Ok(Event::EpochCreated);
        }
        if self.records.store.create(&path, bytes).await? == Created::New {
            return Ok(Event::EpochCreated);
        }
        let gone = || Error::new(Kind::Corrupt, "read epoch record").with("file", &path).source("the file vanished");
        Ok(Event::EpochTaken(self.records.record(record.epoch).await?.ok_or_else(gone)?))
    }
}

pub(super) fn check_committers(committables: &[SinkCommittables], committers: &Committers) -> Result<()> {
    match committables.iter().find(|sink| !sink.items.is_empty() && !committers.contains_key(&sink.sink)) {
        None => Ok(()),
        Some(sink) => Err(Error::new(Kind::Invalid, "commit epoch")
            .with("sink", &sink.sink)
            .source("the job has no such sink; a published epoch still owes it a commit")),
    }
}

async fn commit(manifest: &Manifest, committers: &Committers) -> Result<Event> {
    check_committers(&manifest.committables, committers)?;
    for sink in manifest.committables.iter().filter(|sink| !sink.items.is_empty()) {
        if let Some(committer) = committers.get(&sink.sink) {
            committer.commit(manifest.epoch, sink.items.clone()).await?;
        }
    }
    Ok(Event::Committed)
}

async fn abort_staged(before: u64, committers: &Committers) -> Result<Event> {
    for committer in committers.values() {
        committer.abort_before(before).await?;
    }
    Ok(Event::StagedAborted)
}
