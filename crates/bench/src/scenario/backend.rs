//! The `[backend.*]` tables: what answers, and how long it takes.
//!
//! Numbers of the undisturbed backend; what a phase does to them is in [`Phase`](super::Phase). Each kind says which of a
//! phase's `capacity` it multiplies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::units::{self, Span};

/// What answers: exactly one of the tables `[backend.slots]`, `[backend.gpu]`, `[backend.llm]`, `[backend.knee]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backend {
    /// Parallel slots behind one queue for each replica.
    Slots(Slots),
    /// Devices that work on one batch at a time.
    Gpu(Gpu),
    /// A language model server with continuous batching.
    Llm(Llm),
    /// A service that slows down beyond a knee and refuses beyond a multiple of it.
    Knee(Knee),
}

/// Parallel slots behind a first-in first-out queue; one row a call. A phase's `capacity` multiplies `slots`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Calls that a replica works on at once.
    #[serde(deserialize_with = "units::count")]
    pub slots: usize,
    /// Time of one call.
    pub service: Service,
    /// Replicas with slots and a queue each.
    #[serde(default = "defaults::one", deserialize_with = "units::count")]
    pub replicas: usize,
    /// The client chooses the replica, with a limiter for each. Otherwise calls go round robin behind one address.
    #[serde(default)]
    pub replicas_visible: bool,
    /// Share of the service time that does not grow with the row's size.
    #[serde(default = "defaults::whole", deserialize_with = "units::share")]
    pub fixed_share: f64,
    /// Calls that a replica queues; more are answered 503.
    #[serde(default = "defaults::queue_max", deserialize_with = "units::count")]
    pub queue_max: usize,
}

/// Devices that take one batch each, first in first out: `call + row x rows`, give or take 3 %. A phase's `capacity`
/// multiplies `devices`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Devices.
    #[serde(deserialize_with = "units::count")]
    pub devices: usize,
    /// Time of a batch, whatever it holds.
    pub call: Span,
    /// Time that each row (times its size) adds.
    pub row: Span,
    /// A free device takes up to this many queued calls as one batch. Absent: each call is a batch, built by the client.
    #[serde(default, deserialize_with = "units::some_count", skip_serializing_if = "Option::is_none")]
    pub server_batch_max: Option<usize>,
    /// A client's batch of more rows (times size) fails after `out_of_memory`. Absent: memory is endless.
    #[serde(default, deserialize_with = "units::some_positive", skip_serializing_if = "Option::is_none")]
    pub memory_rows: Option<f64>,
    /// How long the device is lost when a batch is too large.
    #[serde(default = "defaults::out_of_memory")]
    pub out_of_memory: Span,
}

/// Continuous batching with a key-value cache; one row a call. Every step makes one token for each running sequence. When
/// the cache is full the newest sequence goes back to the head of the queue and is computed anew. A phase's `capacity`
/// multiplies `kv_tokens`, `size` the prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// Tokens that the cache holds.
    #[serde(deserialize_with = "units::positive")]
    pub kv_tokens: f64,
    /// Prompt tokens of a row.
    pub prompt: Tokens,
    /// Tokens of an answer.
    pub output: Tokens,
    /// Most sequences that run at once.
    #[serde(default = "defaults::sequences_max", deserialize_with = "units::count")]
    pub sequences_max: usize,
    /// Prompt tokens computed in one step, over all sequences.
    #[serde(default = "defaults::prefill_tokens_max", deserialize_with = "units::positive")]
    pub prefill_tokens_max: f64,
    /// Time of a step, whatever it holds.
    #[serde(default = "defaults::step", deserialize_with = "units::longer")]
    pub step: Span,
    /// Added for each running sequence.
    #[serde(default = "defaults::step_sequence")]
    pub step_sequence: Span,
    /// Added for each prompt token computed in the step.
    #[serde(default = "defaults::step_prefill_token")]
    pub step_prefill_token: Span,
    /// Added for each token in the cache.
    #[serde(default = "defaults::step_kv_token")]
    pub step_kv_token: Span,
}

