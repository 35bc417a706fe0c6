//! What a backend's answer says about load, read off status, headers and body alone.
//!
//! Pure: the same exchange always means the same, so the tables in `tests/exchanges` are the specification. What a
//! status means differs between servers; a [`Dialect`] names the family and [`Rule`]s of the user come before it.
//!
//! | answer | meaning |
//! |---|---|
//! | 429 | `Throttled`; `Overloaded` where the text tells of concurrency (TGI, TEI, Ray Serve) |
//! | 503, 529, 408 | `Overloaded` (Dynamo: 503 is `Down`) |
//! | 502, 504 and other 5xx | `Down`; 500 of an Open Inference Protocol server is `BadRow`: the model failed on these rows |
//! | 413, "out of memory" in any error | `TooLarge` |
//! | 401, 403, 404, 405, 3xx | `Settings` |
//! | other 4xx | `BadRow` |
//!
//! gRPC is read by [`of_grpc`].

mod after;
mod grpc;
mod text;

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

pub use self::after::{rate_limits, retry_after};
pub use self::grpc::{GrpcStatus, of_grpc};

use super::refusal::{Meaning, Refusal};

/// Which family of servers answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Any HTTP service.
    #[default]
    Http,
    /// OpenAI and what is compatible with it: vLLM, SGLang, TGI, llama.cpp.
    OpenAi,
    /// Open Inference Protocol: Triton, MLServer, KServe.
    OpenInference,
    /// NVIDIA Dynamo: 529 says full, 503 says down.
    Dynamo,
}

/// A user's own reading of an answer, for servers that say it in another way. The first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The status it is for; any if `None`.
    pub status: Option<u16>,
    /// Text that the body has to contain, case included; any if `None`.
    pub contains: Option<String>,
    /// What it means.
    pub meaning: Meaning,
}

// === impl Rule ===

impl Rule {
    /// Whether it is about an answer of `status` and `body`.
    pub(super) fn fits(&self, status: u16, body: &str) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self.contains.as_ref().is_none_or(|text| body.contains(text.as_str()))
    }
}

/// What an HTTP answer says, `None` for 2xx. `body` may be its beginning only.
pub fn of_http(dialect: Dialect, rules: &[Rule], status: u16, headers: &HeaderMap, body: &[u8]) -> Option<Refusal> {
    if (200..300).contains(&status) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let told = text::told(json.as_ref(), &text);
    let chosen = rules.iter().find(|rule| rule.fits(status, &text)).map(|rule| rule.meaning);
    let meaning = chosen.unwrap_or_else(|| meaning_of(dialect, status, &told));
    let mut refusal = Refusal::new(meaning, format!("status {status}"), &told.words);
    refusal.code = told.code;
    refusal.rate_limits = rate_limits(headers);
    refusal.retry_after = retry_after(headers).or(told.retry_after).or_else(|| reset_of(meaning, &refusal));
    Some(refusal)
}

/// What an error object inside an answer or a stream with status 200 says; `how` it came, for people.
pub fn of_error_object(dialect: Dialect, how: &str, error: &Value) -> Refusal {
    let wrapped = if error.get("error").is_some() { error.clone() } else { serde_json::json!({ "error": error }) };
    let told = text::told(Some(&wrapped), "");
    let status = wrapped["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
    let mut refusal = Refusal::new(meaning_of(dialect, status, &told), how, &told.words);
    refusal.code = told.code;
    refusal
}

/// How far over its capacity a server says that it is: ORCA's `application_utilization`, 1 at capacity.
pub fn utilization(headers: &HeaderMap) -> Option<f64> {
    let value = headers.get("endpoint-load-metrics")?.to_str().ok()?;
    let number = match value.strip_prefix("JSON ") {
        Some(json) => serde_json::from_str::<Value>(json).ok()?.get("application_utilization")?.as_f64()?,
        None => {
            let pairs = value.strip_prefix("TEXT ").unwrap_or(value).split(',');
            let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| name.trim() == "application_utilization")?.1.trim().parse().ok()?
        }
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn meaning_of(dialect: Dialect, status: u16, told: &text::Told) -> Meaning {
    if told.is_out_of_memory() {
        return Meaning::TooLarge;
    }
    match status {
        429 if told.has_no_funds() => Meaning::Down,
        429 if told.is_about_concurrency() => Meaning::Overloaded,
        429 => Meaning::Throttled,
        503 if dialect == Dialect::Dynamo => Meaning::Down,
        408 | 503 | 529 => Meaning::Overloaded,
        413 => Meaning::TooLarge,
        500 if told.is_full() => Meaning::Overloaded,
        500 if dialect == Dialect::OpenInference => Meaning::BadRow,
        500..=599 => Meaning::Down,
        401 | 403 | 404 | 405 | 300..=399 => Meaning::Settings,
        _ if told.has_no_funds() => Meaning::Down,
        _ if told.is_full() => Meaning::Overloaded,
        _ => Meaning::BadRow,
    }
}

/// Providers tell when a spent limit is whole again instead of when to come back.
fn reset_of(meaning: Meaning, refusal: &Refusal) -> Option<Duration> {
    let limits = &refusal.rate_limits;
    let spent = |left: Option<u64>, reset: Option<Duration>| if left == Some(0) { reset } else { None };
    let requests = spent(limits.requests_left, limits.requests_reset);
    let tokens = spent(limits.tokens_left, limits.tokens_reset);
    (meaning == Meaning::Throttled).then(|| requests.max(tokens)).flatten()
}
