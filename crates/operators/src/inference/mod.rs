//! Rows to a model and back, without ever blocking the subtask.
//!
//! Rows wait in the in-flight [`table`]; the batcher forms request batches, the gate says when one may be sent, and
//! whatever answers ([`Model`]) does so in the background. Barriers, watermarks and timers pass meanwhile: a snapshot is
//! the rows not yet given out, however long their requests run. After a restore they are asked again, and what was
//! finished is answered from the journal without running.
//!
//! A request batch is only transport: every row keeps its own outcome and attempts. A row whose request batch failed is
//! tried again alone, so that it cannot fail its neighbours twice. A row that the model does not answer climbs the step's
//! [`ladder`] of other answers, if it has one.
//!
//! Where rows are also taken back, no model is asked about those that take back: each gets the answer that was given for the row
//! of the same content, which is kept for it ([`taking_back`]).

pub mod answer;
mod answering;
mod answers;
mod blaming;
mod climbing;
pub mod codec;
mod codec_updates;
pub mod contents;
pub mod facts;
mod gather;
mod kept;
pub mod ladder;
mod lane;
mod pending;
mod retry;
mod sending;
pub mod table;
pub mod taking_back;
#[cfg(test)]
mod tests;
mod weight;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::completions::Completions;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room, Snapshot};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Error, Kind, Result};
use forebay_gate::batcher::{BatcherSettings, Entry as Queued};
use forebay_inference::call::{Caller, Permit};
use forebay_inference::request::{Outcome, RequestBatch, RequestId};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, try_join_all};

use answer::AnswerColumns;
use codec::{GroupState, Waiting};
use facts::{Arrival, Known, RowFacts};
use ladder::Rung;
use lane::{Lane, Standing};
use table::{Order, Table};
use taking_back::{TakingBack, UpdatesSettings};

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

    /// Gives rows up for `reason`: what became of each for good, once that is durable. A row whose answer was durable before
    /// keeps it; any other is never run again. A model that keeps no answers keeps this neither.
    ///
    /// # Errors
    /// Nothing can be kept any more; the region has to restart.
    fn give_up(&self, ids: Vec<RequestId>, kind: Kind, reason: String) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        let given_up = vec![Outcome::GivenUp { kind, reason }; ids.len()];
        Box::pin(async { Ok(given_up) })
    }
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
    /// What the batcher has to know of each row.
    pub rows: RowFacts,
    /// In which order finished rows leave.
    pub order: Order,
    /// How often a row is tried, at least once.
    pub attempts_max: u32,
    /// Where the model is.
    pub site: Site,
    /// How long rows wait for a model elsewhere that refuses every call, where there are other answers; for ever without.
    pub patience: Option<Duration>,
    /// Rows may be taken back; `None`: they only add.
    pub updates: Option<UpdatesSettings>,
    /// Bugs for the simulation to find; all off in production.
    #[doc(hidden)]
    pub planted: Planted,
}

/// Where a model is, which decides what its failures mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// On this machine: what fails has failed.
    Here,
    /// At a server: while it is down or full, rows wait for it, and no try of theirs is counted; unless others are answered
    /// meanwhile, see [`forebay_gate::blame`].
    Server,
    /// Each row is asked of a server of its own: a server that is down or full has failed its row, which is tried again later
    /// and holds up no other.
    ManyServers,
}

/// Bugs that the simulation plants to see that it finds them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    /// A watermark does not wait for the rows before it.
    pub watermark_overtakes: bool,
    /// The snapshot leaves out rows whose request is in flight.
    pub in_flight_forgotten: bool,
    /// A row climbs its ladder before it is durable that it does.
    pub given_up_forgotten: bool,
    /// Deadlines pass unseen.
    pub deadline_forgotten: bool,
    /// Rows of a key leave as they finish.
    pub key_order_forgotten: bool,
    /// A row that takes back another is asked about like one that adds.
    pub asked_again: bool,
    /// A row that takes back another does not wait for it.
    pub retraction_overtakes: bool,
    /// A restart forgets which answers were given.
    pub answers_forgotten: bool,
    /// Every failure counts as a try of its row, also while nobody is answered.
    pub outage_is_blamed: bool,
    /// A row that fails while others are answered is never at fault.
    pub fault_forgotten: bool,
}

/// Completes when what was given out up to a published epoch is closed in the journal.
type Closed = Shared<BoxFuture<'static, Result<(), Arc<Error>>>>;

