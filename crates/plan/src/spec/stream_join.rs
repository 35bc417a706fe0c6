//! What a join of two streams is told.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use humantime::format_duration;

/// Which rows without a partner a join of streams keeps, with nulls in place of the partner's columns.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StreamJoinHow {
    /// None.
    #[default]
    Inner,
    /// Those of the stream that the step reads.
    Left,
    /// Those of the stream that it joins.
    Right,
    /// Those of both.
    Full,
}

/// Which rows of one key a join of streams pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamJoinKind {
    /// Those where the joined stream's time is from `before` before the row's to `after` after it.
    Interval {
        /// How much earlier it may be.
        before: Duration,
        /// How much later it may be.
        after: Duration,
    },
    /// Those in the same tumbling window of this size.
    Window(Duration),
    /// Each row with the latest of the joined stream that is not after it.
    AsOf,
    /// All, as long as both are kept.
    Regular {
        /// How long a row is kept in event time; `None`: for good.
        ttl: Option<Duration>,
    },
}

/// A join of two streams.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamJoinSpec {
    /// Stable name.
    pub uid: String,
    /// Name of the joined stream.
    pub stream: String,
    /// Rows of the stream that the step reads, and of the joined one.
    pub inputs: [SchemaRef; 2],
    /// Pairs of places of the columns that must be equal; the types are the same.
    pub on: Vec<(usize, usize)>,
    /// Places of the joined stream's columns that are appended, in order: all but the keys.
    pub take: Vec<usize>,
    /// Rows without a partner.
    pub how: StreamJoinHow,
    /// Which rows meet.
    pub kind: StreamJoinKind,
}

// === impl StreamJoinKind ===

impl StreamJoinKind {
    /// Whether both streams must have event time.
    pub fn needs_time(self) -> bool {
        !matches!(self, Self::Regular { ttl: None })
    }

    /// Names of the side outputs: rows of the step's stream that came too late, then those of the joined one.
    pub fn sides(self) -> &'static [&'static str] {
        match self {
            Self::Interval { .. } | Self::Window(_) => &["late", "late_stream"],
            Self::AsOf => &["late"],
            Self::Regular { .. } => &[],
        }
    }
}

impl fmt::Display for StreamJoinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval { before, after } => {
                write!(f, "within {} before and {} after", format_duration(*before), format_duration(*after))
            }
            Self::Window(size) => write!(f, "in the same window of {}", format_duration(*size)),
            Self::AsOf => f.write_str("as of the row's time"),
            Self::Regular { ttl: None } => f.write_str("whenever they come"),
            Self::Regular { ttl: Some(ttl) } => write!(f, "kept for {}", format_duration(*ttl)),
        }
    }
}

impl fmt::Display for StreamJoinHow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
        })
    }
}
