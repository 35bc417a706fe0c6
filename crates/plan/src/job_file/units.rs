//! Durations and sizes as people write them: `"5ms"`, `"8MiB"`.
//!
//! Always text with a unit; a bare number is refused, because nobody can know what it counts.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// A duration, written as `"1s 500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A count of bytes, written as `"8MiB"` or `"8MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeText(pub u64);

// === impl DurationText ===

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            |why: &str| de::Error::custom(format!("\"{text}\" is not a duration such as \"5ms\" or \"10s\": {why}"));
        if has_calendar_unit(&text) {
            return Err(wrong("months and years differ in length; write days, such as \"30d\""));
        }
        humantime::parse_duration(&text).map(Self).map_err(|error| wrong(&error.to_string()))
    }
}

/// Whether a text names months or years, which humantime takes for 30.44 and 365.25 days.
fn has_calendar_unit(text: &str) -> bool {
    let mut units = text.split(|each: char| !each.is_ascii_alphabetic());
    units.any(|unit| {
        matches!(unit, "M" | "y") || ["mon", "yea", "yr"].iter().any(|start| unit.to_lowercase().starts_with(start))
    })
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // humantime writes what is longer than a month in months.
        match self.0.as_secs() {
            0..2_592_000 => serializer.collect_str(&humantime::format_duration(self.0)),
            seconds => serializer.collect_str(&format_args!("{seconds}s {}ns", self.0.subsec_nanos())),
        }
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A duration with its unit.", "examples": ["5ms", "10s", "1m 30s"]})
    }
}

// === impl SizeText ===

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size = if text.trim_end().ends_with(|last: char| last.is_ascii_alphabetic()) {
            text.parse::<bytesize::ByteSize>().map_err(|error| error.to_string())
        } else {
            Err("it has no unit".to_string())
        };
        size.map(|size| Self(size.as_u64())).map_err(|error| {
            de::Error::custom(format!("\"{text}\" is not a size such as \"64KiB\" or \"8MiB\": {error}"))
        })
    }
}

impl Serialize for SizeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&size_text(self.0))
    }
}

/// `bytes` in the largest binary unit that divides it.
pub(crate) fn size_text(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

impl JsonSchema for SizeText {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "Bytes with their unit.", "examples": ["64KiB", "8MiB"]})
    }
}
