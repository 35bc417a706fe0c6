//! 503s and kin: how many rows the backend holds before it refuses.
//!
//! The ceiling snaps to what was in flight at a refusal and is asked for again slowly, by the square of the time. A refusal may have
//! nothing to do with load (one broken replica behind a balancer): if fewer rows lose throughput and do not stop the refusals, they are
//! ignored for a while. Permits of fast refusals stay taken for a mean latency, or a limiter at the right limit would still send
//! thousands of useless calls a second.

use std::collections::VecDeque;

use super::super::Seconds;

/// A series of refusals lowers the ceiling to no less than this share of the limit it began at.
const SERIES_KEEPS: f64 = 0.6;
/// Refusals within this time are one event: the least counts.
const EVENT: Seconds = 1.0;
/// Start and slope of the re-probe: share of the ceiling, growth after two seconds, least such growth in rows.
const REPROBE: (f64, f64, f64) = (0.98, 0.04, 1.0);
const REPROBE_TIME: Seconds = 2.0;
/// A series is judged once this share of the limit is left: below this share of the throughput it was futile.
const JUDGED: f64 = 0.65;
const FUTILE: f64 = 0.8;
/// How long refusals are ignored once found to have another cause; doubles each time.
const IGNORED: (Seconds, Seconds) = (10.0, 120.0);
/// Permits held back at most.
const QUARANTINE_MAX: usize = 1000;

/// Bound on the rows in flight by refusals.
#[derive(Debug, Clone)]
pub(super) struct Ceiling {
    rows: f64,
    at: Seconds,
    series: Option<Series>,
    ignored_until: Seconds,
    ignored_for: Seconds,
    quarantine: VecDeque<Seconds>,
}

/// Limit and throughput when a series of refusals began.
#[derive(Debug, Clone, Copy)]
struct Series {
    limit: f64,
    rate: f64,
}

/// What refusals in an epoch call for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Refusal {
    /// Lower the limit to this.
    Cut(f64),
    /// The refusals have another cause: go back to this limit.
    Futile(f64),
    /// Leave the limit.
    Keep,
}

// === impl Ceiling ===

impl Ceiling {
    pub(super) fn new() -> Self {
        let (rows, at, ignored_for) = (f64::INFINITY, 0.0, IGNORED.0);
        Self { rows, at, series: None, ignored_until: 0.0, ignored_for, quarantine: VecDeque::new() }
    }

    /// The highest limit allowed now.
    pub(super) fn limit(&self, now: Seconds) -> f64 {
        if !self.rows.is_finite() {
            return f64::INFINITY;
        }
        let elapsed = (now - self.at) / REPROBE_TIME;
        REPROBE.0 * self.rows + (REPROBE.1 * self.rows).max(REPROBE.2) * elapsed * elapsed
    }

    /// Whether refusals are taken for noise now.
    pub(super) fn ignores(&self, now: Seconds) -> bool {
        now <= self.ignored_until
    }

    /// A call was refused with `others` rows of other calls in flight. Gives the limit to fall to at once, if any.
    pub(super) fn on_refused(&mut self, now: Seconds, others: f64, limit: f64, rate: f64) -> Option<f64> {
        if self.ignores(now) {
            return None;
        }
        let series = *self.series.get_or_insert(Series { limit, rate });
        let rows = others.max(SERIES_KEEPS * series.limit);
        self.rows = if now - self.at < EVENT { self.rows.min(rows) } else { rows };
        self.at = now;
        (limit > self.rows).then(|| self.rows.max(1.0))
    }

    /// Judges an epoch that saw refusals: `rate` is its throughput, `latency` the mean of an answer.
    pub(super) fn on_epoch(&mut self, now: Seconds, limit: f64, rate: f64, latency: Seconds) -> Refusal {
        match self.series {
            Some(series) if limit < JUDGED * series.limit => {
                self.series = None;
                if rate >= FUTILE * series.rate {
                    return Refusal::Keep;
                }
                self.ignored_until = now + self.ignored_for;
                self.ignored_for = (2.0 * self.ignored_for).min(IGNORED.1);
                self.rows = f64::INFINITY;
                Refusal::Futile(series.limit)
            }
            _ => {
                self.series.get_or_insert(Series { limit, rate });
                let accepted = rate * latency.max(1e-3);
                Refusal::Cut((0.97 * limit).min(accepted.max(SERIES_KEEPS * limit)))
            }
        }
    }

    /// Forgets the ceiling: what was refused was not refused for load.
    pub(super) fn release(&mut self) {
        self.rows = f64::INFINITY;
    }

    /// Holds the permit of a fast refusal back until `until`.
    pub(super) fn quarantine(&mut self, until: Seconds) {
        if self.quarantine.len() < QUARANTINE_MAX {
            self.quarantine.push_back(until);
        }
    }

    /// Gives back the permits whose time is over.
    pub(super) fn on_tick(&mut self, now: Seconds) {
        while self.quarantine.front().is_some_and(|until| *until < now) {
            self.quarantine.pop_front();
        }
    }

    /// Permits held back.
    pub(super) fn quarantined(&self) -> usize {
        self.quarantine.len()
    }
}
