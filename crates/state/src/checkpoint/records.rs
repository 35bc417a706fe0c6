//! Reading a job's records from its store, each checked against what names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::store::{Created, Store};
use forebay_core::{Error, Kind, Result};

use super::layout::{Layout, number_in};
use super::manifest::{EpochRecord, FORMAT, Manifest, StateFile};
use super::sealed::{unseal, without_a_way_out};
use super::snapshot_file::{SubtaskSnapshot, content_hash};

/// A job's records.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) store: Arc<dyn Store>,
    pub(super) layout: Layout,
}

/// What is still kept.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Retained {
    /// The oldest epoch, savepoints aside.
    pub(super) oldest: Epoch,
    /// Epochs of savepoints that the job went back behind. The claim that did may be removed; that it was there may not be
    /// forgotten.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) given_up: BTreeSet<Epoch>,
}

// === impl Records ===

impl Records {
    /// Epochs that have a record, oldest first.
    pub(super) async fn epochs(&self) -> Result<Vec<Epoch>> {
        let folder = self.layout.epochs();
        let entries = self.store.list(&folder).await?;
        let mut epochs: Vec<Epoch> =
            entries.iter().filter_map(|entry| number_in(&entry.path, &folder)).map(Epoch).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// Epochs whose manifests and state are still kept, oldest first: the newest, and those of savepoints.
    pub(super) async fn kept_epochs(&self) -> Result<Vec<Epoch>> {
        let (oldest, pinned) = (self.oldest_kept().await?, self.pinned().await?);
        let kept = |epoch: &Epoch| *epoch >= oldest || pinned.contains(epoch);
        Ok(self.epochs().await?.into_iter().filter(kept).collect())
    }

    /// The oldest epoch not given up by `retain`, savepoints aside.
    pub(super) async fn oldest_kept(&self) -> Result<Epoch> {
        Ok(self.retained().await?.oldest)
    }

    /// What was last decided to be kept; everything, if nothing was.
    pub(super) async fn retained(&self) -> Result<Retained> {
        let path = self.layout.retained();
        match self.store.read(&path).await? {
            Some(bytes) => unseal(&path, &bytes).map_err(without_a_way_out),
            None => Ok(Retained { oldest: Epoch(0), given_up: BTreeSet::new() }),
        }
    }

    /// The newest claimed generation, 0 if none.
    pub(super) async fn generation(&self) -> Result<u64> {
        let folder = self.layout.generations();
        let entries = self.store.list(&folder).await?;
        Ok(entries.iter().filter_map(|entry| number_in(&entry.path, &folder)).max().unwrap_or(0))
    }

    /// The record of `epoch`, `None` if it does not exist.
    pub(super) async fn record(&self, epoch: Epoch) -> Result<Option<EpochRecord>> {
        let path = self.layout.epoch(epoch);
        let Some(bytes) = self.store.read(&path).await? else { return Ok(None) };
        let record: EpochRecord = unseal(&path, &bytes)?;
        check_format(&path, record.format)?;
        if record.epoch != epoch {
            return Err(corrupt("read epoch record", &path).source(format!("it is the record of {}", record.epoch)));
        }
        Ok(Some(record))
    }

    /// Makes sure that the record of `epoch`, if there is one, survives power loss.
    pub(super) async fn make_durable(&self, epoch: Epoch) -> Result<()> {
        self.read_durable(&self.layout.epoch(epoch)).await.map(|_| ())
    }

    /// Reads the record at `path` and makes sure that it survives power loss. Whoever wrote it may have ended before it was
    /// durable, and nobody may act on a record that can still vanish. One that is removed meanwhile stays removed: `None`.
    pub(super) async fn read_durable(&self, path: &str) -> Result<Option<Bytes>> {
        let Some(bytes) = self.store.read(path).await? else { return Ok(None) };
        if self.store.create(path, bytes.clone()).await? == Created::AlreadyThere {
            return Ok(Some(bytes));
        }
        self.store.delete(path).await?;
        Ok(None)
    }

    /// The manifest that `record` names.
    pub(super) async fn manifest(&self, record: &EpochRecord) -> Result<Manifest> {
        let path = &record.manifest;
        let bytes = self.store.read(path).await?;
        let bytes = bytes.ok_or_else(|| corrupt("read manifest", path).source("the file is missing"))?;
        let manifest: Manifest = unseal(path, &bytes)?;
        check_format(path, manifest.format)?;
        let hash = content_hash(&bytes);
        if hash != record.manifest_hash {
            let reason = format!("its hash is {hash}, the epoch record says {}", record.manifest_hash);
            return Err(corrupt("read manifest", path).source(reason));
        }
        Ok(manifest)
    }

    /// The manifest of `epoch`.
    ///
    /// # Errors
    /// `Invalid` if there is no such epoch or it is no longer kept, `Corrupt` if it cannot be read.
    pub(super) async fn epoch(&self, epoch: Epoch) -> Result<Manifest> {
        let Some(record) = self.record(epoch).await? else {
            return Err(self.no_such(epoch, "it does not exist").await);
        };
        if epoch < self.oldest_kept().await? && !self.pinned().await?.contains(&epoch) {
            return Err(self.no_such(epoch, "it is no longer kept").await);
        }
        self.manifest(&record).await
    }

    async fn no_such(&self, epoch: Epoch, reason: &'static str) -> Error {
        let kept = match self.kept_epochs().await {
            Ok(kept) => match (kept.first(), kept.last()) {
                (Some(first), Some(last)) => format!("{first} to {last}"),
                _ => "none".to_string(),
            },
            Err(_) => "unknown".to_string(),
        };
        Error::new(Kind::Invalid, "read epoch")
            .with("epoch", epoch)
            .with("job", self.layout.job())
            .with("kept", kept)
            .source(reason)
    }

    /// Reads a state file whole and checks it against the manifest.
    pub(super) async fn snapshot(&self, file: &StateFile) -> Result<SubtaskSnapshot> {
        let bytes = self.store.read(&file.path).await?;
        let bytes = bytes.ok_or_else(|| corrupt("read state file", &file.path).source("the file is missing"))?;
        check_size(file, &bytes)?;
        // Decoding goes first: its checksums say where the file is broken, the hash only that it is.
        let snapshot = SubtaskSnapshot::decode(&file.path, &bytes)?;
        let hash = content_hash(&bytes);
        if hash != file.hash || (snapshot.task.as_str(), snapshot.subtask) != (file.task.as_str(), file.subtask) {
            let reason = format!("it is {hash} of {} {}", snapshot.task, snapshot.subtask);
            return Err(corrupt("read state file", &file.path).with("expected", &file.hash).source(reason));
        }
        Ok(snapshot)
    }
}

fn check_size(file: &StateFile, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 == file.size_bytes {
        return Ok(());
    }
    let reason = format!("it has {} bytes, the manifest says {}", bytes.len(), file.size_bytes);
    Err(corrupt("read state file", &file.path).source(reason))
}

fn check_format(path: &str, format: u32) -> Result<()> {
    if format <= FORMAT {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, "read checkpoint document")
        .with("file", path)
        .with("format", format)
        .source(format!("written by a newer release; this one reads up to format {FORMAT}")))
}

fn corrupt(attempted: &str, path: &str) -> Error {
    Error::new(Kind::Corrupt, attempted).with("file", path)
}
