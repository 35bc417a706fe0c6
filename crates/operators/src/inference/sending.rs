//! From rows to calls: rows join the batchers of the rung that they stand on; batches leave as gates allow.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::time::Instant;
use forebay_core::{Batch, Result};
use forebay_gate::batcher::{Cause, Entry as Queued, Formed};
use forebay_gate::blame::Suspicion;
use forebay_inference::request::RequestId;

use super::codec::Waiting;
use super::facts::{Arrival, Known};
use super::table::Entry;
use super::{BUDGET_PAUSE, Done, Inference};

// === impl Inference ===

impl Inference {
    /// Rows of one batch with what the batcher has to know of them, and the bytes of each.
    pub(super) fn with_facts(&self, rows: Vec<Waiting>) -> Result<Vec<(Waiting, Arc<Known>, usize)>> {
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let known = Arc::new(self.known(&first.batch)?);
        let bytes = self.lane(0).row_bytes(&first.batch);
        Ok(rows.into_iter().map(|row| (row, Arc::clone(&known), bytes)).collect())
    }

    /// What the operator has to know of the rows of a batch.
    pub(super) fn known(&self, batch: &Batch) -> Result<Known> {
        let mut known = self.settings.rows.of(batch)?;
        let contents = self.settings.updates.as_ref().map(|updates| updates.contents.of(batch.rows()));
        known.contents = contents.transpose()?;
        Ok(known)
    }

    /// Takes one row.
    pub(super) fn take_row(&mut self, waiting: Waiting, known: &Known, arrival: Arrival, bytes: usize) -> Result<()> {
        let Waiting { batch, place, rung, attempts, attempts_before, left, .. } = waiting;
        // A job may come back with a shorter ladder.
        let rung = if self.asked(rung as usize).is_some() { rung as usize } else { 0 };
        let row = batch.ids()[place];
        let below = (0..rung).filter_map(|rung| self.request_id(rung, row));
        let content = known.content(place).cloned().map(Box::new);
        let retracts = batch.kind(place).is_retraction() && !self.settings.planted.asked_again;
        let takes_back = content.is_some() && retracts;
        let entry = Entry {
            number: 0,
            rung,
            earlier: below.collect(),
            request: self.lane(rung).request_id(&self.context().identity.uid, row),
            attempts,
            attempts_before,
            suspicion: Suspicion::default(),
            cost: known.cost(place),
            bucket: known.bucket(place),
            key: known.key(place),
            deadline: if takes_back { None } else { known.due(place, arrival, left) },
            content,
            takes_back,
            is_kept: false,
            is_taken_back: false,
            batch,
            place,
            giving_up: false,
            abandoned: false,
            outcome: None,
        };
        let deadline = entry.deadline.filter(|_| rung == 0);
        let number = self.table.push(entry);
        self.deadlines.extend(deadline.map(|deadline| (deadline, number)));
        if !takes_back {
            self.enqueue(number, rung, bytes);
        }
        self.came(number)
    }

    fn request_id(&self, rung: usize, row: forebay_core::RowId) -> Option<RequestId> {
        Some(self.asked(rung)?.request_id(&self.context().identity.uid, row))
    }

    /// Puts a row of the table in the queue of its rung.
    pub(super) fn enqueue(&mut self, number: u64, rung: usize, bytes: usize) {
        let now = self.since_start();
        let Some(entry) = self.table.get(number) else { return };
        let row = Queued {
            cost: entry.cost,
            key: entry.key,
            bucket: entry.bucket,
            deadline: entry.deadline.filter(|_| rung == 0),
            ..Queued::new(number, number, bytes)
        };
        let failed = entry.attempts > 0;
        let batcher = &mut self.lane_mut(rung).batcher;
        // A row that failed before the restore must not take others with it.
        if failed { batcher.retry(vec![row], now) } else { batcher.push(row, now) }
    }

    /// Sends request batches while there are complete ones and permits.
    pub(super) fn send(&mut self) -> Result<()> {
        self.expire();
        for rung in 0..self.rungs.len() {
            if self.asked(rung).is_some() {
                self.send_rung(rung)?;
            }
        }
        Ok(())
    }

