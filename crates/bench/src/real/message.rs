//! What a call and its answer say, without regard to how they travel.

use forebay_gate::limiter::{Class, Gauges};
use serde::{Deserialize, Serialize};

/// A call: rows for one replica.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Which replica, from 0; 0 where the client sees one address.
    pub replica: u32,
    /// Size and tokens of the answer, for each row.
    pub rows: Vec<(f64, f64)>,
}

/// A good answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Rows it answers.
    pub rows: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// As the limiter is told.
    pub class: Class,
    /// Seconds that the backend asks to wait; 0 without such a hint.
    pub retry_after: f64,
    /// Rows that were answered; 0 unless the class is `Answered`.
    pub rows: u64,
}

/// What a backend says of itself, over HTTP only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Waiting, running and pre-empted requests of each replica the client sees.
    pub gauges: Vec<(f64, f64, f64)>,
    /// Share of the capacity that was not used so far.
    pub idle_ratio: f64,
}

// === impl Outcome ===

impl Outcome {
    /// Answered, all `rows`.
    pub fn answered(rows: u64) -> Self {
        Self { class: Class::Answered, retry_after: 0.0, rows }
    }

    /// Ended as `class` without an answer.
    pub fn failed(class: Class, retry_after: f64) -> Self {
        Self { class, retry_after, rows: 0 }
    }
}

// === impl Report ===

impl Report {
    /// The gauges of `replica`; zero where nothing is known.
    pub fn gauges(&self, replica: usize) -> Gauges {
        let (waiting, running, preempted_total) = self.gauges.get(replica).copied().unwrap_or_default();
        Gauges { waiting, running, preempted_total }
    }
}
