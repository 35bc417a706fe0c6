//! When to checkpoint, and what follows: a state machine without I/O.
//!
//! One checkpoint at a time. A job whose input ended takes one last checkpoint, so that what its sinks prepared last is
//! committed like everything before. Stopping takes a last checkpoint too: a drain lets readers stop and finishes what is in
//! flight behind a draining barrier; suspending keeps what is in flight in the checkpoint, as at any barrier.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_core::element::{Barrier, Epoch};
use forebay_core::time::Instant;

use crate::planted::RuntimeBug;
use crate::subtask::SubtaskId;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// The snapshot of this subtask is durable.
    Durable(SubtaskId, Epoch),
    /// This subtask ended.
    Ended(SubtaskId),
    /// The epoch record exists and its sinks are committed.
    Published(Epoch),
    /// The user asks to stop.
    Stop(Stop),
}

/// How an attempt is stopped. Both read nothing more, and end with a checkpoint from which a later attempt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Finish what is in flight first: as long as the slowest request takes, and nothing is asked again.
    Drain,
    /// Leave what is in flight to the next attempt: as long as a checkpoint takes. Requests without an answer are asked again.
    Suspend,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send this barrier into every source.
    SendBarrier(Barrier),
    /// Ask sources to read nothing more, and all subtasks to let what was read through.
    StopReading,
    /// Publish the checkpoint; `ended` if the job's input ended before it.
    Publish {
        /// Which.
        epoch: Epoch,
        /// Whether nothing is left to do after it.
        ended: bool,
    },
    /// Tell every subtask that the checkpoint is published.
    TellComplete(Epoch),
    /// The attempt is over.
    Finish(Finish),
}

/// How an attempt ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// All input was read, everything is committed.
    Completed,
    /// The user stopped it; a later attempt goes on from its last checkpoint.
    Stopped,
}

/// Decides about checkpoints and the end of an attempt.
#[derive(Debug)]
pub struct Coordinator {
    subtasks: BTreeSet<SubtaskId>,
    ended: BTreeSet<SubtaskId>,
    interval: Duration,
    next_epoch: Epoch,
    next_at: Instant,
    pending: Option<Pending>,
    stopping: Option<Stop>,
    finished: bool,
    bug: Option<RuntimeBug>,
}

#[derive(Debug)]
struct Pending {
    epoch: Epoch,
    missing: BTreeSet<SubtaskId>,
    last: Option<Finish>,
}

// === impl Coordinator ===

impl Coordinator {
    /// A coordinator of `subtasks` whose first checkpoint is `next_epoch`, due one `interval` after `now`.
    pub fn new(
        subtasks: impl IntoIterator<Item = SubtaskId>,
        interval: Duration,
        next_epoch: Epoch,
        now: Instant,
    ) -> Self {
        Self {
            subtasks: subtasks.into_iter().collect(),
            ended: BTreeSet::new(),
            interval,
            next_epoch,
            next_at: now + interval,
            pending: None,
            stopping: None,
            finished: false,
            bug: None,
        }
    }

    /// The same coordinator with a planted bug.
    #[doc(hidden)]
    #[must_use]
    pub fn with_bug(mut self, bug: Option<RuntimeBug>) -> Self {
        self.bug = bug;
        self
    }

    /// When [`Event::Tick`] is wanted; `None` while a checkpoint is under way.
    pub fn next_tick(&self) -> Option<Instant> {
        (self.pending.is_none() && !self.finished).then_some(self.next_at)
    }

