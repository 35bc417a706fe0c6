//! What a window step is told.

use std::fmt;
use std::time::Duration;

use humantime::format_duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// The settings of a window step; its aggregates travel beside it, because they are expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowSpec {
    /// Stable name; state and row ids hang on it.
    pub uid: String,
    /// How event time is cut.
    pub shape: WindowShape,
    /// Places of the key columns; none: all rows have one key.
    pub keys: Vec<usize>,
    /// Place of the event time; `None` where event time is not cut.
    pub time: Option<usize>,
    /// How much longer than the watermark a window takes rows. Zero: every window gives one row, and nothing is taken back.
    pub allowed_lateness: Duration,
    /// Whether rows take back earlier ones.
    pub updates: bool,
    /// When results are given; of [`WindowShape::Whole`], each other shape has `End`.
    pub emit: Emit,
    /// With `Changes`: the place of the event time, and how long a key is remembered after its latest row.
    pub ttl: Option<(usize, Duration)>,
}

/// When a group gives its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Emit {
    /// Once, when the input has ended.
    #[default]
    End,
    /// After each batch that changes them.
    Changes,
}

/// How event time is cut into windows. Lengths are whole microseconds, more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowShape {
    /// Windows of this length, end to end.
    Tumble(Duration),
    /// Windows that overlap.
    Slide {
        /// Length.
        size: Duration,
        /// From the start of one to the start of the next, at most `size`.
        every: Duration,
    },
    /// Rows with less than this between them.
    Session(Duration),
    /// All rows, whatever their event time; the result comes when the input has ended.
    Whole,
}

impl fmt::Display for WindowShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tumble(size) => write!(f, "windows of {}", format_duration(*size)),
            Self::Slide { size, every } => {
                write!(f, "windows of {} every {}", format_duration(*size), format_duration(*every))
            }
            Self::Whole => f.write_str("aggregates of all rows"),
            Self::Session(gap) => write!(f, "sessions that end after {} without a row", format_duration(*gap)),
        }
    }
}
