//! What a savepoint keeps of durable edges: copies of their logs, and how they are put back.
//!
//! Between the checkpoints of two regions lies what one has written and the other has not read yet. It is in a log on the
//! disk of the machine that runs the job, which trims it; so a savepoint copies it, while its record holds off trimming
//! (`retain.rs`). A log only grows at its end: read file by file, oldest first, it is the log as it once was.
//!
//! Putting a log back replaces it whole: what was written since is of epochs that are given up with the same decision. The
//! copies are read and compared before anything is removed. A crash half-way leaves part of a log, which no start reads before
//! it was put back again (`restore_decision.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::disk::Disk;
use forebay_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

use super::folder::CheckpointFolder;
use super::protocol::PlantedBug;
use super::savepoint::Savepoint;
use super::snapshot_file::content_hash;
use crate::edge::Sound;

/// How often a log is listed anew because its front was trimmed meanwhile.
const TRIES_MAX: usize = 20;

/// Where a job's logs of durable edges lie: one folder for each edge, called by its uid.
#[derive(Clone)]
pub struct Logs {
    /// The disk of the machine that runs the job.
    pub disk: Arc<dyn Disk>,
    /// The folder that holds the edges' folders.
    pub folder: String,
}

/// One file of a log, copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Its name in the edge's folder.
    pub name: String,
    /// Its length when it was copied.
    pub size_bytes: u64,
    /// Of its content.
    pub hash: String,
}

// === impl Logs ===

impl Logs {
    /// The uids of edges that have a folder.
    async fn edges(&self) -> Result<Vec<String>> {
        let entries = self.disk.list(&self.folder).await?;
        Ok(entries.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect())
    }

    /// The names of the files of an edge's log.
    async fn files(&self, edge: &str) -> Result<Vec<String>> {
        let entries = self.disk.list(&self.path(edge)).await?;
        Ok(entries.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name).collect())
    }

    fn path(&self, edge: &str) -> String {
        format!("{}/{edge}", self.folder)
    }
}

// === impl CheckpointFolder ===

impl CheckpointFolder {
    /// Copies the logs of all edges for the savepoint `name`, which has a record that is not complete.
    ///
    /// # Errors
    /// `Invalid` if there are none, `Corrupt` if one cannot be read back; whatever disk and store fail with.
    pub(super) async fn copy_logs(&self, name: &str, logs: &Logs) -> Result<BTreeMap<String, Vec<LogFile>>> {
        self.remove_logs(name).await?;
        let mut copied = BTreeMap::new();
        for edge in logs.edges().await? {
            let files = self.copy_log(name, &edge, logs).await.map_err(|error| error.with("edge", &edge))?;
            copied.insert(edge, files);
        }
        match copied.is_empty() {
            false => Ok(copied),
            true => Err(Error::new(Kind::Invalid, "copy logs of durable edges").with("savepoint", name).source(
                "there are none beside the journal: make it on the machine that runs the job, with the same `--journal`",
            )),
        }
    }

    async fn copy_log(&self, name: &str, edge: &str, logs: &Logs) -> Result<Vec<LogFile>> {
        for _ in 0..TRIES_MAX {
            if let Some(copied) = self.copy_files(name, edge, logs).await? {
                return Ok(copied);
            }
            self.remove_logs_of(name, Some(edge)).await?;
        }
        Err(Error::new(Kind::Unavailable, "copy log of durable edge").source("it was trimmed each time: try again"))
    }

    /// Copies every file; `None` if one is gone since they were listed: nothing that is copied for needs it, but those listed
    /// behind it may not be all any more.
    async fn copy_files(&self, savepoint: &str, edge: &str, logs: &Logs) -> Result<Option<Vec<LogFile>>> {
        let (from, to) = (logs.path(edge), self.records.layout.savepoint_logs(savepoint, Some(edge)));
        let (mut copied, mut sound) = (Vec::new(), Sound::of(logs.files(edge).await?));
        while let Some(name) = sound.next_file().map(ToString::to_string) {
            let Some(bytes) = logs.disk.read(&format!("{from}/{name}")).await? else { return Ok(None) };
            sound.take(&bytes)?;
            self.records.store.put(&format!("{to}/{name}"), bytes.clone()).await?;
            copied.push(LogFile { size_bytes: bytes.len() as u64, hash: content_hash(&bytes), name });
        }
        Ok(Some(copied))
    }

    /// Removes the copies that a savepoint of this name has, or had.
    pub(super) async fn remove_logs(&self, name: &str) -> Result<()> {
        self.remove_logs_of(name, None).await
    }

    async fn remove_logs_of(&self, name: &str, edge: Option<&str>) -> Result<()> {
        for entry in self.records.store.list(&self.records.layout.savepoint_logs(name, edge)).await? {
            self.records.store.delete(&entry.path).await?;
        }
        Ok(())
    }

    /// Makes the log of `edge` what it was when `savepoint` was made. To be called once it is decided that the regions go back
    /// ([`decide_restore`](Self::decide_restore)) and before the log is opened; repeatable.
    ///
    /// # Errors
    /// `Invalid` if the savepoint knows no such edge; `Corrupt`, naming the file, if a copy is not what it was: nothing is changed then.
    pub async fn put_back_log(&self, savepoint: &Savepoint, edge: &str, logs: &Logs) -> Result<()> {
        let files = savepoint.edges.get(edge).ok_or_else(|| {
            Error::new(Kind::Invalid, "put back log of durable edge")
                .with("savepoint", &savepoint.name)
                .with("edge", edge)
                .source("the job had none of this uid when the savepoint was made")
        })?;
        for file in files {
            self.copied_file(savepoint, edge, file).await?;
        }
        if self.bug == Some(PlantedBug::LogsStay) {
            return Ok(());
        }
        let (disk, folder) = (&logs.disk, logs.path(edge));
        for name in logs.files(edge).await? {
            disk.remove(&format!("{folder}/{name}")).await?;
        }
        disk.sync_folder(&folder).await?;
        for file in files {
            let (path, bytes) = (format!("{folder}/{}", file.name), self.copied_file(savepoint, edge, file).await?);
            disk.append(&path, bytes).await?;
            disk.sync(&path).await?;
        }
        disk.sync_folder(&folder).await
    }

    async fn copied_file(&self, savepoint: &Savepoint, edge: &str, file: &LogFile) -> Result<Bytes> {
        let path = format!("{}/{}", self.records.layout.savepoint_logs(&savepoint.name, Some(edge)), file.name);
        let wrong = |reason: &str| {
            Error::new(Kind::Corrupt, "read log of savepoint").with("file", &path).source(reason.to_string())
        };
        let bytes = self.records.store.read(&path).await?.ok_or_else(|| wrong("the file is missing"))?;
        match (bytes.len() as u64, content_hash(&bytes)) == (file.size_bytes, file.hash.clone()) {
            true => Ok(bytes),
            false => Err(wrong("its content is not what was copied")),
        }
    }
}
