//! Numbers as scenario files write them: durations with their unit, and bounds that are checked where the number stands.
//!
//! A bound is checked while the file is read, not later, so that an error can point at the line and the key.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// A duration or a moment since the start of a run, in seconds; written as `"200ms"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Span(pub f64);

// === impl Span ===

impl Span {
    /// `milliseconds` as a span.
    pub fn milliseconds(milliseconds: f64) -> Self {
        Self(milliseconds / 1e3)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = humantime::parse_duration(&text);
        parsed.map(|duration| Self(duration.as_secs_f64())).map_err(|error| {
            de::Error::custom(format!("\"{text}\" is not a duration such as \"200ms\" or \"1m 30s\": {error}"))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let duration = Duration::try_from_secs_f64(self.0).unwrap_or_default();
        serializer.collect_str(&humantime::format_duration(duration))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A duration with its unit.", "examples": ["5ms", "10s", "1m 30s"]})
    }
}

fn bounded<'de, D: Deserializer<'de>>(source: D, fits: fn(f64) -> bool, bound: &str) -> Result<f64, D::Error> {
    let number = f64::deserialize(source)?;
    if number.is_finite() && fits(number) {
        return Ok(number);
    }
    Err(de::Error::custom(format!("{number} is not {bound}")))
}

/// A finite number above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    bounded(source, |number| number > 0.0, "a number above 0")
}

/// A finite number, zero or above.
pub(super) fn not_negative<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    bounded(source, |number| number >= 0.0, "a number of at least 0")
}

/// A share of something, 0 to 1.
pub(super) fn share<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    bounded(source, |number| (0.0..=1.0).contains(&number), "a ratio between 0 and 1")
}

/// [`positive`], where the key may be absent.
pub(super) fn some_positive<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    positive(source).map(Some)
}

/// [`not_negative`], where the key may be absent.
pub(super) fn some_not_negative<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    not_negative(source).map(Some)
}

/// A count of at least one.
pub(super) fn count<'de, D: Deserializer<'de>>(source: D) -> Result<usize, D::Error> {
    let number = usize::deserialize(source)?;
    if number == 0 { Err(de::Error::custom("0 is not a count of at least 1")) } else { Ok(number) }
}

/// [`count`], where the key may be absent.
pub(super) fn some_count<'de, D: Deserializer<'de>>(source: D) -> Result<Option<usize>, D::Error> {
    count(source).map(Some)
}

/// A duration longer than zero.
pub(super) fn longer<'de, D: Deserializer<'de>>(source: D) -> Result<Span, D::Error> {
    let span = Span::deserialize(source)?;
    if span.0 > 0.0 { Ok(span) } else { Err(de::Error::custom("the duration must be longer than 0")) }
}
