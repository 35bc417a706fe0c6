//! The in-flight table: every row taken and not yet given out, in order of arrival, and the watermarks that wait for them.
//!
//! Pure book-keeping. A watermark leaves when every row that came before it has left; no row that came after it leaves
//! before it. Between two watermarks rows leave as they finish (`Unordered`), as they came (`Ordered`), or as they came
//! among those of their key (`PerKey`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::Batch;
use forebay_core::key_group::KeyGroup;
use forebay_core::time::EventTime;
use forebay_gate::blame::Suspicion;
use forebay_inference::request::{Outcome, RequestId};

use super::contents::Content;
use super::weight::{self, EMIT_BYTES_MAX, HELD_BYTES_MAX};

/// Most rows given out in one batch.
const EMIT_ROWS_MAX: usize = 4096;

/// In which order finished rows leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they finish, between watermarks.
    Unordered,
    /// As they came.
    Ordered,
    /// Rows of one key as they came; others as they finish.
    PerKey,
}

/// A row taken and not yet given out.
#[derive(Debug)]
pub struct Entry {
    /// Its place among all rows of the subtask; set by [`Table::push`].
    pub number: u64,
    /// The batch that the row came in.
    pub batch: Arc<Batch>,
    /// Its place in that batch.
    pub place: usize,
    /// Who is asked: 0 for the step's model, else the rung of its ladder.
    pub rung: usize,
    /// Which inference it is there.
    pub request: RequestId,
    /// Which inferences it was on the rungs below.
    pub earlier: Vec<RequestId>,
    /// How often it was tried and failed on this rung.
    pub attempts: u32,
    /// How often on the rungs below.
    pub attempts_before: u32,
    /// What its failures say of it, as far as they are no tries; of this rung and since the last restore.
    pub suspicion: Suspicion,
    /// Its cost.
    pub cost: u64,
    /// Its length bucket.
    pub bucket: u32,
    /// Its key, where the step has one.
    pub key: Option<u64>,
    /// What it is known by, where rows are also taken back.
    pub content: Option<Box<Content>>,
    /// It takes back another, and nobody is asked about it.
    pub takes_back: bool,
    /// Its answer was kept, with who gave it.
    pub is_kept: bool,
    /// It is taken back by a row that leaves together with it: its answer need not be kept.
    pub is_taken_back: bool,
    /// When it has to be answered on rung 0, as the batcher counts.
    pub deadline: Option<Duration>,
    /// That this rung does not answer it is being made durable.
    pub giving_up: bool,
    /// It is still in the queue or in flight of the step's model, which nobody waits for any more.
    pub abandoned: bool,
    /// What became of it, once known.
    pub outcome: Option<Outcome>,
}

/// What may leave now.
#[derive(Debug)]
pub enum Emission {
    /// These rows, all finished, in this order.
    Rows(Vec<Entry>),
    /// A watermark whose rows have all left.
    Watermark(EventTime),
}

/// Rows and watermarks in order of arrival.
#[derive(Debug)]
pub struct Table {
    order: Order,
    rows: BTreeMap<u64, Entry>,
    /// Rows that may leave as far as order within keys goes.
    finished: BTreeSet<u64>,
    /// `PerKey`: the rows of each key, in order of arrival.
    keys: BTreeMap<u64, VecDeque<u64>>,
    marks: VecDeque<(u64, EventTime)>,
    next: u64,
    /// Bytes of answers that were not given out.
    held_bytes: usize,
    /// A bug for the simulation to find: a watermark does not wait for its rows.
    pub(crate) watermark_overtakes: bool,
    /// Another: rows of a key leave as they finish.
    pub(crate) key_order_forgotten: bool,
}

// === impl Entry ===

impl Entry {
    /// The key group that the row belongs to, of `groups` in all: its content's, its key's, or that of its id.
    pub fn group(&self, groups: u16) -> KeyGroup {
        if let Some(content) = &self.content {
            return content.group(groups);
        }
        let of_id = || self.batch.ids()[self.place].key_group(groups);
        self.key.map_or_else(of_id, |key| KeyGroup::of_hash(key, groups))
    }

    /// Bytes of its answer, see [`weight::bytes_of`].
    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, weight::bytes_of)
    }
}

// === impl Table ===

