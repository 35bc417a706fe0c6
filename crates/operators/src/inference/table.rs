//! The in-flight table: every row taken and not yet given out, in order of arrival, and the watermarks that wait for them.
//!
//! Pure book-keeping. A watermark leaves when every row that came before it has left; no row that came after it leaves
//! before it. Between two watermarks rows leave as they finish (`Unordered`) or as they came (`Ordered`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use forebay_core::Batch;
use forebay_core::time::EventTime;
use forebay_inference::request::{Outcome, RequestId};

/// Most rows given out in one batch.
const EMIT_ROWS_MAX: usize = 4096;

/// In which order finished rows leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they finish, between watermarks.
    Unordered,
    /// As they came.
    Ordered,
}

/// A row taken and not yet given out.
#[derive(Debug)]
pub struct Entry {
    /// The batch that the row came in.
    pub batch: Arc<Batch>,
    /// Its place in that batch.
    pub place: usize,
    /// Which inference it is.
    pub request: RequestId,
    /// How often it was tried and failed.
    pub attempts: u32,
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
    finished: BTreeSet<u64>,
    marks: VecDeque<(u64, EventTime)>,
    next: u64,
    /// A bug for the simulation to find: a watermark does not wait for its rows.
    pub(crate) watermark_overtakes: bool,
}

// === impl Table ===

impl Table {
    /// An empty table.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            rows: BTreeMap::new(),
            finished: BTreeSet::new(),
            marks: VecDeque::new(),
            next: 0,
            watermark_overtakes: false,
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
    pub fn push(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
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
            entry.outcome = Some(outcome);
            self.finished.insert(number);
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
        let leaving: Vec<u64> = match self.order {
            Order::Unordered => self.finished.range(..end).take(EMIT_ROWS_MAX).copied().collect(),
            Order::Ordered => {
                let waiting = self.rows.range(..end).take_while(|(_, entry)| entry.outcome.is_some());
                waiting.take(EMIT_ROWS_MAX).map(|(number, _)| *number).collect()
            }
        };
        let rows: Vec<Entry> = leaving
            .iter()
            .filter_map(|number| {
                self.finished.remove(number);
                self.rows.remove(number)
            })
            .collect();
        (!rows.is_empty()).then_some(Emission::Rows(rows))
    }
}
