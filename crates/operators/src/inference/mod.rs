//! Rows to a model and back, without ever blocking the subtask.
//!
//! Rows wait in the in-flight [`table`]; the batcher forms request batches, the gate says when one may be sent, and
//! whatever answers ([`Model`]) does so in the background. Barriers, watermarks and timers pass meanwhile: a snapshot is
//! the rows not yet given out, however long their requests run. After a restore they are asked again, and what was
//! finished is answered from the journal without running.
//!
//! A request batch is only transport: every row keeps its own outcome and attempts. A row whose request batch failed is
//! tried again alone, so that it cannot fail its neighbours twice.

pub mod answer;
pub mod codec;
mod gather;
mod retry;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use forebay_core::completions::Completions;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Error, Kind, Result};
use forebay_gate::batcher::Cause;
use forebay_gate::batcher::{Batcher, BatcherSettings, Entry as Queued, Formed};
use forebay_inference::call::{Caller, Permit};
use forebay_inference::request::{Outcome, RequestBatch, RequestId};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use answer::AnswerColumns;
use codec::{GroupState, Waiting};
use gather::Gather;
use retry::{Later, Refused, Verdict};
use table::{Emission, Entry, Order, Table};

/// Request batches that may wait for a permit, beside those in flight, before the operator takes no more rows.
const REQUEST_BATCHES_QUEUED: usize = 2;

/// Pause of rows whose retry the shared budget does not cover yet.
const BUDGET_PAUSE: Duration = Duration::from_secs(1);

/// What answers request batches: a model service, or a script in tests.
pub trait Model: Send + Sync {
    /// Runs the rows, each exactly once if it was never finished; one outcome a row, in order. The permit is dropped as soon
    /// as the model has answered. Dropping the future does not stop the call.
    ///
    /// # Errors
    /// Answers cannot be kept any more; the region has to restart.
    fn submit(&self, batch: RequestBatch, permit: Permit) -> BoxFuture<'static, Result<Vec<Outcome>>>;

    /// The answers to `ids` were given out in `epoch` or before, and its checkpoint is published. Completes when that is
    /// durable.
    fn close(&self, epoch: Epoch, ids: Vec<RequestId>) -> BoxFuture<'static, Result<()>>;
}

/// What the operator does, fixed by the plan.
#[derive(Debug, Clone)]
pub struct InferenceSettings {
    /// Job name; part of every request id.
    pub job: String,
    /// Revision of the model; part of every request id.
    pub model_revision: String,
    /// Model input and the place of the column behind it.
    pub inputs: Vec<(String, usize)>,
    /// How answers become columns.
    pub answers: AnswerColumns,
    /// When a request batch is complete.
    pub batcher: BatcherSettings,
    /// In which order finished rows leave.
    pub order: Order,
    /// How often a row is tried, at least once.
    pub attempts_max: u32,
    /// The model is elsewhere: while it is down or full, rows wait for it, and no try of theirs is counted.
    pub remote: bool,
    /// Bugs for the simulation to find; all off in production.
    #[doc(hidden)]
    pub planted: Planted,
}

/// Bugs that the simulation plants to see that it finds them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    /// A watermark does not wait for the rows before it.
    pub watermark_overtakes: bool,
    /// The snapshot leaves out rows whose request is in flight.
    pub in_flight_forgotten: bool,
}

/// Completes when what was given out up to a published epoch is closed in the journal.
type Closed = Shared<BoxFuture<'static, Result<(), Arc<Error>>>>;

/// The rows of one call.
type Rows = Vec<Queued<u64>>;

/// The inference operator.
pub struct Inference {
    settings: InferenceSettings,
    model: Arc<dyn Model>,
    gate: Caller,
    context: Option<Context>,
    table: Table,
    batcher: Batcher<u64>,
    later: Later,
    /// The gate was closed when last asked, and wakes the subtask when that may have changed.
    refused: bool,
    completions: Completions<(Rows, Result<Vec<Outcome>>)>,
    /// Request batches whose answer was not taken yet.
    running: usize,
    /// Nothing is sent any more.
    suspended: bool,
    outs: VecDeque<Out>,
    emitted: BTreeMap<KeyGroup, Vec<RequestId>>,
    closing: BTreeMap<Epoch, Vec<RequestId>>,
    closed: Option<Closed>,
}

