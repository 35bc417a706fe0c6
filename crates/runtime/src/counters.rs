//! Counts that a running attempt shows: rows read, written and dead-lettered.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shared counts of one attempt; all in rows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows that readers gave out.
    pub rows_read: AtomicU64,
    /// Rows that the last operator of a chain without outgoing edge took: rows handed to the sink.
    pub rows_written: AtomicU64,
    /// Rows that became dead letters.
    pub dead_letters: AtomicU64,
}

// === impl Counters ===

impl Counters {
    /// Adds to a count.
    pub fn add(count: &AtomicU64, rows: usize) {
        count.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Reads a count.
    pub fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}
