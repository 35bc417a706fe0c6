//! Durable edges: a log between two regions, so that either restarts without the other.
//!
//! ```text
//! region P: .. -> EdgeWriter -> EDGE/00000007-3.fbe (segment 7, by attempt 3) -> EdgeReader -> ..  :region C
//!                                                                            '-> EdgeReader -> ..  :region D
//! ```
//!
//! The log is cut by key group: in each, elements are numbered densely ([`Positions`]), whoever wrote them. Both sides keep
//! positions as state by key group, so either may change its parallelism. [`EdgeCore`] is the protocol, pure;
//! [`EdgeLog`] does its I/O. A segment's header is the fence: the first of an attempt says which checkpoint it goes on from and
//! where everything before it ends, in one synced write.
//!
//! **Commit-read** shows a record when the producer's newest *epoch record* holds the state of its epoch or a later one.
//! **Id-dedupe** shows it once durable, and drops what a restarted producer writes again under the same id.
//!
//! Three lemmas rest on it (proofs in the design, model checks in `model_tests`):
//!
//! 1. *Latest of each.* Consumers read only what an epoch record covers, and epoch records only grow, so every region's
//!    newest checkpoint together is a consistent cut, cycles included. Obligation: visibility comes from records
//!    ([`Published::of`] a manifest that was read), never from a notice; and it goes by the record's *state*, because a
//!    restart's claim has a new number and an old state.
//! 2. *Solo restore.* A producer's unpublished tail was never seen, so cutting it off is unobservable; what a consumer has to
//!    read again is still there, because trimming stops at the least position of all its retained checkpoints. Obligations:
//!    appends of older attempts are refused; the cut comes after the restart epoch is claimed (a [`Claim`] is made from a
//!    [`Started`](crate::checkpoint::Started) restart).
//! 3. *Id-dedupe.* If a row is a function of durable inputs and journal entries, writing it again is a no-op by id. Obligations:
//!    [`EdgeMode::allowed_for`] the producer; ids are unique on the edge; ids are known back to the producer's oldest
//!    retained checkpoint, plus those that a checkpoint names as not come to yet ([`WriterState::unconfirmed`]).
//!
//! Never here: interpreting rows, deciding when a region restarts, reading a clock, removing what a retained checkpoint needs.
//! One [`EdgeLog`] owns a folder at a time; two processes are kept apart by the engine's lock on the job's folder.

mod body;
mod core;
mod log;
mod position;
mod protocol;
mod reader;
mod record;
mod replay;
mod restore;
mod segment;
mod settings;
mod sound;
mod writer;

pub use self::core::{EdgeCore, Place, Record};
pub use log::{EdgeLog, EdgeStats, OpenReport};
pub use position::{Claim, Positions, Published, ReaderState, RowKey, WriterState};
pub use protocol::{
    Action, Content, CoreSettings, Determinism, EdgeMode, Fact, Failure, Mark, PlantedBug, Ticket, Told,
};
pub use reader::EdgeReader;
pub use record::Span;
pub use replay::{Found, Replay};
pub use restore::{Candidate, EdgeEnds, consistent_restore};
pub use settings::EdgeSettings;
pub(crate) use sound::Sound;
pub use writer::{EdgeWriter, Grouping, by_key, by_row};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
