//! The end of a row on its rung: its outcome, or the next rung.
//!
//! A row leaves a rung upwards only after it is durable that the rung does not answer it. If an answer turns out to be
//! durable already (it came late, or in an earlier attempt of the job), that one stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::Kind;
use forebay_gate::batcher::Entry as Queued;
use forebay_gate::blame::Suspicion;
use forebay_inference::request::{Outcome, RequestId};

use super::lane::Standing;
use super::{Done, Inference};

// === impl Inference ===

impl Inference {
    /// These rows got their last outcome on the rung where they stand.
    pub(super) fn end(&mut self, ended: impl IntoIterator<Item = (u64, Outcome)>) {
        let mut failed: BTreeMap<(usize, Kind, String), Vec<u64>> = BTreeMap::new();
        for (number, outcome) in ended {
            let Some(rung) = self.table.get(number).map(|entry| entry.rung) else { continue };
            match outcome {
                Outcome::Failed { kind, reason, .. } if rung + 1 < self.rungs.len() => {
                    failed.entry((rung, kind, reason)).or_default().push(number);
                }
                Outcome::GivenUp { .. } => self.climb(number, outcome),
                outcome => self.finish(number, outcome),
            }
        }
        for ((rung, kind, reason), rows) in failed {
            self.give_up(rung, kind, reason, rows);
        }
    }

    fn give_up(&mut self, rung: usize, kind: Kind, reason: String, rows: Vec<u64>) {
        let mut ids: Vec<RequestId> = Vec::with_capacity(rows.len());
        for number in &rows {
            if let Some(entry) = self.table.get_mut(*number) {
                entry.giving_up = true;
                ids.push(entry.request);
            }
        }
        if self.settings.planted.given_up_forgotten {
            rows.into_iter().for_each(|row| self.climb(row, Outcome::GivenUp { kind, reason: reason.clone() }));
            return;
        }
        let answer = self.lane(rung).model.give_up(ids, kind, reason);
        let (env, waker) = (Arc::clone(&self.context().env), self.context().waker.clone());
        let done = async move { Done::GivenUp { rows, outcomes: answer.await } };
        self.completions.run(&*env, waker, Box::pin(done));
        self.running += 1;
    }

    /// It is durable now what becomes of a row that was given up.
    pub(super) fn given_up(&mut self, number: u64, outcome: Outcome) {
        match outcome {
            Outcome::Answered { .. } => self.finish(number, outcome),
            failed => self.climb(number, failed),
        }
    }

    /// To the next rung, or to its end with `failed`.
    fn climb(&mut self, number: u64, failed: Outcome) {
        let Some(entry) = self.table.get_mut(number) else { return };
        entry.giving_up = false;
        let (batch, place, mut rung) = (Arc::clone(&entry.batch), entry.place, entry.rung);
        loop {
            rung += 1;
            match self.rungs.get_mut(rung) {
                None => return self.finish(number, failed),
                Some(Standing::Asked(_)) => return self.ask_next(number, rung),
                Some(Standing::Computed(computed)) => {
                    if let Ok(answer) = computed.answer(&batch, place) {
                        if let Some(entry) = self.table.get_mut(number) {
                            entry.rung = rung;
                        }
                        return self.finish(number, answer);
                    }
                }
            }
        }
    }

    fn ask_next(&mut self, number: u64, rung: usize) {
        let Some(entry) = self.table.get(number) else { return };
        let lane = self.lane(rung);
        let request = lane.request_id(&self.context().identity.uid, entry.batch.ids()[entry.place]);
        let bytes = lane.row_bytes(&entry.batch);
        if let Some(entry) = self.table.get_mut(number) {
            entry.rung = rung;
            entry.earlier.push(std::mem::replace(&mut entry.request, request));
            entry.attempts_before += std::mem::take(&mut entry.attempts);
            entry.suspicion = Suspicion::default();
            let deadline = entry.deadline;
            self.deadlines.remove(&(deadline.unwrap_or_default(), number));
        }
        self.enqueue(number, rung, bytes);
    }

    /// The row has its outcome: nobody is asked about it any more, and the next of its key may go.
    pub(super) fn finish(&mut self, number: u64, outcome: Outcome) {
        let Some(entry) = self.table.get(number).filter(|entry| entry.outcome.is_none()) else { return };
        let (key, top, abandoned) = (entry.key, entry.rung, entry.abandoned);
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        self.table.finish(number, outcome);
        let Some(key) = key else { return };
        // What is still in the queue or in flight of the first rung frees its key when it comes back.
        for rung in usize::from(abandoned)..=top {
            if let Some(Standing::Asked(lane)) = self.rungs.get_mut(rung) {
                lane.batcher.done(key, number);
            }
        }
    }

    /// Rows whose deadline has passed get no answer from the step's model, wherever they are.
    pub(super) fn expire(&mut self) {
        let now = self.since_start();
        if self.suspended || self.settings.planted.deadline_forgotten {
            return;
        }
        let (mut late, groups) = (Vec::new(), self.context().identity.groups);
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.pop_first();
            let Some(entry) = self.table.get_mut(number).filter(|entry| !entry.giving_up) else { continue };
            entry.abandoned = true;
            self.late.insert(number, (entry.group(groups), entry.request));
            late.push(number);
        }
        let reason = "no answer by its deadline";
        let failed = || Outcome::Failed {
            kind: Kind::Timeout,
            reason: reason.to_string(),
            retry_after: None,
            final_: false,
            together: false,
        };
        self.end(late.into_iter().map(|number| (number, failed())));
    }

    /// The model refuses everything for longer than the step waits for it, and there are other answers.
    pub(super) fn is_hopeless(&self, rung: usize) -> bool {
        let patience = self.settings.patience.filter(|_| rung + 1 < self.rungs.len());
        patience.is_some_and(|patience| self.lane(rung).later.is_hopeless(self.now(), patience))
    }

    /// Rows that `rung` will not be asked about, because it refuses everything.
    pub(super) fn refuse_all(&mut self, rung: usize, rows: Vec<Queued<u64>>) {
        let patience = self.settings.patience.unwrap_or(Duration::ZERO);
        let reason = format!("the model was down or full for {patience:?}");
        let failed = || Outcome::Failed {
            kind: Kind::Unavailable,
            reason: reason.clone(),
            retry_after: None,
            final_: false,
            together: false,
        };
        let rows = self.still_asked(rung, rows);
        self.end(rows.into_iter().map(|row| (row.item, failed())));
    }
}
