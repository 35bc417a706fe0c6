//! The inference journal: what was answered is durable before anyone is told, and the first answer wins for ever.
//!
//! An append-only log of segment files. The protocol (order of promises, group commit, first writer wins, trimming) is
//! a pure state machine; [`Journal`] does its I/O. The order, without exceptions: the record is written, the
//! segment is synced, a new segment's folder is synced, only then the appender's future resolves. After a failed write
//! or sync the state on disk is unknown, so the journal refuses everything from then on; opening it again, which reads
//! what the disk really holds, is the way out.
//!
//! It never compresses or interprets answers, never retries a failed sync, and never overwrites a record.

mod cache;
mod core;
mod event;
mod handle;
mod index;
mod inner;
mod open;
mod record;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

use std::time::Duration;

use forebay_core::element::Epoch;

pub use handle::Journal;

/// Longest wait between two syncs under load. Below it an answer waits for company; a quiet journal syncs at once.
/// A sync of 64 KiB takes 0.16-0.31 ms here, so at most a sixth of the disk's time goes to syncs, and 2 ms is less
/// than 1 % of an inference of 200 ms.
pub const GROUP_LINGER_MAX: Duration = Duration::from_millis(2);

/// Bytes that end the wait for company early: from here on the write itself outweighs the sync.
pub const GROUP_BYTES_MAX: usize = 256 << 10;

/// Size at which a segment is closed and the next begun. 64 MiB is read back in well under a second, and trimming
/// gives disk space back in pieces of this size.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Largest record; a longer length on disk is damage, and is known as such before anything is allocated.
pub const RECORD_BYTES_MAX: u32 = 256 << 20;

/// How a journal groups, rolls and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalSettings {
    /// Longest wait between two syncs, see [`GROUP_LINGER_MAX`].
    pub group_linger: Duration,
    /// Bytes that start a sync early, see [`GROUP_BYTES_MAX`].
    pub group_bytes_max: usize,
    /// Size at which the next segment begins, see [`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// Largest record, see [`RECORD_BYTES_MAX`].
    pub record_bytes_max: u32,
    /// The epoch that this attempt was restored from, if known. Rows closed in later epochs belong to a timeline that
    /// was given up: they count as open again.
    pub restored: Option<Epoch>,
    /// A bug to switch on, for the simulation to find.
    #[doc(hidden)]
    pub planted: Option<PlantedBug>,
}

/// Bugs that the simulation switches on to prove that it would find them. Never set outside `forebay-sim`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Appenders are told once bytes are written, before they are synced.
    TellBeforeSync,
    /// The name of a new segment is not made durable.
    SkipFolderSync,
    /// A later answer replaces an earlier one.
    LastWriterWins,
    /// Trimming ignores which epochs are retained: an emitted row counts as done with.
    TrimAtEmit,
    /// Records are believed without looking at their checksum, and a torn tail is kept.
    AcceptTornTail,
}

/// What an append came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// Places of rows that were already finished by someone else, ascending. Their first outcome, not this one, is the
    /// truth: look them up before emitting.
    pub duplicates: Vec<usize>,
}

/// Counts since opening, and what the journal holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Segment files.
    pub segments: u64,
    /// Bytes of all segment files.
    pub bytes: u64,
    /// Answered rows held.
    pub answers: u64,
    /// Failed rows held.
    pub failures: u64,
    /// Of those held, rows emitted in a published epoch.
    pub closed: u64,
    /// Rows dropped because someone else finished them first.
    pub duplicates_dropped: u64,
    /// Records that could not be read back.
    pub corrupt_records: u64,
    /// Groups made durable since opening, one sync each.
    pub groups: u64,
}

/// A place in a segment file that could not be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Path of the file below the disk's root.
    pub file: String,
    /// Where the damage begins, in bytes from the start of the file.
    pub place: u64,
    /// How many bytes are lost with it.
    pub bytes: u64,
    /// What is wrong, for people.
    pub reason: String,
}

/// What opening found. Rows lost to damage are simply not finished: they are executed again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Records read back.
    pub records: u64,
    /// The end of the last segment, cut off because its last write was torn. Nobody was told of it.
    pub torn: Option<Damage>,
    /// Damaged records elsewhere, skipped.
    pub corrupt: Vec<Damage>,
    /// Segments that a fenced attempt wrote after it lost the folder, removed.
    pub stale: Vec<String>,
}

/// What trimming removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrimReport {
    /// Segment files removed.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Answers and failures forgotten with them.
    pub rows: u64,
}

// === impl JournalSettings ===

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            group_linger: GROUP_LINGER_MAX,
            group_bytes_max: GROUP_BYTES_MAX,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            record_bytes_max: RECORD_BYTES_MAX,
            restored: None,
            planted: None,
        }
    }
}
