//! From a declared model and the steps that ask it to the gate that they share.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::env::Env;
use forebay_gate::hedge::HedgeSettings;
use forebay_gate::limiter::latch::{Latch, Settings};
use forebay_gate::limiter::{Fixed, Hint, Limiter};
use forebay_gate::quota::Limits;
use forebay_inference::call::{GateSettings, ModelGate};
use forebay_inference::hosts::Host;
use forebay_plan::asking::Thousandths;
use forebay_plan::remote::{ProtocolSpec, TaskSpec};
use forebay_plan::spec::{self, InferSpec, Limit, ModelSpec};

/// Bytes of one model's rows in flight: what a process with a few models can hold beside everything else.
const IN_FLIGHT_BYTES_MAX: usize = 512 << 20;
/// Seconds that stand for no bound of a gate on how long rows wait for company: each step has its own.
const LINGER_MAX: f64 = 1e6;
/// Tokens of an answer before any was counted: a paragraph or two.
const ANSWER_TOKENS: f64 = 256.0;

/// What a gate is made from.
pub struct Making<'a> {
    /// Its clock.
    pub env: Arc<dyn Env>,
    /// The model as declared.
    pub spec: &'a ModelSpec,
    /// The steps that ask it.
    pub steps: Vec<&'a InferSpec>,
    /// Where it runs.
    pub host: &'a dyn Host,
    /// How many replicas it has here.
    pub replicas: u16,
}

// === impl Making ===

impl Making<'_> {
    /// The gate; `hint` gives what was learned of a replica before.
    pub fn gate(&self, mut hint: impl FnMut(usize) -> Option<Hint>) -> Arc<ModelGate> {
        let limiter = |replica| match self.spec.latency {
            Some(objective) => Box::new(Latch::new(self.latch(objective, hint(replica)))) as Box<dyn Limiter>,
            // Each caller has bounds of its own.
            None => {
                let rows_max = if self.host.batches() { 1 } else { usize::MAX };
                Box::new(Fixed::new(usize::MAX, rows_max, LINGER_MAX))
            }
        };
        let timeout = self.steps.iter().map(|step| step.timeout).max();
        let settings = GateSettings {
            limits: self.limits(),
            objective: self.spec.latency.or(timeout).unwrap_or_default(),
            moves: self.spec.latency.is_some(),
            hedge: self.spec.hedge.map_or(HedgeSettings::OFF, |hedge| HedgeSettings {
                ratio: hedge.budget.value(),
                after: hedge.after,
                ..HedgeSettings::ON
            }),
            answer_tokens: self.answer_tokens(),
            pool: self.replicas,
            ..GateSettings::default()
        };
        ModelGate::new(Arc::clone(&self.env), (0..addresses(self.spec)).map(limiter).collect(), settings)
    }

    fn latch(&self, objective: Duration, hint: Option<Hint>) -> Settings {
        let rows_max = self.steps.iter().map(|step| step.batch_rows).max().unwrap_or(1);
        Settings {
            objective: objective.as_secs_f64(),
            calls_max: self.calls_max(),
            rows_max: if self.host.batches() { 1 } else { rows_max },
            seed: self.env.random(),
            hint,
        }
    }

    /// Most calls in flight that the steps declare for all of them together.
    fn calls_max(&self) -> usize {
        let own = self.steps.iter().filter(|step| step.model == self.spec.name);
        let declared = own.filter_map(|step| match step.limit {
            Limit::Follows { calls_max } => calls_max,
            Limit::Fixed(_) | Limit::Pool { .. } => None,
        });
        declared.min().unwrap_or(usize::MAX)
    }

    fn limits(&self) -> Limits {
        let limits = &self.spec.limits;
        let rate = |rate: Option<Thousandths>| rate.map_or(f64::INFINITY, Thousandths::value);
        let bytes = limits.in_flight_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Limits {
            calls_per_second: rate(limits.requests_per_second),
            rows_per_second: rate(limits.rows_per_second),
            cost_per_second: limits.tokens_per_minute.map_or(f64::INFINITY, |tokens| tokens as f64 / 60.0),
            calls_max: self.calls_max(),
            bytes_max: bytes.unwrap_or(IN_FLIGHT_BYTES_MAX),
            cost_max: limits.in_flight_tokens.unwrap_or(u64::MAX),
        }
    }

    /// Tokens of an answer to one row before any was counted; `None` for models without tokens.
    fn answer_tokens(&self) -> Option<f64> {
        let spec::Host::Remote(remote) = &self.spec.host else { return None };
        let ProtocolSpec::OpenAi(openai) = &remote.protocol else { return None };
        if matches!(openai.task, TaskSpec::Embeddings { .. }) {
            return Some(0.0);
        }
        let keys = ["max_completion_tokens", "max_tokens"];
        let declared = keys.iter().find_map(|key| openai.parameters.get(*key)?.as_f64());
        Some(declared.unwrap_or(ANSWER_TOKENS).min(ANSWER_TOKENS))
    }
}

/// Copies that a model's service keeps: child processes, or one for each address.
pub fn copies(spec: &ModelSpec) -> u16 {
    match &spec.host {
        spec::Host::Remote(_) => u16::try_from(addresses(spec)).unwrap_or(u16::MAX),
        _ => spec.replicas,
    }
}

/// What a gate tells apart: the addresses of a remote model. Child processes share a queue and one limit.
fn addresses(spec: &ModelSpec) -> usize {
    match &spec.host {
        spec::Host::Remote(remote) => remote.urls.len().max(1),
        _ => 1,
    }
}
