//! What the edge's core takes in and gives out.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};

use super::position::{Claim, Positions, Published, RowKey};

/// Who waits for an answer.
pub type Ticket = u64;

/// When consumers see what a producer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum EdgeMode {
    /// When an epoch record of the producer covers it. Safe whatever the producer computes.
    CommitRead,
    /// When it is durable. Only for producers that compute the same rows under the same ids again.
    IdDedupe,
}

/// What a producer may promise of its output between its last durable input and the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Determinism {
    /// The same input gives the same rows and ids, in whatever order.
    Pure,
    /// What is not pure is answered from a durable journal.
    Journalled,
    /// Running again may give something else.
    Nondeterministic,
}

/// What a record holds, as far as the protocol cares.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// Rows by key group, groups ascending, each group's in order. Keys are given under id-dedupe only.
    Rows {
        /// Key group and count of its rows, never 0.
        groups: Vec<(KeyGroup, u32)>,
        /// One a row, or none.
        keys: Vec<RowKey>,
    },
    /// A watermark or the end, for each of these key groups.
    Mark {
        /// The key groups that it covers.
        groups: Range<u16>,
        /// What it says.
        mark: Mark,
    },
}

/// An element that is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// No row at or before this event time follows.
    Watermark(EventTime),
    /// Nothing follows.
    End,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// An attempt that has claimed its restart epoch takes the edge over; answered with [`Told::Done`].
    TakeOver {
        /// Who waits.
        ticket: Ticket,
        /// The claim.
        claim: Claim,
    },
    /// A writer appends; answered at once.
    Append {
        /// Who waits.
        ticket: Ticket,
        /// The writer's attempt.
        attempt: u64,
        /// The epoch that the writer's next barrier closes.
        epoch: Epoch,
        /// What the protocol needs to know.
        content: Content,
        /// Rows as bytes; the core adds numbers and checksum.
        body: Bytes,
    },
    /// A writer is at a barrier; answered with [`Told::Done`] when everything accepted before is durable.
    Flush {
        /// Who waits.
        ticket: Ticket,
        /// The writer's attempt.
        attempt: u64,
    },
    /// An epoch record of the producer was read.
    Published(Published),
    /// The least positions over the retained checkpoints of a consumer.
    ConsumerRetained {
        /// The consumer's name.
        consumer: String,
        /// Its positions.
        positions: Positions,
    },
    /// The writer's positions in the oldest retained checkpoint of the producer.
    ProducerRetained(Positions),
    /// A write ended.
    Wrote(Result<(), Failure>),
    /// A sync ended.
    Synced(Result<(), Failure>),
    /// The sync of the folder ended.
    FolderSynced(Result<(), Failure>),
    /// Files of a trim are gone, or not yet.
    Removed(Result<(), Failure>),
}

/// What to do, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Append to the file, then report [`Fact::Wrote`].
    Write {
        /// Its name in the edge's folder.
        file: String,
        /// What to append.
        bytes: Bytes,
    },
    /// Sync the file, then report [`Fact::Synced`].
    Sync {
        /// Its name in the edge's folder.
        file: String,
    },
    /// Sync the edge's folder, then report [`Fact::FolderSynced`].
    SyncFolder,
    /// Remove the files durably, oldest first, then report [`Fact::Removed`].
    Remove {
        /// Their names in the edge's folder.
        files: Vec<String>,
    },
    /// Readers may see more.
    WakeReaders,
    /// Writers may have room.
    WakeWriters,
    /// Answer who waits.
    Tell {
        /// Who.
        ticket: Ticket,
        /// What.
        result: Result<Told, Failure>,
    },
}

/// An answer to who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Told {
    /// The record is accepted; a later flush makes it durable.
    Accepted,
    /// The edge is taken over, or everything is durable.
    Done,
}

/// An error that many can be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// Who must act.
    pub kind: Kind,
    /// The whole story.
    pub chain: String,
}

/// The settings of [`EdgeCore`](super::EdgeCore).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CoreSettings {
    /// When consumers see what was written.
    pub mode: EdgeMode,
    /// Everyone who reads this edge; nothing is trimmed before each has said what it retains.
    pub consumers: BTreeSet<String>,
    /// Bytes that the log may hold before writers wait.
    pub quota_bytes: u64,
    /// Size at which a segment is closed and the next begun.
    pub segment_bytes_max: u64,
    /// Bytes written and not yet synced that start a sync though nobody waits for one.
    pub unsynced_bytes_max: u64,
    /// Largest record.
    pub record_bytes_max: u32,
    /// A bug to switch on, for model checks to refute.
    #[doc(hidden)]
    pub bug: Option<PlantedBug>,
}

/// Mistakes that model checks and the simulation plant to see that they find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlantedBug {
    /// Commit-read shows what is durable, published or not.
    ShowUnpublished,
    /// Commit-read goes by the record's number and forgets that a restart's claim holds an older state.
    ShowUpToClaim,
    /// A new attempt leaves what its predecessor did not publish.
    KeepUnpublishedTail,
    /// A stale attempt's records are accepted.
    AcceptStaleAttempt,
    /// Id-dedupe shows records before they are synced.
    ShowBeforeSync,
    /// Id-dedupe drops as many rows as the tail holds, whatever their ids.
    DedupeByCount,
    /// Id-dedupe forgets which rows of its predecessor a checkpoint has not come to yet.
    ForgetUnconfirmed,
    /// What could not be removed is forgotten, and newer segments are removed.
    TrimPastFailure,
    /// Trimming goes by the reader that is furthest.
    TrimToFurthest,
    /// Trimming leaves nothing but a segment that is not durable.
    TrimBeforeSync,
    /// A flush is answered once bytes are written.
    FlushBeforeSync,
    /// The name of a new segment is not made durable.
    SkipFolderSync,
}

// === impl EdgeMode ===

impl EdgeMode {
    /// This mode, if a producer that promises `determinism` may write an edge with it.
    ///
    /// # Errors
    /// `Invalid` for id-dedupe behind a nondeterministic producer: two runs would leave two values under one id.
    pub fn allowed_for(self, determinism: Determinism) -> Result<Self> {
        if self == EdgeMode::IdDedupe && determinism == Determinism::Nondeterministic {
            return Err(Error::new(Kind::Invalid, "plan edge").with("mode", "id-dedupe").source(
                "the producer is neither pure nor journalled, so its rows may change when it runs again: use commit-read",
            ));
        }
        Ok(self)
    }
}

// === impl Content ===

impl Content {
    /// Each key group with the count of its elements.
    pub fn counts(&self) -> Vec<(KeyGroup, u32)> {
        match self {
            Content::Rows { groups, .. } => groups.clone(),
            Content::Mark { groups, .. } => groups.clone().map(|group| (KeyGroup(group), 1)).collect(),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The story of `error`, to be told to many.
    pub fn of(error: &Error) -> Self {
        Self { kind: error.kind(), chain: error.chain() }
    }

    /// An error that says what was attempted and why it failed.
    pub fn to_error(&self, attempted: &str, folder: &str) -> Error {
        Error::new(self.kind, attempted).with("edge", folder).source(self.chain.clone())
    }
}
