//! The half of the core that faces replicas: sending rows, and what follows from an answer, a refusal or a death.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::array::RecordBatch;
use forebay_core::Kind;
use forebay_core::time::Instant;
use forebay_gate::limiter::Class;

use super::super::events::{Action, DispatchId, Failure};
use super::super::slots::{AfterFailure, STARTS_MAX};
use super::{Core, Running, Storing, Work, select};
use crate::hosts::{Answers, Refused};
use crate::request::RequestBatch;

// === impl Core ===

impl Core {
    pub(super) fn on_replica_failed(&mut self, replica: u16, failure: &Failure, now: Instant) {
        let final_ = !failure.kind.is_retryable();
        if self.slots.failed(replica, final_) == AfterFailure::GiveUp {
            let failure = no_start(failure, final_);
            for work in std::mem::take(&mut self.queue) {
                self.fail(work, &failure, now);
            }
        }
    }

    pub(super) fn on_replica_lost(&mut self, replica: u16, failure: &Failure, now: Instant) {
        self.actions.push(Action::Discard { replica });
        let mut calls = self.slots.lost(replica);
        let ended_it = calls.pop_first();
        self.begin_elsewhere(calls, failure, now);
        if let Some(Running { work, .. }) = ended_it.and_then(|dispatch| self.running.remove(&dispatch)) {
            self.call_ended(work.submission, failure.class);
            self.try_again(work, failure, now);
        }
    }

    /// Queues what a replica that is gone had not begun: its end is no fault of these rows.
    fn begin_elsewhere(&mut self, calls: BTreeSet<DispatchId>, failure: &Failure, now: Instant) {
        for dispatch in calls.into_iter().rev() {
            match self.running.remove(&dispatch) {
                Some(Running { work, .. }) if self.settings.planted.blame_all => self.try_again(work, failure, now),
                Some(Running { work, .. }) => self.queue.push_front(work),
                None => {}
            }
        }
    }

    pub(super) fn on_answered(&mut self, dispatch: DispatchId, result: Result<Answers, Failure>, now: Instant) {
        let mut replica = None;
        match &result {
            Err(failure) if replica_is_gone(failure.kind) && !self.settings.remote => {
                if let Some((replica, mut calls)) = self.slots.lost_with(dispatch) {
                    self.actions.push(Action::Discard { replica });
                    calls.remove(&dispatch);
                    self.begin_elsewhere(calls, failure, now);
                }
            }
            _ => replica = self.slots.done(dispatch),
        }
        let Some(Running { work, begun }) = self.running.remove(&dispatch) else {
            self.counters.late_dropped += 1;
            return;
        };
        if let Some(replica) = replica {
            self.next_begins(replica, now.since(begun), now);
        }
        self.call_ended(work.submission, result.as_ref().map_or_else(|failure| failure.class, |_| Class::Answered));
        match result {
            Ok(Answers { rows, refused }) if rows.num_rows() == work.batch.len() => {
                self.counters.latencies.record(now.since(begun));
                if refused.is_empty() {
                    self.store_answers(dispatch, work, rows, now);
                } else {
                    self.store_mixed(work, rows, refused, now);
                }
            }
            Ok(Answers { rows, .. }) => {
                let reason = format!("model answered {} rows to {}", rows.num_rows(), work.batch.len());
                self.refuse(dispatch, work, refusal(reason), now);
            }
            Err(failure) if failure.kind == Kind::Data => self.refuse(dispatch, work, failure, now),
            Err(failure) if failure.kind == Kind::Exhausted && work.batch.len() > 1 && !self.settings.remote => {
                self.split(work, 2);
            }
            // Those who asked know better when to ask a remote model again.
            Err(failure) if failure.kind.is_retryable() && !self.settings.remote => self.try_again(work, &failure, now),
            Err(failure) => self.fail(work, &failure, now),
        }
    }

    /// A call of `replica` took so long; the one that was sent ahead of its end begins.
    fn next_begins(&mut self, replica: u16, took: Duration, now: Instant) {
        if !self.settings.ahead {
            return;
        }
        self.slots.took(replica, took);
        let next = self.slots.oldest(replica).and_then(|dispatch| self.running.get_mut(&dispatch));
        if let Some(next) = next {
            next.begun = now;
        }
    }

    /// Answers are stored as those of a batch of their own, and each refusal by itself: nobody asks for any of them again.
    fn store_mixed(&mut self, work: Work, rows: RecordBatch, refused: Vec<Refused>, now: Instant) {
        let reasons: BTreeMap<usize, String> =
            refused.into_iter().map(|refused| (refused.row, refused.reason)).collect();
        let good: Vec<usize> = (0..work.batch.len()).filter(|row| !reasons.contains_key(row)).collect();
        if !good.is_empty() {
            let answered = RequestBatch { ids: work.batch.ids.clone(), rows };
            let RequestBatch { rows, .. } = select(&answered, &good);
            let dispatch = self.next_dispatch();
            self.store_answers(dispatch, Work { batch: select(&work.batch, &good), ..work }, rows, now);
        }
        for (row, reason) in reasons {
            let batch = select(&work.batch, &[row]);
            let dispatch = self.next_dispatch();
            self.refuse(dispatch, Work { batch, ..work }, refusal(reason), now);
        }
    }

