//! The inference operator alone, under orders that a pipeline of files never produces: watermarks between any two rows,
//! answers in any order, restores at any moment.
//!
//! What is held against it, step by step:
//! - a watermark leaves after every row that came before it, and before every row that came after it;
//! - in `ordered` mode rows leave as they came, in `per_key` mode those of one key, and a key is in one call at a time;
//!   every row leaves exactly once;
//! - a row with a deadline has left by then, and is in no call that is sent later; what a ladder's last answer stands for
//!   failed or was late;
//! - a row of which a server makes a failure each time is given up once others are answered, and no other row ever is,
//!   whatever the server does;
//! - a row leaves its request batch's queue no later than its linger if a permit is free, and a request batch that is not
//!   full does not leave before its first row has waited so long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::keys::KeyColumns;
use forebay_core::on_error::OnError;
use forebay_core::operator::{Context, Drained, Identity, Operator, Out, Restored, Room};
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Kind, Result, RowId};
use forebay_gate::batcher::BatcherSettings;
use forebay_gate::limiter::Class;
use forebay_inference::call::{ModelGate, Permit};
use forebay_inference::request::{Outcome, RequestBatch, RequestId};
use forebay_operators::inference::answer::AnswerColumns;
use forebay_operators::inference::facts::RowFacts;
use forebay_operators::inference::ladder::{Computed, Rung};
use forebay_operators::inference::table::Order;
use forebay_operators::inference::{Inference, InferenceSettings, Model, Site};
use futures::channel::oneshot;
use futures::future::BoxFuture;

use crate::counts::Counts;
use crate::mutants::Mutant;
use crate::random::Random;

/// After so many answered calls a server is known not to be down.
const KNOWN: u64 = 10;
/// What is done in one run.
const ACTIONS: u64 = 300;
/// How many keys rows have.
const KEYS: i64 = 3;
/// One row of so many is toxic, where any is.
const TOXIC: i64 = 17;

/// A request batch on its way.
struct Call {
    rows: Vec<i64>,
    batch: RequestBatch,
    tell: oneshot::Sender<Vec<Outcome>>,
    permit: Permit,
}

/// A model that answers when told.
#[derive(Clone, Default)]
struct Told {
    calls: Arc<Mutex<Vec<Call>>>,
}

/// What came in, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Row(i64),
    Mark(i64),
}

struct Bench {
    random: Random,
    env: ManualEnv,
    model: Told,
    gate: Arc<ModelGate>,
    settings: InferenceSettings,
    operator: Inference,
    /// Whether there is another answer than the model's.
    laddered: bool,
    /// Came in and did not come out.
    waiting: VecDeque<In>,
    /// When rows came in that were not sent, in order; rows that failed before are not in it.
    unsent: BTreeMap<i64, Instant>,
    /// When rows that wait have to have left.
    due: BTreeMap<i64, Instant>,
    /// Rows that were late at some time.
    late: BTreeSet<i64>,
    /// Calls that were looked at.
    seen: usize,
    failed: BTreeSet<i64>,
    rows: i64,
    epoch: u64,
    draining: bool,
    /// Every call fails.
    outage: bool,
    /// Rows from here on are not toxic; 0 where none is.
    toxic_before: i64,
    /// Calls answered since the restore.
    answered: u64,
    /// How many that were when a toxic row failed first since then.
    toxic: BTreeMap<i64, u64>,
    counts: Counts,
}

/// Runs `seed` against the operator with the bug of `mutant`.
///
/// # Errors
/// What broke.
pub fn run(seed: u64, mutant: &Mutant) -> Result<Counts, String> {
    let mut bench = Bench::new(seed, mutant);
    for _ in 0..ACTIONS {
        bench.act()?;
        bench.check()?;
    }
    bench.give_up_toxic()?;
    bench.finish()?;
    Ok(bench.counts)
}

fn gate(env: &ManualEnv, calls_max: usize, settings: &InferenceSettings) -> Arc<ModelGate> {
    ModelGate::fixed(Arc::new(env.clone()), calls_max, settings.batcher.rows_max, settings.batcher.linger)
}

// === impl Told ===

