//! The operator contract: what turns rows into rows inside one subtask, on any host.
//!
//! The shape is non-blocking so that a host may be a thread, a simulation or a Flink task: one thread drives an operator,
//! no call overlaps another, no call blocks. An operator knows nothing of its host. It does no I/O of its own, reads no
//! clock, draws no random number: all through the [`Context`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::batch::Batch;
use crate::dead_letter::DeadLetter;
use crate::element::Epoch;
use crate::env::Env;
use crate::error::Result;
use crate::key_group::KeyGroup;
use crate::time::{EventTime, Instant};

/// Who an operator is and how it reaches the outside; cheap to clone, valid until `close`.
#[derive(Clone)]
pub struct Context {
    /// Which copy of which operator.
    pub identity: Identity,
    /// Clock, randomness, background work.
    pub env: Arc<dyn Env>,
    /// Asks the host to call `poll` soon: from any thread, coalesced, harmless after `close`.
    pub waker: Waker,
}

/// Which copy of which operator this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Stable name of the operator in its job; state and request ids hang on it.
    pub uid: String,
    /// Which parallel copy, `0..parallelism`.
    pub subtask: u16,
    /// How many parallel copies.
    pub parallelism: u16,
    /// How many key groups the job has.
    pub groups: u16,
    /// Which run of the job; grows with every restore.
    pub attempt: u64,
}

/// State given back to an operator: what its key groups held at `epoch`.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The checkpoint it comes from; `None` on a fresh start.
    pub epoch: Option<Epoch>,
    /// State by key group, only of groups that this subtask now owns, sorted. A group has several entries where its snapshots
    /// built on each other (see [`Lineage`]): what holds everything first, then what changed, in the order of epochs.
    pub groups: Vec<(KeyGroup, Bytes)>,
}

/// Whether an operator takes another batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// More may come.
    Room,
    /// Nothing more until [`Operator::room`] answers `Room` again. The batch just given was taken.
    Full,
}

/// What comes out of an operator.
#[derive(Debug, Clone)]
pub enum Out {
    /// Rows for the next operator, never empty.
    Batch(Batch),
    /// Rows for the side output of this number, from 1, never empty: what does not belong to the main output but must not
    /// be lost, like rows that came too late.
    Side(u8, Batch),
    /// Rows that cannot be processed, for the dead-letter output.
    DeadLetters(Vec<DeadLetter>),
    /// A watermark, after every row it covers.
    Watermark(EventTime),
}

/// Whether an operator has let go of everything it held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is held; every output was taken by `poll`.
    Done,
    /// Something is still held; ask again after the next wake, timer or `poll`.
    Pending,
}

/// State of one operator in one subtask at a barrier.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// State by key group.
    pub groups: BTreeMap<KeyGroup, Bytes>,
    /// What a sink prepared and its committer must publish after the epoch record exists.
    pub committables: Vec<Bytes>,
    /// Which groups hold only what changed; `None` from an operator that always writes everything.
    pub lineage: Option<Lineage>,
}

/// How a snapshot builds on an earlier checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The newest checkpoint that the operator knows to be published, by [`Operator::on_checkpoint_complete`] or because it
    /// was restored from it; `None` if it knows of none, and then there are no deltas. This snapshot's deltas build on it, and those of later snapshots on it or a newer one: what it
    /// consists of must stay until then.
    pub completed: Option<Epoch>,
    /// Groups of which [`Snapshot::groups`] holds only what changed since `completed`; nothing if nothing did. Of every other
    /// group it holds everything.
    pub deltas: BTreeSet<KeyGroup>,
}

/// The slow half of a snapshot (encoding, staging files), run in the background after `snapshot` returned.
pub type Frozen = BoxFuture<'static, Result<Snapshot>>;

