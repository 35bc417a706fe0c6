//! What a file format is to the reader: one file as a stream of chunks, each with the position after it.
//!
//! A chunk holds either rows or bad rows, never both, so that a snapshot taken between any two outputs of the reader
//! falls on a position. Parsing happens where the stream is polled, in the background, at most one batch per item.

use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay_core::Result;
use forebay_core::dead_letter::INPUT_BYTES_MAX;
use forebay_core::source::Split;
use forebay_core::store::Store;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

/// Where reading stands inside one file. Which of the two counts is up to the format; both grow while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes read from the start; the file's length once it is done.
    pub bytes: u64,
    /// Rows, records or lines read from the start.
    pub rows: u64,
}

/// A part of one file in reading order.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// What was read.
    pub content: Content,
    /// The position after it.
    pub next: Position,
    /// True if certainly nothing follows in this file; saves asking.
    pub last: bool,
}

/// What a chunk holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Rows, never empty, and the ordinal of each for its row id, ascending.
    Rows {
        /// The rows, of the reader's schema.
        rows: RecordBatch,
        /// One ordinal a row.
        ordinals: Vec<u64>,
    },
    /// What could not be read, never empty.
    Bad(Vec<BadRow>),
}

/// A row that could not be read, or a file of which nothing more can be read.
#[derive(Debug, Clone)]
pub struct BadRow {
    /// Ordinal for its row id.
    pub ordinal: u64,
    /// Why, for people.
    pub reason: String,
    /// What it is, as a JSON object of at most [`INPUT_BYTES_MAX`] bytes.
    pub input: String,
}

/// The chunks of one file. An error fails the region; bad content is in the chunks.
pub type Chunks = BoxStream<'static, Result<Chunk>>;

/// Limits that every format keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rows in a chunk.
    pub batch_rows: usize,
    /// Most bytes in a chunk of more than one row.
    pub batch_bytes_max: usize,
    /// Largest file that is read as a whole.
    pub file_bytes_max: u64,
}

/// Turns one file into rows.
pub trait Format: Send + Sync + 'static {
    /// Opens `split` at `from`; nothing is read before the stream is polled. Reading the same content from the same
    /// position gives the same rows and ordinals.
    fn open(&self, store: Arc<dyn Store>, split: &Split, from: Position) -> Chunks;

    /// About how many bytes the next chunk of `split` takes in memory, for the read-ahead limit.
    fn expected_bytes(&self, split: &Split) -> u64;

    /// How many files are open at once; more than one where files are small.
    fn files_ahead(&self) -> usize;
}

/// A file that cannot be read any further: one dead letter in place of all that is left of it.
pub(super) fn unreadable(split: &Split, from: Position, ordinal: u64, reason: impl Into<String>) -> Chunk {
    let bad = BadRow { ordinal, reason: reason.into(), input: describe(&split.name, None, b"") };
    let next = Position { bytes: split.size_bytes, rows: from.rows + 1 };
    Chunk { content: Content::Bad(vec![bad]), next, last: true }
}

/// Why a file whose length is not the listed one is not read.
pub(super) fn changed(split: &Split, found: Option<u64>) -> String {
    match found {
        None => "the file is gone since it was listed".to_string(),
        Some(found) if found > split.size_bytes => {
            format!("the file changed since it was listed: more than its {} bytes then", split.size_bytes)
        }
        Some(_) => format!("the file changed since it was listed: less than its {} bytes then", split.size_bytes),
    }
}

/// Why `split` is not read: it no longer has the listed length. `None` if it has.
///
/// Asks for its last byte and one more, so that a file that has grown shows without reading it. An empty file is not
/// asked for: a store need not answer a range that starts at an object's end.
pub(super) async fn check_length(store: &dyn Store, split: &Split) -> Result<Option<String>> {
    let Some(last) = split.size_bytes.checked_sub(1) else { return Ok(None) };
    let end = store.read_range(&split.name, last..last + 2).await?;
    let fits = end.as_ref().is_some_and(|bytes| bytes.len() == 1);
    Ok((!fits).then(|| changed(split, end.map(|bytes| last + bytes.len() as u64))))
}

/// The input of a dead letter: which file, which line or record (from 1), and its text, cut to fit.
pub(super) fn describe(file: &str, record: Option<u64>, text: &[u8]) -> String {
    let mut length = text.len().min(INPUT_BYTES_MAX / 2);
    loop {
        let mut parts = serde_json::Map::new();
        parts.insert("file".to_string(), file.into());
        if let Some(record) = record {
            parts.insert("record".to_string(), record.into());
            parts.insert("text".to_string(), String::from_utf8_lossy(&text[..length]).trim_end().into());
        }
        let shown = serde_json::Value::Object(parts).to_string();
        if shown.len() <= INPUT_BYTES_MAX || length == 0 {
            return shown;
        }
        length /= 2;
    }
}

/// A stream without a chunk.
pub(super) fn nothing() -> Chunks {
    stream::empty().boxed()
}
