//! Remote models: how rows become requests of a model server, and its answers rows.
//!
//! A protocol knows one way of speaking: [`open_inference`] (Triton, MLServer, KServe), [`openai`] (hosted models, vLLM,
//! llama.cpp) and [`http_json`] (any other HTTP service); [`fetch`] asks whatever server a row names. [`RemoteHost`] makes a [`Host`] of it. What they share: a
//! [`connections::Connections`] pool per authority, [credentials by name](secret), limits on every message, and the reading of
//! [signals]: each failure's error carries a [`Refusal`], from which [`class_of`] and [`retry_after`] read what the
//! gate needs.
//!
//! A protocol sends a call once. It never retries, never sleeps, never batches, never follows a redirect (but for [`fetch`],
//! which carries no credential), and drops no row or byte silently: what is too large or does not fit is an error that says so.

pub mod columns;
pub mod connections;
pub mod endpoint;
pub mod fetch;
pub mod gauges;
pub mod http_json;
pub mod open_inference;
pub mod openai;
pub mod refusal;
mod remote;
pub mod secret;
pub mod signals;
pub mod template;

use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_gate::limiter::Class;

#[cfg(doc)]
use crate::hosts::Host;

pub use self::connections::Connections;
pub use self::endpoint::EndpointSettings;
pub use self::refusal::{Meaning, RateLimits, Refusal};
pub use self::remote::{Observed, Protocol, RemoteHost};
pub use self::secret::Secrets;

/// What the limiter makes of a failed call.
pub fn class_of(error: &Error) -> Class {
    match Refusal::of(error) {
        Some(refusal) => refusal.meaning.class(),
        None => class_of_kind(error.kind()),
    }
}

/// What the limiter makes of an error about which nothing but its kind is known.
fn class_of_kind(kind: Kind) -> Class {
    match kind {
        Kind::Overload => Class::Overloaded,
        Kind::Unavailable => Class::Down,
        Kind::Timeout => Class::Timeout,
        Kind::Exhausted => Class::TooLarge,
        Kind::Cancelled | Kind::Fenced => Class::Cancelled,
        Kind::Data | Kind::Invalid | Kind::Corrupt | Kind::Internal => Class::Answered,
    }
}

/// Earliest next try of the rows of a failed call, where the server said so.
pub fn retry_after(error: &Error) -> Option<Duration> {
    Refusal::of(error)?.retry_after
}

/// True if the server forbids another try of the same rows: a negative gRPC push-back.
pub fn is_forbidden(error: &Error) -> bool {
    Refusal::of(error).is_some_and(|refusal| !refusal.retry_allowed)
}

/// True unless the call certainly did nothing: the server was never reached, or refused to begin.
pub fn may_have_worked(error: &Error) -> bool {
    match error.kind() {
        Kind::Overload => false,
        Kind::Unavailable => Refusal::of(error).is_none_or(|refusal| refusal.how != CONNECT),
        _ => true,
    }
}

/// How a refusal came of a server that was never reached.
const CONNECT: &str = "connect";
