//! In which order settled rows leave: one queue, or one for each key, or none.

use std::collections::{BTreeMap, VecDeque};

use super::vocabulary::{Order, RowId};

/// Queues of rows that must not overtake each other.
#[derive(Debug)]
pub(super) struct Queues {
    order: Order,
    all: VecDeque<RowId>,
    by_key: BTreeMap<u64, VecDeque<RowId>>,
}

// === impl Queues ===

impl Queues {
    pub(super) fn new(order: Order) -> Self {
        Self { order, all: VecDeque::new(), by_key: BTreeMap::new() }
    }

    /// True if rows of `key` leave when they are settled, whatever others do.
    pub(super) fn is_free(&self, key: Option<u64>) -> bool {
        match self.order {
            Order::Unordered => true,
            Order::PerKey => key.is_none(),
            Order::Ordered => false,
        }
    }

    pub(super) fn push(&mut self, row: RowId, key: Option<u64>) {
        match (self.order, key) {
            (Order::Ordered, _) => self.all.push_back(row),
            (Order::PerKey, Some(key)) => self.by_key.entry(key).or_default().push_back(row),
            _ => {}
        }
    }

    /// The first row of the queue that a row of `key` is in, if it `is_settled`: it leaves now.
    pub(super) fn pop(&mut self, key: Option<u64>, is_settled: impl Fn(RowId) -> bool) -> Option<RowId> {
        let queue = match (self.order, key) {
            (Order::Ordered, _) => &mut self.all,
            (Order::PerKey, Some(key)) => self.by_key.get_mut(&key)?,
            _ => return None,
        };
        queue.front().filter(|row| is_settled(**row))?;
        let row = queue.pop_front();
        if let (true, Order::PerKey, Some(key)) = (queue.is_empty(), self.order, key) {
            self.by_key.remove(&key);
        }
        row
    }
}
