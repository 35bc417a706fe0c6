//! What the feedback loop is told: labels for predictions, and how good the predictions were.

use std::time::Duration;

use arrow::datatypes::SchemaRef;

use super::{Changes, StreamJoinSpec};
use crate::asking::Thousandths;

/// A step that gives predictions the labels that come later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeedbackSpec {
    /// Predictions on the left, labels on the right, and how far they may lie apart.
    pub join: StreamJoinSpec,
    /// How long after a prediction its label should come; without one it then counts as missing.
    pub wait: Duration,
    /// How much earlier than the prediction a label may be.
    pub before: Duration,
    /// How much later it may be; so long a prediction is kept.
    pub retention: Duration,
    /// What the rows of both inputs do.
    pub changes: [Changes; 2],
}

/// A step that says how good predictions were.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MetricsSpec {
    /// Stable name.
    pub uid: String,
    /// The rows that come in.
    pub input: SchemaRef,
    /// What they do.
    pub changes: Changes,
    /// Places of the key columns; none: all rows have one key.
    pub keys: Vec<usize>,
    /// Place of the event time.
    pub time: usize,
    /// Place of the score, a float.
    pub score: usize,
    /// Place of the label, true or false, or 1 or 0.
    pub label: usize,
    /// Length of the intervals that have a row each; `None`: one row for all time.
    pub every: Option<Duration>,
    /// How much longer than the watermark an interval takes changes.
    pub allowed_lateness: Duration,
    /// From which score on a row counts as positive.
    pub threshold: Thousandths,
    /// Into how many bins scores are put for calibration and drift.
    pub bins: u16,
    /// The period, in microseconds since 1970, that drift is measured against: from the first to before the second.
    pub reference: Option<(i64, i64)>,
}