impl Table {
    /// An empty table.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            rows: BTreeMap::new(),
            finished: BTreeSet::new(),
            keys: BTreeMap::new(),
            marks: VecDeque::new(),
            next: 0,
            held_bytes: 0,
            watermark_overtakes: false,
            key_order_forgotten: false,
        }
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when neither rows nor watermarks are held.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.marks.is_empty()
    }

    /// Takes a row; answers its number, which grows with every row.
    pub fn push(&mut self, mut entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        entry.number = number;
        if let Some(key) = entry.key.filter(|_| self.order == Order::PerKey) {
            self.keys.entry(key).or_default().push_back(number);
        }
        self.rows.insert(number, entry);
        number
    }

    /// Takes a watermark behind the rows that came so far.
    pub fn push_watermark(&mut self, watermark: EventTime) {
        self.marks.push_back((self.next, watermark));
    }

    /// The row of this number.
    pub fn get(&self, number: u64) -> Option<&Entry> {
        self.rows.get(&number)
    }

    /// The row of this number, to be changed.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.rows.get_mut(&number)
    }

    /// Whether the row is still without outcome, and `rung` is being asked about it.
    pub fn is_asked(&self, number: u64, rung: usize) -> bool {
        let asked = |entry: &Entry| {
            entry.rung == rung && !entry.giving_up && !(entry.abandoned && rung == 0) && entry.outcome.is_none()
        };
        self.rows.get(&number).is_some_and(asked)
    }

    /// Counts a failed try; answers how many there were.
    pub fn count_failure(&mut self, number: u64) -> u32 {
        self.rows.get_mut(&number).map_or(0, |entry| {
            entry.attempts += 1;
            entry.attempts
        })
    }

    /// Sets what became of a row. A second outcome for the same row changes nothing.
    pub fn finish(&mut self, number: u64, outcome: Outcome) {
        if let Some(entry) = self.rows.get_mut(&number).filter(|entry| entry.outcome.is_none()) {
            self.held_bytes += weight::bytes_of(&outcome);
            entry.outcome = Some(outcome);
            let first = entry.key.and_then(|key| self.keys.get(&key)).and_then(|rows| rows.front());
            if first.is_none_or(|first| *first == number || self.key_order_forgotten) {
                self.finished.insert(number);
            }
        }
    }

    /// Rows not yet given out, in order of arrival, each with its number.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.rows.iter().map(|(number, entry)| (*number, entry))
    }

    /// What may leave now, if anything.
    pub fn emit(&mut self) -> Option<Emission> {
        let first = self.rows.keys().next().copied();
        if let Some((mark, watermark)) = self.marks.front().copied()
            && (self.watermark_overtakes || first.is_none_or(|first| first >= mark))
        {
            self.marks.pop_front();
            return Some(Emission::Watermark(watermark));
        }
        let end = self.marks.front().map_or(u64::MAX, |(mark, _)| *mark);
        let mut bytes = 0;
        let mut fits = |entry: Option<&Entry>| fits(&mut bytes, entry);
        let leaving: Vec<u64> = match self.order {
            Order::Unordered => {
                let waiting = self.finished.range(..end).take(EMIT_ROWS_MAX);
                waiting.take_while(|number| fits(self.rows.get(number))).copied().collect()
            }
            Order::PerKey => self.leaving_by_key(end),
            Order::Ordered => {
                let waiting = self.rows.range(..end).take_while(|(_, entry)| entry.outcome.is_some());
                let waiting = waiting.take(EMIT_ROWS_MAX).take_while(|(_, entry)| fits(Some(entry)));
                waiting.map(|(number, _)| *number).collect()
            }
        };
        let rows: Vec<Entry> = leaving
            .iter()
            .filter_map(|number| {
                self.finished.remove(number);
                self.rows.remove(number)
            })
            .collect();
        self.held_bytes -= rows.iter().map(Entry::bytes).sum::<usize>();
        (!rows.is_empty()).then_some(Emission::Rows(rows))
    }

    /// Whether so much that may leave was not given out that no more should be asked for.
    pub fn is_heavy(&self) -> bool {
        let end = self.marks.front().map_or(u64::MAX, |(mark, _)| *mark);
        let may_leave = || match self.order {
            Order::Unordered | Order::PerKey => self.finished.range(..end).next().is_some(),
            Order::Ordered => self.rows.range(..end).next().is_some_and(|(_, entry)| entry.outcome.is_some()),
        };
        self.held_bytes > HELD_BYTES_MAX && may_leave()
    }

    /// Rows that may leave, each followed by those of its key that had to wait for it alone.
    fn leaving_by_key(&mut self, end: u64) -> Vec<u64> {
        let (mut leaving, mut bytes) = (Vec::new(), 0);
        while leaving.len() < EMIT_ROWS_MAX {
            let Some(number) = self.finished.range(..end).next().copied() else { break };
            if !fits(&mut bytes, self.rows.get(&number)) {
                break;
            }
            self.finished.remove(&number);
            leaving.push(number);
            let Some(key) = self.rows.get(&number).and_then(|entry| entry.key) else { continue };
            let Some(rows) = self.keys.get_mut(&key) else { continue };
            rows.retain(|row| *row != number);
            let next = rows.front().copied();
            if next.is_none() {
                self.keys.remove(&key);
            }
            let finished = |row: &u64| self.rows.get(row).is_some_and(|entry| entry.outcome.is_some());
            self.finished.extend(next.filter(finished));
        }
        leaving
    }
}

/// Whether `entry` may leave beside others of so many `bytes`, to which it is added; the first always may.
fn fits(bytes: &mut usize, entry: Option<&Entry>) -> bool {
    let own = entry.map_or(0, Entry::bytes);
    let fits = *bytes == 0 || *bytes + own <= EMIT_BYTES_MAX;
    *bytes += own;
    fits
}