    fn send_rung(&mut self, rung: usize) -> Result<()> {
        let (now, waker) = (self.since_start(), self.context().waker.clone());
        self.take_due(rung);
        self.set_knobs(rung);
        while !self.suspended && self.lane(rung).batcher.is_ready(now) {
            if self.table.is_heavy() {
                // What may leave is taken by a poll, which sends again.
                self.lane_mut(rung).refused = true;
                return Ok(());
            }
            if self.is_hopeless(rung) {
                let formed = self.lane_mut(rung).batcher.take(now);
                self.refuse_all(rung, formed.map(|formed| formed.rows).unwrap_or_default());
                continue;
            }
            let lane = self.lane_mut(rung);
            lane.refused = !lane.gate.has_room(&waker);
            let Some(mut formed) = (if lane.refused { None } else { lane.batcher.take(now) }) else { return Ok(()) };
            formed.rows = self.still_asked(rung, formed.rows);
            if formed.rows.is_empty() {
                continue;
            }
            let lane = self.lane_mut(rung);
            let Some(permit) = lane.gate.try_acquire(formed.size(), &waker) else {
                lane.batcher.put_back(formed);
                lane.refused = true;
                return Ok(());
            };
            let Formed { rows, cause, .. } = formed;
            if cause != Cause::Retry {
                lane.gate.earn();
            }
            let lane = self.lane(rung);
            let answer = lane.model.submit(lane.request(&self.table, &rows)?, permit);
            let (env, sent) = (Arc::clone(&self.context().env), self.now());
            let done = async move { Done::Answered { rung, rows, sent, outcomes: answer.await } };
            self.completions.run(&*env, waker.clone(), Box::pin(done));
            self.running += 1;
        }
        Ok(())
    }

    fn set_knobs(&mut self, rung: usize) {
        let (rows_max, linger) = (self.settings.batcher.rows_max, self.settings.batcher.linger);
        let lane = self.lane_mut(rung);
        let knobs = lane.gate.knobs();
        lane.batcher.set_knobs(knobs.rows_max.min(rows_max), Duration::from_secs_f64(knobs.linger).min(linger));
        lane.refused = false;
    }

    /// Rows whose pause is over go back to the batcher.
    fn take_due(&mut self, rung: usize) {
        if self.is_hopeless(rung) {
            let refused = self.lane_mut(rung).later.take_refused();
            self.refuse_all(rung, refused);
        }
        let (now, since) = (self.now(), self.since_start());
        while let Some((rows, worked)) = self.lane_mut(rung).later.take(now) {
            let rows = self.still_asked(rung, rows);
            let lane = self.lane_mut(rung);
            if rows.is_empty() {
            } else if worked && !lane.gate.pay() {
                lane.later.push(now + BUDGET_PAUSE, rows, worked);
            } else {
                lane.batcher.retry(rows, since);
            }
        }
    }

    /// Those of `rows`, which were in the queue or in flight of `rung`, that it is still asked about.
    pub(super) fn still_asked(&mut self, rung: usize, rows: Vec<Queued<u64>>) -> Vec<Queued<u64>> {
        let mut asked = Vec::with_capacity(rows.len());
        for row in rows {
            if self.table.is_asked(row.item, rung) {
                asked.push(row);
            } else {
                self.came_back(rung, &row);
            }
        }
        asked
    }

    /// A row that nobody asks `rung` about any more has left its queue or its call: the next of its key may go if the row
    /// has its outcome.
    pub(super) fn came_back(&mut self, rung: usize, row: &Queued<u64>) {
        let settled = self.table.get_mut(row.item).is_none_or(|entry| {
            entry.abandoned &= rung > 0;
            entry.outcome.is_some()
        });
        if let Some(key) = row.key.filter(|_| settled) {
            self.lane_mut(rung).batcher.done(key, row.seq);
        }
        // An answer that came after the row had left is closed like one that was given out.
        let late = if rung == 0 { self.late.remove(&row.item) } else { None };
        if let Some((group, request)) = late.filter(|_| self.table.get(row.item).is_none()) {
            self.emitted.entry(group).or_default().push(request);
        }
    }

    /// When time alone gives something to do.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let top = self.rungs.len() - 1;
        let lanes = (0..self.rungs.len()).filter_map(|rung| Some((rung, self.asked(rung)?)));
        let lanes = lanes.filter_map(|(rung, lane)| lane.next_timer(self.settings.patience.filter(|_| rung < top)));
        let expiry = self.deadlines.first().map(|(deadline, _)| Instant(0) + *deadline);
        lanes.chain(expiry).min()
    }
}
