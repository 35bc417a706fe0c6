//! Files as a source: a glob over a store, one split per file, rows by format.
//!
//! [`FilesEnumerator`] lists the files once; [`reader`] gives each subtask a [`SplitReader`] that opens its files in
//! order, reads ahead, and keeps its position by key group. A [`format::Format`] only turns one file into a stream of
//! rows with positions, so a new format is one small file. A file that changed since it was listed is a dead letter.
//!
//! The list of splits is fixed when the job first starts, but for what a [`Monitor`] finds later and announces in a [`Feed`].

mod csv;
mod enumerator;
pub mod format;
mod gathered;
mod glob;
mod images;
mod jsonl;
mod monitor;
mod parquet;
mod position;
mod reader;
mod records;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};

pub use enumerator::FilesEnumerator;
pub use glob::FilePattern;
pub use images::schema as images_schema;
pub use monitor::{Feed, Monitor};
pub use reader::SplitReader;
pub use schema::{infer_schema, read_table};

use format::Format;

/// Rows in a batch of every format but images, unless set. Large enough to spread the cost of a batch, small enough
/// that parsing one stays a matter of milliseconds.
const BATCH_ROWS: usize = 1024;
/// Files in a batch of images, unless set: with photos of 50 KB about 1.5 MB, a request batch for most models.
const BATCH_ROWS_IMAGES: usize = 32;

/// How the bytes of a file become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// One row per file: its path and its bytes.
    Images,
    /// One JSON object per line.
    #[serde(rename = "jsonl")]
    JsonLines,
    /// Comma-separated records under a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// What may be tuned about reading files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderSettings {
    /// Most rows in a batch; `None` takes the format's own (32 for images, 1,024 for others).
    pub batch_rows: Option<usize>,
    /// Most bytes in a batch of more than one row.
    pub batch_bytes_max: usize,
    /// Largest image file that is read; a larger one is a dead letter.
    pub file_bytes_max: u64,
    /// Bytes that are read ahead of the rows given out, all files together. One file larger than this is still read.
    pub ahead_bytes_max: u64,
}

/// A reader of `format` giving rows of `schema`, for one subtask.
///
/// `schema` is what [`infer_schema`] answered or a choice of its columns in any order; of CSV and Parquet files only
/// those columns are read. Images always have [`images_schema`]. A timestamp may have another unit than was answered, and text
/// of CSV and JSON lines may be asked for as a timestamp: a text that is none makes its row a dead letter.
///
/// # Errors
/// `Invalid` for a schema that the format cannot give, or a limit of zero.
pub fn reader(
    format: FileFormat,
    store: Arc<dyn Store>,
    schema: SchemaRef,
    settings: ReaderSettings,
) -> Result<SplitReader> {
    if settings.batch_rows == Some(0) || settings.batch_bytes_max == 0 {
        return Err(Error::new(Kind::Invalid, "set up file reader").source("batch_rows and batch_bytes_max start at 1"));
    }
    let parser = parser(format, schema, &settings)?;
    let batch_rows = settings.batch_rows.unwrap_or(format.batch_rows());
    Ok(SplitReader::new(parser, store, batch_rows, settings))
}

fn parser(format: FileFormat, schema: SchemaRef, settings: &ReaderSettings) -> Result<Box<dyn Format>> {
    let limits = format::Limits {
        batch_rows: settings.batch_rows.unwrap_or(format.batch_rows()),
        batch_bytes_max: settings.batch_bytes_max,
        file_bytes_max: settings.file_bytes_max,
    };
    Ok(match format {
        FileFormat::Images => Box::new(images::Images::new(&schema, limits)?),
        FileFormat::JsonLines => Box::new(records::Records::new(jsonl::JsonLines::new(schema)?, limits)),
        FileFormat::Csv => Box::new(records::Records::new(csv::Csv::new(schema), limits)),
        FileFormat::Parquet => Box::new(parquet::ParquetFiles::new(schema, limits)),
    })
}

// === impl FileFormat ===

impl FileFormat {
    /// Every format.
    pub const ALL: [FileFormat; 4] = [FileFormat::Images, FileFormat::JsonLines, FileFormat::Csv, FileFormat::Parquet];

    /// Its name in job files.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::Images => "images",
            FileFormat::JsonLines => "jsonl",
            FileFormat::Csv => "csv",
            FileFormat::Parquet => "parquet",
        }
    }

    fn batch_rows(self) -> usize {
        if self == FileFormat::Images { BATCH_ROWS_IMAGES } else { BATCH_ROWS }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FileFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        FileFormat::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            Error::new(Kind::Invalid, "choose file format")
                .with("format", text)
                .with("known", crate::formats().join(", "))
        })
    }
}

// === impl ReaderSettings ===

impl Default for ReaderSettings {
    fn default() -> Self {
        Self { batch_rows: None, batch_bytes_max: 8 << 20, file_bytes_max: 64 << 20, ahead_bytes_max: 16 << 20 }
    }
}
