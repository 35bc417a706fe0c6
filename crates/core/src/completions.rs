//! Results of background work on their way back to the operator that started it.
//!
//! An operator never waits. It starts work with [`Completions::run`], goes on, and takes what finished with
//! [`Completions::take`] the next time the host calls it; the host is woken for that.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures::future::BoxFuture;

use crate::env::Env;

/// A queue of finished results, filled from any thread, emptied by its operator.
pub struct Completions<T> {
    finished: Arc<Mutex<Vec<T>>>,
}

impl<T> Default for Completions<T> {
    fn default() -> Self {
        Self { finished: Arc::default() }
    }
}

impl<T: Send + 'static> Completions<T> {
    /// Runs `work` in the background; its result arrives in [`Completions::take`], after a wake.
    pub fn run(&self, env: &dyn Env, waker: Waker, work: BoxFuture<'static, T>) {
        let finished = Arc::clone(&self.finished);
        env.spawn(Box::pin(async move {
            let result = work.await;
            finished.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            waker.wake();
        }));
    }

    /// Runs `work` on a thread that may block; otherwise as [`Completions::run`].
    pub fn run_blocking(&self, env: &dyn Env, waker: Waker, work: impl FnOnce() -> T + Send + 'static) {
        let finished = Arc::clone(&self.finished);
        env.spawn_blocking(Box::new(move || {
            let result = work();
            finished.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            waker.wake();
        }));
    }

    /// What finished since the last call, in the order of finishing.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
