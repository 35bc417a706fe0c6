//! Publishes staged files: a write-once record of the epoch's files, then one move per file.
//!
//! The record is the truth about an epoch: it is complete before the first file is moved, so whoever finds a half-moved
//! epoch (this committer after a restart, or a reader that wants whole epochs) knows what is still to come.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::sink::{Committer, Guarantee};
use forebay_core::store::{Created, Store};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use super::{Committable, FileSinkBug};

const STAGING: &str = "_staging";
const COMMITS: &str = "_commits";
/// Layout of commit records; a new one gets a new number.
const RECORD_VERSION: u32 = 1;

/// Moves what [`FileWriter`](super::FileWriter)s staged to its final names.
#[derive(Clone)]
pub struct FileCommitter {
    store: Arc<dyn Store>,
    bug: Option<FileSinkBug>,
}

/// The files of one epoch, as `_commits/<epoch>.json` holds them.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Record {
    version: u32,
    epoch: Epoch,
    files: Vec<Committable>,
}

// === impl FileCommitter ===

impl FileCommitter {
    pub(super) fn new(store: Arc<dyn Store>, bug: Option<FileSinkBug>) -> Self {
        Self { store, bug }
    }

    /// Whether the output folder is free for a job that starts from nothing. Call before its first attempt only.
    ///
    /// # Errors
    /// `Invalid` if an earlier job committed here: its epochs would be taken for this job's. Also if there are files named as
    /// this job will name its own: they would be replaced.
    async fn check_unused(&self) -> Result<()> {
        let commits = self.store.list(COMMITS).await?;
        let files = self.store.list_levels("", 1).await?;
        match commits.iter().chain(&files).find(|entry| entry.path.starts_with(COMMITS) || is_ours(&entry.path)) {
            None => Ok(()),
            Some(entry) => Err(Error::new(Kind::Invalid, "start file sink")
                .with("place", self.store.location())
                .with("found", &entry.path)
                .source("the folder holds another job's output; choose an empty one or resume that job")),
        }
    }

    async fn publish(&self, epoch: Epoch, committables: &[Bytes]) -> Result<()> {
        let files: BTreeSet<Committable> =
            committables.iter().map(|stored| Committable::decode(stored)).collect::<Result<_>>()?;
        if files.is_empty() {
            return Ok(());
        }
        let record = Record { version: RECORD_VERSION, epoch, files: files.into_iter().collect() };
        self.record(&record).await?;
        for file in &record.files {
            if self.bug == Some(FileSinkBug::NonIdempotentCommit) {
                self.copy_to_free_name(file).await?;
                continue;
            }
            self.store.rename(&file.staged, &file.name).await.map_err(|error| {
                Error::new(error.kind(), "commit file")
                    .with("epoch", epoch)
                    .with("file", &file.name)
                    .with("staged", &file.staged)
                    .source(error)
            })?;
        }
        Ok(())
    }

    /// Writes the record, or finds the same one there.
    async fn record(&self, record: &Record) -> Result<()> {
        let path = format!("{COMMITS}/{:08}.json", record.epoch.0);
        let mut bytes = serde_json::to_vec_pretty(record)
            .map_err(|source| Error::new(Kind::Internal, "encode commit record").source(source))?;
        bytes.push(b'\n');
        if self.store.create(&path, Bytes::from(bytes)).await? == Created::New {
            return Ok(());
        }
        if self.read_record(&path).await? == *record {
            return Ok(());
        }
        Err(Error::new(Kind::Corrupt, "commit epoch")
            .with("epoch", record.epoch)
            .with("record", path)
            .source("the epoch was committed before with other files"))
    }

    async fn read_record(&self, path: &str) -> Result<Record> {
        let corrupt = || Error::new(Kind::Corrupt, "read commit record").with("record", path);
        let bytes = self.store.read(path).await?.ok_or_else(|| corrupt().source("it is gone"))?;
        let record: Record = serde_json::from_slice(&bytes).map_err(|source| corrupt().source(source))?;
        if record.version == RECORD_VERSION {
            return Ok(record);
        }
        Err(corrupt().with("version", record.version).source("unknown version"))
    }

