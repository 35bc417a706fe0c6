//! One sink of a job, whatever it writes to: opened, checked, and the maker of its writers and its committer.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_connectors::sinks::blackhole::{BlackholeCommitter, BlackholeWriter};
use forebay_connectors::sinks::files::{FileSink, FileSinkSettings, SinkFormat as FileFormat};
use forebay_core::operator::Operator;
use forebay_core::sink::Committer;
use forebay_core::{Error, Kind, Result};
use forebay_plan::spec::{SinkFormat, SinkSpec};

use crate::outside::Outside;

/// A sink of rows.
#[derive(Clone)]
pub(crate) enum Sink {
    /// Files in a folder.
    Files(FileSink),
    /// Nothing: rows are dropped.
    Blackhole,
}

// === impl Sink ===

impl Sink {
    /// Opens the sink for rows of `schema`.
    ///
    /// # Errors
    /// `Invalid` for a column that the format cannot hold or a location that cannot be opened.
    pub fn open(spec: &SinkSpec, schema: &SchemaRef, outside: &dyn Outside) -> Result<Self> {
        match spec.format {
            SinkFormat::Blackhole => Ok(Self::Blackhole),
            SinkFormat::Parquet | SinkFormat::Jsonl => Ok(Self::Files(files_sink(spec, schema, outside)?)),
        }
    }

    /// The writer of one subtask.
    pub fn writer(&self) -> Box<dyn Operator> {
        match self {
            Self::Files(sink) => Box::new(sink.writer()),
            Self::Blackhole => Box::new(BlackholeWriter),
        }
    }

    /// The committer of all its writers.
    pub fn committer(&self) -> Arc<dyn Committer> {
        match self {
            Self::Files(sink) => Arc::new(sink.committer()),
            Self::Blackhole => Arc::new(BlackholeCommitter),
        }
    }

    /// The sink, if it writes files.
    pub fn files(&self) -> Option<&FileSink> {
        match self {
            Self::Files(sink) => Some(sink),
            Self::Blackhole => None,
        }
    }
}

/// Opens a sink that writes files of `schema`.
///
/// # Errors
/// `Invalid` for a column that the format cannot hold or a location that cannot be opened.
pub(crate) fn files_sink(spec: &SinkSpec, schema: &SchemaRef, outside: &dyn Outside) -> Result<FileSink> {
    let format = match spec.format {
        SinkFormat::Parquet => FileFormat::Parquet,
        SinkFormat::Jsonl => FileFormat::JsonLines,
        SinkFormat::Blackhole => return Err(Error::new(Kind::Internal, "open files").with("sink", &spec.uid)),
    };
    let mut settings = FileSinkSettings::new(format);
    settings.file_bytes_max = usize::try_from(spec.file_bytes).unwrap_or(usize::MAX);
    let sink = FileSink::new(outside.store(&spec.path)?, Arc::clone(schema), settings);
    let sink = sink.map_err(|error| Error::new(error.kind(), "set up sink").with("sink", &spec.uid).source(error))?;
    Ok(sink.with_bug(outside.planted().sink))
}
