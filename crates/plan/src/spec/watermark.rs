//! What a source is told of event time.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known of the event times of a source's files beside each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileTimes {
    /// Nothing: a file that is not begun holds the watermark back, so that none of its rows is late.
    #[default]
    AnyOrder,
    /// Sorted by path they follow each other in time, as the files of a log do.
    InOrder,
}

/// Event time of a source: which column it is, and what its watermarks promise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WatermarkSpec {
    /// Name of the column; in the source's planned schema it is a timestamp in microseconds that carries the mark of
    /// event time.
    pub time: String,
    /// How much earlier than the latest row before it a row may be without being late: before it in its split, with
    /// [`FileTimes::InOrder`] in the files before its own too.
    pub out_of_order: Duration,
    /// What is known of the files; of a source that has none it says nothing.
    pub files: FileTimes,
    /// A reader without rows for this long no longer holds the watermark back; `None`: it always does.
    pub idle: Option<Duration>,
    /// Most that a reader may be ahead of the slowest of all sources that have this; `None`: no bound.
    pub max_drift: Option<Duration>,
}
