//! Which replicas are starting, free or busy; when to start one again; which take a call ahead; which leave. Pure
//! bookkeeping for [`core`](super::core).

use std::collections::BTreeSet;
use std::time::Duration;

use super::events::{DispatchId, Replicas};

/// First pause before a replica that could not be started is tried again; doubles with every failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest such pause: short enough that a repaired model is back before anyone restarts the job.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Starts that may fail in a row before the job is stopped: about a minute of pauses, in which a full machine may find room
/// again. Apart from how often a row is tried: that a process does not come up is no fault of the rows that wait for it.
pub(super) const STARTS_MAX: u32 = 12;
/// A call is short if it takes no longer: then the half millisecond until the next one arrives is worth hiding, and rows that
/// wait behind it would hardly have been faster elsewhere.
const SHORT: Duration = Duration::from_millis(50);
/// Short calls in a row before a replica gets one ahead.
const SHORT_CALLS: u32 = 4;

/// The replicas of one model.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// So many are wanted. Those behind them take no more calls, and leave when they have none.
    wanted: usize,
    /// Calls that one replica takes at a time.
    calls_max: usize,
    /// Replicas whose calls are short get one more.
    ahead: bool,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    state: State,
    /// Starts that failed since the last that went well.
    failures: u32,
    /// Its starts failed for good, or often enough, since the last that went well: another try is no reason to wait.
    is_hopeless: bool,
    was_ready: bool,
    /// Calls that were short, up to the last.
    short: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    Stopped,
    Starting,
    /// Loaded, with the calls that it runs.
    Ready(BTreeSet<DispatchId>),
}

/// What follows from a start that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Another try, or another replica, may still serve what is queued.
    Wait,
    /// Nothing is left that could serve what is queued.
    GiveUp,
}

// === impl Slots ===

impl Slots {
    pub(super) fn new(replicas: u16, calls_max: usize, ahead: bool) -> Self {
        let wanted = usize::from(replicas.max(1));
        Self { slots: vec![Slot::default(); wanted], wanted, calls_max: calls_max.max(1), ahead }
    }

    /// Wants so many replicas, at least one, from now on. One that is leaving stays if it is wanted again.
    pub(super) fn scale(&mut self, replicas: u16) {
        self.wanted = usize::from(replicas.max(1));
        if self.slots.len() < self.wanted {
            self.slots.resize(self.wanted, Slot::default());
        }
    }

    /// How many are wanted, and how many of those take calls.
    pub(super) fn count(&self) -> Replicas {
        let ready = self.wanted().iter().filter(|slot| slot.is_ready()).count();
        Replicas { wanted: self.wanted as u16, ready: ready as u16 }
    }

    /// Loaded replicas that are not wanted and run nothing. They are forgotten.
    pub(super) fn take_left(&mut self) -> Vec<u16> {
        let leaving = self.slots.iter_mut().enumerate().skip(self.wanted);
        let idle = leaving.filter(|(_, slot)| matches!(&slot.state, State::Ready(calls) if calls.is_empty()));
        let left = idle.map(|(number, slot)| (number as u16, std::mem::take(slot)).0).collect();
        while self.slots.len() > self.wanted && self.slots.last().is_some_and(|slot| slot.state == State::Stopped) {
            self.slots.pop();
        }
        left
    }

    /// The planted bug of that name: lets go of those that are not wanted, whatever they run.
    pub(super) fn cut_short(&mut self) -> Vec<u16> {
        let leaving = self.slots.iter_mut().enumerate().skip(self.wanted).filter(|(_, slot)| slot.is_ready());
        leaving.map(|(number, slot)| (number as u16, std::mem::take(slot)).0).collect()
    }

    fn wanted(&self) -> &[Slot] {
        &self.slots[..self.wanted]
    }

    fn wanted_mut(&mut self) -> &mut [Slot] {
        &mut self.slots[..self.wanted]
    }

    /// Marks every stopped replica as starting: its number, the pause before, and whether it had been ready before.
    pub(super) fn start_stopped(&mut self) -> Vec<(u16, Duration, bool)> {
        let stopped = self.wanted_mut().iter_mut().enumerate().filter(|(_, slot)| slot.state == State::Stopped);
        stopped
            .map(|(number, slot)| {
                slot.state = State::Starting;
                (number as u16, backoff(slot.failures), slot.was_ready)
            })
            .collect()
    }

