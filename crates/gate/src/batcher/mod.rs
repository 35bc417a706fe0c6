//! Forms request batches from rows: by rows, bytes, cost, the wait of the first row, deadlines, event time and the end.
//!
//! A pure state machine over items of any type. A batch that is not full stays open to others until somebody takes it,
//! which is when there is a permit: under load batches fill by themselves. Each open batch knows its own due time, so a
//! timer that was set for a batch which has left since never touches the next one. Rows of similar cost go together where
//! asked ([`BatcherSettings::cost_ratio`]); rows of one key are never in two batches at once (`keys.rs`); what failed before
//! comes back as a group of its own and never fails new rows. Never drops or copies a row.

mod keys;
mod vocabulary;

use std::collections::VecDeque;
use std::time::Duration;

pub use self::vocabulary::{BatcherSettings, Cause, Entry, Formed, Planted};

use self::keys::Keys;
use crate::permits::Size;

/// Collects rows into request batches.
///
/// # Order of calls
/// `push`, `retry`, `on_watermark`, `flush`, `take` and `set_*` in any mix; `next_due` says when `take` may have something
/// by time alone. Every row taken with a key needs one `done`, or one `retry`.
#[derive(Debug)]
pub struct Batcher<T> {
    settings: BatcherSettings,
    open: Vec<Open<T>>,
    formed: VecDeque<Formed<T>>,
    keys: Keys<T>,
    opened_total: u64,
    held: usize,
    ended: bool,
    stale: Option<Duration>,
}

#[derive(Debug)]
struct Open<T> {
    number: u64,
    bucket: (u32, i32),
    rows: Vec<Entry<T>>,
    size: Size,
    opened: Duration,
    deadline: Duration,
    event_time: i64,
}

// === impl Batcher ===

impl<T> Batcher<T> {
    /// An empty batcher.
    pub fn new(settings: BatcherSettings) -> Self {
        Self {
            keys: Keys::new(settings.planted.keys_overtake),
            settings,
            open: Vec::new(),
            formed: VecDeque::new(),
            opened_total: 0,
            held: 0,
            ended: false,
            stale: None,
        }
    }

    /// Moves the limiter's knobs; batches that are open or formed follow.
    pub fn set_knobs(&mut self, rows_max: usize, linger: Duration) {
        self.settings.rows_max = rows_max.max(1);
        self.settings.linger = linger;
    }

    /// Says how long a call is expected to take.
    pub fn set_latency(&mut self, latency: Duration) {
        self.settings.latency = latency;
    }

    /// Takes a row that waits since `since`, for its first attempt.
    pub fn push(&mut self, row: Entry<T>, since: Duration) {
        self.held += 1;
        if row.key.is_none() {
            return self.join(row, since);
        }
        let joinable = joinable(&self.settings, &self.open, &row);
        if let Some(row) = self.keys.admit(row, since, joinable) {
            self.join(row, since);
        }
    }

    /// Takes back rows that failed together, to be sent again as one group, as soon as their keys allow.
    pub fn retry(&mut self, rows: Vec<Entry<T>>, now: Duration) {
        self.held += rows.len();
        let rows = self.keys.readmit(rows, now);
        if !rows.is_empty() {
            self.formed.push_back(Formed { rows, opened: now, cause: Cause::Retry });
        }
    }

    /// The row with this key and place, taken before, will not come back: the next rows of its key may go.
    pub fn done(&mut self, key: u64, seq: u64) {
        self.keys.done(key, seq);
        while let Some((row, since, retried)) = self.keys.release(key, |row| joinable(&self.settings, &self.open, row))
        {
            if retried {
                self.formed.push_back(Formed { rows: vec![row], opened: since, cause: Cause::Retry });
            } else {
                self.join(row, since);
            }
        }
    }

    /// No earlier row than `watermark` is expected: forms the batches that it waits for, where settings say so.
    pub fn on_watermark(&mut self, watermark: i64) {
        if !self.settings.watermark_sends {
            return;
        }
        while let Some(place) = self.open.iter().position(|open| open.event_time <= watermark) {
            self.form(place, Cause::Watermark);
        }
    }

    /// Forms every open batch, whatever its size.
    pub fn flush(&mut self) {
        while !self.open.is_empty() {
            self.form(0, Cause::Flush);
        }
    }

    /// No more rows will come: from now on open batches are due at once. Rows that wait for their key still come.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next request batch that is complete or due, oldest first, never above the present limits.
    pub fn take(&mut self, now: Duration) -> Option<Formed<T>> {
        let formed = match self.formed.pop_front() {
            Some(formed) => formed,
            None => {
                let (place, cause) = self.due(now)?;
                self.form(place, cause);
                self.formed.pop_back()?
            }
        };
        let formed = self.within_limits(formed);
        self.held -= formed.rows.len();
        Some(formed)
    }

    /// Takes back what `take` gave, to give it again first: there was no permit for a batch of its size.
    pub fn put_back(&mut self, formed: Formed<T>) {
        self.held += formed.rows.len();
        self.formed.push_front(formed);
    }

