//! What steps that keep some rows of each key are told: `deduplicate` and `top`.

use std::fmt;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use humantime::format_duration;

/// Which row of a key a deduplicate step keeps.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DeduplicateKeep {
    /// The first; nothing is ever taken back.
    #[default]
    First,
    /// The last; it replaces the one before.
    Last,
}

/// What first and last mean in a deduplicate step.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DeduplicateOrder {
    /// As rows come.
    #[default]
    Arrival,
    /// By event time.
    EventTime,
}

/// A deduplicate step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeduplicateSpec {
    /// Stable name.
    pub uid: String,
    /// The rows that come in; those that go out have the same columns.
    pub input: SchemaRef,
    /// Places of the key columns; at least one.
    pub keys: Vec<usize>,
    /// Which row of a key is kept.
    pub keep: DeduplicateKeep,
    /// By what.
    pub order: DeduplicateOrder,
    /// How long a key is remembered in event time; `None`: for good.
    pub ttl: Option<Duration>,
}

/// A top step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopSpec {
    /// Stable name.
    pub uid: String,
    /// How many rows of each key.
    pub rows: usize,
    /// Places of the key columns; none: all rows have one key.
    pub keys: Vec<usize>,
    /// Places of the columns that rows are ordered by, and whether greatest comes first; at least one.
    pub order: Vec<(usize, bool)>,
    /// Whether the last column of the output is the rank.
    pub ranks: bool,
    /// Whether the rows that come in also take back earlier ones.
    pub updates: bool,
    /// How long a key is remembered after its latest row, in event time; `None`: for good.
    pub ttl: Option<Duration>,
}

// === impl DeduplicateSpec ===

/// Names of the side outputs of a deduplicate step.
pub fn deduplicate_sides(keep: DeduplicateKeep, order: DeduplicateOrder) -> &'static [&'static str] {
    match (keep, order) {
        (DeduplicateKeep::First, DeduplicateOrder::EventTime) => &["late"],
        _ => &[],
    }
}

impl fmt::Display for DeduplicateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = match self.keep {
            DeduplicateKeep::First => "first",
            DeduplicateKeep::Last => "last",
        };
        let order = match self.order {
            DeduplicateOrder::Arrival => "to come",
            DeduplicateOrder::EventTime => "by event time",
        };
        write!(f, "the {row} row {order}")
    }
}

/// How long keys are remembered, for people.
pub fn remembered(ttl: Option<Duration>) -> String {
    ttl.map(|ttl| format!(", a key is forgotten after {}", format_duration(ttl))).unwrap_or_default()
}