    async fn copy_to_free_name(&self, file: &Committable) -> Result<()> {
        let Some(bytes) = self.store.read(&file.staged).await? else { return Ok(()) };
        let (stem, extension) = file.name.rsplit_once('.').unwrap_or((&file.name, ""));
        let taken = self.store.list("").await?.iter().filter(|entry| entry.path.starts_with(stem)).count();
        self.store.put(&format!("{stem}-{taken}.{extension}"), bytes).await
    }

    async fn remove_before(&self, attempt: u64) -> Result<()> {
        let staged: Vec<(String, Epoch)> =
            self.store.list(STAGING).await?.into_iter().filter_map(|entry| abandoned(entry.path, attempt)).collect();
        let Some(oldest) = staged.iter().map(|(_, epoch)| *epoch).min() else { return Ok(()) };
        let named = self.named_since(oldest).await?;
        for (path, _) in staged {
            if !named.contains(&path) {
                self.store.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Removes the files, then the record, of every epoch in between; repeated after a crash, it goes on where it was.
    async fn remove_committed(&self, state_of: Epoch, next: Epoch) -> Result<()> {
        for entry in self.store.list(COMMITS).await? {
            let Some(epoch) = record_epoch(&entry.path) else { continue };
            if epoch <= state_of || epoch >= next {
                continue;
            }
            for file in self.read_record(&entry.path).await?.files {
                self.store.delete(&file.staged).await?;
                self.store.delete(&file.name).await?;
            }
            self.store.delete(&entry.path).await?;
        }
        Ok(())
    }

    /// Staged paths that commit records name. A file is begun in the epoch in its name or before the one that commits
    /// it, so records of earlier epochs cannot name it.
    async fn named_since(&self, oldest: Epoch) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for entry in self.store.list(COMMITS).await? {
            if record_epoch(&entry.path).is_some_and(|epoch| epoch >= oldest) {
                named.extend(self.read_record(&entry.path).await?.files.into_iter().map(|file| file.staged));
            }
        }
        Ok(named)
    }
}

impl Committer for FileCommitter {
    fn commit(&self, epoch: Epoch, committables: Vec<Bytes>) -> BoxFuture<'static, Result<()>> {
        let committer = self.clone();
        Box::pin(async move { committer.publish(epoch, &committables).await })
    }

    fn abort_before(&self, attempt: u64) -> BoxFuture<'static, Result<()>> {
        let committer = self.clone();
        Box::pin(async move { committer.remove_before(attempt).await })
    }

    fn check_fresh(&self) -> BoxFuture<'static, Result<()>> {
        let committer = self.clone();
        Box::pin(async move { committer.check_unused().await })
    }

    fn roll_back(&self, state_of: Epoch, next: Epoch) -> BoxFuture<'static, Result<()>> {
        let committer = self.clone();
        Box::pin(async move { committer.remove_committed(state_of, next).await })
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }
}

/// The epoch of a commit record, by its path.
fn record_epoch(path: &str) -> Option<Epoch> {
    path.strip_prefix(COMMITS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok().map(Epoch)
}

/// A staged file of an attempt before `attempt`, with the epoch in its name; `None` for anything else.
fn abandoned(path: String, attempt: u64) -> Option<(String, Epoch)> {
    let rest = path.strip_prefix(STAGING)?.strip_prefix('/')?;
    let (of, name) = rest.split_once('/')?;
    let epoch = name.split_once('-')?.0.parse().ok()?;
    let older = of.parse::<u64>().ok()? < attempt;
    older.then_some((path, Epoch(epoch)))
}

/// Whether a file at the root of an output folder is named as a writer names its files.
fn is_ours(path: &str) -> bool {
    path.strip_prefix("part-").and_then(|rest| rest.split('-').next()).is_some_and(|epoch| epoch.parse::<u64>().is_ok())
}
