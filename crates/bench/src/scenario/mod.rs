//! Scenarios as data: a backend, what happens to it, who calls it, and what is accepted of our limiter.
//!
//! The structs are the schema of `benchmarks/gate/scenarios/*.toml`; unknown keys are refused. Nothing here runs anything:
//! [`virtual_time`](crate::virtual_time) and the real-time bench read the same values.

mod backend;
mod clients;
mod conditions;
mod defaults;
mod gateway;
mod load;
mod phase;
mod random;
#[cfg(test)]
mod tests;
mod units;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::backend::{Backend, Gpu, Knee, Llm, Service, Slots, Tokens};
pub use self::clients::{Client, Hedge, Retry};
pub use self::conditions::{Conditions, Ramping, ReplicaConditions};
pub use self::gateway::{Gateway, Refusal};
pub use self::load::{load, load_all, parse};
pub use self::phase::{Outage, Phase, ReplicaPhase};
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
    #[serde(default = "defaults::round_trip")]
    pub round_trip: Span,
    /// An attempt is given up after this. Absent: twice the objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Coefficient of variation of the size of a row; the mean is 1 times the phase's `size`. Not for `llm`, which has
    /// `prompt`.
    #[serde(default, deserialize_with = "units::not_negative")]
    pub size_cv: f64,
    /// Most rows of a call, as the user would declare it. Above 1 only where the client builds the batches of a `gpu`.
    #[serde(default = "defaults::one", deserialize_with = "units::count")]
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

// === impl Scenario ===

impl Scenario {
    /// An undisturbed backend with one client that always has a row waiting.
    pub fn new(name: impl Into<String>, backend: Backend, objective: Span, length: Span) -> Self {
        Self {
            name: name.into(),
            title: String::new(),
            objective,
            length,
            round_trip: defaults::round_trip(),
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

// === impl Accept ===

impl Default for Accept {
    fn default() -> Self {
        Self { goodput_ratio: 0.95, p99_ratio: 1.0, error_ratio: 0.02, converge: None, fairness: 0.0 }
    }
}
