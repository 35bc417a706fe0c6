//! The production [`Env`]: tokio for background work and timers, the operating system for clock, randomness and disk.
//!
//! The only place in the workspace that may ask the operating system for the time or for randomness.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::time::Instant;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

/// Clock, randomness and background work of this process, over a disk rooted at one folder.
pub struct TokioEnv {
    handle: Handle,
    started: std::time::Instant,
    disk: Arc<dyn Disk>,
}

// === impl TokioEnv ===

impl TokioEnv {
    /// The environment of the tokio runtime behind `handle`.
    #[expect(clippy::disallowed_methods, reason = "this is where the clock starts")]
    pub fn new(handle: Handle, disk: Arc<dyn Disk>) -> Self {
        Self { handle, started: std::time::Instant::now(), disk }
    }
}

impl Env for TokioEnv {
    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the wall clock behind Env")]
    fn wall_micros(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the randomness behind Env")]
    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system has randomness once it is up");
        u64::from_le_bytes(bytes)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the timer behind Env")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // Made inside the future, because a tokio timer may only be made on a tokio thread.
        Box::pin(async move { tokio::time::sleep(duration).await })
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.handle.spawn(work);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.handle.spawn_blocking(work);
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }
}
