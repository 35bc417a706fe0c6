//! Rows between two attempts.

use std::cmp::Ordering;

use super::super::calls::Row;

/// A row that waits for its next attempt.
pub struct Later {
    /// When it may be sent.
    pub at: f64,
    /// The row.
    pub row: Row,
}

// === impl Later ===

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    /// Reversed, because the heap hands out the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}
