//! What users tune, checked.

use super::super::{Hint, Seconds};
use super::start;

/// Objectives beyond these are mistakes; they are moved into the range.
const OBJECTIVE_RANGE: (Seconds, Seconds) = (1e-3, 1e5);
/// Share of a hint to begin with: the backend may have shrunk meanwhile, and slow start makes up for it in two epochs.
const HINT_SHARE: f64 = 0.5;

/// What users tune. Everything else is a constant beside the code that uses it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The 99th percentile of a call's latency is to stay below this: from the permit (or the begin of the linger) to the last byte.
    pub objective: Seconds,
    /// Calls in flight are never more than this, at least 1.
    pub calls_max: usize,
    /// Rows of a call are never more than this. 1 for backends that batch by themselves: then only the number in flight moves.
    pub rows_max: usize,
    /// Varies the moments of probes.
    pub seed: u64,
    /// What a run before this one learned, if it is young enough to be believed (ten minutes).
    pub hint: Option<Hint>,
}

// === impl Settings ===

impl Settings {
    /// Only one row in flight, only one row a call, an objective of 1 ms to a day: whatever was written, something that works. A hint
    /// that says less than the start without one is none.
    pub(super) fn checked(self) -> Self {
        let objective = if self.objective.is_finite() { self.objective } else { OBJECTIVE_RANGE.1 };
        Self {
            objective: objective.clamp(OBJECTIVE_RANGE.0, OBJECTIVE_RANGE.1),
            calls_max: self.calls_max.max(1),
            rows_max: self.rows_max.max(1),
            hint: self.hint.filter(|hint| hint.rows_in_flight.is_finite() && hint.rows_in_flight > start::ROWS),
            ..self
        }
    }

    /// Rows in flight to begin with.
    pub(super) fn limit_at_start(&self) -> f64 {
        self.hint.map_or(start::ROWS, |hint| (HINT_SHARE * hint.rows_in_flight).max(start::ROWS))
    }

    /// Calls at once to begin with, where calls carry batches.
    pub(super) fn lanes_at_start(&self) -> usize {
        let hint = self.hint.filter(|_| self.rows_max > 1);
        hint.map_or(1, |hint| hint.calls.clamp(1, self.calls_max))
    }
}
