//! Drives a join as several subtasks, takes it through checkpoints, and notes what went in and what came out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::{Context, Identity, Operator, Out, Restored, Room};
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_core::time::EventTime;
use forebay_core::{Batch, RowId, RowKind};
use forebay_state::keyed::StateSettings;
use futures::executor::block_on;
use futures::task::noop_waker;

use forebay_operators::stream_join::as_of::{AsOfBug, as_of_join_with};
use forebay_operators::stream_join::regular::{RegularBug, regular_join_with};
use forebay_operators::stream_join::timed::{Meeting, TimedJoinBug, timed_join_with};
use forebay_operators::stream_join::{InputShape, JoinShape, Keeps};

pub const GROUPS: u16 = 8;

/// What happens to a join. Times are milliseconds, relative to the watermark.
#[derive(Debug, Clone)]
pub enum Act {
    Row {
        port: u8,
        key: Option<u8>,
        ahead: i64,
        value: u8,
    },
    /// One of the rows that are there is taken back.
    TakeBack {
        port: u8,
        which: proptest::sample::Index,
    },
    Watermark(i64),
    /// A checkpoint, and a restart from it at this parallelism.
    Restore(u16),
    /// A checkpoint that is published.
    Complete,
}

#[derive(Debug, Clone, Copy)]
pub enum Which {
    Timed(Meeting, Option<TimedJoinBug>),
    AsOf(Option<AsOfBug>),
    /// The same, the right stream being the changes of a table with one row of each key.
    Table(Option<AsOfBug>),
    Regular(Option<Duration>, Option<RegularBug>),
}

/// A row that went in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct In {
    pub port: u8,
    pub id: RowId,
    pub key: Option<u8>,
    pub time: i64,
    pub value: i64,
}

/// A row that came out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub key: Option<String>,
    pub left: Option<(i64, i64)>,
    pub right: Option<(i64, i64)>,
}

/// What a run was and gave.
#[derive(Debug)]
pub struct Run {
    pub which: Which,
    pub keeps: Keeps,
    /// The rows of each port that were there at the end, late ones left out.
    pub rows: Vec<In>,
    pub late: usize,
    pub late_out: usize,
    pub out: Vec<(RowKind, RowId, Pair)>,
    /// What a table was told, and the number of the act.
    pub changes: Vec<(usize, RowKind, In)>,
    /// Watermarks and the numbers of their acts.
    pub watermarks: Vec<(usize, i64)>,
    /// What was wrong on the way.
    pub wrong: Option<String>,
    /// Bytes of a whole snapshot at the end.
    pub stored_bytes: usize,
}

struct Subtasks {
    which: Which,
    keeps: Keeps,
    subtasks: Vec<Box<dyn Operator>>,
    told: Vec<i64>,
    epoch: u64,
    /// What a restore is given, by group.
    entries: BTreeMap<KeyGroup, Vec<Bytes>>,
    /// The same for the newest published checkpoint.
    published: BTreeMap<KeyGroup, Vec<Bytes>>,
    late_out: usize,
    out: Vec<(RowKind, RowId, Pair)>,
    wrong: Option<String>,
}

pub fn schema(port: u8) -> SchemaRef {
    let names = [["key", "left_time", "left"], ["key_right", "right_time", "right"]][usize::from(port)];
    Arc::new(Schema::new(vec![
        Field::new(names[0], DataType::Utf8, true),
        Field::new(names[1], DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new(names[2], DataType::Int64, true),
    ]))
}

pub fn shape(keeps: Keeps) -> JoinShape {
    let input = |port| InputShape { schema: schema(port), keys: vec![0], time: Some(1) };
    let fields = schema(0).fields().iter().chain(&schema(1).fields()[1..]).cloned().collect::<Vec<_>>();
    JoinShape { left: input(0), right: input(1), output: Arc::new(Schema::new(fields)), appended: vec![1, 2], keeps }
}

pub fn batch(port: u8, rows: &[In], kinds: &[RowKind]) -> Batch {
    let key: ArrayRef = Arc::new(rows.iter().map(|row| row.key.map(|key| key.to_string())).collect::<StringArray>());
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time)));
    let value: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.value)));
    let ids: Vec<RowId> = rows.iter().map(|row| row.id).collect();
    let rows = RecordBatch::try_new(schema(port), vec![key, time, value]).unwrap();
    Batch::new(rows, ids).unwrap().with_kinds(kinds.to_vec()).unwrap()
}

