//! The one place that reads a real clock and waits for it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::failed;
use crate::error::Error;

/// Seconds since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

// === impl Clock ===

impl Clock {
    /// At second 0 now.
    #[allow(
        clippy::disallowed_methods,
        reason = "the real-time bench is about real time; nothing else may read a clock"
    )]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Seconds since it was made.
    pub fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    /// Waits for second `at`; timers have a grain of 1 ms and come late, never early. For ever when `at` is infinite.
    #[allow(
        clippy::disallowed_methods,
        reason = "the real-time bench is about real time; nothing else may wait for it"
    )]
    pub async fn wait_until(&self, at: f64) {
        match Duration::try_from_secs_f64(at.max(0.0)).ok().and_then(|passed| self.origin.checked_add(passed)) {
            Some(moment) => tokio::time::sleep_until(moment).await,
            None => std::future::pending().await,
        }
    }
}

/// Runs `work` on this thread, with a runtime of its own.
pub fn block_on<Work: Future>(work: Work) -> Result<Work::Output, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| failed("start a runtime", error))?.block_on(work))
}
