//! The only door to the outside: clock, randomness, background work and files.
//!
//! Production implements [`Env`] over tokio; the simulation implements it over a seed and a virtual clock. Code that
//! goes around it (lints name the replacements) cannot be simulated and is refused in review.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::disk::Disk;
use crate::time::Instant;

/// Clock, randomness, background work and files of one process.
pub trait Env: Send + Sync + 'static {
    /// The monotonic clock. Never goes back.
    fn now(&self) -> Instant;

    /// Microseconds since 1970-01-01 UTC, for names and ages shown to people. No decision may rest on it.
    fn wall_micros(&self) -> i64;

    /// A random number: unpredictable in production, seeded in simulation.
    fn random(&self) -> u64;

    /// Completes `duration` from now.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs `work` in the background. It may run on another thread; it is dropped unfinished when the process ends.
    fn spawn(&self, work: BoxFuture<'static, ()>);

    /// Runs `work` on a thread that may block, for native calls that compute for long (decoding, encoding).
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>);

    /// The local disk, rooted at the folder that holds journal and local checkpoints.
    fn disk(&self) -> Arc<dyn Disk>;
}