/// Runs `acts`; the watermark of ended input comes last, except where a join has no end.
pub fn run(which: Which, keeps: Keeps, acts: &[Act]) -> Run {
    let mut subtasks = Subtasks::new(which, keeps);
    let (mut rows, mut watermark, mut late): (Vec<In>, i64, usize) = (Vec::new(), 0, 0);
    let (mut changes, mut watermarks) = (Vec::new(), Vec::new());
    let mut told = None;
    for (number, act) in acts.iter().enumerate() {
        match act {
            Act::Row { port, key, ahead, value } => {
                let is_regular = matches!(which, Which::Regular(..));
                let value = if is_regular { i64::from(*value) } else { number as i64 };
                // A late version of an as-of join is taken; which rows it still reaches is not for the oracle to say.
                let is_version = matches!(which, Which::AsOf(_) | Which::Table(_)) && *port == 1;
                let ahead = if is_version { (*ahead).max(1) } else { *ahead };
                let time = if is_regular { watermark + 1 } else { watermark + ahead } * 1000;
                let id = RowId::new(SplitId(u64::from(*port)), number as u64);
                let row = In { port: *port, id, key: *key, time, value };
                let takes_late = is_regular || is_version;
                let is_change = is_version && matches!(which, Which::Table(_));
                let before = rows.iter().position(|old| is_change && old.port == 1 && old.key == row.key);
                let mut kind = RowKind::Insert;
                if let Some(place) = before.filter(|_| row.key.is_some()) {
                    subtasks.push(&rows.remove(place), RowKind::UpdateBefore);
                    kind = RowKind::UpdateAfter;
                }
                subtasks.push(&row, kind);
                changes.extend(is_change.then(|| (number, kind, row.clone())));
                if !takes_late && told.is_some_and(|told| time <= told) {
                    late += 1;
                } else {
                    rows.push(row);
                }
            }
            Act::TakeBack { port, which } => {
                let places: Vec<usize> = (0..rows.len()).filter(|place| rows[*place].port == *port).collect();
                if !places.is_empty() {
                    let row = rows.remove(places[which.index(places.len())]);
                    subtasks.push(&row, RowKind::Delete);
                    changes.push((number, RowKind::Delete, row));
                }
            }
            Act::Watermark(more) => {
                watermark += more;
                told = Some(watermark * 1000);
                watermarks.push((number, watermark * 1000));
                subtasks.watermark(EventTime(watermark * 1000));
            }
            Act::Restore(parallelism) => {
                subtasks.checkpoint();
                subtasks.restore(*parallelism);
            }
            Act::Complete => subtasks.complete(),
        }
    }
    if !matches!(which, Which::Regular(..)) {
        subtasks.watermark(EventTime::MAX);
    }
    let stored_bytes = subtasks.stored_bytes();
    let Subtasks { late_out, out, wrong, .. } = subtasks;
    Run { which, keeps, rows, late, late_out, out, changes, watermarks, wrong, stored_bytes }
}

// === impl Run ===

impl Run {
    /// How many rows the output has when all changes are applied.
    pub fn rows(&self) -> i64 {
        self.out.iter().map(|(kind, ..)| if kind.is_retraction() { -1 } else { 1 }).sum()
    }
}

// === impl Subtasks ===

impl Subtasks {
    fn new(which: Which, keeps: Keeps) -> Self {
        let mut subtasks = Self {
            which,
            keeps,
            subtasks: Vec::new(),
            told: Vec::new(),
            epoch: 0,
            entries: BTreeMap::new(),
            published: BTreeMap::new(),
            late_out: 0,
            out: Vec::new(),
            wrong: None,
        };
        subtasks.restore(2);
        subtasks
    }

    fn make(&self) -> Box<dyn Operator> {
        let (shape, settings) = (shape(self.keeps), StateSettings::default());
        match self.which {
            Which::Timed(meeting, bug) => timed_join_with(&shape, meeting, settings, bug).unwrap(),
            Which::AsOf(bug) | Which::Table(bug) => as_of_join_with(&shape, settings, bug).unwrap(),
            Which::Regular(ttl, bug) => regular_join_with(&shape, ttl, settings, bug).unwrap(),
        }
    }

