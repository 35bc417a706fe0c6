//! The open table: which rows are being answered, who waits for them, and in which order things happen to an answer.
//!
//! A pure state machine: [`Core::step`] takes what happened and says what to do. Its promises, whatever the order of events:
//! a row is run by one replica at a time, and never once it is journalled; an answer is told after it is durable; rows of
//! a replica that died are sent again, alone, so one poisonous row takes nobody with it twice; a replica that is not wanted
//! any more ends what it runs before it leaves. It never waits, never looks at the content of rows, and never remembers a row
//! after telling it: from then on the journal does.

mod dispatch;

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use forebay_core::time::Instant;
use forebay_gate::limiter::Class;

use super::events::{Action, CoreSettings, Counters, DispatchId, Event, Failure, Replicas, SubmissionId};
use super::slots::Slots;
use crate::request::{Outcome, RequestBatch, RequestId};

/// The open table of one model. See the file's header for its promises.
pub struct Core {
    settings: CoreSettings,
    open: BTreeMap<RequestId, Vec<Waiter>>,
    submissions: BTreeMap<SubmissionId, Submission>,
    queue: VecDeque<Work>,
    running: BTreeMap<DispatchId, Running>,
    storing: BTreeMap<DispatchId, Storing>,
    slots: Slots,
    dispatches: u64,
    broken: Option<Failure>,
    counters: Counters,
    actions: Vec<Action>,
}

/// A row that wants the outcome of an open request.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    submission: SubmissionId,
    place: usize,
}

#[derive(Debug)]
struct Submission {
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    /// Rows that the model still has to answer because of this submission.
    unanswered: usize,
    /// How the latest of its calls ended; `Cancelled` without any.
    class: Class,
    replica: Option<u16>,
    /// Rows the journal is asked about.
    asked: Option<RequestBatch>,
}

/// Rows that wait for a replica, or run on one.
#[derive(Debug)]
struct Work {
    submission: SubmissionId,
    batch: RequestBatch,
    /// The one that it is for, if that was chosen before.
    replica: Option<u16>,
    attempts: u32,
}

#[derive(Debug)]
struct Running {
    work: Work,
    /// When it was sent, or when the call before it at the same replica ended.
    begun: Instant,
}

/// Outcomes on their way into the journal.
#[derive(Debug)]
struct Storing {
    ids: Vec<RequestId>,
    outcomes: Vec<Outcome>,
}

// === impl Core ===

impl Core {
    /// A core with nothing open and no replica started.
    pub fn new(settings: CoreSettings) -> Self {
        Self {
            slots: Slots::new(settings.replicas, settings.calls_max, settings.ahead),
            settings,
            open: BTreeMap::new(),
            submissions: BTreeMap::new(),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            storing: BTreeMap::new(),
            dispatches: 0,
            broken: None,
            counters: Counters::default(),
            actions: Vec::new(),
        }
    }