// === impl Inference ===

impl Inference {
    /// The operator; `gate` is its place among those that ask the same model.
    pub fn new(settings: InferenceSettings, model: Arc<dyn Model>, gate: impl Into<Caller>) -> Self {
        let mut table = Table::new(settings.order);
        table.watermark_overtakes = settings.planted.watermark_overtakes;
        Self {
            batcher: Batcher::new(settings.batcher.clone()),
            settings,
            model,
            gate: gate.into(),
            context: None,
            table,
            later: Later::default(),
            refused: false,
            completions: Completions::default(),
            running: 0,
            suspended: false,
            outs: VecDeque::new(),
            emitted: BTreeMap::new(),
            closing: BTreeMap::new(),
            closed: None,
        }
    }

    fn context(&self) -> &Context {
        self.context.as_ref().expect("open comes first")
    }

    fn now(&self) -> Instant {
        self.context().env.now()
    }

    /// The present moment as the batcher counts.
    fn since_start(&self) -> Duration {
        self.now().since(Instant(0))
    }

    fn take_row(&mut self, waiting: Waiting, bytes: usize) {
        let Waiting { batch, place, attempts } = waiting;
        let uid = &self.context().identity.uid;
        let request = RequestId::new(&self.settings.job, uid, &self.settings.model_revision, batch.ids()[place]);
        let number = self.table.push(Entry { batch, place, request, attempts, outcome: None });
        let (now, row) = (self.since_start(), Queued::new(number, number, bytes));
        // A row that failed before the restore must not take others with it.
        if attempts > 0 { self.batcher.retry(vec![row], now) } else { self.batcher.push(row, now) }
    }

