//! Between rows and a call to a model: the one gate that all who ask a model share.
//!
//! Every decision is made by the pure machines of `forebay-gate` (batcher, limiter, permits, retry rules); [`gate`] joins them
//! to this process: a lock, a clock, and wakers of those who were refused.

pub mod gate;

pub use gate::{ModelGate, Permit};
