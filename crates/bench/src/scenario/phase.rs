//! The `[[phases]]` tables: what changes when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::units::{self, Span};

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
    #[serde(default = "defaults::unchanged", deserialize_with = "units::positive")]
    pub capacity: f64,
    /// Multiplies service times.
    #[serde(default = "defaults::unchanged", deserialize_with = "units::positive")]
    pub service: f64,
    /// Multiplies the size of rows (prompts for `llm`).
    #[serde(default = "defaults::unchanged", deserialize_with = "units::positive")]
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
    #[serde(default = "defaults::unchanged", deserialize_with = "units::positive")]
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