/// Calls are begun at once. One that begins as the n-th takes `service x max(1, n / knee)^growth`; it is answered 503 when
/// n is above `knee x refuse_ratio`. One row a call. A phase's `capacity` multiplies `knee`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Knee {
    /// Calls at once that do not slow each other down.
    #[serde(deserialize_with = "units::count")]
    pub knee: usize,
    /// Time of a call up to the knee.
    pub service: Service,
    /// How steeply the time grows beyond it: 1 keeps the throughput, 2 halves it at twice the knee.
    #[serde(default = "defaults::growth", deserialize_with = "units::not_negative")]
    pub growth: f64,
    /// Calls beyond this multiple of the knee are refused.
    #[serde(default = "defaults::refuse_ratio", deserialize_with = "units::positive")]
    pub refuse_ratio: f64,
}

/// A log-normal time, clipped. `cv` is the standard deviation over the mean, before clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Mean before clipping.
    #[serde(deserialize_with = "units::longer")]
    pub mean: Span,
    /// Coefficient of variation.
    #[serde(default, deserialize_with = "units::not_negative")]
    pub cv: f64,
    /// Never shorter.
    #[serde(default = "defaults::service_min", deserialize_with = "units::longer")]
    pub min: Span,
    /// Never longer.
    #[serde(default = "defaults::service_max", deserialize_with = "units::longer")]
    pub max: Span,
}

/// A log-normal count of tokens, clipped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// Mean before clipping.
    #[serde(deserialize_with = "units::positive")]
    pub mean: f64,
    /// Coefficient of variation.
    #[serde(default, deserialize_with = "units::not_negative")]
    pub cv: f64,
    /// Never fewer.
    #[serde(deserialize_with = "units::positive")]
    pub min: f64,
    /// Never more.
    #[serde(deserialize_with = "units::positive")]
    pub max: f64,
}

// === impl Backend ===

impl Backend {
    /// Replicas among which the client chooses; 1 where it sees one address.
    pub fn visible_replicas(&self) -> usize {
        match self {
            Self::Slots(slots) if slots.replicas_visible => slots.replicas,
            _ => 1,
        }
    }

    /// Whether one call is one batch of a device, so that the client's rows per call matter.
    pub fn takes_client_batches(&self) -> bool {
        matches!(self, Self::Gpu(gpu) if gpu.server_batch_max.is_none())
    }
}

impl Slots {
    /// One replica of `slots`, the rest as by default.
    pub fn new(slots: usize, service: Service) -> Self {
        Self {
            slots,
            service,
            replicas: 1,
            replicas_visible: false,
            fixed_share: 1.0,
            queue_max: defaults::queue_max(),
        }
    }
}

impl Gpu {
    /// Devices without server batches and with endless memory.
    pub fn new(devices: usize, call: Span, row: Span) -> Self {
        Self { devices, call, row, server_batch_max: None, memory_rows: None, out_of_memory: defaults::out_of_memory() }
    }
}

impl Llm {
    /// A server with the default step costs.
    pub fn new(kv_tokens: f64, prompt: Tokens, output: Tokens) -> Self {
        Self {
            kv_tokens,
            prompt,
            output,
            sequences_max: defaults::sequences_max(),
            prefill_tokens_max: defaults::prefill_tokens_max(),
            step: defaults::step(),
            step_sequence: defaults::step_sequence(),
            step_prefill_token: defaults::step_prefill_token(),
            step_kv_token: defaults::step_kv_token(),
        }
    }
}

impl Service {
    /// Clipped to 1 ms and 10 s.
    pub fn new(mean: Span, cv: f64) -> Self {
        Self { mean, cv, min: defaults::service_min(), max: defaults::service_max() }
    }
}
