//! The gate between rows and what answers slowly: how many calls at once, how many rows each, what to do when they fail.
//!
//! Pure state machines without clock, randomness or I/O, so that production, simulation and benchmark run the same code.
//! This crate knows nothing of Forebay's batches, plans or tasks: any async call can be put behind it.
//!
//! - [`breaker`] stops calling what answers nothing.
//! - [`limiter`]: moves the limit by what answers tell; [`limiter::latch`] is ours.

pub mod batcher;
pub mod blame;
pub mod breaker;
mod by_key;
pub mod chance;
pub mod deadline;
pub mod fallback;
pub mod gate;
pub mod hedge;
pub mod limiter;
pub mod pace;
pub mod permits;
pub mod quota;
pub mod replicas;
pub mod retry;
pub mod share;
pub mod shed;
mod slab;
pub mod turns;
pub mod usage;
#[cfg(feature = "tokio")]
pub mod wrap;

pub use self::gate::{Gate, GateSettings, Row};
#[cfg(feature = "tokio")]
pub use self::wrap::{Gated, Unanswered, wrap};