/// What came back from a model.
enum Done {
    /// A call ended.
    Answered { rung: usize, rows: Vec<Queued<u64>>, sent: Instant, outcomes: Result<Vec<Outcome>> },
    /// Rows were given up, or had their answer before.
    GivenUp { rows: Vec<u64>, outcomes: Result<Vec<Outcome>> },
}

/// The inference operator.
pub struct Inference {
    settings: InferenceSettings,
    context: Option<Context>,
    table: Table,
    /// The step's model, then its ladder.
    rungs: Vec<Standing>,
    /// Deadlines of rows that the step's model may still answer, with their numbers.
    deadlines: BTreeSet<(Duration, u64)>,
    /// Rows past their deadline that are still in the queue or in flight of the step's model.
    late: BTreeMap<u64, (KeyGroup, RequestId)>,
    completions: Completions<Done>,
    /// What was begun and not taken back yet: calls, and rows being given up.
    running: usize,
    /// Nothing is sent any more.
    suspended: bool,
    outs: VecDeque<Out>,
    emitted: BTreeMap<KeyGroup, Vec<RequestId>>,
    closing: BTreeMap<Epoch, Vec<RequestId>>,
    closed: Option<Closed>,
    taking_back: Option<TakingBack>,
}

// === impl Inference ===

impl Inference {
    /// The operator; `gate` is its place among those that ask the same model.
    pub fn new(settings: InferenceSettings, model: Arc<dyn Model>, gate: impl Into<Caller>) -> Self {
        let mut table = Table::new(settings.order);
        table.watermark_overtakes = settings.planted.watermark_overtakes;
        table.key_order_forgotten = settings.planted.key_order_forgotten;
        let identity = (settings.job.clone(), settings.model_revision.clone());
        let (inputs, batcher) = (settings.inputs.clone(), settings.batcher.clone());
        let first = Lane::first(identity, inputs, settings.site, model, gate.into(), batcher);
        Self {
            rungs: vec![Standing::Asked(Box::new(first))],
            settings,
            context: None,
            table,
            deadlines: BTreeSet::new(),
            late: BTreeMap::new(),
            completions: Completions::default(),
            running: 0,
            suspended: false,
            outs: VecDeque::new(),
            emitted: BTreeMap::new(),
            closing: BTreeMap::new(),
            closed: None,
            taking_back: None,
        }
    }

    /// With other answers, in the order in which they are tried.
    pub fn with_ladder(mut self, ladder: Vec<Rung>) -> Self {
        let (job, batcher) = (&self.settings.job, &self.settings.batcher);
        self.rungs.extend(ladder.into_iter().map(|rung| match rung {
            Rung::Computed(computed) => Standing::Computed(computed),
            Rung::Model(second) => Standing::Asked(Box::new(Lane::second(job.clone(), second, batcher.clone()))),
        }));
        self
    }

    /// The model that stands on `rung`.
    fn asked(&self, rung: usize) -> Option<&Lane> {
        match self.rungs.get(rung)? {
            Standing::Asked(lane) => Some(lane),
            Standing::Computed(_) => None,
        }
    }

    fn lane(&self, rung: usize) -> &Lane {
        self.asked(rung).expect("rows are queued only where a model stands")
    }

    fn lane_mut(&mut self, rung: usize) -> &mut Lane {
        match &mut self.rungs[rung] {
            Standing::Asked(lane) => lane,
            Standing::Computed(_) => unreachable!("rows are queued only where a model stands"),
        }
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.rungs.iter_mut().filter_map(|rung| match rung {
            Standing::Asked(lane) => Some(&mut **lane),
            Standing::Computed(_) => None,
        })
    }

