//! Drives an operator as several subtasks, takes it through checkpoints, and notes what came out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::{Context, Identity, Operator, Out, Restored, Room};
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_core::time::EventTime;
use forebay_core::{Batch, RowId, RowKind};
use forebay_operators::stream_join::InputShape;
use futures::executor::block_on;
use futures::task::noop_waker;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const GROUPS: u16 = 8;

/// A row that went in: of `key`, at `time`, with `value`; `seen` is the watermark before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct In {
    pub port: u8,
    pub id: RowId,
    pub key: Option<u8>,
    pub time: i64,
    pub value: i64,
    pub seen: i64,
}

/// A row that came out, its columns as text.
#[derive(Debug, Clone)]
pub struct Given {
    pub kind: RowKind,
    pub id: RowId,
    pub row: Vec<String>,
    /// The watermark given before it.
    pub told: i64,
}

/// The rows of an output, all changes applied, with how often each is there.
pub type Table = BTreeMap<Vec<String>, i64>;

/// An operator under test. Key columns are the first of each input.
pub struct Bench<'a> {
    make: &'a dyn Fn() -> Box<dyn Operator>,
    subtasks: Vec<Box<dyn Operator>>,
    told: Vec<i64>,
    epoch: u64,
    /// What a restore is given, by group.
    entries: BTreeMap<KeyGroup, Vec<Bytes>>,
    /// The watermark.
    pub watermark: i64,
    pub out: Vec<Given>,
    /// Side output and id of what left by one.
    pub sides: Vec<(u8, RowId)>,
    pub dead: usize,
}

/// Rows of a port: `key`, `time`, `value`, each with the port in its name.
pub fn schema(port: u8) -> SchemaRef {
    let field = |name: &str, kind| Field::new(format!("{name}{port}"), kind, true);
    Arc::new(Schema::new(vec![
        field("key", DataType::Utf8),
        field("time", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("value", DataType::Int64),
    ]))
}

pub fn shape(port: u8) -> InputShape {
    InputShape { schema: schema(port), keys: vec![0], time: Some(1) }
}

/// The row that came `number`th.
pub fn row(bench: &Bench<'_>, number: usize, port: u8, key: Option<u8>, time: i64, value: i64) -> In {
    let id = RowId::new(SplitId(u64::from(port)), number as u64);
    In { port, id, key, time, value, seen: bench.watermark }
}

pub fn batch(row: &In, kind: RowKind) -> Batch {
    let key: ArrayRef = Arc::new(StringArray::from(vec![row.key.map(|key| key.to_string())]));
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![row.time]));
    let value: ArrayRef = Arc::new(Int64Array::from(vec![row.value]));
    let rows = RecordBatch::try_new(schema(row.port), vec![key, time, value]).unwrap();
    Batch::new(rows, vec![row.id]).unwrap().with_kinds(vec![kind]).unwrap()
}

/// The columns of a row as text.
pub fn texts(batch: &Batch, place: usize) -> Vec<String> {
    let text = |column: &ArrayRef| array_value_to_string(column, place).unwrap();
    batch.rows().columns().iter().map(text).collect()
}

/// Whether any of 300 random values fails `check`.
pub fn is_found<T>(strategy: impl Strategy<Value = T>, check: impl Fn(T) -> Result<(), String>) -> bool {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    (0..300).any(|_| check(strategy.new_tree(&mut runner).unwrap().current()).is_err())
}

/// The output with all changes applied. An id stands for one content and is there at most once.
pub fn table(out: &[Given]) -> Result<Table, String> {
    let mut ids: BTreeMap<RowId, (i64, &Vec<String>)> = BTreeMap::new();
    let mut found = Table::new();
    for Given { kind, id, row, .. } in out {
        let one = if kind.is_retraction() { -1 } else { 1 };
        let (count, first) = ids.entry(*id).or_insert((0, row));
        *count += one;
        if !(0..=1).contains(count) || *first != row {
            return Err(format!("the id {id} of {row:?} counts {count}, first {first:?}"));
        }
        *found.entry(row.clone()).or_default() += one;
    }
    found.retain(|_, count| *count != 0);
    Ok(found)
}

/// Says how the output differs from `expected`.
pub fn compare(out: &[Given], expected: &Table) -> Result<(), String> {
    let found = table(out)?;
    let more: Vec<_> = found.iter().filter(|(row, count)| expected.get(*row) != Some(*count)).collect();
    let less: Vec<_> = expected.iter().filter(|(row, count)| found.get(*row) != Some(*count)).collect();
    if more.is_empty() && less.is_empty() { Ok(()) } else { Err(format!("found {more:?}\nexpected {less:?}")) }
}

