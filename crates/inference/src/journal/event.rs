//! What the journal's core takes in and gives out.

use std::time::Duration;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::{Error, Kind};

use super::index::RecordPlace;
use super::{Appended, TrimReport};
use crate::request::RequestId;

/// Who waits for an answer.
pub(super) type Ticket = u64;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// Rows finished; `bytes` is their record.
    Append { ticket: Ticket, ids: Vec<RequestId>, failed: bool, bytes: Bytes },
    /// Rows were emitted in epochs up to this published one.
    Close { ticket: Ticket, epoch: Epoch, ids: Vec<RequestId> },
    /// A write ended; without an error what it wrote is durable.
    Wrote(Result<(), Failure>),
    /// The sync of the folder ended.
    FolderSynced(Result<(), Failure>),
    /// The wait of this group for company is over.
    Timer { group: u64 },
    /// No checkpoint before this one is kept any more.
    Trim { ticket: Ticket, oldest_retained: Epoch },
    /// The files of a trim are gone, or not.
    Removed { ticket: Ticket, report: TrimReport, result: Result<(), Failure> },
    /// A record could not be read back.
    Lost { place: RecordPlace },
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Append to the file and sync it, then report [`Event::Wrote`].
    Write { file: String, bytes: Bytes },
    /// Sync the journal's folder, then report [`Event::FolderSynced`].
    SyncFolder,
    /// Report [`Event::Timer`] after this long.
    SetTimer { group: u64, after: Duration },
    /// Remove the files durably one by one, oldest first, then report [`Event::Removed`].
    Remove { ticket: Ticket, files: Vec<String>, report: TrimReport },
    /// Answer who waits.
    Tell { ticket: Ticket, result: Result<Told, Failure> },
}

/// An answer to who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// An append or close is durable.
    Durable(Appended),
    /// A trim is done.
    Trimmed(TrimReport),
}

/// An error that many can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    chain: String,
}

// === impl Event ===

impl Event {
    /// Who asks, for what a failed journal refuses.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Event::Append { ticket, .. } | Event::Close { ticket, .. } | Event::Trim { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The story of `error`, to be told to many.
    pub fn of(error: &Error) -> Self {
        Self { kind: error.kind(), chain: error.chain() }
    }

    /// An error that says what was refused and why.
    pub fn to_error(&self, attempted: &str, folder: &str) -> Error {
        Error::new(self.kind, attempted).with("folder", folder).source(self.chain.clone())
    }
}
