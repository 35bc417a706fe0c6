//! Scenarios as data: a backend, what happens to it, who calls it, and what is accepted of our limiter.
//!
//! The structs are the schema of `benchmarks/gate/scenarios/*.toml`; unknown keys are refused. Nothing here runs anything:
//! [`virtual_time`](crate::virtual_time) and the real-time bench read the same values.

mod backend;
mod conditions;
mod load;
mod random;
mod units;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::backend::{Backend, Gpu, Knee, Llm, Service, Slots, Tokens};
pub use self::conditions::{Conditions, Ramping, ReplicaConditions};
pub use self::load::{load, load_all, parse};
pub use self::random::random;
pub use self::units::Span;

/// One scenario file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short and unique, such as `A1`; the first letter is the group in tables.
    pub name: String,
    /// What happens, in one line.
    #[serde(default)]
    pub title: String,
    /// An answer counts as good up to this latency, measured from the moment its row could have been sent.
    #[serde(deserialize_with = "units::longer")]
    pub objective: Span,
    /// How long the run takes.
    #[serde(deserialize_with = "units::longer")]
    pub length: Span,
    /// Time on the link, to and fro.
    #[serde(default = "round_trip")]
    pub round_trip: Span,
    /// An attempt is given up after this. Absent: twice the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Coefficient of variation of the size of a row; the mean is 1 times the phase's `size`. Not for `llm`, which has
    /// `prompt`.
    #[serde(default, deserialize_with = "units::not_negative")]
    pub size_cv: f64,
    /// Most rows of a call, as the user would declare it. Above 1 only where the client builds the batches of a `gpu`.
    #[serde(default = "backend::one", deserialize_with = "units::count")]
    pub rows_per_call_max: usize,
    /// Rows that arrive in a second at each client, unless a phase says otherwise. Absent: a row is always waiting.
    #[serde(default, deserialize_with = "units::some_positive", skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// The backend stops working on a call that the client gave up.
    #[serde(default)]
    pub cancel: bool,
    /// The limiter sees the backend's gauges this often. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gauges: Option<Span>,
    /// What answers.
    pub backend: Backend,
    /// What stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// What becomes of rows whose attempt failed.
    #[serde(default)]
    pub retry: Retry,
    /// A second copy of slow calls, to another visible replica. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
    /// Who calls. Absent: one client, all the time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<Client>,
    /// What changes when, in order of time. Each phase states everything that differs from the undisturbed backend.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// What our limiter must reach, as mean over the seeds.
    #[serde(default)]
    pub accept: Accept,
}

/// A gateway that limits a rate, calls at once, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Calls in a second that its token bucket lets through; above it, 429. A phase may say otherwise. Absent: any number.
    #[serde(default, deserialize_with = "units::some_positive", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<f64>,
    /// What the bucket holds; it starts full.
    #[serde(default = "burst", deserialize_with = "units::positive")]
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
    #[serde(default = "hedge_quantile", deserialize_with = "units::share")]
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

/// What holds from a moment on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// When it begins.
    pub at: Span,
    /// All numbers move in a straight line to those of the next phase, in steps of 0.5 s.
    #[serde(default)]
    pub ramp: bool,
    /// Multiplies the backend's capacity.
    #[serde(default = "unchanged", deserialize_with = "units::positive")]
    pub capacity: f64,
    /// Multiplies service times.
    #[serde(default = "unchanged", deserialize_with = "units::positive")]
    pub service: f64,
    /// Multiplies the size of rows (prompts for `llm`).
    #[serde(default = "unchanged", deserialize_with = "units::positive")]
    pub size: f64,
    /// Calls in a second of other tenants, who never adapt.
    #[serde(default, deserialize_with = "units::not_negative")]
    pub tenants: f64,
    /// Rows that arrive in a second at each client. Absent: the scenario's `demand`.
    #[serde(default, deserialize_with = "units::some_not_negative", skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// Calls in a second that the gateway lets through. Absent: the gateway's own.
    #[serde(default, deserialize_with = "units::some_positive", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<f64>,
    /// How the whole backend fails.
    #[serde(default)]
    pub outage: Outage,
    /// What single replicas do differently.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<ReplicaPhase>,
}

/// What one replica does differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaPhase {
    /// Which, from 1.
    #[serde(deserialize_with = "units::count")]
    pub replica: usize,
    /// Multiplies its service times.
    #[serde(default = "unchanged", deserialize_with = "units::positive")]
    pub service: f64,
    /// How it fails.
    #[serde(default)]
    pub outage: Outage,
}

/// How a backend fails, whatever its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// It works.
    #[default]
    None,
    /// It answers 503 within 2 ms.
    Refuse,
    /// It refuses the connection within 2 ms.
    Down,
    /// It takes calls and never answers.
    Silent,
}

/// What is accepted of our limiter, as mean over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// Goodput over the oracle's, at least.
    #[serde(deserialize_with = "units::not_negative")]
    pub goodput_ratio: f64,
    /// 99th percentile of the latency over the objective, at most.
    #[serde(deserialize_with = "units::positive")]
    pub p99_ratio: f64,
    /// Failed over all attempts, at most.
    #[serde(deserialize_with = "units::share")]
    pub error_ratio: f64,
    /// Longest time to re-converge after a shift, at most. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub converge: Option<Span>,
    /// Jain's index over the clients, at least.
    #[serde(deserialize_with = "units::share")]
    pub fairness: f64,
}

fn round_trip() -> Span {
    Span::milliseconds(2.0)
}

fn burst() -> f64 {
    1.0
}

fn hedge_quantile() -> f64 {
    0.95
}

fn unchanged() -> f64 {
    1.0
}

// === impl Scenario ===

impl Scenario {
    /// An undisturbed backend with one client that always has a row waiting.
    pub fn new(name: impl Into<String>, backend: Backend, objective: Span, length: Span) -> Self {
        Self {
            name: name.into(),
            title: String::new(),
            objective,
            length,
            round_trip: round_trip(),
            timeout: None,
            size_cv: 0.0,
            rows_per_call_max: 1,
            demand: None,
            cancel: false,
            gauges: None,
            backend,
            gateway: None,
            retry: Retry::default(),
            hedge: None,
            clients: Vec::new(),
            phases: Vec::new(),
            accept: Accept::default(),
        }
    }

    /// When an attempt is given up, in seconds after it was sent.
    pub fn timeout_seconds(&self) -> f64 {
        self.timeout.map_or(2.0 * self.objective.0, |timeout| timeout.0)
    }

    /// When each client begins and leaves, in seconds; at least one.
    pub fn client_spans(&self) -> Vec<(f64, f64)> {
        if self.clients.is_empty() {
            return vec![(0.0, f64::INFINITY)];
        }
        self.clients.iter().map(|client| (client.start.0, client.stop.map_or(f64::INFINITY, |stop| stop.0))).collect()
    }
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

// === impl Phase ===

impl Phase {
    /// The undisturbed backend from `at` on.
    pub fn new(at: Span) -> Self {
        Self {
            at,
            ramp: false,
            capacity: 1.0,
            service: 1.0,
            size: 1.0,
            tenants: 0.0,
            demand: None,
            rate_limit: None,
            outage: Outage::None,
            replicas: Vec::new(),
        }
    }
}

// === impl Accept ===

impl Default for Accept {
    fn default() -> Self {
        Self { goodput_ratio: 0.95, p99_ratio: 1.0, error_ratio: 0.02, converge: None, fairness: 0.0 }
    }
}
