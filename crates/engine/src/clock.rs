//! A clock that can be moved ahead, for tests of jobs that wait for timeouts, deadlines and pauses.
//!
//! It runs as the clock below it does, so that nothing stands still that a test forgot; whoever sleeps until a moment that was
//! moved over wakes at once. Only what asks [`Env`] for the time sees it: processes of models have their own.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::time::Instant;
use futures::future::{BoxFuture, Either, select};
use tokio::sync::watch;

/// A clock that can be moved ahead; clones are the same clock.
#[derive(Debug, Clone)]
pub struct MovableClock {
    ahead: Arc<watch::Sender<Duration>>,
}

/// An environment under a movable clock.
struct Moved {
    below: Arc<dyn Env>,
    clock: MovableClock,
}

// === impl MovableClock ===

impl Default for MovableClock {
    fn default() -> Self {
        Self { ahead: Arc::new(watch::Sender::new(Duration::ZERO)) }
    }
}

impl MovableClock {
    /// Moves it ahead: whatever was to happen within `duration` happens now.
    pub fn advance(&self, duration: Duration) {
        self.ahead.send_modify(|ahead| *ahead = ahead.saturating_add(duration));
    }

    /// The environment `below` under this clock.
    pub fn over(&self, below: Arc<dyn Env>) -> Arc<dyn Env> {
        Arc::new(Moved { below, clock: self.clone() })
    }

    fn ahead(&self) -> Duration {
        *self.ahead.borrow()
    }
}

impl Env for Moved {
    fn now(&self) -> Instant {
        self.below.now() + self.clock.ahead()
    }

    fn wall_micros(&self) -> i64 {
        let ahead = i64::try_from(self.clock.ahead().as_micros()).unwrap_or(i64::MAX);
        self.below.wall_micros().saturating_add(ahead)
    }

    fn random(&self) -> u64 {
        self.below.random()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (below, mut ahead) = (Arc::clone(&self.below), self.clock.ahead.subscribe());
        let until = self.now() + duration;
        Box::pin(async move {
            loop {
                let left = until.since(below.now() + *ahead.borrow_and_update());
                if left.is_zero() {
                    return;
                }
                match select(Box::pin(ahead.changed()), below.sleep(left)).await {
                    // Nobody can move the clock any more.
                    Either::Left((Err(_), sleeping)) => return sleeping.await,
                    Either::Left((Ok(()), _)) | Either::Right(_) => {}
                }
            }
        })
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.below.spawn(work);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        self.below.spawn_blocking(work);
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.below.disk()
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::testing::ManualEnv;
    use futures::FutureExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn who_sleeps_wakes_when_the_clock_was_moved_over_the_end() {
        let (below, clock) = (ManualEnv::new(1), MovableClock::default());
        let env = clock.over(Arc::new(below.clone()));
        let (begun, wall) = (env.now(), env.wall_micros());
        let mut sleeping = env.sleep(HOUR);
        assert_eq!(sleeping.as_mut().now_or_never(), None);
        clock.advance(HOUR / 2);
        assert_eq!(sleeping.as_mut().now_or_never(), None, "half of it is left");
        below.advance(HOUR / 4);
        clock.advance(HOUR / 4);
        assert_eq!(sleeping.as_mut().now_or_never(), Some(()));
        assert_eq!(env.now().since(begun), HOUR);
        assert_eq!(env.wall_micros() - wall, 3_600_000_000);
    }

    #[test]
    fn it_runs_by_itself_too() {
        let (below, clock) = (ManualEnv::new(1), MovableClock::default());
        let env = clock.over(Arc::new(below.clone()));
        let mut sleeping = env.sleep(HOUR);
        assert_eq!(sleeping.as_mut().now_or_never(), None);
        drop((env, clock));
        assert_eq!(sleeping.as_mut().now_or_never(), None, "nobody can move it any more");
        below.advance(HOUR);
        assert_eq!(sleeping.as_mut().now_or_never(), Some(()));
    }
}
