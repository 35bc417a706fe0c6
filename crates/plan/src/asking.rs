//! How a model may be asked: what all who ask share, second copies, and what a refusal means. Pure data.

use std::time::Duration;

/// A number with three places behind the point, so that settings can be compared and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thousandths(pub u64);

/// What all who ask a model share; `None` for no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LimitsSpec {
    /// Requests started in a second.
    pub requests_per_second: Option<Thousandths>,
    /// Rows sent in a second.
    pub rows_per_second: Option<Thousandths>,
    /// Tokens of prompts and answers in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Bytes of input columns in flight.
    pub in_flight_bytes: Option<u64>,
    /// Tokens in flight, by estimate.
    pub in_flight_tokens: Option<u64>,
}

/// When a slow request gets a second copy on another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HedgeSpec {
    /// How long the first copy is waited for; `None`: the 95th percentile of requests before it.
    pub after: Option<Duration>,
    /// Second copies per request.
    pub budget: Thousandths,
}

/// A user's own reading of a refusal, before the protocol's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefusalSpec {
    /// The HTTP status it is for; any if `None`.
    pub status: Option<u16>,
    /// Text that the body has to contain; any if `None`.
    pub contains: Option<String>,
    /// What it means.
    pub means: Means,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A rate limit or quota is spent.
    Throttled,
    /// The server is full.
    Overload,
    /// The server is not there.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// Too much for one request.
    Exhausted,
    /// These rows are refused and would be again.
    Data,
    /// The settings are wrong.
    Invalid,
}

// === impl Thousandths ===

impl Thousandths {
    /// Reads a number above 0; `None` if it is none, or less than a thousandth.
    pub fn of(value: f64) -> Option<Self> {
        let thousandths = (value * 1e3).round();
        (value.is_finite() && (1.0..=1e15).contains(&thousandths)).then_some(Self(thousandths as u64))
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e3
    }
}
