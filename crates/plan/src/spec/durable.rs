//! What a durable edge is told.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When the region behind a durable edge sees a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DurableMode {
    /// Once a checkpoint of the region in front covers it. Right whatever that region computes.
    #[default]
    CommitRead,
    /// Once it is on disk. Only where the region in front computes the same rows under the same ids again.
    IdDedupe,
}

/// A durable edge, by the step that reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DurableSpec {
    /// Stable name; the log's folder hangs on it.
    pub uid: String,
    /// When rows are seen.
    pub mode: DurableMode,
    /// Bytes that the log holds before the region in front waits.
    pub quota: u64,
}

// === impl DurableMode ===

impl fmt::Display for DurableMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommitRead => "commit-read",
            Self::IdDedupe => "id-dedupe",
        })
    }
}
