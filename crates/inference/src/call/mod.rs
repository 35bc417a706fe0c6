//! Between rows and a call to a model: forming request batches and deciding how many may be in flight.
//!
//! Everything here is a pure state machine: no I/O, no clock, no background work. Time comes in as an argument.

pub mod batcher;
pub mod limiter;

pub use batcher::{Batcher, BatcherSettings, Formed};
pub use limiter::{FixedLimiter, Limiter, Permit};
