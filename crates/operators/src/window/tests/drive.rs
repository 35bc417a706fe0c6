//! Several subtasks of a window step, driven by hand, and what came out of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
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
    subtasks: Vec<Window>,
    epoch: u64,
    /// What the checkpoint holds of each key group: everything first, then what changed.
    chains: BTreeMap<KeyGroup, Vec<Bytes>>,
    /// The result so far, each line with how often it stands.
    table: BTreeMap<Line, i64>,
    late: Vec<u64>,
    pub ids: Vec<RowId>,
    pub dead: usize,
}

pub fn context(subtask: u16, parallelism: u16) -> Context {
    let identity = Identity { uid: "sums".into(), subtask, parallelism, groups: GROUPS, attempt: 1 };
    Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() }
}

impl Job {
    pub fn new(settings: WindowSettings, parallelism: u16) -> Self {
        let mut job = Self {
            settings,
            subtasks: Vec::new(),
            epoch: 0,
            chains: BTreeMap::new(),
            table: BTreeMap::new(),
            late: Vec::new(),
            ids: Vec::new(),
            dead: 0,
        };
        job.start(parallelism, &Restored::default());
        job
    }

    pub fn rows(&mut self, rows: &[Row]) {
        let parallelism = self.subtasks.len() as u16;
        let groups = self.settings.keys.groups(batch(rows).rows(), GROUPS).unwrap();
        for subtask in 0..parallelism {
            let owned = KeyGroup::range_of(subtask, parallelism, GROUPS);
            let of_subtask = rows.iter().zip(&groups).filter(|(_, group)| owned.contains(&group.0));
            let of_subtask: Vec<Row> = of_subtask.map(|(row, _)| row.clone()).collect();
            if !of_subtask.is_empty() {
                self.batch(subtask, batch(&of_subtask));
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
                        self.late.extend(batch.ids().iter().map(|id| id.ordinal));
                    }
                    Out::DeadLetters(letters) => self.dead += letters.len(),
                    Out::Watermark(_) => {}
                }
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        self.ids.extend_from_slice(batch.ids());
        let time =
            |column: usize, place| batch.rows().column(column).as_primitive::<TimestampMicrosecondType>().value(place);
        let number = |column: usize, place: usize| {
            batch.rows().column(column).as_primitive::<Int64Type>().iter().nth(place).unwrap()
        };
        for place in 0..batch.len() {
            let keys = batch.rows().column(0).as_string::<i32>();
            let key = keys.is_valid(place).then(|| keys.value(place).to_string());
            let (start, end) = (time(1, place), time(2, place));
            assert_eq!(time(3, place), end - 1);
            let different = number(7, place).unwrap();
            let line = (key, start, end, number(4, place).unwrap(), number(5, place), number(6, place), different);
            let change = match batch.kind(place) {
                RowKind::Insert | RowKind::UpdateAfter => 1,
                RowKind::UpdateBefore | RowKind::Delete => -1,
            };
            *self.table.entry(line).or_default() += change;
        }
    }

    /// The lines that stand, in order.
    ///
    /// # Errors
    /// If a line was taken back that did not stand.
    pub fn table(&self) -> Result<Vec<Line>, String> {
        if let Some((line, count)) = self.table.iter().find(|(_, count)| !(0..=1).contains(*count)) {
            return Err(format!("{line:?} stands {count} times"));
        }
        Ok(self.table.iter().filter(|(_, count)| **count == 1).map(|(line, _)| line.clone()).collect())
    }

    /// Ids of the late rows, in order.
    pub fn late(&self) -> Vec<u64> {
        let mut late = self.late.clone();
        late.sort_unstable();
        late
    }
}