    /// Bytes of one row's model inputs, on average over its batch.
    fn row_bytes(&self, batch: &Batch) -> usize {
        let columns = self.settings.inputs.iter().map(|(_, place)| {
            let data = batch.rows().column(*place).to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| data.get_array_memory_size())
        });
        columns.sum::<usize>() / batch.len().max(1)
    }

    /// Sends request batches while there are complete ones and permits.
    fn send(&mut self) -> Result<()> {
        let (now, waker) = (self.since_start(), self.context().waker.clone());
        self.take_due();
        let knobs = self.gate.knobs();
        let linger = Duration::from_secs_f64(knobs.linger).min(self.settings.batcher.linger);
        self.batcher.set_knobs(knobs.rows_max.min(self.settings.batcher.rows_max), linger);
        self.refused = false;
        while !self.suspended && self.batcher.is_ready(now) {
            self.refused = !self.gate.has_room(&waker);
            let Some(formed) = (if self.refused { None } else { self.batcher.take(now) }) else { return Ok(()) };
            let Some(permit) = self.gate.try_acquire(formed.size(), &waker) else {
                self.batcher.put_back(formed);
                self.refused = true;
                return Ok(());
            };
            let Formed { rows, cause, .. } = formed;
            if cause != Cause::Retry {
                self.gate.earn();
            }
            let answer = self.model.submit(self.request(&rows)?, permit);
            let env = Arc::clone(&self.context().env);
            self.completions.run(&*env, waker.clone(), Box::pin(async move { (rows, answer.await) }));
            self.running += 1;
        }
        Ok(())
    }

    fn request(&self, rows: &[Queued<u64>]) -> Result<RequestBatch> {
        let entries: Vec<&Entry> = rows.iter().filter_map(|row| self.table.get(row.item)).collect();
        let mut gather = Gather::default();
        entries.iter().for_each(|entry| gather.add(entry.batch.rows(), entry.place));
        let rows = gather.finish(&entries[0].batch.schema())?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (input, place) in &self.settings.inputs {
            // The field and not the column alone: its metadata says which tensor the column is.
            fields.push(rows.schema_ref().field(*place).clone().with_name(input).with_nullable(true));
            columns.push(Arc::clone(rows.column(*place)));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| Error::new(Kind::Internal, "build request batch").source(source))?;
        RequestBatch::new(entries.iter().map(|entry| entry.request).collect(), rows)
    }

    fn take_answers(&mut self) -> Result<()> {
        for (rows, outcomes) in self.completions.take() {
            self.running -= 1;
            let alone = rows.len() == 1;
            let (mut refused, mut halve) = (Refused::default(), Vec::new());
            for (row, outcome) in rows.into_iter().zip(outcomes?) {
                match retry::verdict(&outcome, self.settings.remote, alone) {
                    Verdict::Final => self.table.finish(row.item, outcome),
                    Verdict::Refused { retry_after } => refused.add(row, retry_after),
                    Verdict::Halve => halve.push(row),
                    Verdict::Failed => self.take_failure(row, outcome),
                    Verdict::Stop => return Err(retry::wrong_settings(&outcome)),
                }
            }
            self.wait_for_room(refused);
            self.halve(halve);
        }
        Ok(())
    }

    /// A call that the model refused without work: its rows come back together, and no try is counted.
    fn wait_for_room(&mut self, refused: Refused) {
        if refused.rows.is_empty() {
            self.later.room_again();
            return;
        }
        let at = self.gate.retry_at(self.later.count_refusal(), refused.retry_after);
        self.later.push(at, refused.rows, false);
    }

    /// Splitting a call is no try of its rows.
    fn halve(&mut self, mut rows: Vec<Queued<u64>>) {
        let (now, second) = (self.since_start(), rows.split_off(rows.len() / 2));
        for half in [rows, second] {
            if !half.is_empty() {
                self.batcher.retry(half, now);
            }
        }
    }

    /// Rows whose pause is over go back to the batcher.
    fn take_due(&mut self) {
        let (now, since) = (self.now(), self.since_start());
        while let Some((rows, worked)) = self.later.take(now) {
            if worked && !self.gate.pay() {
                self.later.push(now + BUDGET_PAUSE, rows, worked);
            } else {
                self.batcher.retry(rows, since);
            }
        }
    }

    /// Finishes the row, or queues it again, alone: only one of those that failed together need be at fault.
    fn take_failure(&mut self, row: Queued<u64>, outcome: Outcome) {
        let attempts = self.table.count_failure(row.item);
        if attempts >= self.settings.attempts_max {
            self.table.finish(row.item, outcome);
        } else if self.settings.remote {
            self.later.push(self.gate.retry_at(attempts, None), vec![row], true);
        } else {
            let now = self.since_start();
            self.batcher.retry(vec![row], now);
        }
    }

    fn emit(&mut self) -> Result<Option<Out>> {
        match self.table.emit() {
            None => Ok(None),
            Some(Emission::Watermark(watermark)) => Ok(Some(Out::Watermark(watermark))),
            Some(Emission::Rows(entries)) => {
                let identity = &self.context().identity;
                let (uid, groups) = (identity.uid.clone(), identity.groups);
                for entry in &entries {
                    let group = entry.batch.ids()[entry.place].key_group(groups);
                    self.emitted.entry(group).or_default().push(entry.request);
                }
                let assembled = self.settings.answers.assemble(&entries, &uid)?;
                self.outs.extend(assembled.batch.map(Out::Batch));
                if !assembled.dead_letters.is_empty() {
                    self.outs.push_back(Out::DeadLetters(assembled.dead_letters));
                }
                Ok(self.outs.pop_front())
            }
        }
    }

    /// State by key group: rows held, and what was given out since the barrier before.
    fn group_states(&mut self) -> BTreeMap<KeyGroup, GroupState> {
        let groups = self.context().identity.groups;
        let mut states: BTreeMap<KeyGroup, GroupState> = BTreeMap::new();
        for (group, emitted) in std::mem::take(&mut self.emitted) {
            states.entry(group).or_default().emitted = emitted;
        }
        let queued: Vec<u64> = self.batcher.held_items().copied().chain(self.later.items()).collect();
        for (number, entry) in self.table.numbered() {
            if self.settings.planted.in_flight_forgotten && !queued.contains(&number) {
                continue;
            }
            let group = entry.batch.ids()[entry.place].key_group(groups);
            states.entry(group).or_default().rows.push(Waiting::from(entry));
        }
        states
    }
}

