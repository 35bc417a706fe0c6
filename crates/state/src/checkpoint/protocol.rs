//! The language between the pure cores and whoever carries out their wishes: one action asked, one answer given.
//!
//! Each action is one atomic call to the store or the committers, so that a test which interleaves actions of several
//! attempts has seen every order that can happen.

use std::sync::Arc;

use forebay_core::element::Epoch;

use super::manifest::{Encoded, EpochRecord, Manifest};
use super::restart::Started;

/// What a core wants done next; each says which event answers it.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Find the newest epoch record: [`Event::NewestEpoch`].
    ListEpochs,
    /// Find the newest claimed generation: [`Event::Generation`].
    ReadGeneration,
    /// Create the claim of this generation if absent: [`Event::GenerationClaimed`].
    ClaimGeneration(u64),
    /// Read record and manifest of an epoch: [`Event::EpochRead`], or [`Event::NewestUnreadable`] where a restart asked for
    /// an older epoch and can do without.
    ReadEpoch(Epoch),
    /// Look whether the epoch's sinks have committed: [`Event::CommitMarker`].
    LookForCommitted(Epoch),
    /// Hand the manifest's committables to their committers: [`Event::Committed`].
    Commit(Arc<Manifest>),
    /// Note that the epoch's sinks have committed: [`Event::CommitMarked`].
    WriteCommitted(Epoch),
    /// Write the manifest's bytes: [`Event::ManifestWritten`].
    WriteManifest(Arc<Encoded>),
    /// Create the epoch record if absent: [`Event::EpochCreated`], or [`Event::EpochTaken`] with what is there.
    CreateEpoch {
        /// The record.
        record: EpochRecord,
        /// A planted bug: replace what is there.
        overwrite: bool,
    },
    /// Make the committers remove what earlier attempts staged: [`Event::StagedAborted`].
    AbortStaged {
        /// Attempts below this one.
        before: u64,
    },
    /// Nothing more to do.
    End(Box<Ending>),
}

/// How a core ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// The restart is done; the attempt may run.
    Run(Started),
    /// The epoch is published and its sinks have committed.
    Published(Epoch),
    /// A newer attempt owns the job; this one stops itself.
    Fenced {
        /// What it ran into, for the log.
        reason: String,
    },
    /// A fresh start was asked for where a job already is.
    NotFresh,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The first event of every core: all state files are durable, or a restart begins.
    Begin,
    /// The newest epoch that has a record.
    NewestEpoch(Option<Epoch>),
    /// The newest claimed generation, 0 if none.
    Generation(u64),
    /// Whether the claim was new.
    GenerationClaimed(bool),
    /// The epoch's manifest.
    EpochRead(Arc<Manifest>),
    /// The newest epoch's record or manifest cannot be read.
    NewestUnreadable,
    /// Whether the marker exists.
    CommitMarker(bool),
    /// The committers have acted.
    Committed,
    /// The marker is durable.
    CommitMarked,
    /// The manifest is durable.
    ManifestWritten,
    /// The record did not exist and now does.
    EpochCreated,
    /// Another record is there.
    EpochTaken(EpochRecord),
    /// The committers have removed what was staged.
    StagedAborted,
}

/// Mistakes that the simulation plants to see that its checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// A restart runs without claiming an epoch.
    NoClaim,
    /// A restart aborts what was staged before its claim is won.
    AbortBeforeClaim,
    /// A publish does not look at the generation.
    SkipGenerationCheck,
    /// A publish replaces the epoch record.
    OverwriteEpochRecord,
    /// A restart does not commit what the newest epoch owes its sinks.
    NoReplayCommit,
    /// Removing old checkpoints does not look at what kept ones build on.
    TrimBuiltOn,
    /// Removing old checkpoints does not look at what the next snapshots may build on.
    TrimMayBuildOn,
    /// Removing old checkpoints does not look at savepoints.
    TrimSavepoints,
    /// Removing old checkpoints does not look whether somebody has started meanwhile.
    TrimUnderNewerStart,
    /// A savepoint that is removed is not marked incomplete before.
    RemoveSavepointAtOnce,
    /// Logs of durable edges are trimmed under a savepoint that still copies them.
    TrimWhileCopied,
    /// Several regions go back without a decision that is written first.
    GoBackUndecided,
    /// A start from a savepoint leaves the logs of durable edges as they are.
    LogsStay,
}
