//! State: what operators keep by key, and where state rests: the real disk, stores of whole objects, and checkpoints.
//!
//! [`disk`] puts the core's `Disk` over the operating system's files. [`store`] puts the core's `Store` over a disk and
//! over object stores. [`checkpoint`] lays snapshots and manifests out in a store and decides, as pure state machines, who
//! may publish an epoch and what a restart must do first. [`keyed`] is the state that operators work on: tables and timers by
//! key, cut by key group, frozen into bytes at a barrier. [`edge`] is the log between two regions.
//!
//! Checkpoints never interpret an operator's state: bytes go in and the same bytes come out, checked.

pub mod checkpoint;
pub mod disk;
pub mod edge;
pub mod keyed;
pub mod path;
pub mod store;

pub use checkpoint::CheckpointFolder;
pub use disk::OsDisk;
pub use store::{LocalStore, ObjectStoreStore, open_store};
