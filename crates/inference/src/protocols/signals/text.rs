//! What an error body says in words and codes, in the forms that servers use.

use std::time::Duration;

use serde_json::Value;

use super::after::seconds;
use crate::protocols::refusal::cut;

/// The readable part of an error body.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) words: String,
    pub(super) code: Option<String>,
    pub(super) retry_after: Option<Duration>,
    lower: String,
}

/// Texts of allocators that ran out: CUDA, PyTorch, TensorFlow, onnxruntime, llama.cpp.
const OUT_OF_MEMORY: [&str; 5] =
    ["out of memory", "out_of_memory", "outofmemory", "failed to allocate memory", "bad_alloc"];

/// Texts of full queues: Triton, vLLM, TGI, Ray Serve, KServe's batcher.
const FULL: [&str; 5] =
    ["exceeds maximum queue size", "queue is full", "model is overloaded", "engine_overloaded", "overloaded_error"];

/// Texts of a limit on what runs at once, not on what is asked in a minute.
const CONCURRENCY: [&str; 3] = ["concurren", "overloaded", "too many requests in flight"];

/// Codes of an account that cannot pay: waiting a minute does not help, another row is no better.
const NO_FUNDS: [&str; 2] = ["insufficient_quota", "billing_hard_limit_reached"];

/// Reads `{"error": {"message", "code", "type"}}`, `{"error": "...", "error_type": "..."}`, `{"detail": ...}`,
/// `{"message": ...}`, or plain text.
pub(super) fn told(json: Option<&Value>, text: &str) -> Told {
    let Some(body) = json.filter(|body| body.is_object()) else {
        return Told { words: text.to_string(), lower: text.to_lowercase(), ..Told::default() };
    };
    let error = body.get("error").unwrap_or(body);
    let message = ["message", "detail", "msg"].iter().find_map(|name| error.get(name).or_else(|| body.get(name)));
    let words = match message.unwrap_or(error) {
        Value::String(words) => words.clone(),
        other => other.to_string(),
    };
    let code = ["code", "type", "error_type"].iter().find_map(|name| error.get(name).or_else(|| body.get(name)));
    let pause = error.get("retry_after_s").or_else(|| body.get("retry_after_s"));
    Told {
        lower: body.to_string().to_lowercase(),
        words,
        code: code.and_then(Value::as_str).map(cut),
        retry_after: pause.and_then(Value::as_f64).and_then(seconds),
    }
}

// === impl Told ===

impl Told {
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.says(&OUT_OF_MEMORY)
    }

    pub(super) fn is_full(&self) -> bool {
        self.says(&FULL)
    }

    /// Ray Serve tells the pause in the body, and means its own queue.
    pub(super) fn is_about_concurrency(&self) -> bool {
        self.says(&CONCURRENCY) || self.retry_after.is_some()
    }

    pub(super) fn has_no_funds(&self) -> bool {
        self.says(&NO_FUNDS)
    }

    fn says(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.lower.contains(text))
    }
}

/// The same questions for the message of a gRPC status.
pub(super) fn of_message(message: &str) -> Told {
    told(None, message)
}
