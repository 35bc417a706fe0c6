//! Rows a call may carry before the backend runs out of memory.
//!
//! Memory is a cliff, not a slope: a call beyond it is lost whole and the backend may stall for seconds. So one refusal bounds the
//! batch at once, and the way back is slow: a little every ten minutes without another.

use super::super::Seconds;

/// What a call that was too large leaves of its rows.
const KEEPS: f64 = 0.8;
/// What it leaves of the limit, once per batch of such calls.
const LIMIT_KEEPS: f64 = 0.7;
/// Growth of the bound, and how long without an out-of-memory before it.
const REGROWTH: (f64, Seconds) = (1.05, 600.0);

/// Bound on the rows of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    rows_max: usize,
    rows_allowed: usize,
    changed_at: Seconds,
}

// === impl Memory ===

impl Memory {
    /// At most `rows_max` rows a call, or fewer if a run before this one found that `hinted` are too many.
    pub(super) fn new(rows_max: usize, hinted: Option<usize>) -> Self {
        let rows_max = rows_max.max(1);
        let rows_allowed = hinted.map_or(rows_max, |rows| rows.clamp(1, rows_max));
        Self { rows_max, rows_allowed, changed_at: f64::NEG_INFINITY }
    }

    /// Rows a call may carry, at least 1.
    pub(super) fn rows_allowed(&self) -> usize {
        self.rows_allowed
    }

    /// A call of `rows`, sent at `sent`, was too large. Gives the share of the limit to keep, once for all calls of that size
    /// that were in flight together; none for a single row, whose size no limit changes.
    pub(super) fn on_too_large(&mut self, now: Seconds, sent: Seconds, rows: usize) -> Option<f64> {
        if rows <= 1 {
            return None;
        }
        let first = sent >= self.changed_at;
        let rows = ((rows as f64 * KEEPS) as usize).max(1);
        self.rows_allowed = self.rows_allowed.min(rows);
        self.changed_at = now;
        first.then_some(LIMIT_KEEPS)
    }

    /// Grows the bound if it is time. True if it grew.
    pub(super) fn on_tick(&mut self, now: Seconds) -> bool {
        if self.rows_allowed >= self.rows_max {
            return false;
        }
        if self.changed_at == f64::NEG_INFINITY {
            self.changed_at = now;
        }
        if now - self.changed_at < REGROWTH.1 {
            return false;
        }
        let grown = ((self.rows_allowed as f64 * REGROWTH.0) as usize).max(self.rows_allowed + 1);
        self.rows_allowed = grown.min(self.rows_max);
        self.changed_at = now;
        true
    }
}