    /// When an open batch will be due by time alone; `None` while none is open.
    pub fn next_due(&self) -> Option<Duration> {
        let due = self.open.iter().map(|open| self.due_at(open).0).min();
        due.map(|due| self.stale.map_or(due, |stale| due.min(stale)))
    }

    /// True if [`Batcher::take`] has something.
    pub fn is_ready(&self, now: Duration) -> bool {
        self.has_formed() || self.due(now).is_some()
    }

    /// True if a batch is complete, so that no more rows are needed for now.
    pub fn has_formed(&self) -> bool {
        !self.formed.is_empty()
    }

    /// Rows held: in batches, or waiting for their key.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Every item held: formed batches first, in the order they will leave, then open ones, then those that wait for a key.
    pub fn held_items(&self) -> impl Iterator<Item = &T> {
        let formed = self.formed.iter().flat_map(|formed| formed.rows.iter());
        let open = self.open.iter().flat_map(|open| open.rows.iter());
        formed.chain(open).chain(self.keys.waiting()).map(|row| &row.item)
    }

    fn join(&mut self, row: Entry<T>, since: Duration) {
        let bucket = self.settings.bucket(&row);
        let mut place = self.open.iter().position(|open| open.bucket == bucket);
        if let Some((full, cause)) =
            place.and_then(|place| Some((place, self.settings.overflow(&self.open[place], &row)?)))
        {
            self.form(full, cause);
            place = None;
        }
        let place = place.unwrap_or_else(|| self.open_batch(bucket, since));
        let open = &mut self.open[place];
        self.keys.joined(&row, open.number);
        open.take_in(row, since);
        if let Some(cause) = self.settings.complete(open.size) {
            self.form(place, cause);
        }
    }

    fn open_batch(&mut self, bucket: (u32, i32), since: Duration) -> usize {
        self.opened_total += 1;
        let rows = Vec::with_capacity(self.settings.rows_max.min(64));
        self.open.push(Open {
            number: self.opened_total,
            bucket,
            rows,
            size: Size::default(),
            opened: since,
            deadline: Duration::MAX,
            event_time: i64::MAX,
        });
        self.open.len() - 1
    }

    fn form(&mut self, place: usize, cause: Cause) {
        if self.settings.planted.stale_timer {
            let due = self.due_at(&self.open[place]).0;
            self.stale = if cause == Cause::Linger { None } else { self.stale.or(Some(due)) };
        }
        let Open { rows, opened, .. } = self.open.remove(place);
        self.keys.left(&rows);
        self.formed.push_back(Formed { rows, opened, cause });
    }

    /// The open batch that is due for longest, and why.
    fn due(&self, now: Duration) -> Option<(usize, Cause)> {
        let dues = self.open.iter().enumerate().map(|(place, open)| (self.due_at(open), place));
        let ((at, cause), place) = dues.min_by_key(|((at, _), place)| (*at, *place))?;
        let stale = self.stale.is_some_and(|stale| stale <= now);
        (at <= now || stale).then_some((place, cause))
    }

    fn due_at(&self, open: &Open<T>) -> (Duration, Cause) {
        if self.ended {
            return (Duration::ZERO, Cause::Flush);
        }
        let linger = open.opened.saturating_add(self.settings.linger);
        let deadline = open.deadline.saturating_sub(self.settings.latency.saturating_add(self.settings.latency / 2));
        if deadline < linger { (deadline, Cause::Deadline) } else { (linger, Cause::Linger) }
    }

    /// The first part of `formed` that is within the limits of now; the rest is kept, to be taken next.
    fn within_limits(&mut self, mut formed: Formed<T>) -> Formed<T> {
        let rows_max = self.settings.rows_max;
        if formed.rows.len() <= rows_max || self.settings.planted.shrunk_limit_ignored {
            return formed;
        }
        let rest = formed.rows.split_off(rows_max);
        let rest = self.keys.behind(&formed.rows, rest, formed.opened, formed.cause == Cause::Retry);
        if !rest.is_empty() {
            self.formed.push_front(Formed { rows: rest, opened: formed.opened, cause: formed.cause });
        }
        formed
    }
}

// === impl Open ===

impl<T> Open<T> {
    fn take_in(&mut self, row: Entry<T>, since: Duration) {
        self.size = self.size.plus(row.size());
        self.opened = self.opened.min(since);
        self.deadline = self.deadline.min(row.deadline.unwrap_or(Duration::MAX));
        self.event_time = self.event_time.min(row.event_time.unwrap_or(i64::MAX));
        self.rows.push(row);
    }
}

/// The number of the open batch that `row` would join as it is.
fn joinable<T>(settings: &BatcherSettings, open: &[Open<T>], row: &Entry<T>) -> Option<u64> {
    let bucket = settings.bucket(row);
    let open = open.iter().find(|open| open.bucket == bucket)?;
    settings.overflow(open, row).is_none().then_some(open.number)
}

#[cfg(test)]
mod tests;
