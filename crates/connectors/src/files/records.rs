//! Files of records that end in a line break (JSON lines, CSV): read in ranges, cut into records, decoded by the batch.
//!
//! A batch that does not decode is halved until the bad records stand alone, so one bad line costs a dead letter and a
//! few more calls, and every other row of the file is kept. Position: byte and record number of the next record.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use forebay_core::Result;
use forebay_core::source::Split;
use forebay_core::store::Store;
use futures::{StreamExt, stream};

use super::format::{
    BadRow, Chunk, Chunks, Content, Format, Limits, Position, check_length, describe, nothing, unreadable,
};

/// Bytes asked of the store at once.
const RANGE_BYTES: u64 = 1 << 20;
/// Longest record. Without a limit, one missing quote in a CSV file would read the rest of it into memory.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// Files open at once: the next one's first range is there when this one ends.
const FILES_AHEAD: usize = 4;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A format of records.
pub(super) trait RecordFormat: Clone + Send + Sync + 'static {
    /// Whether the first record of a file names the columns.
    const HEADER: bool;

    /// Length of the first record of `bytes` with its line break, `None` if it does not end there.
    fn cut(&self, bytes: &[u8]) -> Option<usize>;

    /// The ordinal of the record at `position`.
    fn ordinal(&self, position: Position) -> u64;

    /// A decoder for a file with this header.
    ///
    /// # Errors
    /// Why no record of such a file can be decoded.
    fn decoder(&self, header: &[u8]) -> std::result::Result<Box<dyn Decode>, String>;
}

/// Decodes records of one file.
pub(super) trait Decode: Send + Sync {
    /// One row for each record, in order.
    ///
    /// # Errors
    /// If any of them is bad; the next call starts afresh.
    fn decode(&self, records: &[&[u8]]) -> std::result::Result<RecordBatch, ArrowError>;
}

/// Reads files of `F`.
pub(super) struct Records<F> {
    format: F,
    limits: Limits,
}

/// One file being read.
struct File<F> {
    format: F,
    limits: Limits,
    store: Arc<dyn Store>,
    split: Split,
    decoder: Option<Box<dyn Decode>>,
    /// Where the next record starts.
    position: Position,
    /// Bytes of the file from `position` on that are in memory.
    buffer: Vec<u8>,
    ready: VecDeque<Chunk>,
    /// Why nothing from `position` on can be read.
    broken: Option<String>,
    done: bool,
}

/// A record at the start of the buffer or after another.
struct Record<'a> {
    bytes: &'a [u8],
    at: Position,
    next: Position,
}

// === impl Records ===

impl<F: RecordFormat> Records<F> {
    pub fn new(format: F, limits: Limits) -> Self {
        Self { format, limits }
    }
}

impl<F: RecordFormat> Format for Records<F> {
    fn open(&self, store: Arc<dyn Store>, split: &Split, from: Position) -> Chunks {
        if from.bytes >= split.size_bytes {
            return nothing();
        }
        let file = File {
            format: self.format.clone(),
            limits: self.limits,
            store,
            split: split.clone(),
            decoder: None,
            position: from,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            broken: None,
            done: false,
        };
        stream::unfold(file, |mut file| async move { file.next().await.transpose().map(|chunk| (chunk, file)) }).boxed()
    }

    fn expected_bytes(&self, split: &Split) -> u64 {
        split.size_bytes.min(RANGE_BYTES)
    }

    fn files_ahead(&self) -> usize {
        FILES_AHEAD
    }
}

// === impl File ===

