//! One process's clock and background work with a disk of one's choice.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::testing::ManualEnv;
use forebay_core::time::Instant;
use futures::future::BoxFuture;

/// [`ManualEnv`] over another disk.
pub(crate) struct SimEnv {
    pub inner: ManualEnv,
    pub disk: Arc<dyn Disk>,
}

impl Env for SimEnv {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall_micros(&self) -> i64 {
        self.inner.wall_micros()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.inner.sleep(duration)
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.inner.spawn(work);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.inner.spawn_blocking(work);
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }
}