impl Told {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model for Told {
    fn submit(&self, batch: RequestBatch, permit: Permit) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        let (tell, told) = oneshot::channel();
        let rows = batch.rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        self.lock().push(Call { rows, batch, tell, permit });
        Box::pin(async move {
            match told.await {
                Ok(outcomes) => Ok(outcomes),
                Err(_) => futures::future::pending().await,
            }
        })
    }

    fn close(&self, _epoch: Epoch, _ids: Vec<RequestId>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

// === impl Bench ===

impl Bench {
    fn new(seed: u64, mutant: &Mutant) -> Self {
        let mut random = Random::new(seed, "operator");
        let (settings, env) = (settings(&mut random, mutant), ManualEnv::new(seed));
        let (model, gate) = (Told::default(), gate(&env, random.within(1, 3) as usize, &settings));
        let laddered = random.chance(500);
        let toxic = settings.site == Site::Server && random.chance(500);
        let operator = operator(&settings, &model, &gate, laddered);
        let mut bench = Self {
            random,
            env,
            model,
            gate,
            settings,
            operator,
            laddered,
            waiting: VecDeque::new(),
            unsent: BTreeMap::new(),
            due: BTreeMap::new(),
            late: BTreeSet::new(),
            seen: 0,
            failed: BTreeSet::new(),
            rows: 0,
            epoch: 0,
            draining: false,
            outage: false,
            toxic_before: if toxic { i64::MAX } else { 0 },
            answered: 0,
            toxic: BTreeMap::new(),
            counts: Counts::default(),
        };
        bench.open(Restored::default());
        bench
    }

    fn open(&mut self, restored: Restored) {
        let identity = Identity { uid: "ask".into(), subtask: 0, parallelism: 1, groups: 8, attempt: 1 };
        let context = Context { identity, env: Arc::new(self.env.clone()), waker: Waker::noop().clone() };
        self.operator.open(context, restored).expect("a snapshot of this operator can be read back");
    }

    fn act(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..30 => self.push(),
            30..45 => {
                let mark = self.rows;
                self.waiting.push_back(In::Mark(mark));
                self.shown(|operator| operator.on_watermark(EventTime(mark)))
            }
            45..75 => {
                self.answer();
                Ok(())
            }
            75..95 => self.pass_time(),
            95..97 => {
                self.outage = !self.outage && self.settings.site == Site::Server;
                Ok(())
            }
            _ => self.restore(),
        }
    }

    fn push(&mut self) -> Result<(), String> {
        if self.operator.room() == Room::Full {
            return Ok(());
        }
        let numbers = self.rows..self.rows + self.random.within(1, 6) as i64;
        self.rows = numbers.end;
        let now = self.env.now();
        self.waiting.extend(numbers.clone().map(In::Row));
        self.unsent.extend(numbers.clone().map(|row| (row, now)));
        let deadline = self.settings.rows.deadline;
        self.due
            .extend(deadline.into_iter().flat_map(|deadline| numbers.clone().map(move |row| (row, now + deadline))));
        let ids: Vec<RowId> = numbers.clone().map(|row| RowId::new(SplitId(7), row as u64)).collect();
        let key: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone().map(|row| row % KEYS)));
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        let rows = RecordBatch::try_from_iter([("n", column), ("k", key)]).expect("two columns");
        let batch = Batch::new(rows, ids).expect("as many ids as rows");
        self.shown(|operator| operator.on_batch(batch))
    }

    /// Answers any open call, or fails it for now.
    fn answer(&mut self) {
        let call = {
            let mut calls = self.model.lock();
            if calls.is_empty() {
                return;
            }
            let place = self.random.below(calls.len() as u64) as usize;
            self.seen -= usize::from(place < self.seen);
            calls.remove(place)
        };
        let Call { rows, batch, tell, permit } = call;
        // All rows fail, or one of them, or none.
        let all = self.random.chance(150) || self.outage || rows.iter().any(|row| self.is_toxic(*row));
        let one = self.random.chance(150).then(|| self.random.below(rows.len() as u64) as usize);
        let one = one.filter(|_| self.settings.site == Site::Here);
        let fails = |place| all || one == Some(place);
        permit.finish(if all { Class::Down } else { Class::Answered });
        self.answered += u64::from(!all);
        let toxic: Vec<i64> = rows.iter().copied().filter(|row| self.is_toxic(*row)).collect();
        for row in toxic {
            self.toxic.entry(row).or_insert(self.answered);
        }
        let answer: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row * 10)));
        let answers = RecordBatch::try_from_iter([("y", answer)]).expect("one column");
        let outcome = |place| match fails(place) {
            true => Outcome::Failed {
                kind: Kind::Unavailable,
                reason: "drawn".into(),
                retry_after: None,
                final_: false,
                together: false,
            },
            false => Outcome::Answered { rows: answers.clone(), place },
        };
        self.failed.extend(rows.iter().enumerate().filter(|(place, _)| fails(*place)).map(|(_, row)| row));
        // The operator may have been restored since; then nobody waits.
        let _ = tell.send((0..batch.len()).map(outcome).collect());
        self.env.settle();
    }

    /// Lets time pass up to the operator's timer, never beyond it without calling it.
    fn pass_time(&mut self) -> Result<(), String> {
        let until = self.env.now() + Duration::from_micros(self.random.within(1, 12_000));
        let moment = self.operator.next_timer().map_or(until, |timer| timer.min(until));
        self.env.advance_to(moment);
        self.env.settle();
        self.shown(|operator| operator.on_timer(moment))
    }

    /// Snapshots, forgets the operator, and opens another from the snapshot.
    fn restore(&mut self) -> Result<(), String> {
        self.drain_outputs()?;
        self.epoch += 1;
        let frozen = self.operator.snapshot(Epoch(self.epoch)).map_err(|error| error.chain())?;
        let snapshot = self.env.block_on(frozen).map_err(|error| error.chain())?;
        let (model, gate) = (Told::default(), gate(&self.env, self.gate.knobs().calls_max, &self.settings));
        self.operator = operator(&self.settings, &model, &gate, self.laddered);
        (self.model, self.gate, self.seen) = (model, gate, 0);
        (self.answered, self.toxic) = (0, BTreeMap::new());
        // A watermark that had not left is given again by the source; here it is not.
        self.waiting.retain(|item| matches!(item, In::Row(_)));
        let now = self.env.now();
        let rows = self.waiting.iter().filter_map(|item| if let In::Row(row) = item { Some(*row) } else { None });
        self.unsent =
            rows.filter(|row| !self.failed.contains(row) && !self.is_late(*row)).map(|row| (row, now)).collect();
        self.open(Restored { epoch: Some(Epoch(self.epoch)), groups: snapshot.groups.into_iter().collect() });
        self.counts.count("operator restored");
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        self.drain_outputs()?;
        // What was given up comes back a moment later.
        self.drain_outputs()?;
        self.check_sent()?;
        self.check_due()?;
        let linger = self.settings.batcher.linger;
        let now = self.env.now();
        if self.gate.in_flight() < self.gate.knobs().calls_max
            && self.settings.order != Order::PerKey
            // The breaker before a server that fails gives no permits.
            && self.settings.site == Site::Here
            && let Some((row, since)) = self.unsent.iter().find(|(_, since)| now.since(**since) > linger)
        {
            let waited = now.since(*since);
            return Err(format!("row {row} waits since {waited:?}, longer than its linger, and a permit is free"));
        }
        Ok(())
    }

    /// Looks at the request batches sent since the last look.
    fn check_sent(&mut self) -> Result<(), String> {
        let calls = self.model.lock();
        for call in &calls[self.seen..] {
            if let Some(row) = call.rows.iter().find(|row| self.late.contains(row)) {
                return Err(format!("row {row} is sent after its deadline"));
            }
            let first = call.rows.iter().filter_map(|row| self.unsent.get(row)).min().copied();
            let full = call.rows.len() >= self.settings.batcher.rows_max;
            if let (Some(first), false, false) = (first, full, self.draining) {
                let waited = self.env.now().since(first);
                // A batch may leave early for a deadline.
                // So may one with rows that came before it was restored.
                if self.settings.rows.deadline.is_none()
                    && !call.rows.iter().any(|row| self.failed.contains(row))
                    && self.settings.order != Order::PerKey
                    && waited < self.settings.batcher.linger
                {
                    return Err(format!("a request batch of {} rows left after {waited:?}", call.rows.len()));
                }
                self.counts.count("request batches that left by linger");
            }
            self.unsent.retain(|row, _| !call.rows.contains(row));
        }
        self.seen = calls.len();
        self.check_keys(&calls)
    }

    /// No key is in two calls.
    fn check_keys(&self, calls: &[Call]) -> Result<(), String> {
        if self.settings.order != Order::PerKey {
            return Ok(());
        }
        let mut seen = BTreeMap::new();
        for (place, call) in calls.iter().enumerate() {
            for row in &call.rows {
                if seen.insert(row % KEYS, place).is_some_and(|other| other != place) {
                    return Err(format!("the key of row {row} is in two calls"));
                }
            }
        }
        Ok(())
    }

    /// Rows past their deadline have left.
    fn check_due(&mut self) -> Result<(), String> {
        let now = self.env.now();
        let late: Vec<i64> = self.due.iter().filter(|(_, due)| **due <= now).map(|(row, _)| *row).collect();
        for row in late {
            self.due.remove(&row);
            self.late.insert(row);
            self.unsent.remove(&row);
            // Behind a watermark or an earlier row of its key it waits on, with its outcome.
            if self.waiting.front() == Some(&In::Row(row)) {
                return Err(format!("row {row} is still inside after its deadline"));
            }
        }
        Ok(())
    }

    fn drain_outputs(&mut self) -> Result<(), String> {
        self.env.settle();
        while let Some(out) = self.operator.poll().map_err(|error| error.chain())? {
            match out {
                Out::Batch(batch) => {
                    let answers = batch.rows().column(1).as_primitive::<Int64Type>();
                    for (id, answer) in batch.ids().iter().zip(answers) {
                        self.answered(id.ordinal as i64, answer)?;
                        self.left(id.ordinal as i64)?;
                    }
                }
                Out::DeadLetters(letters) => {
                    for letter in letters {
                        self.given_up(letter.row.ordinal as i64)?;
                        self.left(letter.row.ordinal as i64)?;
                    }
                }
                Out::Watermark(mark) => self.mark_left(mark.0)?,
                Out::Side(port, _) => return Err(format!("an inference has no side output {port}")),
            }
            self.env.settle();
        }
        Ok(())
    }

    /// The answer is the model's, or there is a reason why it is not.
    fn answered(&mut self, row: i64, answer: Option<i64>) -> Result<(), String> {
        if answer == Some(row * 10) {
            return Ok(());
        }
        let failed = self.failed.contains(&row) || self.is_late(row);
        if answer.is_some() || !self.laddered || !failed {
            return Err(format!("row {row} has the answer {answer:?}"));
        }
        self.counts.count("rows with another answer");
        self.given_up(row)
    }

    /// A row that the model did not answer; a server that fails is no reason, but for rows at fault.
    fn given_up(&mut self, row: i64) -> Result<(), String> {
        if self.settings.site != Site::Server || self.is_late(row) {
            return Ok(());
        }
        if row % TOXIC != 0 {
            return Err(format!("row {row} was given up because the server failed"));
        }
        self.counts.count("toxic rows that were given up");
        Ok(())
    }

    fn is_toxic(&self, row: i64) -> bool {
        row % TOXIC == 0 && row < self.toxic_before
    }

    /// Toxic rows that are inside leave while others are answered.
    fn give_up_toxic(&mut self) -> Result<(), String> {
        self.outage = false;
        self.toxic_before = self.toxic_before.min(self.rows);
        for _ in 0..20_000 {
            let toxic = |item: &In| matches!(item, In::Row(row) if self.is_toxic(*row));
            if !self.waiting.iter().any(toxic) {
                self.toxic_before = 0;
                return Ok(());
            }
            self.push()?;
            self.check()?;
            self.answer();
            self.pass_time()?;
            self.check()?;
        }
        // Where one failed first when hardly anybody was left to be answered, all fail as if the server were down since then.
        let known = |row: i64| self.toxic.get(&row).is_some_and(|answered| answered + KNOWN < self.answered);
        let rows = self.waiting.iter().filter_map(|item| if let In::Row(row) = item { Some(*row) } else { None });
        if rows.filter(|row| self.is_toxic(*row)).all(known) {
            return Err(format!("asked without end: {:?}", self.waiting));
        }
        self.counts.count("toxic rows of which nothing was known");
        self.toxic_before = 0;
        Ok(())
    }

    fn is_late(&self, row: i64) -> bool {
        self.late.contains(&row) || self.due.get(&row).is_some_and(|due| *due <= self.env.now())
    }

    fn left(&mut self, row: i64) -> Result<(), String> {
        let place = self.waiting.iter().position(|item| *item == In::Row(row));
        let place = place.ok_or_else(|| format!("row {row} left twice"))?;
        if self.waiting.iter().take(place).any(|item| matches!(item, In::Mark(_))) {
            return Err(format!("row {row} overtook a watermark that came before it"));
        }
        // Rows that failed may leave as dead letters beside rows of the same emission.
        let letters = !self.laddered && (!self.failed.is_empty() || self.settings.rows.deadline.is_some());
        let same = |item: &&In| match (self.settings.order, item) {
            (Order::Ordered, _) => true,
            (Order::PerKey, In::Row(other)) => other % KEYS == row % KEYS,
            _ => false,
        };
        if let Some(first) = self.waiting.iter().take(place).find(same).filter(|_| !letters) {
            return Err(format!("row {row} left before {first:?}"));
        }
        if self.is_late(row) {
            self.late.insert(row);
            self.counts.count("rows that were late");
        }
        self.due.remove(&row);
        self.unsent.remove(&row);
        self.waiting.remove(place);
        self.counts.count("rows that left the operator");
        Ok(())
    }

    fn mark_left(&mut self, mark: i64) -> Result<(), String> {
        match self.waiting.pop_front() {
            Some(In::Mark(first)) if first == mark => {
                self.counts.count("watermarks that left the operator");
                Ok(())
            }
            Some(first) => Err(format!("watermark {mark} overtook {first:?}")),
            None => Err(format!("watermark {mark} left twice")),
        }
    }

    /// Drains: everything that came in must come out.
    fn finish(&mut self) -> Result<(), String> {
        self.draining = true;
        for _ in 0..10_000 {
            let drained = self.operator.drain().map_err(|error| error.chain())?;
            self.check()?;
            if drained == Drained::Done && self.waiting.is_empty() {
                return Ok(());
            }
            self.answer();
            // Rows that a server failed on come back later.
            self.pass_time()?;
        }
        Err(format!("drained, and still inside: {:?}", self.waiting.front()))
    }

    fn shown(&mut self, work: impl FnOnce(&mut Inference) -> Result<()>) -> Result<(), String> {
        work(&mut self.operator).map_err(|error| error.chain())
    }
}

