//! Several subtasks of a window step, driven by hand, and what came out of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::Identity;
use forebay_core::row::RowId;
use forebay_core::testing::ManualEnv;
use futures::FutureExt;
use futures::task::noop_waker;

use super::super::*;
use super::{Line, Row, batch};

/// Key groups of the tests: few, so that several keys share one.
const GROUPS: u16 = 8;

pub struct Job {
    settings: WindowSettings,
    /// Makes a batch of rows.
    columns: fn(&[Row]) -> Batch,
    subtasks: Vec<Window>,
    epoch: u64,
    /// What the checkpoint holds of each key group: everything first, then what changed.
    chains: BTreeMap<KeyGroup, Vec<Bytes>>,
    /// The result so far, each line with how often it stands.
    table: BTreeMap<Line, i64>,
    late: Vec<(u64, RowKind)>,
    pub ids: Vec<RowId>,
    /// All that came out, in order.
    pub out: Vec<(RowKind, RowId, Line)>,
    pub dead: usize,
}

pub fn context(subtask: u16, parallelism: u16) -> Context {
    let identity = Identity { uid: "sums".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
    Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() }
}

impl Job {
    pub fn new(settings: WindowSettings, parallelism: u16) -> Self {
        Self::of(settings, parallelism, batch)
    }

    /// From the next restart on, sliding windows consist of slices.
    pub fn upgrade(&mut self) {
        self.settings.slices = matches!(self.settings.shape, Shape::Slide { .. });
    }

    /// One whose rows have the columns that `columns` gives.
    pub fn of(settings: WindowSettings, parallelism: u16, columns: fn(&[Row]) -> Batch) -> Self {
        let mut job = Self {
            settings,
            columns,
            subtasks: Vec::new(),
            epoch: 0,
            chains: BTreeMap::new(),
            table: BTreeMap::new(),
            late: Vec::new(),
            ids: Vec::new(),
            out: Vec::new(),
            dead: 0,
        };
        job.start(parallelism, &Restored::default());
        job
    }

    pub fn rows(&mut self, rows: &[Row]) {
        let parallelism = self.subtasks.len() as u16;
        let groups = self.settings.keys.groups((self.columns)(rows).rows(), GROUPS).unwrap();
        for subtask in 0..parallelism {
            let owned = KeyGroup::range_of(subtask, parallelism, GROUPS);
            let of_subtask = rows.iter().zip(&groups).filter(|(_, group)| owned.contains(&group.0));
            let of_subtask: Vec<Row> = of_subtask.map(|(row, _)| row.clone()).collect();
            if !of_subtask.is_empty() {
                self.batch(subtask, (self.columns)(&of_subtask));
            }
        }
    }

    pub fn batch(&mut self, subtask: u16, batch: Batch) {
        self.subtasks[usize::from(subtask)].on_batch(batch).unwrap();
        self.poll();
    }

    pub fn watermark(&mut self, watermark: i64) {
        self.subtasks.iter_mut().for_each(|subtask| subtask.on_watermark(EventTime(watermark)).unwrap());
        self.poll();
    }

    /// A barrier, and everything from its snapshots on at `parallelism`.
    pub fn restart(&mut self, parallelism: u16) {
        self.epoch += 1;
        let parallelism_before = self.subtasks.len() as u16;
        for (subtask, window) in (0..).zip(&mut self.subtasks) {
            let frozen = window.snapshot(Epoch(self.epoch)).unwrap();
            let mut snapshot = frozen.now_or_never().unwrap().unwrap();
            let deltas = snapshot.lineage.take().unwrap().deltas;
            for group in KeyGroup::range_of(subtask, parallelism_before, GROUPS).map(KeyGroup) {
                let chain = self.chains.entry(group).or_default();
                if !deltas.contains(&group) {
                    chain.clear();
                }
                chain.extend(snapshot.groups.remove(&group));
            }
        }
        let entries = self.chains.iter().flat_map(|(group, chain)| chain.iter().map(|bytes| (*group, bytes.clone())));
        let restored = Restored { epoch: Some(Epoch(self.epoch)), groups: entries.collect() };
        self.start(parallelism, &restored);
    }

    fn start(&mut self, parallelism: u16, restored: &Restored) {
        self.subtasks = (0..parallelism)
            .map(|subtask| {
                let context = context(subtask, parallelism);
                let owned = context.identity.key_groups();
                let groups = restored.groups.iter().filter(|(group, _)| owned.contains(&group.0)).cloned().collect();
                let mut window = Window::new(self.settings.clone());
                window.open(context, Restored { epoch: restored.epoch, groups }).unwrap();
                window
            })
            .collect();
    }

    fn poll(&mut self) {
        for place in 0..self.subtasks.len() {
            while let Some(out) = self.subtasks[place].poll().unwrap() {
                match out {
                    Out::Batch(batch) => self.take(&batch),
                    Out::Side(port, batch) => {
                        assert_eq!(port, LATE);
                        self.late.extend((0..batch.len()).map(|row| (batch.ids()[row].ordinal, batch.kind(row))));
                    }
                    Out::DeadLetters(letters) => self.dead += letters.len(),
                    Out::Watermark(_) => {}
                }
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        self.ids.extend_from_slice(batch.ids());
        let texts = |column: &ArrayRef| {
            let column = match column.data_type() {
                DataType::Timestamp(..) => cast(column, &DataType::Int64).unwrap(),
                _ => Arc::clone(column),
            };
            let texts = cast(&column, &DataType::Utf8).unwrap();
            texts.as_string::<i32>().iter().map(|text| text.unwrap_or("-").to_string()).collect::<Vec<_>>()
        };
        let columns: Vec<Vec<String>> = batch.rows().columns().iter().map(texts).collect();
        for place in 0..batch.len() {
            let line: Line = columns.iter().map(|column| column[place].clone()).collect();
            self.out.push((batch.kind(place), batch.ids()[place], line.clone()));
            *self.table.entry(line).or_default() += if batch.kind(place).is_retraction() { -1 } else { 1 };
        }
    }

    /// The lines that stand, in order, each as often as it does.
    ///
    /// # Errors
    /// If a line was taken back that did not stand.
    pub fn table(&self) -> Result<Vec<Line>, String> {
        if let Some((line, count)) = self.table.iter().find(|(_, count)| **count < 0) {
            return Err(format!("{line:?} stands {count} times"));
        }
        let lines = self.table.iter().flat_map(|(line, count)| std::iter::repeat_n(line, *count as usize));
        Ok(lines.cloned().collect())
    }

    /// Ids and kinds of the late rows, in order.
    pub fn late(&self) -> Vec<(u64, RowKind)> {
        let mut late = self.late.clone();
        late.sort_unstable();
        late
    }
}