    /// Takes one event, which happened at `now`; what follows from it, in order.
    pub fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Warm => self.start_replicas(),
            Event::Scale { replicas } => self.on_scale(replicas),
            Event::Submit { submission, batch, replica } => self.on_submit(submission, batch, replica),
            Event::Known { submission, known } => self.on_known(submission, known, now),
            Event::ReplicaReady { replica } => self.slots.ready(replica),
            Event::ReplicaFailed { replica, failure } => self.on_replica_failed(replica, &failure, now),
            Event::ReplicaLost { replica, failure } => self.on_replica_lost(replica, &failure, now),
            Event::Answered { dispatch, result } => self.on_answered(dispatch, result, now),
            Event::Durable { dispatch, first } => self.on_durable(dispatch, first, now),
            Event::JournalFailed { failure } | Event::End { failure } => self.take_no_more(failure),
            Event::Cancel { submission } => self.on_cancel(submission),
        }
        self.let_go();
        self.send_queued(now);
        std::mem::take(&mut self.actions)
    }

    /// Whether it takes no more: the journal failed, or the job is over.
    pub fn is_over(&self) -> bool {
        self.broken.is_some()
    }

    /// How many replicas are wanted, and how many of those take calls.
    pub fn replicas(&self) -> Replicas {
        self.slots.count()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many rows are open: taken, and not yet told.
    pub fn open_rows(&self) -> usize {
        self.open.len()
    }

    /// Whether the planted bug of that name is on.
    pub fn cancels_on_drop(&self) -> bool {
        self.settings.planted.cancel_on_drop
    }

    fn on_submit(&mut self, submission: SubmissionId, batch: RequestBatch, replica: Option<u16>) {
        if let Some(failure) = self.broken.clone() {
            self.actions.push(Action::Tell { submission, result: Err(failure) });
            return;
        }
        let mut fresh = Vec::new();
        for (place, id) in batch.ids.iter().enumerate() {
            let waiters = self.open.entry(*id).or_default();
            if waiters.is_empty() {
                fresh.push(place);
            } else {
                self.counters.attached += 1;
            }
            waiters.push(Waiter { submission, place });
        }
        let rows = batch.len();
        let entry = Submission {
            outcomes: vec![None; rows],
            missing: rows,
            unanswered: fresh.len(),
            class: Class::Cancelled,
            replica,
            asked: None,
        };
        self.submissions.insert(submission, entry);
        if rows == 0 {
            self.actions.push(Action::Tell { submission, result: Ok(Vec::new()) });
            self.submissions.remove(&submission);
        } else if fresh.is_empty() {
            self.actions.push(Action::Release { submission, class: Class::Cancelled });
        } else {
            self.ask_journal(submission, select(&batch, &fresh));
        }
    }

    fn ask_journal(&mut self, submission: SubmissionId, batch: RequestBatch) {
        if !self.settings.journal || self.settings.planted.no_lookup {
            self.enqueue(submission, batch);
            return;
        }
        self.actions.push(Action::Lookup { submission, ids: batch.ids.clone() });
        if let Some(entry) = self.submissions.get_mut(&submission) {
            entry.asked = Some(batch);
        }
    }

    fn enqueue(&mut self, submission: SubmissionId, batch: RequestBatch) {
        let replica = self.submissions.get(&submission).and_then(|entry| entry.replica);
        self.queue.push_back(Work { submission, batch, replica, attempts: 0 });
    }

    fn on_known(&mut self, submission: SubmissionId, known: Vec<Option<Outcome>>, now: Instant) {
        let Some(batch) = self.submissions.get_mut(&submission).and_then(|entry| entry.asked.take()) else { return };
        let unknown: Vec<usize> =
            (0..batch.len()).filter(|place| !matches!(known.get(*place), Some(Some(_)))).collect();
        let hits = batch.len() - unknown.len();
        self.counters.journal_hits += hits as u64;
        if !unknown.is_empty() {
            self.enqueue(submission, select(&batch, &unknown));
        }
        self.model_done(submission, hits);
        for (id, outcome) in batch.ids.into_iter().zip(known) {
            if let Some(outcome) = outcome {
                self.settle(id, &outcome, now);
            }
        }
    }

    fn store_answers(&mut self, dispatch: DispatchId, work: Work, rows: RecordBatch, now: Instant) {
        let outcome = |place| Outcome::Answered { rows: rows.clone(), place };
        let storing = Storing { outcomes: (0..work.batch.len()).map(outcome).collect(), ids: work.batch.ids };
        let append = Action::Append { dispatch, ids: storing.ids.clone(), rows: rows.clone() };
        self.store(dispatch, work.submission, storing, append, now);
    }

    fn store(&mut self, dispatch: DispatchId, by: SubmissionId, storing: Storing, append: Action, now: Instant) {
        self.model_done(by, storing.ids.len());
        if !self.settings.journal || self.settings.planted.tell_before_durable {
            self.settle_all(&storing, now);
        }
        if self.settings.journal {
            self.actions.push(append);
            self.storing.insert(dispatch, storing);
        }
    }

    fn on_durable(&mut self, dispatch: DispatchId, first: Vec<(usize, Outcome)>, now: Instant) {
        let Some(mut storing) = self.storing.remove(&dispatch) else { return };
        for (place, outcome) in first {
            if let Some(own) = storing.outcomes.get_mut(place) {
                *own = outcome;
            }
        }
        self.settle_all(&storing, now);
    }

    /// Everyone is told so, and nothing new is taken: what is durable and what is not is unknown, or nobody cares.
    fn take_no_more(&mut self, failure: Failure) {
        for submission in std::mem::take(&mut self.submissions).into_keys() {
            self.actions.push(Action::Tell { submission, result: Err(failure.clone()) });
        }
        self.broken = Some(failure);
        self.open.clear();
        self.queue.clear();
        self.running.clear();
        self.storing.clear();
    }

    fn on_cancel(&mut self, submission: SubmissionId) {
        self.submissions.remove(&submission);
        let running = self.running.iter().filter(|(_, running)| running.work.submission == submission);
        let dispatches: Vec<DispatchId> = running.map(|(dispatch, _)| *dispatch).collect();
        for dispatch in dispatches {
            self.running.remove(&dispatch);
            if let Some((replica, calls)) = self.slots.lost_with(dispatch) {
                self.actions.push(Action::Discard { replica });
                let running = &mut self.running;
                let not_begun = calls.into_iter().filter_map(|dispatch| running.remove(&dispatch));
                self.queue.extend(not_begun.map(|running| running.work));
            }
        }
        self.queue.retain(|work| work.submission != submission);
        self.open.retain(|_, waiters| {
            waiters.retain(|waiter| waiter.submission != submission);
            !waiters.is_empty()
        });
    }

    fn settle_all(&mut self, storing: &Storing, now: Instant) {
        for (id, outcome) in storing.ids.iter().zip(&storing.outcomes) {
            self.settle(*id, outcome, now);
        }
    }

    fn settle(&mut self, id: RequestId, outcome: &Outcome, now: Instant) {
        for waiter in self.open.remove(&id).unwrap_or_default() {
            let Some(entry) = self.submissions.get_mut(&waiter.submission) else { continue };
            if entry.outcomes[waiter.place].replace(outcome.clone()).is_none() {
                entry.missing -= 1;
            }
            if entry.missing == 0 {
                let outcomes = std::mem::take(&mut entry.outcomes).into_iter().flatten().collect();
                self.submissions.remove(&waiter.submission);
                self.counters.last_told = Some(now);
                self.actions.push(Action::Tell { submission: waiter.submission, result: Ok(outcomes) });
            }
        }
    }

    /// The model has nothing more to do for `rows` rows of `submission`.
    fn model_done(&mut self, submission: SubmissionId, rows: usize) {
        let Some(entry) = self.submissions.get_mut(&submission).filter(|entry| entry.unanswered > 0) else { return };
        entry.unanswered = entry.unanswered.saturating_sub(rows);
        if entry.unanswered == 0 {
            let class = entry.class;
            self.actions.push(Action::Release { submission, class });
        }
    }

    /// A call of `submission` ended so.
    fn call_ended(&mut self, submission: SubmissionId, class: Class) {
        if let Some(entry) = self.submissions.get_mut(&submission) {
            entry.class = class;
        }
    }
}

/// The rows of `batch` at `places`, ascending; a run of neighbours is not copied.
fn select(batch: &RequestBatch, places: &[usize]) -> RequestBatch {
    let ids = places.iter().map(|place| batch.ids[*place]).collect();
    let rows = match (places.first(), places.last()) {
        (Some(first), Some(last)) if last - first + 1 == places.len() => batch.rows.slice(*first, places.len()),
        _ => {
            let places = UInt64Array::from_iter_values(places.iter().map(|place| *place as u64));
            take_record_batch(&batch.rows, &places).expect("places lie inside the batch they were counted in")
        }
    };
    RequestBatch { ids, rows }
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
