//! The last few decoded records: rows of one request batch are looked up together, or shortly after each other.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use forebay_core::{Kind, Result};

use super::index::RecordPlace;
use super::record::{self, Record};
use crate::request::Outcome;

/// Records kept at most. A replay walks the journal forwards, so few are enough.
const RECORDS_MAX: usize = 16;

/// Decoded bytes kept at most; a single larger record is kept alone.
const BYTES_MAX: usize = 32 << 20;

/// A record ready to answer from.
#[derive(Debug)]
pub(super) enum Decoded {
    /// Answers, one a row of the record.
    Answers(RecordBatch),
    /// One reason for all rows of the record.
    Failed(Kind, String),
    /// One reason for all rows of the record, which those who asked gave up.
    GivenUp(Kind, String),
}

/// Decoded records, the latest used last.
#[derive(Debug, Default)]
pub(super) struct Cache {
    records: VecDeque<(RecordPlace, Arc<Decoded>)>,
    bytes: usize,
}

// === impl Decoded ===

impl Decoded {
    /// Decodes and validates a record, frame included; `None` for a record that finishes no row.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn new(bytes: &Bytes) -> Result<Option<Self>> {
        match record::parse(bytes)? {
            Record::Answer { ids, stream } => Ok(Some(Self::Answers(record::decode_rows(&stream, ids.len())?))),
            Record::Failure { kind, reason, given_up: false, .. } => Ok(Some(Self::Failed(kind, reason))),
            Record::Failure { kind, reason, given_up: true, .. } => Ok(Some(Self::GivenUp(kind, reason))),
            Record::Closed { .. } => Ok(None),
        }
    }

    /// The outcome of the record's row `row`.
    pub fn outcome(&self, row: u32) -> Outcome {
        match self {
            Self::Answers(rows) => Outcome::Answered { rows: rows.clone(), place: row as usize },
            Self::Failed(kind, reason) => Outcome::Failed {
                kind: *kind,
                reason: reason.clone(),
                retry_after: None,
                final_: true,
                together: false,
            },
            Self::GivenUp(kind, reason) => Outcome::GivenUp { kind: *kind, reason: reason.clone() },
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Answers(rows) => rows.get_array_memory_size(),
            Self::Failed(_, reason) | Self::GivenUp(_, reason) => reason.len(),
        }
    }
}

// === impl Cache ===

impl Cache {
    /// The record at `place`, if kept.
    pub fn get(&mut self, place: RecordPlace) -> Option<Arc<Decoded>> {
        let at = self.records.iter().position(|(kept, _)| *kept == place)?;
        let kept = self.records.remove(at)?;
        self.records.push_back(kept.clone());
        Some(kept.1)
    }

    /// Keeps a record, letting go of those longest unused.
    pub fn put(&mut self, place: RecordPlace, decoded: Arc<Decoded>) {
        self.bytes += decoded.size_bytes();
        self.records.push_back((place, decoded));
        while self.records.len() > RECORDS_MAX || (self.bytes > BYTES_MAX && self.records.len() > 1) {
            let Some((_, gone)) = self.records.pop_front() else { break };
            self.bytes -= gone.size_bytes();
        }
    }
}
