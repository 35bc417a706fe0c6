//! What tests and the simulation stand on: a disk in memory that forgets what was not synced, and an [`Env`] whose clock
//! and background work move only when told.
//!
//! Nothing here touches the outside; production never uses it.
//!
//! [`Env`]: crate::env::Env

mod env;
mod memory_disk;

pub use env::ManualEnv;
pub use memory_disk::MemoryDisk;
