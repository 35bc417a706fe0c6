//! Checkpoints of a job in a store: who may publish one, where its files lie, and what a restart must do first.
//!
//! ```text
//! JOB/generation/0000000003                     claimed by a start of the first region, created once
//! JOB/region-1/generation/0000000002            by a start of another one
//! JOB/once/NAME                                 values written once, such as the list of splits
//! JOB/restore/0000000001.json                   a decision to go back to older epochs of several regions
//! JOB/savepoint/NAME.json                       the epochs of all regions that a user keeps
//! JOB/savepoint-edges/NAME/UID/00000007-3.fbe   copies of the logs of durable edges as they were then
//! JOB/region-0/epoch/0000000007.json            epoch record: created once, never changed; names one manifest
//! JOB/region-0/manifest/0000000007-3-HASH.json  immutable; lists state files and what sinks must commit
//! JOB/region-0/state/0000000007-3/TASK-SUBTASK-HASH.snap
//! JOB/region-0/committed/0000000007             the sinks of this epoch have committed
//! JOB/region-0/retained.json                    the oldest epoch that is still kept
//! ```
//!
//! **State files** hold everything, or what changed since an earlier checkpoint; the manifest names every file that a restore
//! reads, also those of earlier epochs (`lineage.rs`). What a kept manifest names stays.
//!
//! **Publishing** ([`publish`]): state files, then manifest, then a look whether a newer generation exists, then the epoch
//! record, if absent. The record is the commit. After it, the sinks' committers act and a marker says so.
//!
//! **Restarting** ([`restart`]): claim a generation; commit what the newest epoch still owes its sinks; *claim the next epoch*
//! with the same state; only then abort what earlier attempts staged, and run. Without the claim, an earlier attempt that
//! already passed its look at the generation could still publish an epoch that names what was aborted.
//! A job's very first epoch is such a claim too, of the empty state, so that a stalled first attempt is fenced like any other.
//!
//! Both are pure state machines; [`CheckpointFolder`] carries out what they ask for. Nothing here guesses: what cannot be
//! read is an error that names the file and the newest epoch that can. Nothing here ever changes an epoch record.

mod candidates;
mod carry_out;
mod folder;
mod inspect;
mod layout;
mod lineage;
mod load;
mod manifest;
mod protocol;
pub mod publish;
mod records;
pub mod restart;
mod restore_decision;
mod retain;
mod savepoint;
mod savepoint_logs;
mod sealed;
mod snapshot_file;

pub use folder::{CheckpointFolder, Committers, ManifestDraft, Published};
pub use inspect::{CheckpointInfo, Problem, Summary};
pub use layout::{Layout, REGION};
pub use manifest::{Encoded, EpochKind, EpochRecord, FORMAT, Manifest, SinkCommittables, StateFile};
pub use protocol::{Action, Ending, Event, PlantedBug};
pub use restart::{Resume, Started};
pub use restore_decision::Undone;
pub use retain::StillNeeded;
pub use savepoint::Savepoint;
pub use savepoint_logs::{LogFile, Logs};
pub use snapshot_file::{StateEntry, SubtaskSnapshot, content_hash};

#[cfg(test)]
pub(crate) mod model_tests;
#[cfg(test)]
mod tests;