/// Turns rows of its input into rows of its output, inside one subtask.
///
/// # Order of calls
/// `open` once. Then `on_batch` (only after `room` answered `Room`), `on_watermark`, `on_timer` and `poll` in any mix.
/// At a barrier: `poll` until `None`, then `snapshot` at once. At the end of input: `drain` and `poll` until `Done`;
/// barriers may still come meanwhile. Before the last barrier of an attempt that stops: `suspend` and `poll` until `Done`. Last
/// `close`, or a plain drop when the attempt fails. Calls never overlap, and none may block or compute for more than
/// about 10 ms.
///
/// # Errors
/// Bad rows are not errors: they leave as [`Out::DeadLetters`]. An `Err` from any method fails the region, which restarts
/// from its latest checkpoint; a panic is caught by the host and does the same as `Internal`.
pub trait Operator: Send {
    /// Takes identity, the way out, and restored state. Emits nothing.
    ///
    /// # Errors
    /// `Corrupt` if the restored bytes cannot be read.
    fn open(&mut self, context: Context, restored: Restored) -> Result<()>;

    /// Whether `on_batch` may be called now.
    fn room(&self) -> Room {
        Room::Room
    }

    /// Whether `on_batch` may be called although `room` answered `Full`, so that a barrier queued behind the batch need not
    /// wait for room. Only an operator whose snapshot holds every row it took may answer true; the host then gives it about one
    /// window of each of its channels more than it asked for, and no more before it has had room again; before a stop all that was read.
    fn absorbs(&self) -> bool {
        false
    }

    /// Takes ownership of `batch`, never empty.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn on_batch(&mut self, batch: Batch) -> Result<()>;

    /// Takes ownership of `batch`, never empty, from input `port`. What an operator with several inputs implements; they share
    /// `room`, and the watermarks it is given hold for all of them.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn on_batch_at(&mut self, port: u8, batch: Batch) -> Result<()> {
        debug_assert_eq!(port, 0, "an operator with one input is given no other port");
        self.on_batch(batch)
    }

    /// Takes a watermark, which it holds until every row before it has left, then gives back through `poll`.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn on_watermark(&mut self, watermark: EventTime) -> Result<()>;

    /// The only way out. `None` means nothing now; a wake or a timer says when to ask again.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn poll(&mut self) -> Result<Option<Out>>;

    /// Whether rows that were taken wait here for something outside (an answer, a table) and will still come out. A task whose
    /// input is idle says so to the next ones only when none of its operators holds rows. State that comes out with a
    /// watermark does not count.
    fn holds_rows(&self) -> bool {
        false
    }

    /// When `on_timer` wants to be called; the host keeps only this one timer and asks again after every call.
    fn next_timer(&self) -> Option<Instant> {
        None
    }

    /// Called at or after [`Operator::next_timer`]; may also come early or for nothing.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn on_timer(&mut self, _now: Instant) -> Result<()> {
        Ok(())
    }

    /// Freezes state for `epoch`: everything needed to go on from here, every row taken and not yet given out included.
    /// Must return quickly; the returned future does the rest while rows flow again.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        Ok(Box::pin(async { Ok(Snapshot::default()) }))
    }

    /// The checkpoint of `epoch` is published. May be skipped by a crash and may be repeated: only a hint to let go.
    fn on_checkpoint_complete(&mut self, _epoch: Epoch) {}

    /// Flushes what is held (partial request batches, open files) and says whether all of it has left.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn drain(&mut self) -> Result<Drained> {
        Ok(Drained::Done)
    }

    /// The attempt is about to stop: begins nothing from here on, and says whether all that was begun has come to its end.
    /// Rows taken but not begun stay, as state of the snapshot that follows; stopping must not wait for a long queue.
    ///
    /// # Errors
    /// Fails the region, see the trait.
    fn suspend(&mut self) -> Result<Drained> {
        self.drain()
    }

    /// Frees resources. Idempotent; nothing is called afterwards.
    fn close(&mut self) {}
}

// === impl Identity ===

impl Identity {
    /// The key groups that this subtask owns.
    pub fn key_groups(&self) -> Range<u16> {
        KeyGroup::range_of(self.subtask, self.parallelism, self.groups)
    }
}
