//! Files as a transactional sink: Parquet or JSON lines, staged by writers, moved to their names by the committer.
//!
//! ```text
//! part-00000007-0-1.parquet          committed: epoch, subtask, number
//! _commits/00000007.json             the files of epoch 7, written once, before the first of them is moved
//! _staging/<attempt>/<epoch>-<subtask>-<number>.parquet     written, not yet in a published checkpoint
//! ```
//!
//! Readers of the folder skip names that start with `_`, so staged files never count. A commit is repeatable at every
//! step: the record is created if absent, a move whose source is gone and whose target exists is done.
//!
//! Nothing here is ever appended to or overwritten once it has its final name.

mod committable;
mod committer;
mod encoder;
mod jsonl;
mod parquet;
pub mod tensors;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use forebay_core::sink::Guarantee;
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};

pub use committable::Committable;
pub use committer::FileCommitter;
pub use writer::FileWriter;

/// What the files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkFormat {
    /// Apache Parquet.
    Parquet,
    /// One JSON object per line.
    #[serde(rename = "jsonl")]
    JsonLines,
}

/// How Parquet files store tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tensors {
    /// As fixed-size binary, shape and value type in the field's metadata; see [`tensors`].
    #[default]
    Bytes,
    /// As a list of values: readable everywhere, and many times slower to write and read.
    List,
}

/// What may be tuned about writing files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSinkSettings {
    /// What the files hold.
    pub format: SinkFormat,
    /// Encoded bytes after which a file is closed and the next begun.
    pub file_bytes_max: usize,
    /// Encoded bytes of a Parquet row group.
    pub row_group_bytes: usize,
    /// Zstandard level of Parquet columns, 1..=22; tensors and encoded images are never compressed.
    pub compression_level: i32,
    /// How Parquet files store tensors.
    pub tensors: Tensors,
}

/// Faults that a simulation plants to prove that it finds them; never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSinkBug {
    /// Writers write straight to the final name, before any checkpoint.
    CommitAtWrite,
    /// A file closed because it was full is staged and then left out of the committables.
    CommittableForgotten,
    /// The committer copies to the next free name instead of moving to the one name.
    NonIdempotentCommit,
}

/// A file sink as the planner holds it: checked, and the maker of its writers and committer.
#[derive(Clone)]
pub struct FileSink {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) schema: SchemaRef,
    pub(crate) settings: FileSinkSettings,
    pub(crate) label: String,
    pub(crate) bug: Option<FileSinkBug>,
}

/// `rows` as one whole file, for tests and benchmarks of the encoding.
///
/// # Errors
/// `Invalid` for a schema that the format cannot hold.
#[doc(hidden)]
pub fn encode_one(rows: &RecordBatch, settings: &FileSinkSettings) -> Result<Bytes> {
    let mut file = encoder::open(&rows.schema(), settings)?;
    file.write(rows)?;
    file.finish()
}

// === impl FileSink ===

impl FileSink {
    /// A sink for rows of `schema` into `store`, which is rooted at the output folder.
    ///
    /// # Errors
    /// `Invalid` for a column that the format cannot hold, naming it, and for settings out of range.
    pub fn new(store: Arc<dyn Store>, schema: SchemaRef, settings: FileSinkSettings) -> Result<Self> {
        settings.check()?;
        encoder::check(&schema, &settings)?;
        Ok(Self { store, schema, settings, label: String::new(), bug: None })
    }

    /// The same sink with `label` in the names of its files, for writers of several tasks that share one folder and one
    /// committer.
    #[must_use]
    pub fn with_label(mut self, label: &str) -> Self {
        self.label = format!("{label}-");
        self
    }

    /// The writer of one subtask.
    pub fn writer(&self) -> FileWriter {
        FileWriter::new(self.clone())
    }

    /// The committer of the sink.
    pub fn committer(&self) -> FileCommitter {
        FileCommitter::new(Arc::clone(&self.store), self.bug)
    }

    /// What this sink promises.
    pub fn guarantee(&self) -> Guarantee {
        Guarantee::Transactional
    }

    /// The same sink with a planted fault.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<FileSinkBug>) -> Self {
        self.bug = bug;
        self
    }
}

// === impl FileSinkSettings ===

impl FileSinkSettings {
    /// The usual settings for `format`: files of 32 MiB, row groups of 16 MiB, Zstandard level 1, tensors as bytes.
    pub fn new(format: SinkFormat) -> Self {
        Self {
            format,
            file_bytes_max: 32 << 20,
            row_group_bytes: 16 << 20,
            compression_level: 1,
            tensors: Tensors::default(),
        }
    }

    fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(Kind::Invalid, "set up file sink").source(why));
        if self.file_bytes_max == 0 || self.row_group_bytes == 0 {
            return wrong("file_bytes_max and row_group_bytes start at 1");
        }
        if !(1..=22).contains(&self.compression_level) {
            return wrong("compression_level is in 1..=22");
        }
        Ok(())
    }
}

// === impl SinkFormat ===

impl SinkFormat {
    /// Every format.
    pub const ALL: [SinkFormat; 2] = [SinkFormat::Parquet, SinkFormat::JsonLines];

    /// Its name in job files, and the extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            SinkFormat::Parquet => "parquet",
            SinkFormat::JsonLines => "jsonl",
        }
    }
}

impl fmt::Display for SinkFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SinkFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        SinkFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            Error::new(Kind::Invalid, "choose sink format")
                .with("format", text)
                .with("known", crate::sinks().join(", "))
        })
    }
}
