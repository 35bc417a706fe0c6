//! Forms request batches from rows: by count, by bytes, and by how long the first row has waited.
//!
//! A pure state machine over items of any type. Each open batch has its own timer, known by the batch's number: a timer
//! that was set for a batch which has left since never touches the next one. A row that failed before is formed alone,
//! so one bad row cannot fail its neighbours twice. Never drops, copies or reorders rows inside a batch.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::time::Instant;

/// When a request batch is complete.
#[derive(Debug, Clone)]
pub struct BatcherSettings {
    /// Most rows in one request batch, at least 1.
    pub rows_max: usize,
    /// Most bytes in one request batch. A single row above it travels alone.
    pub bytes_max: usize,
    /// Longest wait of a batch's first row.
    pub linger: Duration,
    /// Bugs for the simulation to find; all off in production.
    #[doc(hidden)]
    pub planted: Planted,
}

/// Bugs that the simulation plants to see that it finds them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Planted {
    /// The timer does not know which batch it was set for.
    pub stale_timer: bool,
}

/// Why a request batch was formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It holds `rows_max` rows.
    Rows,
    /// The next row would have taken it above `bytes_max`, or it reached it.
    Bytes,
    /// Its first row waited for `linger`.
    Linger,
    /// [`Batcher::flush`] was called.
    Flush,
    /// A row that failed before, alone.
    Retry,
}

/// A complete request batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formed<T> {
    /// The items in the order pushed, never empty.
    pub items: Vec<T>,
    /// Sum of their bytes.
    pub bytes: usize,
    /// When the first item came.
    pub opened: Instant,
    /// Why it was formed.
    pub cause: Cause,
}

/// Collects items into request batches.
///
/// # Order of calls
/// `push`, `on_timer`, `flush` and `take` in any mix; after each, `next_timer` says when `on_timer` is wanted.
#[derive(Debug)]
pub struct Batcher<T> {
    settings: BatcherSettings,
    open: Option<Open<T>>,
    timer: Option<Timer>,
    opened_total: u64,
    formed: VecDeque<Formed<T>>,
}

#[derive(Debug)]
struct Open<T> {
    number: u64,
    items: Vec<T>,
    bytes: usize,
    opened: Instant,
}

/// The one armed timer: when it fires and for which batch it was set.
#[derive(Debug, Clone, Copy)]
struct Timer {
    batch: u64,
    at: Instant,
}

// === impl BatcherSettings ===

impl BatcherSettings {
    /// Settings without planted bugs.
    pub fn new(rows_max: usize, bytes_max: usize, linger: Duration) -> Self {
        Self { rows_max: rows_max.max(1), bytes_max, linger, planted: Planted::default() }
    }
}

// === impl Batcher ===

impl<T> Batcher<T> {
    /// An empty batcher.
    pub fn new(settings: BatcherSettings) -> Self {
        Self { settings, open: None, timer: None, opened_total: 0, formed: VecDeque::new() }
    }

    /// Takes `item` of `bytes` bytes that was tried `attempts` times before.
    pub fn push(&mut self, item: T, bytes: usize, attempts: u32, now: Instant) {
        if attempts > 0 {
            self.formed.push_back(Formed { items: vec![item], bytes, opened: now, cause: Cause::Retry });
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.bytes.saturating_add(bytes) > self.settings.bytes_max) {
            self.form(Cause::Bytes);
        }
        let open = self.open_batch(now);
        open.items.push(item);
        open.bytes = open.bytes.saturating_add(bytes);
        let (rows, bytes) = (open.items.len(), open.bytes);
        if rows >= self.settings.rows_max {
            self.form(Cause::Rows);
        } else if bytes >= self.settings.bytes_max {
            self.form(Cause::Bytes);
        }
    }

    /// Forms the open batch if its own timer has come. Harmless early or for nothing.
    pub fn on_timer(&mut self, now: Instant) {
        let Some(timer) = self.timer.filter(|timer| timer.at <= now) else { return };
        self.timer = None;
        let own = self.open.as_ref().is_some_and(|open| open.number == timer.batch);
        if own || self.settings.planted.stale_timer {
            self.form(Cause::Linger);
        }
    }

    /// When `on_timer` is wanted; `None` while no batch is open.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timer.map(|timer| timer.at)
    }

    /// Forms the open batch, if there is one, whatever its size.
    pub fn flush(&mut self) {
        self.form(Cause::Flush);
    }

    /// The next complete request batch, oldest first. Looks at the timer first, so a batch that waited long enough is
    /// there even if `on_timer` was not called.
    pub fn take(&mut self, now: Instant) -> Option<Formed<T>> {
        self.on_timer(now);
        self.formed.pop_front()
    }

    /// True if [`Batcher::take`] has something without time passing.
    pub fn has_formed(&self) -> bool {
        !self.formed.is_empty()
    }

    /// Items held, formed or not.
    pub fn held(&self) -> usize {
        self.held_items().count()
    }

    /// Every item held, formed batches first, in the order they will leave.
    pub fn held_items(&self) -> impl Iterator<Item = &T> {
        let open = self.open.iter().flat_map(|open| open.items.iter());
        self.formed.iter().flat_map(|formed| formed.items.iter()).chain(open)
    }

    fn open_batch(&mut self, now: Instant) -> &mut Open<T> {
        if self.open.is_none() {
            self.opened_total += 1;
            let timer = Timer { batch: self.opened_total, at: now + self.settings.linger };
            self.timer.get_or_insert(timer);
        }
        let number = self.opened_total;
        self.open.get_or_insert_with(|| Open { number, items: Vec::new(), bytes: 0, opened: now })
    }

    fn form(&mut self, cause: Cause) {
        let Some(Open { items, bytes, opened, .. }) = self.open.take() else { return };
        if !self.settings.planted.stale_timer {
            self.timer = None;
        }
        self.formed.push_back(Formed { items, bytes, opened, cause });
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
