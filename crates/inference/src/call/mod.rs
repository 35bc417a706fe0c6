//! Between rows and a call to a model: the one gate that all who ask a model share.
//!
//! Every decision is made by the pure machines of `forebay-gate` (batcher, limiter, permits, turns, retry rules); [`gate`]
//! joins them to this process: a lock, a clock, and wakers of those who were refused.

pub mod caller;
pub mod gate;
pub mod hedger;
pub mod permit;

pub use caller::Caller;
pub use gate::{Bound, GateSettings, Heard, ModelGate};
pub use hedger::Hedger;
pub use permit::Permit;
