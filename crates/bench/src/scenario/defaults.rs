//! Values of keys that a scenario file leaves out.

use super::units::Span;

pub(super) fn one() -> usize {
    1
}

pub(super) fn whole() -> f64 {
    1.0
}

pub(super) fn queue_max() -> usize {
    5_000
}

pub(super) fn out_of_memory() -> Span {
    Span(2.0)
}

pub(super) fn sequences_max() -> usize {
    256
}

pub(super) fn prefill_tokens_max() -> f64 {
    2_048.0
}

pub(super) fn step() -> Span {
    Span::milliseconds(12.0)
}

pub(super) fn step_sequence() -> Span {
    Span(80e-6)
}

pub(super) fn step_prefill_token() -> Span {
    Span(30e-6)
}

pub(super) fn step_kv_token() -> Span {
    Span(100e-9)
}

pub(super) fn growth() -> f64 {
    2.0
}

pub(super) fn refuse_ratio() -> f64 {
    2.0
}

pub(super) fn service_min() -> Span {
    Span::milliseconds(1.0)
}

pub(super) fn service_max() -> Span {
    Span(10.0)
}

pub(super) fn round_trip() -> Span {
    Span::milliseconds(2.0)
}

pub(super) fn burst() -> f64 {
    1.0
}

pub(super) fn hedge_quantile() -> f64 {
    0.95
}

pub(super) fn unchanged() -> f64 {
    1.0
}