    /// Closes rows with every model that may keep something about them.
    fn close_rows(&self, epoch: Epoch, ids: &[RequestId]) -> BoxFuture<'static, Result<()>> {
        let lanes = (0..self.rungs.len()).filter_map(|rung| self.asked(rung));
        let closes: Vec<_> = lanes.map(|lane| lane.model.close(epoch, ids.to_vec())).collect();
        Box::pin(async move { try_join_all(closes).await.map(|_| ()) })
    }

    fn arrival(&self) -> Arrival {
        Arrival { now: self.since_start(), wall_micros: self.context().env.wall_micros() }
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

    /// What a checkpoint holds of rows; kept answers are opened.
    fn states(&mut self, restored: Restored) -> Result<Vec<GroupState>> {
        let Some(updates) = &self.settings.updates else { return codec::decode(&restored) };
        let (states, mut kept) = codec_updates::decode(restored)?;
        if self.settings.planted.answers_forgotten {
            kept.groups.clear();
        }
        self.taking_back = Some(TakingBack::open(updates, &self.context().identity, kept)?);
        Ok(states)
    }

    /// State by key group: rows held, and what was given out since the barrier before.
    fn group_states(&mut self) -> BTreeMap<KeyGroup, GroupState> {
        let (groups, now) = (self.context().identity.groups, self.since_start());
        let mut states: BTreeMap<KeyGroup, GroupState> = BTreeMap::new();
        for (group, emitted) in std::mem::take(&mut self.emitted) {
            states.entry(group).or_default().emitted = emitted;
        }
        let lanes = (0..self.rungs.len()).filter_map(|rung| self.asked(rung));
        let queued: Vec<u64> =
            lanes.flat_map(|lane| lane.batcher.held_items().copied().chain(lane.later.items())).collect();
        for (number, entry) in self.table.numbered() {
            if self.settings.planted.in_flight_forgotten && !queued.contains(&number) {
                continue;
            }
            let group = entry.group(groups);
            states.entry(group).or_default().rows.push(Waiting::of(number, entry, now));
        }
        states
    }
}

impl Operator for Inference {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        self.context = Some(context);
        let epoch = restored.epoch;
        let states = self.states(restored)?;
        let mut rows = Vec::new();
        for state in states {
            if let Some(epoch) = epoch {
                self.closing.entry(epoch).or_default().extend(state.emitted);
            }
            rows.extend(self.with_facts(state.rows)?);
        }
        // Key groups are stored one by one; rows of one key may be in several.
        rows.sort_by_key(|(waiting, ..)| waiting.number);
        let arrival = self.arrival();
        let take =
            |(waiting, known, bytes): (Waiting, Arc<Known>, usize)| self.take_row(waiting, &known, arrival, bytes);
        rows.into_iter().try_for_each(take)?;
        if let Some(epoch) = epoch {
            self.on_checkpoint_complete(epoch);
        }
        Ok(())
    }

    fn room(&self) -> Room {
        let (knobs, rows_max) = (self.lane(0).gate.knobs(), self.settings.batcher.rows_max);
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
        let batch = Arc::new(batch);
        let (known, arrival) = (self.known(&batch)?, self.arrival());
        let bytes = self.lane(0).row_bytes(&batch);
        for place in 0..batch.len() {
            self.take_row(Waiting::new(Arc::clone(&batch), place), &known, arrival, bytes)?;
        }
        self.send()
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.table.push_watermark(watermark);
        // Every row that waits for company came before this watermark, which waits for it.
        self.lanes_mut().for_each(|lane| lane.batcher.on_watermark(i64::MAX));
        if self.settings.batcher.watermark_sends { self.send() } else { Ok(()) }
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
        if self.suspended { None } else { self.next_moment() }
    }

    fn on_timer(&mut self, _now: Instant) -> Result<()> {
        self.send()
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let states = self.group_states();
        let emitted = states.values().flat_map(|state| state.emitted.iter().copied()).collect();
        self.closing.insert(epoch, emitted);
        let closed = self.closed.clone();
        let kept = self.taking_back.as_mut().map(|taking_back| taking_back.snapshot(epoch)).transpose()?;
        let owned = self.context().identity.key_groups();
        Ok(Box::pin(async move {
            // What the checkpoint before gave out must be known as closed before this one can replace it.
            if let Some(closed) = closed {
                closed
                    .await
                    .map_err(|error| Error::new(error.kind(), "close journal entries").source(error.chain()))?;
            }
            match kept {
                None => Ok(Snapshot { groups: codec::encode(states)?, ..Snapshot::default() }),
                Some(kept) => codec_updates::encode(states, kept, owned),
            }
        }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.taking_back.iter_mut().for_each(|taking_back| taking_back.on_checkpoint_complete(epoch));
        let later = self.closing.split_off(&epoch.next());
        let ids: Vec<RequestId> = std::mem::replace(&mut self.closing, later).into_values().flatten().collect();
        if ids.is_empty() {
            return;
        }
        let (before, close) = (self.closed.take(), self.close_rows(epoch, &ids));
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
        self.lanes_mut().for_each(|lane| lane.batcher.flush());
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
