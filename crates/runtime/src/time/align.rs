//! Alignment: readers whose event time runs ahead of the slowest by more than a drift pause until it has caught up.
//!
//! Without it a join or window of a fast and a slow source holds in state all that the fast one is ahead. The idea and its
//! name are Flink's watermark alignment (FLIP-182). A reader that is idle or has ended holds nobody back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use forebay_core::time::EventTime;

/// The readers of a job that are kept together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Alignment {
    members: Arc<Mutex<Vec<State>>>,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: idle or ended.
    now: Option<EventTime>,
    paused: Option<Waker>,
}

/// One reader in an [`Alignment`]; leaves it when dropped.
#[derive(Debug)]
pub struct Member {
    alignment: Alignment,
    place: usize,
    drift_max: Duration,
}

// === impl Alignment ===

impl Alignment {
    /// A new member that has seen nothing yet, and so holds the others back, and that may be `drift_max` ahead of the
    /// slowest. Every member joins before the first one reads.
    pub fn join(&self, drift_max: Duration) -> Member {
        let mut members = self.lock();
        members.push(State { now: Some(EventTime::MIN), paused: None });
        Member { alignment: self.clone(), place: members.len() - 1, drift_max }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<State>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, place: usize, now: Option<EventTime>) {
        let woken: Vec<Waker> = {
            let mut members = self.lock();
            let before = slowest(&members);
            members[place].now = now;
            let grew = slowest(&members) != before;
            if grew { members.iter_mut().filter_map(|state| state.paused.take()).collect() } else { Vec::new() }
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

fn slowest(members: &[State]) -> Option<EventTime> {
    members.iter().filter_map(|state| state.now).min()
}

// === impl Member ===

impl Member {
    /// How far this reader has come.
    pub fn advance(&self, now: EventTime) {
        self.alignment.set(self.place, Some(now));
    }

    /// This reader gives nothing for a while, or nothing any more: it holds nobody back until it advances again.
    pub fn leave(&self) {
        self.alignment.set(self.place, None);
    }

    /// Whether this reader, being at `now`, must pause; `waker` is then called when the slowest has moved.
    pub fn must_pause(&self, now: EventTime, waker: &Waker) -> bool {
        let mut members = self.alignment.lock();
        let ahead = slowest(&members).is_some_and(|slowest| now > slowest.plus(self.drift_max));
        // A slowest that has seen nothing has no time to be ahead of, so everyone may read until it has.
        let pause = ahead && slowest(&members) != Some(EventTime::MIN);
        members[self.place].paused = pause.then(|| waker.clone());
        pause
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker;

    const DRIFT: Duration = Duration::from_micros(10);

    #[test]
    fn the_fast_one_pauses_until_the_slow_one_has_caught_up() {
        let alignment = Alignment::default();
        let (fast, slow) = (alignment.join(DRIFT), alignment.join(DRIFT));
        slow.advance(EventTime(100));
        fast.advance(EventTime(111));
        assert!(fast.must_pause(EventTime(111), &noop_waker()));
        assert!(!slow.must_pause(EventTime(100), &noop_waker()));
        slow.advance(EventTime(101));
        assert!(!fast.must_pause(EventTime(111), &noop_waker()));
    }

    #[test]
    fn who_is_idle_ended_or_gone_holds_nobody_back() {
        let alignment = Alignment::default();
        let (fast, slow, gone) = (alignment.join(DRIFT), alignment.join(DRIFT), alignment.join(DRIFT));
        fast.advance(EventTime(500));
        slow.advance(EventTime(1));
        gone.advance(EventTime(2));
        drop(gone);
        assert!(fast.must_pause(EventTime(500), &noop_waker()));
        slow.leave();
        assert!(!fast.must_pause(EventTime(500), &noop_waker()));
    }

    #[test]
    fn nobody_waits_for_one_that_has_seen_nothing() {
        let alignment = Alignment::default();
        let (fast, _unread) = (alignment.join(DRIFT), alignment.join(DRIFT));
        fast.advance(EventTime(500));
        assert!(!fast.must_pause(EventTime(500), &noop_waker()));
    }
}