    fn next_dispatch(&mut self) -> DispatchId {
        self.dispatches += 1;
        DispatchId(self.dispatches)
    }

    /// The model will not answer these rows: one by one to find which, and a single row is a failure for good.
    fn refuse(&mut self, dispatch: DispatchId, work: Work, failure: Failure, now: Instant) {
        if work.batch.len() > 1 {
            // Each call of a remote model takes a permit of its own, so those who hold permits cut the batch up.
            if self.settings.remote {
                self.fail(work, &failure, now)
            } else {
                self.split(work, usize::MAX)
            }
            return;
        }
        let outcome = failure.outcome(1);
        let storing = Storing { ids: work.batch.ids, outcomes: vec![outcome] };
        let append = Action::AppendFailure { dispatch, ids: storing.ids.clone(), failure };
        self.store(dispatch, work.submission, storing, append, now);
    }

    /// Sends rows again, each alone, or gives them up when they were tried often enough.
    fn try_again(&mut self, mut work: Work, failure: &Failure, now: Instant) {
        work.attempts += 1;
        if work.attempts >= self.settings.attempts_max.max(1) {
            self.fail(work, failure, now);
        } else {
            self.split(work, usize::MAX);
        }
    }

    /// Puts `work` back at the head of the queue, in at most `parts` pieces of equal size.
    fn split(&mut self, work: Work, parts: usize) {
        let rows = work.batch.len();
        let size = rows.div_ceil(parts.min(rows)).max(1);
        for start in (0..rows).step_by(size).rev() {
            let length = size.min(rows - start);
            let ids = work.batch.ids[start..start + length].to_vec();
            let batch = RequestBatch { ids, rows: work.batch.rows.slice(start, length) };
            self.queue.push_front(Work { batch, ..work });
        }
    }

    /// Gives rows up without a record: another attempt of the job may try them again.
    fn fail(&mut self, work: Work, failure: &Failure, now: Instant) {
        self.model_done(work.submission, work.batch.len());
        let outcome = failure.outcome(work.batch.len());
        for id in work.batch.ids {
            self.settle(id, &outcome, now);
        }
    }

    pub(super) fn on_scale(&mut self, replicas: u16) {
        self.slots.scale(replicas);
        if self.broken.is_none() {
            self.start_replicas();
        }
        if self.settings.planted.cut_short {
            self.actions.extend(self.slots.cut_short().into_iter().map(|replica| Action::Discard { replica }));
        }
    }

    /// Lets go of replicas that are not wanted and run nothing.
    pub(super) fn let_go(&mut self) {
        self.actions.extend(self.slots.take_left().into_iter().map(|replica| Action::Discard { replica }));
    }

    pub(super) fn start_replicas(&mut self) {
        for (replica, after, again) in self.slots.start_stopped() {
            self.counters.replica_restarts += u64::from(again);
            self.actions.push(Action::Start { replica, after });
        }
    }

    pub(super) fn send_queued(&mut self, now: Instant) {
        if !self.queue.is_empty() {
            self.start_replicas();
        }
        while self.slots.has_room()
            && let Some(work) = self.queue.pop_front()
        {
            let dispatch = self.next_dispatch();
            let replica = self.slots.take(dispatch, work.replica).expect("a replica had room a moment ago");
            self.counters.calls += 1;
            self.counters.rows += work.batch.len() as u64;
            self.counters.first_sent.get_or_insert(now);
            let (submission, batch) = (work.submission, work.batch.clone());
            self.actions.push(Action::Dispatch { dispatch, replica, submission, batch });
            self.running.insert(dispatch, Running { work, begun: now });
        }
    }
}

/// The model answered, and what it said of these rows is that it will not answer them.
fn refusal(reason: String) -> Failure {
    Failure { kind: Kind::Data, reason, class: Class::Answered, retry_after: None, final_: true }
}

/// What the rows that wait for a replica are told when none comes up. It is nobody's row that is at fault, so it must stop the
/// job and not make dead letters of them: that is what `Invalid` does.
fn no_start(failure: &Failure, final_: bool) -> Failure {
    let reason = match final_ {
        true => failure.reason.clone(),
        false => format!("not started in {STARTS_MAX} tries, the last of which: {}", failure.reason),
    };
    Failure { kind: Kind::Invalid, reason, ..failure.clone() }
}

/// A call that ends so leaves no replica behind.
fn replica_is_gone(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Timeout)
}
