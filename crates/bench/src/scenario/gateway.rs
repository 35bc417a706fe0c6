//! The `[gateway]` table: what stands between the clients and the backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::units::{self, Span};

/// A gateway that limits a rate, calls at once, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Calls in a second that its token bucket lets through; above it, 429. A phase may say otherwise. Absent: any number.
    #[serde(default, deserialize_with = "units::some_positive", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<f64>,
    /// What the bucket holds; it starts full.
    #[serde(default = "defaults::burst", deserialize_with = "units::positive")]
    pub burst: f64,
    /// `Retry-After` of refusals. Absent: none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Span>,
    /// Calls at once behind it; above it, `refusal`. Absent: any number.
    #[serde(default, deserialize_with = "units::some_count", skip_serializing_if = "Option::is_none")]
    pub concurrent_max: Option<usize>,
    /// How it refuses what is above `concurrent_max`.
    #[serde(default)]
    pub refusal: Refusal,
}

/// A status that says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Refusal {
    /// HTTP 503: full.
    #[default]
    #[serde(rename = "503")]
    Unavailable,
    /// HTTP 429: too many.
    #[serde(rename = "429")]
    TooMany,
}
