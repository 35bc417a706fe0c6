//! What goes into a batcher and what comes out of it, and when a batch is complete.

use std::time::Duration;

use super::Open;
use crate::permits::Size;

/// When a request batch is complete. Rows and linger may change between any two calls.
#[derive(Debug, Clone)]
pub struct BatcherSettings {
    /// Most rows in one request batch, at least 1.
    pub rows_max: usize,
    /// Most bytes in one request batch. A single row above it travels alone.
    pub bytes_max: usize,
    /// Most cost in one request batch, for example tokens. A single row above it travels alone.
    pub cost_max: u64,
    /// Longest wait of a batch's first row.
    pub linger: Duration,
    /// How long a call is expected to take: a batch leaves one and a half times this before the first deadline in it.
    pub latency: Duration,
    /// Most that the costliest row of a batch may cost, in units of its cheapest; `None`: all go together. Where a
    /// backend pads rows to the longest, 1.5 wastes at most a third.
    pub cost_ratio: Option<f64>,
    /// A watermark sends the batches with rows that it waits for.
    pub watermark_sends: bool,
    /// Bugs for tests to find; all off in production.
    #[doc(hidden)]
    pub planted: Planted,
}

/// Bugs planted to see that tests find them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    /// The timer does not know which batch it was set for.
    pub stale_timer: bool,
    /// Rows of a key do not wait for those before them.
    pub keys_overtake: bool,
    /// A batch that was complete when the limit was higher leaves as it is.
    pub shrunk_limit_ignored: bool,
}

/// A row in the batcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    /// Whatever is batched.
    pub item: T,
    /// Its place among all rows; grows. Rows of one key leave in this order.
    pub seq: u64,
    /// Its bytes.
    pub bytes: usize,
    /// Its cost, for example tokens.
    pub cost: u64,
    /// Rows of one key never overtake each other.
    pub key: Option<u64>,
    /// Rows of another bucket never go with it, for example longer ones that it would be padded to.
    pub bucket: u32,
    /// When it has to be answered.
    pub deadline: Option<Duration>,
    /// When it happened, as it says itself.
    pub event_time: Option<i64>,
}

/// Why a request batch was formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It holds `rows_max` rows.
    Rows,
    /// The next row would have taken it above `bytes_max`, or it reached it.
    Bytes,
    /// The next row would have taken it above `cost_max`, or it reached it.
    Cost,
    /// Its first row waited for `linger`.
    Linger,
    /// A row of it would have become late.
    Deadline,
    /// A watermark waits for a row of it.
    Watermark,
    /// [`Batcher::flush`](super::Batcher::flush) was called, or the input ended.
    Flush,
    /// Rows that failed before.
    Retry,
}

/// A complete request batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formed<T> {
    /// The rows in the order pushed, never empty.
    pub rows: Vec<Entry<T>>,
    /// When the first row came.
    pub opened: Duration,
    /// Why it was formed.
    pub cause: Cause,
}

// === impl BatcherSettings ===

impl BatcherSettings {
    /// Settings for the three classic limits; nothing else closes a batch.
    pub fn new(rows_max: usize, bytes_max: usize, linger: Duration) -> Self {
        Self {
            rows_max: rows_max.max(1),
            bytes_max,
            cost_max: u64::MAX,
            linger,
            latency: Duration::ZERO,
            cost_ratio: None,
            watermark_sends: false,
            planted: Planted::default(),
        }
    }

    /// Rows of one bucket name the same and differ in cost by less than `cost_ratio`.
    pub(super) fn bucket<T>(&self, row: &Entry<T>) -> (u32, i32) {
        let Some(ratio) = self.cost_ratio.filter(|ratio| *ratio > 1.0) else { return (row.bucket, 0) };
        (row.bucket, ((row.cost.max(1) as f64).ln() / ratio.ln()).floor() as i32)
    }

    /// Why `row` may not join the open batch, if so.
    pub(super) fn overflow<T>(&self, open: &Open<T>, row: &Entry<T>) -> Option<Cause> {
        let with = open.size.plus(row.size());
        if with.bytes > self.bytes_max {
            Some(Cause::Bytes)
        } else if with.cost > self.cost_max {
            Some(Cause::Cost)
        } else {
            (with.rows > self.rows_max).then_some(Cause::Rows)
        }
    }

    /// Why an open batch of `size` is complete, if it is.
    pub(super) fn complete(&self, size: Size) -> Option<Cause> {
        if size.rows >= self.rows_max {
            Some(Cause::Rows)
        } else if size.bytes >= self.bytes_max {
            Some(Cause::Bytes)
        } else {
            (size.cost >= self.cost_max).then_some(Cause::Cost)
        }
    }
}

// === impl Entry ===

impl<T> Entry<T> {
    /// A row without key, deadline or event time, of cost 1.
    pub fn new(item: T, seq: u64, bytes: usize) -> Self {
        Self { item, seq, bytes, cost: 1, key: None, bucket: 0, deadline: None, event_time: None }
    }

    pub(super) fn size(&self) -> Size {
        Size { rows: 1, bytes: self.bytes, cost: self.cost }
    }
}

// === impl Formed ===

impl<T> Formed<T> {
    /// What the call will weigh.
    pub fn size(&self) -> Size {
        self.rows.iter().fold(Size::default(), |size, row| size.plus(row.size()))
    }
}