// === impl Bench ===

impl<'a> Bench<'a> {
    pub fn new(make: &'a dyn Fn() -> Box<dyn Operator>) -> Self {
        let mut bench = Self {
            make,
            subtasks: Vec::new(),
            told: Vec::new(),
            epoch: 0,
            entries: BTreeMap::new(),
            watermark: i64::MIN,
            out: Vec::new(),
            sides: Vec::new(),
            dead: 0,
        };
        bench.start(2);
        bench
    }

    /// Gives a batch of one row to the subtask of its key.
    pub fn push(&mut self, port: u8, batch: Batch) {
        let keys = KeyColumns::new(vec![0], &batch.schema()).unwrap();
        let group = keys.groups(batch.rows(), GROUPS).unwrap()[0];
        let subtask = usize::from(group.subtask(self.subtasks.len() as u16, GROUPS));
        assert_eq!(self.subtasks[subtask].room(), Room::Room);
        self.subtasks[subtask].on_batch_at(port, batch).unwrap();
        self.take_out(subtask);
    }

    pub fn watermark(&mut self, watermark: i64) {
        self.watermark = watermark;
        for subtask in 0..self.subtasks.len() {
            self.subtasks[subtask].on_watermark(EventTime(watermark)).unwrap();
            self.take_out(subtask);
        }
    }

    /// Takes a checkpoint and starts from it at another parallelism; the subtasks are told no watermark.
    pub fn restore(&mut self, parallelism: u16) {
        self.checkpoint();
        self.start(parallelism);
    }

    /// Takes a checkpoint that is published.
    pub fn complete(&mut self) {
        self.checkpoint();
        let epoch = Epoch(self.epoch);
        self.subtasks.iter_mut().for_each(|subtask| subtask.on_checkpoint_complete(epoch));
    }

    /// Bytes of a whole snapshot.
    pub fn stored_bytes(&mut self) -> usize {
        self.checkpoint();
        // Of no published checkpoint: nothing to build on.
        self.epoch = 0;
        self.start(1);
        self.entries.clear();
        self.checkpoint();
        self.entries.values().flatten().map(Bytes::len).sum()
    }

    fn start(&mut self, parallelism: u16) {
        let epoch = (self.epoch > 0).then_some(Epoch(self.epoch));
        self.subtasks = (0..parallelism).map(|_| (self.make)()).collect();
        self.told = vec![i64::MIN; usize::from(parallelism)];
        for (subtask, operator) in (0..).zip(&mut self.subtasks) {
            let identity = Identity { uid: "step".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
            let owned = identity.key_groups();
            let entries = self.entries.iter().filter(|(group, _)| owned.contains(&group.0));
            let groups = entries.flat_map(|(group, all)| all.iter().map(|bytes| (*group, bytes.clone()))).collect();
            let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
            operator.open(context, Restored { epoch, groups }).unwrap();
        }
    }

    /// Groups that hold only what changed stand behind what they build on: the checkpoint before, as each is published.
    fn checkpoint(&mut self) {
        self.epoch += 1;
        let mut entries = BTreeMap::new();
        for subtask in 0..self.subtasks.len() {
            self.take_out(subtask);
            let snapshot = block_on(self.subtasks[subtask].snapshot(Epoch(self.epoch)).unwrap()).unwrap();
            for group in &snapshot.lineage.map(|lineage| lineage.deltas).unwrap_or_default() {
                entries.insert(*group, self.entries.get(group).cloned().unwrap_or_default());
            }
            for (group, bytes) in snapshot.groups {
                entries.entry(group).or_insert_with(Vec::new).push(bytes);
            }
        }
        self.entries = entries;
    }

    fn take_out(&mut self, subtask: usize) {
        while let Some(out) = self.subtasks[subtask].poll().unwrap() {
            match out {
                Out::Batch(batch) => {
                    for place in 0..batch.len() {
                        let (kind, id, row) = (batch.kind(place), batch.ids()[place], texts(&batch, place));
                        self.out.push(Given { kind, id, row, told: self.told[subtask] });
                    }
                }
                Out::Side(port, batch) => self.sides.extend(batch.ids().iter().map(|id| (port, *id))),
                Out::Watermark(told) => self.told[subtask] = self.told[subtask].max(told.0),
                Out::DeadLetters(letters) => self.dead += letters.len(),
            }
        }
    }
}