fn operator(settings: &InferenceSettings, model: &Told, gate: &Arc<ModelGate>, laddered: bool) -> Inference {
    let null = Computed::new("null".into(), vec![("y".into(), DataType::Int64, None)]);
    let ladder = if laddered { vec![Rung::Computed(null)] } else { Vec::new() };
    Inference::new(settings.clone(), Arc::new(model.clone()), Arc::clone(gate)).with_ladder(ladder)
}

fn settings(random: &mut Random, mutant: &Mutant) -> InferenceSettings {
    let fields = vec![Field::new("n", DataType::Int64, false), Field::new("y", DataType::Int64, true)];
    let linger = Duration::from_millis(random.within(2, 20));
    let mut batcher = BatcherSettings::new(random.within(2, 6) as usize, 1 << 20, linger);
    batcher.planted = mutant.planted.batcher;
    let order = random.pick(&[Order::Ordered, Order::Unordered, Order::PerKey]);
    let rows = RowFacts {
        key: (order == Order::PerKey).then(|| {
            let columns = ["n", "k"].map(|name| Field::new(name, DataType::Int64, false));
            KeyColumns::new(vec![1], &Schema::new(columns.to_vec())).expect("integers can be keys")
        }),
        deadline: random.chance(400).then(|| Duration::from_millis(random.within(5, 60))),
        ..RowFacts::default()
    };
    InferenceSettings {
        job: "sim".into(),
        model_revision: "1".into(),
        inputs: vec![("x".into(), 0)],
        answers: AnswerColumns {
            outputs: vec!["y".into()],
            schema: Arc::new(Schema::new(fields)),
            kept: vec![0],
            answered_by: Vec::new(),
            on_error: OnError::DeadLetter,
        },
        batcher,
        rows,
        order,
        attempts_max: random.within(1, 4) as u32,
        site: random.pick(&[Site::Here, Site::Server]),
        patience: None,
        updates: None,
        planted: mutant.planted.inference,
    }
}
