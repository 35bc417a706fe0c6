//! Who calls, and what becomes of rows whose attempt failed or is slow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::units::{self, Span};

/// Retries of rows: full jitter, and a budget that first attempts earn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Retries earned by each first attempt of a row.
    #[serde(deserialize_with = "units::share")]
    pub budget_ratio: f64,
    /// Most retries saved up.
    #[serde(deserialize_with = "units::not_negative")]
    pub budget_max: f64,
    /// Attempts of a row before it is given up.
    #[serde(deserialize_with = "units::count")]
    pub attempts_max: usize,
    /// Doubled for every attempt; the pause is a random share of it.
    pub backoff: Span,
    /// The pause is never longer.
    pub backoff_max: Span,
}

/// Hedging between visible replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// Hedges earned by each first attempt; up to 20 are saved up.
    #[serde(deserialize_with = "units::share")]
    pub budget_ratio: f64,
    /// A call is slow beyond this quantile of the last 500.
    #[serde(default = "defaults::hedge_quantile", deserialize_with = "units::share")]
    pub quantile: f64,
}

/// One client: the subtasks of one job, which share their limiters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// When it begins.
    #[serde(default)]
    pub start: Span,
    /// When it leaves. Absent: at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Span>,
}

// === impl Retry ===

impl Default for Retry {
    fn default() -> Self {
        Self {
            budget_ratio: 0.1,
            budget_max: 50.0,
            attempts_max: 3,
            backoff: Span::milliseconds(50.0),
            backoff_max: Span(5.0),
        }
    }
}
