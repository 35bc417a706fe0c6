//! The source contract: an enumerator lists splits, readers read them.
//!
//! A split is a unit of reading with its own position. Which subtask reads it follows from its key group, so a restore at
//! another parallelism moves splits like any other keyed state. The list of splits is written before the first row is read, what
//! a monitored source finds later is written behind it before a row of that is read, and every later attempt uses that
//! list: row ids never depend on when a folder was listed.

use futures::future::BoxFuture;

use crate::batch::Batch;
use crate::element::Epoch;
use crate::error::Result;
use crate::operator::{Context, Frozen, Restored};
use crate::row::SplitId;
use crate::time::EventTime;

/// A unit of reading.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Split {
    /// Hash of source uid, name and version.
    pub id: SplitId,
    /// What to read, in the source's own words (a path from the store's root).
    pub name: String,
    /// Version of what is read; the content must still have it when it is read.
    pub version: String,
    /// Length in bytes, 0 if unknown.
    pub size_bytes: u64,
}

/// Finds the splits of a source. Runs once, in the coordinator.
pub trait Enumerator: Send + Sync {
    /// Every split, in reading order.
    ///
    /// # Errors
    /// `Invalid` if nothing matches, `Unavailable` if the place cannot be listed.
    fn splits(&self) -> BoxFuture<'static, Result<Vec<Split>>>;
}

/// What a reader answers when asked for more.
#[derive(Debug, Clone)]
pub enum Read {
    /// Rows, never empty, in reading order within each split.
    Batch(Batch),
    /// Rows, never empty, and those read between them that cannot be used, for the dead-letter output.
    Partly(Batch, Vec<crate::dead_letter::DeadLetter>),
    /// No row at or before this event time will follow from this reader.
    Watermark(EventTime),
    /// Rows that cannot be read, for the dead-letter output.
    DeadLetters(Vec<crate::dead_letter::DeadLetter>),
    /// Nothing may come for a while: until its next batch or watermark this reader holds back no watermark of others.
    Idle,
    /// Nothing now; the waker is called when there may be more.
    Pending,
    /// Every split was read to its end.
    End,
}

/// Reads the splits of one subtask. The head of a chain; driven like an [`Operator`](crate::operator::Operator): one
/// thread, no overlap, no blocking.
pub trait Reader: Send {
    /// Takes its splits (only those whose key group this subtask owns, in reading order) and the restored positions.
    ///
    /// # Errors
    /// `Corrupt` if the restored bytes cannot be read.
    fn open(&mut self, context: Context, splits: Vec<Split>, restored: Restored) -> Result<()>;

    /// The next thing read.
    ///
    /// # Errors
    /// Fails the region. A bad row is not an error: it is a dead letter.
    fn poll_next(&mut self) -> Result<Read>;

    /// Positions by key group: everything answered so far is before them, everything else after.
    ///
    /// # Errors
    /// Fails the region.
    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen>;

    /// The splits that came to their end since the last call: every row of them was given, and none holds event time back
    /// any more. Called after `open`, where it answers those that were at their end already, and after each `poll_next`. A
    /// reader that never says so holds event time back until its own end.
    fn take_ended(&mut self) -> Vec<SplitId> {
        Vec::new()
    }

    /// The splits that came after [`Reader::open`] since the last call, in reading order: their rows may come from now on.
    /// Called after each `poll_next`, before what that answered is looked at.
    fn take_found(&mut self) -> Vec<SplitId> {
        Vec::new()
    }

    /// Frees resources. Idempotent.
    fn close(&mut self) {}
}
