//! Per-key order in the batcher: rows of one key are never in two batches at once, and leave in order.
//!
//! A key is known from its first row until its last row is done. While rows of it are *out* (in a batch, in flight or
//! waiting for a retry) later rows wait here, except that they may join the open batch that the out ones are in. Rows
//! without a key never come here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Entry;

/// What is known of each key with rows that are not done.
#[derive(Debug)]
pub(super) struct Keys<T> {
    keys: BTreeMap<u64, Key<T>>,
    /// A bug for tests to find: nobody waits.
    overtake: bool,
}

#[derive(Debug)]
struct Key<T> {
    /// Places of the rows that are out.
    out: Vec<u64>,
    /// The open batch that they are in; 0 once it left.
    batch: u64,
    /// Rows that wait, by place.
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    row: Entry<T>,
    since: Duration,
    retried: bool,
}

// === impl Keys ===

impl<T> Keys<T> {
    pub(super) fn new(overtake: bool) -> Self {
        Self { keys: BTreeMap::new(), overtake }
    }

    /// Gives `row` back if it may join a batch now; keeps it otherwise. `joinable` is the open batch it would join.
    pub(super) fn admit(&mut self, row: Entry<T>, since: Duration, joinable: Option<u64>) -> Option<Entry<T>> {
        let Some(key) = row.key.filter(|_| !self.overtake) else { return Some(row) };
        let known = self.keys.entry(key).or_insert_with(Key::new);
        let alone = known.out.is_empty() && known.waiting.is_empty();
        if alone || (known.waiting.is_empty() && joinable == Some(known.batch)) {
            known.out.push(row.seq);
            return Some(row);
        }
        known.wait(Waiting { row, since, retried: false });
        None
    }

    /// `row` is in the open batch `number` now.
    pub(super) fn joined(&mut self, row: &Entry<T>, number: u64) {
        if let Some(known) = row.key.and_then(|key| self.keys.get_mut(&key)) {
            known.batch = number;
        }
    }

    /// The batch of `rows` is not open any more.
    pub(super) fn left(&mut self, rows: &[Entry<T>]) {
        for key in self.of(rows) {
            if let Some(known) = self.keys.get_mut(&key) {
                known.batch = 0;
            }
        }
    }

    /// The rows of a group that failed which may be sent again together; keeps those with an earlier row of their key out
    /// elsewhere.
    pub(super) fn readmit(&mut self, rows: Vec<Entry<T>>, now: Duration) -> Vec<Entry<T>> {
        if self.overtake || rows.iter().all(|row| row.key.is_none()) {
            return rows;
        }
        let members: Vec<u64> = rows.iter().map(|row| row.seq).collect();
        let mut may = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(key) = row.key else {
                may.push(row);
                continue;
            };
            let known = self.keys.entry(key).or_insert_with(Key::new);
            known.batch = 0;
            known.out.retain(|seq| *seq != row.seq);
            let blocked = known.out.iter().any(|seq| *seq < row.seq && !members.contains(seq));
            if blocked {
                known.wait(Waiting { row, since: now, retried: true });
            } else {
                known.out.push(row.seq);
                may.push(row);
            }
        }
        may
    }

    /// The rows of `rest` that do not have to wait behind `first`, which leaves before them.
    pub(super) fn behind(
        &mut self,
        first: &[Entry<T>],
        rest: Vec<Entry<T>>,
        since: Duration,
        retried: bool,
    ) -> Vec<Entry<T>> {
        let leaving: Vec<u64> = self.of(first).collect();
        let mut may = Vec::with_capacity(rest.len());
        for row in rest {
            match row.key.filter(|key| leaving.contains(key)).and_then(|key| self.keys.get_mut(&key)) {
                None => may.push(row),
                Some(known) => {
                    known.out.retain(|seq| *seq != row.seq);
                    known.wait(Waiting { row, since, retried });
                }
            }
        }
        may
    }

    /// The row will not come back.
    pub(super) fn done(&mut self, key: u64, seq: u64) {
        if let Some(known) = self.keys.get_mut(&key) {
            known.out.retain(|out| *out != seq);
        }
    }

    /// The next row of `key` that may go, when it came, and whether it failed before. Forgets a key without rows.
    pub(super) fn release(
        &mut self,
        key: u64,
        joinable: impl Fn(&Entry<T>) -> Option<u64>,
    ) -> Option<(Entry<T>, Duration, bool)> {
        let known = self.keys.get_mut(&key)?;
        let Some(next) = known.waiting.front() else {
            if known.out.is_empty() {
                self.keys.remove(&key);
            }
            return None;
        };
        let joins = known.batch != 0 && !next.retried && joinable(&next.row) == Some(known.batch);
        if !known.out.is_empty() && !joins {
            return None;
        }
        let Waiting { row, since, retried } = known.waiting.pop_front()?;
        known.out.push(row.seq);
        known.batch = 0;
        Some((row, since, retried))
    }

    /// Every row that waits for its key.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Entry<T>> {
        self.keys.values().flat_map(|key| key.waiting.iter().map(|waiting| &waiting.row))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of `rows`; none if no key is known, which is the common case and costs nothing.
    fn of<'a>(&self, rows: &'a [Entry<T>]) -> impl Iterator<Item = u64> + use<'a, T> {
        let rows = if self.keys.is_empty() { &[] } else { rows };
        rows.iter().filter_map(|row| row.key)
    }
}

// === impl Key ===

impl<T> Key<T> {
    fn new() -> Self {
        Self { out: Vec::new(), batch: 0, waiting: VecDeque::new() }
    }

    fn wait(&mut self, waiting: Waiting<T>) {
        let place = self.waiting.partition_point(|other| other.row.seq < waiting.row.seq);
        self.waiting.insert(place, waiting);
    }
}
