//! Time as the engine sees it: a monotonic [`Instant`] that an [`Env`](crate::env::Env) hands out, and event time that rows carry.
//!
//! `std::time::Instant` is banned by lint so that every run can happen in virtual time.

use std::ops::{Add, Sub};
use std::time::Duration;

use arrow::datatypes::{DataType, Schema, TimeUnit};

/// Metadata key of the field that holds the event time of a stream's rows; its value is `true`. Such a column is a timestamp
/// in microseconds.
pub const EVENT_TIME: &str = "forebay.event_time";

/// The place of the event-time column in `schema`, if it has one.
pub fn event_time_place(schema: &Schema) -> Option<usize> {
    schema.fields().iter().position(|field| {
        field.metadata().get(EVENT_TIME).is_some_and(|value| value == "true")
            && matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _))
    })
}

/// A moment on the monotonic clock of one [`Env`](crate::env::Env), in microseconds since that clock started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

/// Event time in microseconds since 1970-01-01 00:00 UTC, as rows and watermarks carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct EventTime(pub i64);

// === impl Instant ===

impl Instant {
    /// How long after `earlier` this moment is; zero if it is not after.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

// === impl EventTime ===

impl EventTime {
    /// The watermark of ended input: no row can come before or at it.
    pub const MAX: EventTime = EventTime(i64::MAX);
    /// Before every row.
    pub const MIN: EventTime = EventTime(i64::MIN);

    /// This moment later by `duration`, at most [`EventTime::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment earlier by `duration`, at least [`EventTime::MIN`].
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}
