//! Keyed state of operators: values, lists, maps and timers by key, cut by key group, live in memory.
//!
//! An operator owns its [`StateTable`]s and [`Timers`] as plain fields and works on the objects in them; a [`KeyedState`] opens
//! them from a checkpoint and freezes them at a barrier:
//!
//! ```
//! use forebay_core::element::Epoch;
//! use forebay_core::operator::{Identity, Restored};
//! use forebay_core::time::EventTime;
//! use forebay_state::keyed::{Key, KeyedState, Space, StateSettings, StateTable, TableSpec, Timers};
//!
//! let identity = Identity { uid: "count".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
//! let open = |restored| -> forebay_core::Result<(KeyedState, StateTable<u64>, Timers)> {
//!     let mut state = KeyedState::open(&identity, StateSettings::default(), restored)?;
//!     let counts = state.table(TableSpec::new("counts", 1))?;
//!     let ends = state.timers("ends")?;
//!     state.opened()?;
//!     Ok((state, counts, ends))
//! };
//!
//! // A count by key and window, and a timer at the window's end.
//! let (mut state, mut counts, mut ends) = open(Restored::default())?;
//! let (key, window) = (Key::new(*b"user 7"), EventTime(60_000_000));
//! for _row in 0..3 {
//!     *counts.get_or_insert_with(&key, &Space::of_time(window), || 0)? += 1;
//!     ends.set(window, &key, &Space::EMPTY)?;
//! }
//!
//! // A barrier, a restart, and the watermark passes the window's end.
//! let snapshot = state.snapshot(Epoch(7), &mut [&mut counts, &mut ends])?;
//! let restored = Restored { epoch: Some(Epoch(7)), groups: snapshot.groups.into_iter().collect() };
//! let (_state, mut counts, mut ends) = open(restored)?;
//! let due = ends.due(EventTime(61_000_000)).expect("the window has ended");
//! assert_eq!(counts.remove(&due.key, &Space::of_time(due.time))?, Some(3));
//! assert_eq!(ends.due(EventTime(61_000_000)), None);
//! # Ok::<(), forebay_core::Error>(())
//! ```
//!
//! State is for keys of this subtask's key groups only; a checkpoint is restored at any parallelism because each group's bytes
//! stand for themselves. Nothing here reads a clock or a file of its own accord, and every order that can be seen is the same in
//! every run.

mod bytes;
mod chain;
mod changes;
mod fjall_spill;
mod part;
mod sections;
mod settings;
mod slots;
mod space;
mod spill;
mod state;
mod table;
mod timers;
mod value;

pub use fjall_spill::FjallSpill;
pub use forebay_core::keys::Key;
pub use part::StatePart;
pub use settings::{StateBug, StateSettings};
pub use space::Space;
pub use spill::{MemorySpill, SpillStore, SpillTable};
pub use state::KeyedState;
pub use table::{StateTable, TableSpec};
pub use timers::{Timer, Timers};
pub use value::StateValue;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