    fn restore(&mut self, parallelism: u16) {
        let epoch = (self.epoch > 0).then_some(Epoch(self.epoch));
        self.subtasks = (0..parallelism).map(|_| self.make()).collect();
        self.told = vec![i64::MIN; usize::from(parallelism)];
        for (subtask, operator) in (0..).zip(&mut self.subtasks) {
            let identity = Identity { uid: "join".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
            let owned = identity.key_groups();
            let entries = self.entries.iter().filter(|(group, _)| owned.contains(&group.0));
            let groups = entries.flat_map(|(group, all)| all.iter().map(|bytes| (*group, bytes.clone()))).collect();
            let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
            operator.open(context, Restored { epoch, groups }).unwrap();
        }
    }

    /// Takes a snapshot of all; groups that hold only what changed stand behind what they build on.
    fn checkpoint(&mut self) {
        self.epoch += 1;
        let mut entries = BTreeMap::new();
        for subtask in 0..self.subtasks.len() {
            self.take_out(subtask);
            let snapshot = block_on(self.subtasks[subtask].snapshot(Epoch(self.epoch)).unwrap()).unwrap();
            let deltas = snapshot.lineage.map(|lineage| lineage.deltas).unwrap_or_default();
            for group in &deltas {
                entries.insert(*group, self.published.get(group).cloned().unwrap_or_default());
            }
            for (group, bytes) in snapshot.groups {
                entries.entry(group).or_insert_with(Vec::new).push(bytes);
            }
        }
        // Restarting publishes it first, as the runtime does.
        self.entries = entries.clone();
        self.published = entries;
    }

    fn complete(&mut self) {
        self.checkpoint();
        let epoch = Epoch(self.epoch);
        self.subtasks.iter_mut().for_each(|subtask| subtask.on_checkpoint_complete(epoch));
    }

    fn stored_bytes(&mut self) -> usize {
        self.checkpoint();
        // Of no published checkpoint: nothing to build on, so the snapshot is a whole one.
        self.epoch = 0;
        self.restore(1);
        self.published.clear();
        self.checkpoint();
        self.entries.values().flatten().map(Bytes::len).sum()
    }

    fn push(&mut self, row: &In, kind: RowKind) {
        let batch = batch(row.port, std::slice::from_ref(row), &[kind]);
        let keys = KeyColumns::new(vec![0], &schema(row.port)).unwrap();
        let group = keys.groups(batch.rows(), GROUPS).unwrap()[0];
        let subtask = usize::from(group.subtask(self.subtasks.len() as u16, GROUPS));
        assert_eq!(self.subtasks[subtask].room(), Room::Room);
        self.subtasks[subtask].on_batch_at(row.port, batch).unwrap();
        self.take_out(subtask);
    }

    fn watermark(&mut self, watermark: EventTime) {
        for subtask in 0..self.subtasks.len() {
            self.subtasks[subtask].on_watermark(watermark).unwrap();
            self.take_out(subtask);
        }
    }

    fn take_out(&mut self, subtask: usize) {
        while let Some(out) = self.subtasks[subtask].poll().unwrap() {
            match out {
                Out::Batch(batch) => self.note(subtask, &batch),
                Out::Side(_, batch) => self.late_out += batch.len(),
                Out::Watermark(told) => self.told[subtask] = self.told[subtask].max(told.0),
                Out::DeadLetters(_) => self.wrong = Some("a dead letter".to_string()),
            }
        }
    }

    fn note(&mut self, subtask: usize, batch: &Batch) {
        let number = |column: usize, row: usize| {
            let column = batch.rows().column(column);
            match column.data_type() {
                DataType::Int64 => column.is_valid(row).then(|| column.as_primitive::<Int64Type>().value(row)),
                _ => column.is_valid(row).then(|| column.as_primitive::<TimestampMicrosecondType>().value(row)),
            }
        };
        for row in 0..batch.len() {
            let keys = batch.rows().column(0).as_string::<i32>();
            let pair = Pair {
                key: keys.is_valid(row).then(|| keys.value(row).to_string()),
                left: number(1, row).zip(number(2, row)),
                right: number(3, row).zip(number(4, row)),
            };
            let time = match self.keeps {
                Keeps::Inner | Keeps::Left => pair.left,
                Keeps::Right => pair.right,
                Keeps::Full => None,
            };
            let is_timed = !matches!(self.which, Which::Regular(..));
            if let Some((time, _)) = time.filter(|(time, _)| is_timed && *time <= self.told[subtask]) {
                self.wrong = Some(format!("{pair:?} of {time} behind the watermark {}", self.told[subtask]));
            }
            self.out.push((batch.kind(row), batch.ids()[row], pair));
        }
    }
}
