//! The log with its writers and readers over a disk in memory: a job whose two sides are written by hand.

mod crash;
mod damage;
mod flow;
mod kept;
mod limits;
mod savepoint;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Identity, Operator, Restored};
use forebay_core::row::{RowId, SplitId};
use forebay_core::source::{Read, Reader};
use forebay_core::testing::{ManualEnv, MemoryDisk};
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};
use futures::FutureExt;
use futures::task::noop_waker;

use super::{
    Claim, EdgeLog, EdgeMode, EdgeReader, EdgeSettings, EdgeWriter, PlantedBug, Positions, Published, WriterState,
    by_row,
};

/// Key groups of the job.
const GROUPS: u16 = 8;

/// State by key group, as a checkpoint holds it.
type Groups = BTreeMap<KeyGroup, Bytes>;

/// One process with the edge open.
struct Process {
    env: ManualEnv,
    log: EdgeLog,
}

/// What came out of a reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    rows: Vec<i64>,
    watermarks: Vec<i64>,
    ended: bool,
}

fn settings(mode: EdgeMode) -> EdgeSettings {
    EdgeSettings { segment_bytes_max: 600, ..EdgeSettings::new(mode, ["consumer".to_string()]) }
}

/// Rows `numbers`; number n is of split n % 5, so of one of a few key groups.
fn batch(numbers: impl IntoIterator<Item = i64>) -> Batch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let ids: Vec<RowId> = numbers.iter().map(|number| id(*number)).collect();
    let column: ArrayRef = Arc::new(Int64Array::from(numbers));
    Batch::new(RecordBatch::try_from_iter([("n", column)]).unwrap(), ids).unwrap()
}

fn id(number: i64) -> RowId {
    RowId::new(SplitId(number.rem_euclid(5) as u64), number as u64)
}

fn owned(batch: &Batch, subtask: u16, parallelism: u16) -> Option<Batch> {
    let mine = |place: &usize| batch.ids()[*place].key_group(GROUPS).subtask(parallelism, GROUPS) == subtask;
    let places: Vec<usize> = (0..batch.len()).filter(mine).collect();
    (!places.is_empty()).then(|| batch.take(&places).unwrap())
}

fn context(env: &ManualEnv, attempt: u64, subtask: u16, parallelism: u16) -> Context {
    let identity = Identity { uid: "edge".into(), subtask, parallelism, groups: GROUPS, attempt };
    Context { identity, env: Arc::new(env.clone()), waker: noop_waker() }
}

fn restored(groups: &Groups, subtask: u16, parallelism: u16) -> Restored {
    let mine = |group: &KeyGroup| group.subtask(parallelism, GROUPS) == subtask;
    let groups = groups.iter().filter(|(group, _)| mine(group)).map(|(group, bytes)| (*group, bytes.clone()));
    Restored { epoch: None, groups: groups.collect() }
}

fn entries(groups: &Groups) -> impl Iterator<Item = (KeyGroup, &[u8])> {
    groups.iter().map(|(group, bytes)| (*group, &bytes[..]))
}

fn writer_states(groups: &Groups) -> BTreeMap<KeyGroup, WriterState> {
    WriterState::of(entries(groups)).unwrap()
}

fn reader_positions(groups: &Groups) -> Positions {
    Positions::needed(entries(groups)).unwrap()
}

// === impl Process ===

impl Process {
    fn open(disk: &MemoryDisk, seed: u64, settings: EdgeSettings) -> Result<Self> {
        Self::over(ManualEnv::with_disk(seed, Arc::new(disk.clone())), settings).expect("a memory disk answers")
    }

    /// `None` if the disk never answers.
    fn over(env: ManualEnv, settings: EdgeSettings) -> Option<Result<Self>> {
        let opened = EdgeLog::open(Arc::new(env.clone()) as Arc<dyn Env>, "edge/a", settings).now_or_never()?;
        Some(opened.map(|(log, _)| Self { env, log }))
    }

    /// The attempt that goes on from `base`, published under number `claimed - 1` or never. `None` if the disk stopped.
    fn take_over(&self, attempt: u64, base: Option<Epoch>, claimed: Epoch, groups: &Groups) -> Option<Result<()>> {
        let claim = Claim { attempt, base, next_epoch: claimed.next(), writers: writer_states(groups) };
        let done = self.log.take_over(claim);
        self.env.settle();
        done.now_or_never()
    }

    fn writers(&self, attempt: u64, parallelism: u16, groups: &Groups) -> Vec<EdgeWriter> {
        let open = |subtask| {
            let mut writer = EdgeWriter::new(&self.log, by_row());
            let context = context(&self.env, attempt, subtask, parallelism);
            writer.open(context, restored(groups, subtask, parallelism)).map(|()| writer)
        };
        (0..parallelism).map(|subtask| open(subtask).unwrap()).collect()
    }

    fn readers(&self, parallelism: u16, groups: &Groups) -> Result<Vec<EdgeReader>> {
        let open = |subtask| {
            let mut reader = EdgeReader::new(&self.log);
            let context = context(&self.env, 1, subtask, parallelism);
            reader.open(context, Vec::new(), restored(groups, subtask, parallelism)).map(|()| reader)
        };
        (0..parallelism).map(open).collect()
    }

    /// Snapshots of `writers` at the barrier of `epoch`, once durable.
    fn barrier(&self, writers: &mut [EdgeWriter], epoch: Epoch) -> Option<Groups> {
        let frozen: Vec<_> = writers.iter_mut().map(|writer| writer.snapshot(epoch).unwrap()).collect();
        self.env.settle();
        let mut groups = Groups::new();
        for frozen in frozen {
            groups.extend(frozen.now_or_never()?.unwrap().groups);
        }
        Some(groups)
    }

    fn publish(&self, epoch: Epoch) {
        self.log.published(Published { epoch, state_of: Some(epoch) });
    }

    /// Everything that `reader` gives out now.
    fn read(&self, reader: &mut EdgeReader, seen: &mut Seen) -> Result<()> {
        loop {
            self.env.settle();
            match reader.poll_next()? {
                Read::Batch(batch) => seen.rows.extend(batch.rows()["n"].as_primitive::<Int64Type>().values()),
                Read::Watermark(watermark) => seen.watermarks.push(watermark.0),
                Read::DeadLetters(_) | Read::Partly(..) | Read::Idle => unreachable!("an edge has no bad rows"),
                Read::End => {
                    seen.ended = true;
                    return Ok(());
                }
                Read::Pending if self.env.step() => {}
                Read::Pending => return Ok(()),
            }
        }
    }
}

fn write(writers: &mut [EdgeWriter], batch: &Batch) {
    let parallelism = writers.len() as u16;
    for (subtask, writer) in writers.iter_mut().enumerate() {
        if let Some(mine) = owned(batch, subtask as u16, parallelism) {
            writer.on_batch(mine).unwrap();
        }
    }
}

fn watermark(writers: &mut [EdgeWriter], time: i64) {
    writers.iter_mut().for_each(|writer| writer.on_watermark(EventTime(time)).unwrap());
}

fn sorted(mut rows: Vec<i64>) -> Vec<i64> {
    rows.sort_unstable();
    rows
}

/// Whether rows of one split, and so of one key group, are in order and none is there twice.
fn in_order(rows: &[i64]) -> bool {
    let of_split = |split: i64| rows.iter().filter(move |row| row.rem_euclid(5) == split);
    (0..5).all(|split| of_split(split).is_sorted_by(|a, b| a < b))
}