    /// Takes what happened, answers what to do, in order.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Tick if self.pending.is_none() && !self.finished && now >= self.next_at => self.begin(None),
            Event::Tick => Vec::new(),
            Event::Durable(subtask, epoch) => self.on_durable(subtask, epoch),
            Event::Ended(subtask) => {
                self.ended.insert(subtask);
                self.begin_last()
            }
            Event::Stop(stop) => self.on_stop(stop),
            Event::Published(epoch) => self.on_published(epoch, now),
        }
    }

    fn on_durable(&mut self, subtask: SubtaskId, epoch: Epoch) -> Vec<Action> {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.epoch == epoch) else { return Vec::new() };
        let all = match self.bug {
            Some(RuntimeBug::PublishedEarly) => pending.missing.len() == self.subtasks.len(),
            _ => pending.missing.len() == 1,
        };
        if !pending.missing.remove(&subtask) || !all {
            return Vec::new();
        }
        let publish = Action::Publish { epoch, ended: pending.last == Some(Finish::Completed) };
        match self.bug {
            Some(RuntimeBug::ToldEarly) => vec![Action::TellComplete(epoch), publish],
            _ => vec![publish],
        }
    }

    fn on_published(&mut self, epoch: Epoch, now: Instant) -> Vec<Action> {
        let Some(pending) = self.pending.take_if(|pending| pending.epoch == epoch) else { return Vec::new() };
        self.next_at = now + self.interval;
        let mut actions = vec![Action::TellComplete(epoch)];
        match pending.last {
            Some(finish) => {
                self.finished = true;
                actions.push(Action::Finish(finish));
            }
            None => actions.extend(self.begin_last()),
        }
        actions
    }

    fn on_stop(&mut self, stop: Stop) -> Vec<Action> {
        if self.stopping.is_some() {
            return Vec::new();
        }
        self.stopping = Some(stop);
        let mut actions = vec![Action::StopReading];
        actions.extend(self.begin_last());
        actions
    }

    /// Begins the last checkpoint if it is time for it and none is under way.
    fn begin_last(&mut self) -> Vec<Action> {
        let all_ended = self.ended.len() == self.subtasks.len();
        if self.pending.is_some() || self.finished || !(all_ended || self.stopping.is_some()) {
            return Vec::new();
        }
        self.begin(Some(if all_ended { Finish::Completed } else { Finish::Stopped }))
    }

    fn begin(&mut self, last: Option<Finish>) -> Vec<Action> {
        let epoch = self.next_epoch;
        self.next_epoch = epoch.next();
        self.pending = Some(Pending { epoch, missing: self.subtasks.clone(), last });
        let drain = last.is_some() && self.stopping != Some(Stop::Suspend);
        vec![Action::SendBarrier(Barrier { epoch, drain, overtakes: false })]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SubtaskId = SubtaskId { task: 0, subtask: 0 };
    const B: SubtaskId = SubtaskId { task: 1, subtask: 0 };
    const START: Instant = Instant(0);

    fn coordinator() -> Coordinator {
        Coordinator::new([A, B], Duration::from_secs(1), Epoch(5), START)
    }

    fn barrier(epoch: u64, drain: bool) -> Action {
        Action::SendBarrier(Barrier { epoch: Epoch(epoch), drain, overtakes: false })
    }

    #[test]
    fn publishes_only_when_every_subtask_is_durable() {
        let mut coordinator = coordinator();
        let later = START + Duration::from_secs(1);
        assert_eq!(coordinator.step(Event::Tick, START), []);
        assert_eq!(coordinator.step(Event::Tick, later), [barrier(5, false)]);
        assert_eq!(coordinator.step(Event::Durable(A, Epoch(5)), later), []);
        assert_eq!(coordinator.step(Event::Durable(A, Epoch(5)), later), []);
        let publish = Action::Publish { epoch: Epoch(5), ended: false };
        assert_eq!(coordinator.step(Event::Durable(B, Epoch(5)), later), [publish]);
    }

    #[test]
    fn ended_input_takes_one_last_checkpoint_after_the_one_under_way() {
        let mut coordinator = coordinator();
        let later = START + Duration::from_secs(1);
        coordinator.step(Event::Tick, later);
        coordinator.step(Event::Ended(A), later);
        assert_eq!(coordinator.step(Event::Ended(B), later), []);
        coordinator.step(Event::Durable(A, Epoch(5)), later);
        coordinator.step(Event::Durable(B, Epoch(5)), later);
        let actions = coordinator.step(Event::Published(Epoch(5)), later);
        assert_eq!(actions, [Action::TellComplete(Epoch(5)), barrier(6, true)]);
        coordinator.step(Event::Durable(A, Epoch(6)), later);
        let publish = Action::Publish { epoch: Epoch(6), ended: true };
        assert_eq!(coordinator.step(Event::Durable(B, Epoch(6)), later), [publish]);
        let actions = coordinator.step(Event::Published(Epoch(6)), later);
        assert_eq!(actions, [Action::TellComplete(Epoch(6)), Action::Finish(Finish::Completed)]);
    }

    #[test]
    fn stop_drains_once_and_finishes_after_its_checkpoint() {
        let mut coordinator = coordinator();
        assert_eq!(coordinator.step(Event::Stop(Stop::Drain), START), [Action::StopReading, barrier(5, true)]);
        assert_eq!(coordinator.step(Event::Stop(Stop::Suspend), START), []);
        coordinator.step(Event::Durable(A, Epoch(5)), START);
        coordinator.step(Event::Durable(B, Epoch(5)), START);
        let actions = coordinator.step(Event::Published(Epoch(5)), START);
        assert_eq!(actions.last(), Some(&Action::Finish(Finish::Stopped)));
        assert_eq!(coordinator.next_tick(), None);
    }

    #[test]
    fn suspending_waits_for_the_checkpoint_under_way_and_takes_one_that_drains_nothing() {
        let mut coordinator = coordinator();
        let later = START + Duration::from_secs(1);
        assert_eq!(coordinator.step(Event::Tick, later), [barrier(5, false)]);
        assert_eq!(coordinator.step(Event::Stop(Stop::Suspend), later), [Action::StopReading]);
        coordinator.step(Event::Durable(A, Epoch(5)), later);
        coordinator.step(Event::Durable(B, Epoch(5)), later);
        let actions = coordinator.step(Event::Published(Epoch(5)), later);
        assert_eq!(actions, [Action::TellComplete(Epoch(5)), barrier(6, false)]);
        coordinator.step(Event::Durable(A, Epoch(6)), later);
        let publish = Action::Publish { epoch: Epoch(6), ended: false };
        assert_eq!(coordinator.step(Event::Durable(B, Epoch(6)), later), [publish]);
        let actions = coordinator.step(Event::Published(Epoch(6)), later);
        assert_eq!(actions.last(), Some(&Action::Finish(Finish::Stopped)));
    }
}