impl Operator for Inference {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        self.context = Some(context);
        let states = codec::decode(&restored)?;
        for state in states {
            if let Some(epoch) = restored.epoch {
                self.closing.entry(epoch).or_default().extend(state.emitted);
            }
            for waiting in state.rows {
                let bytes = self.row_bytes(&waiting.batch);
                self.take_row(waiting, bytes);
            }
        }
        if let Some(epoch) = restored.epoch {
            self.on_checkpoint_complete(epoch);
        }
        Ok(())
    }

    fn room(&self) -> Room {
        let (knobs, rows_max) = (self.gate.knobs(), self.settings.batcher.rows_max);
        let in_flight = knobs.calls_max.saturating_mul(knobs.rows_max.min(rows_max));
        let full = self.table.len() >= in_flight.saturating_add(REQUEST_BATCHES_QUEUED * rows_max);
        if full { Room::Full } else { Room::Room }
    }

    fn absorbs(&self) -> bool {
        true
    }

    fn holds_rows(&self) -> bool {
        !self.table.is_empty()
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let (bytes, batch) = (self.row_bytes(&batch), Arc::new(batch));
        for place in 0..batch.len() {
            self.take_row(Waiting { batch: Arc::clone(&batch), place, attempts: 0 }, bytes);
        }
        self.send()
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.table.push_watermark(watermark);
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        self.take_answers()?;
        self.send()?;
        if let Some(out) = self.outs.pop_front() {
            return Ok(Some(out));
        }
        self.emit()
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.suspended {
            return None;
        }
        let due = if self.refused { None } else { self.batcher.next_due().map(|due| Instant(0) + due) };
        due.into_iter().chain(self.later.next()).min()
    }

    fn on_timer(&mut self, _now: Instant) -> Result<()> {
        self.send()
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let states = self.group_states();
        let emitted = states.values().flat_map(|state| state.emitted.iter().copied()).collect();
        self.closing.insert(epoch, emitted);
        let closed = self.closed.clone();
        Ok(Box::pin(async move {
            // What the checkpoint before gave out must be known as closed before this one can replace it.
            if let Some(closed) = closed {
                closed
                    .await
                    .map_err(|error| Error::new(error.kind(), "close journal entries").source(error.chain()))?;
            }
            Ok(Snapshot { groups: codec::encode(states)?, ..Snapshot::default() })
        }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        let later = self.closing.split_off(&epoch.next());
        let ids: Vec<RequestId> = std::mem::replace(&mut self.closing, later).into_values().flatten().collect();
        if ids.is_empty() {
            return;
        }
        let (before, close) = (self.closed.take(), self.model.close(epoch, ids));
        let closed: BoxFuture<'static, Result<(), Arc<Error>>> = Box::pin(async move {
            if let Some(before) = before {
                before.await?;
            }
            close.await.map_err(Arc::new)
        });
        let closed = closed.shared();
        self.closed = Some(closed.clone());
        self.context().env.spawn(Box::pin(async move {
            // A failure is reported by the snapshot that waits for it.
            let _ = closed.await;
        }));
    }

    fn drain(&mut self) -> Result<Drained> {
        self.batcher.flush();
        self.send()?;
        let done = self.table.is_empty() && self.outs.is_empty();
        Ok(if done { Drained::Done } else { Drained::Pending })
    }

    fn suspend(&mut self) -> Result<Drained> {
        self.suspended = true;
        let done = self.running == 0 && self.outs.is_empty();
        Ok(if done { Drained::Done } else { Drained::Pending })
    }
}