impl<F: RecordFormat> File<F> {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if let Some(reason) = self.broken.take() {
                self.done = true;
                let ordinal = self.format.ordinal(self.position);
                return Ok(Some(unreadable(&self.split, self.position, ordinal, reason)));
            }
            if self.done {
                return Ok(None);
            }
            match self.decoder.take() {
                None => self.start().await?,
                Some(decoder) => {
                    self.batch(decoder.as_ref()).await?;
                    self.decoder = Some(decoder);
                }
            }
        }
    }

    /// Checks the file's length, reads its header and makes the decoder.
    async fn start(&mut self) -> Result<()> {
        self.broken = check_length(self.store.as_ref(), &self.split).await?;
        if self.broken.is_some() {
            return Ok(());
        }
        let at = std::mem::take(&mut self.position);
        let header = if F::HEADER || at.bytes == 0 { self.header().await? } else { Vec::new() };
        if at.bytes > 0 {
            self.position = at;
            self.buffer.clear();
        }
        if self.broken.is_none() {
            match self.format.decoder(&header) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(reason) => self.broken = Some(reason),
            }
        }
        Ok(())
    }

    /// Steps over a byte order mark and the header, if the format has one.
    async fn header(&mut self) -> Result<Vec<u8>> {
        self.fill().await?;
        let mark = if self.buffer.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        self.skip_to(mark, Position { bytes: mark as u64, rows: 0 });
        if !F::HEADER {
            return Ok(Vec::new());
        }
        let length = self.cut(0).await?.unwrap_or(0);
        let header = self.buffer[..length].to_vec();
        self.skip_to(length, Position { bytes: (mark + length) as u64, rows: 0 });
        Ok(header)
    }

    /// Reads, cuts and decodes the next records, at most a batch of them.
    async fn batch(&mut self, decoder: &dyn Decode) -> Result<()> {
        let (mut places, mut start, mut at) = (Vec::new(), 0, self.position);
        while places.len() < self.limits.batch_rows && start < self.limits.batch_bytes_max {
            let Some(length) = self.cut(start).await? else { break };
            let next = Position { bytes: at.bytes + length as u64, rows: at.rows + 1 };
            places.push((start..start + length, at, next));
            (start, at) = (start + length, next);
        }
        if start == 0 {
            self.done = true;
        }
        let records: Vec<Record<'_>> = places
            .into_iter()
            .map(|(place, at, next)| Record { bytes: &self.buffer[place], at, next })
            .filter(|record| !record.bytes.trim_ascii().is_empty())
            .collect();
        let mut chunks = Vec::new();
        self.decode(decoder, &records, &mut chunks);
        self.ready.extend(chunks);
        self.skip_to(start, at);
        Ok(())
    }

    /// Length of the record at `start` of the buffer, reading on as needed; `None` where nothing more can be read.
    async fn cut(&mut self, start: usize) -> Result<Option<usize>> {
        loop {
            if let Some(length) = self.format.cut(&self.buffer[start..]) {
                return Ok(Some(length));
            }
            let held = self.buffer.len() - start;
            if held > RECORD_BYTES_MAX {
                self.broken = Some(format!("a record has more than {RECORD_BYTES_MAX} bytes"));
            }
            if self.broken.is_some() {
                return Ok(None);
            }
            if !self.fill().await? {
                return Ok((held > 0 && self.broken.is_none()).then_some(held));
            }
        }
    }

    /// Reads the next range. False at the end of the file, or if it changed.
    async fn fill(&mut self) -> Result<bool> {
        let from = self.position.bytes + self.buffer.len() as u64;
        let to = self.split.size_bytes.min(from + RANGE_BYTES);
        if from >= to {
            return Ok(false);
        }
        match self.store.read_range(&self.split.name, from..to).await? {
            Some(bytes) if bytes.len() as u64 == to - from => self.buffer.extend_from_slice(&bytes),
            _ => self.broken = Some("the file changed while it was read".to_string()),
        }
        Ok(self.broken.is_none())
    }

    /// Lets go of the first `length` bytes of the buffer.
    fn skip_to(&mut self, length: usize, position: Position) {
        self.buffer.drain(..length);
        self.position = position;
    }

    /// Decodes `records`, halving them until the bad ones stand alone.
    fn decode(&self, decoder: &dyn Decode, records: &[Record<'_>], out: &mut Vec<Chunk>) {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
        let bytes: Vec<&[u8]> = records.iter().map(|record| record.bytes).collect();
        match decoder.decode(&bytes) {
            Ok(rows) => {
                let ordinals = records.iter().map(|record| self.format.ordinal(record.at)).collect();
                out.push(Chunk { content: Content::Rows { rows, ordinals }, next: last.next, last: false });
            }
            Err(error) if records.len() == 1 => {
                let bad = BadRow {
                    ordinal: self.format.ordinal(first.at),
                    reason: error.to_string(),
                    input: describe(&self.split.name, Some(first.next.rows), first.bytes),
                };
                out.push(Chunk { content: Content::Bad(vec![bad]), next: first.next, last: false });
            }
            Err(_) => {
                let (left, right) = records.split_at(records.len() / 2);
                self.decode(decoder, left, out);
                self.decode(decoder, right, out);
            }
        }
    }
}
