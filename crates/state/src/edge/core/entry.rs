//! Records and segments, as the core keeps them.

use forebay_core::element::Epoch;

use super::super::protocol::Mark;
use super::super::record::Span;
use super::super::segment::file_name;

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its place in the order of the log.
    pub sequence: u64,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// What it holds.
    pub spans: Vec<Span>,
    /// `None` for rows.
    pub mark: Option<Mark>,
    /// Where it lies, once it is written.
    pub place: Place,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Place {
    /// Number of the segment and the attempt that wrote it.
    pub segment: (u32, u64),
    /// First byte.
    pub start: u64,
    /// Bytes, frame included.
    pub length: u32,
}

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::edge) struct Segment {
    pub number: u32,
    pub attempt: u64,
    pub bytes: u64,
}

// === impl Place ===

impl Place {
    /// Name of the file that the record lies in.
    pub fn file(&self) -> String {
        file_name(self.segment.0, self.segment.1)
    }
}

// === impl Segment ===

impl Segment {
    pub fn file(self) -> String {
        file_name(self.number, self.attempt)
    }
}