    pub(super) fn ready(&mut self, replica: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(replica)) {
            *slot = Slot { state: State::Ready(BTreeSet::new()), was_ready: true, ..Slot::default() };
        }
    }

    /// A start failed; `final_` if trying again cannot help.
    pub(super) fn failed(&mut self, replica: u16, final_: bool) -> AfterFailure {
        let is_wanted = usize::from(replica) < self.wanted;
        let Some(slot) = self.slots.get_mut(usize::from(replica)) else { return AfterFailure::Wait };
        if !is_wanted {
            *slot = Slot::default();
            return AfterFailure::Wait;
        }
        slot.state = State::Stopped;
        slot.failures += 1;
        slot.is_hopeless |= final_ || slot.failures.is_multiple_of(STARTS_MAX);
        // Whether it is being started does not count: it always is, while rows wait.
        if self.wanted().iter().any(|slot| slot.is_ready() || !slot.is_hopeless) {
            return AfterFailure::Wait;
        }
        self.wanted_mut().iter_mut().for_each(|slot| slot.is_hopeless = false);
        AfterFailure::GiveUp
    }

    /// Gives `dispatch` to the replica that is `wanted`, or else to that with the fewest calls; `None` if all have as many as
    /// they take.
    pub(super) fn take(&mut self, dispatch: DispatchId, wanted: Option<u16>) -> Option<u16> {
        let (calls_max, ahead) = (self.calls_max, self.ahead);
        let ready = self.wanted_mut().iter_mut().enumerate().filter_map(|(number, slot)| {
            let most = slot.most(calls_max, ahead);
            match &mut slot.state {
                State::Ready(calls) if calls.len() < most => Some((number, calls)),
                _ => None,
            }
        });
        let (number, calls) = ready.min_by_key(|(number, calls)| (wanted != Some(*number as u16), calls.len()))?;
        calls.insert(dispatch);
        Some(number as u16)
    }

    pub(super) fn has_room(&self) -> bool {
        let room = |slot: &Slot| {
            let most = slot.most(self.calls_max, self.ahead);
            matches!(&slot.state, State::Ready(calls) if calls.len() < most)
        };
        self.wanted().iter().any(room)
    }

    /// A call of `replica` was answered after so long.
    pub(super) fn took(&mut self, replica: u16, time: Duration) {
        if let Some(slot) = self.slots.get_mut(usize::from(replica)) {
            slot.short = if time <= SHORT { slot.short.saturating_add(1) } else { 0 };
        }
    }

    /// The oldest call of `replica`: what runs there, if it runs one at a time.
    pub(super) fn oldest(&self, replica: u16) -> Option<DispatchId> {
        match &self.slots.get(usize::from(replica))?.state {
            State::Ready(calls) => calls.first().copied(),
            _ => None,
        }
    }

    /// The replica that ran `dispatch` is done with it; `None` if none ran it.
    pub(super) fn done(&mut self, dispatch: DispatchId) -> Option<u16> {
        let ran = self.slots.iter_mut().position(|slot| match &mut slot.state {
            State::Ready(calls) => calls.remove(&dispatch),
            _ => false,
        });
        ran.map(|number| number as u16)
    }

    /// The replica that ran `dispatch` is gone, with all that it ran; `None` if none runs it.
    pub(super) fn lost_with(&mut self, dispatch: DispatchId) -> Option<(u16, BTreeSet<DispatchId>)> {
        let runs = |slot: &Slot| matches!(&slot.state, State::Ready(calls) if calls.contains(&dispatch));
        let number = self.slots.iter().position(runs)? as u16;
        Some((number, self.lost(number)))
    }

    /// `replica` is gone; what it was running.
    pub(super) fn lost(&mut self, replica: u16) -> BTreeSet<DispatchId> {
        let is_wanted = usize::from(replica) < self.wanted;
        let Some(slot) = self.slots.get_mut(usize::from(replica)) else { return BTreeSet::new() };
        let state = std::mem::take(&mut slot.state);
        if !is_wanted {
            *slot = Slot::default();
        }
        match state {
            State::Ready(calls) => calls,
            _ => BTreeSet::new(),
        }
    }
}

// === impl Slot ===

impl Slot {
    fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    fn most(&self, calls_max: usize, ahead: bool) -> usize {
        calls_max + usize::from(ahead && self.short >= SHORT_CALLS)
    }
}

fn backoff(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        more => BACKOFF_FIRST.saturating_mul(1 << (more - 1).min(10)).min(BACKOFF_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_cannot_start_waits_longer_each_time() {
        let mut slots = Slots::new(1, 1, false);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            pauses.extend(slots.start_stopped().into_iter().map(|(_, pause, _)| pause.as_millis()));
            slots.failed(0, false);
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
    }

    #[test]
    fn calls_go_to_the_replica_with_the_fewest() {
        let mut slots = Slots::new(2, 2, false);
        slots.start_stopped();
        slots.ready(0);
        slots.ready(1);
        let taken: Vec<_> = (0..5).map(|call| slots.take(DispatchId(call), None)).collect();
        assert_eq!(taken, [Some(0), Some(1), Some(0), Some(1), None]);
        assert_eq!(slots.done(DispatchId(1)), Some(1));
        assert_eq!(slots.done(DispatchId(1)), None);
        assert_eq!(slots.lost_with(DispatchId(2)), Some((0, BTreeSet::from([DispatchId(0), DispatchId(2)]))));
        assert_eq!(slots.take(DispatchId(6), Some(1)), Some(1));
        assert_eq!(slots.take(DispatchId(7), None), None);
        assert!(!slots.has_room());
    }

    #[test]
    fn a_replica_whose_calls_are_short_gets_one_ahead_but_an_idle_one_comes_first() {
        let mut slots = Slots::new(2, 1, true);
        slots.start_stopped();
        slots.ready(0);
        assert_eq!(slots.take(DispatchId(1), None), Some(0));
        (0..SHORT_CALLS).for_each(|_| {
            assert!(!slots.has_room());
            slots.took(0, SHORT);
        });
        assert!(slots.has_room());
        slots.ready(1);
        assert_eq!(slots.take(DispatchId(2), None), Some(1));
        assert_eq!(slots.take(DispatchId(3), None), Some(0), "the other is not known to be quick");
        assert!(!slots.has_room());
        assert_eq!((slots.oldest(0), slots.done(DispatchId(1))), (Some(DispatchId(1)), Some(0)));
        slots.took(0, SHORT + Duration::from_millis(1));
        assert_eq!(slots.oldest(0), Some(DispatchId(3)));
        assert!(!slots.has_room(), "one call was long");
    }

    #[test]
    fn a_replica_that_is_not_wanted_takes_no_more_and_leaves_when_it_is_idle() {
        let mut slots = Slots::new(3, 1, false);
        slots.start_stopped();
        (0..3).for_each(|replica| slots.ready(replica));
        (0..3).for_each(|call| assert_eq!(slots.take(DispatchId(call), None), Some(call as u16)));
        slots.scale(1);
        assert_eq!(slots.count(), Replicas { wanted: 1, ready: 1 });
        assert!(slots.take_left().is_empty(), "both run something");
        slots.done(DispatchId(1));
        assert!(!slots.has_room() && slots.take(DispatchId(3), Some(1)).is_none());
        assert_eq!(slots.take_left(), [1]);
        slots.scale(2);
        assert_eq!(slots.start_stopped(), [(1, Duration::ZERO, false)], "it left for good");
        slots.scale(3);
        slots.done(DispatchId(2));
        assert!(slots.take_left().is_empty(), "it is wanted again");
        assert_eq!(slots.take(DispatchId(4), Some(2)), Some(2));
    }

    #[test]
    fn a_start_that_is_not_wanted_any_more_is_waited_for_and_blamed_on_nobody() {
        let mut slots = Slots::new(2, 1, false);
        slots.start_stopped();
        slots.scale(1);
        assert_eq!(slots.failed(1, true), AfterFailure::Wait);
        assert_eq!(slots.failed(0, true), AfterFailure::GiveUp, "it is all there is");
        slots.scale(2);
        assert_eq!(slots.start_stopped().len(), 2);
        slots.scale(1);
        slots.ready(1);
        assert_eq!(slots.take_left(), [1]);
        assert_eq!(slots.count(), Replicas { wanted: 1, ready: 0 });
    }

    #[test]
    fn giving_up_needs_every_replica_to_be_hopeless_although_all_are_started_again() {
        let mut slots = Slots::new(2, 1, false);
        let mut fail = |replica, final_| {
            slots.start_stopped();
            slots.failed(replica, final_)
        };
        assert_eq!(fail(0, true), AfterFailure::Wait);
        assert_eq!(fail(0, true), AfterFailure::Wait, "nobody knows of the other yet");
        assert_eq!(fail(1, true), AfterFailure::GiveUp);
        assert_eq!(fail(0, true), AfterFailure::Wait, "new rows give both another chance");
        (2..STARTS_MAX).for_each(|_| assert_eq!(fail(1, false), AfterFailure::Wait));
        assert_eq!(fail(1, false), AfterFailure::GiveUp);
        slots.start_stopped();
        slots.ready(0);
        assert_eq!(slots.failed(1, true), AfterFailure::Wait, "the other serves");
    }
}
