//! What each limit let through lately: whether more in flight lets fewer rows through, told for free.
//!
//! Slow start and every step of the law measure throughput at another limit. Past its knee a backend that thrashes lets fewer rows
//! through the more it holds; the law, which sees latency alone, would rest at the objective with half the throughput. The points are
//! hints, not proof: the backend may have changed between two of them, so what they promise is tried before it is believed.

use super::super::Seconds;
use super::epoch::Observed;

/// Limits within this factor are one point.
const POINT: f64 = 1.2;
/// Points kept: from 1 to 6,000 rows in flight.
const POINTS: usize = 48;
/// A point is forgotten after this, and rests on so many rows at most, for the backend moves.
const FRESH: Seconds = 60.0;
/// Older than this is no reason to go back there.
const RECENT: Seconds = 10.0;
const ROWS: f64 = 400.0;
/// Another limit must differ by this factor to be compared.
const APART: f64 = 1.15;
/// A gain that is worth a try: so much, and so many standard errors, for the best of several points is likely a lucky one.
const GAIN: (f64, f64) = (0.05, 2.5);

/// Throughput and latency by limit, rising.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    points: Vec<Point>,
}

/// What epochs at about one limit showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    key: i32,
    /// Rows in flight.
    pub(super) limit: f64,
    /// Rows and the time they took.
    pub(super) rows: f64,
    span: Seconds,
    row_seconds: f64,
    at: Seconds,
}

// === impl Curve ===

impl Curve {
    /// An epoch at `limit`. What clearly differs from it was another backend's.
    pub(super) fn add(&mut self, now: Seconds, limit: f64, seen: &Observed, dispersion: f64) {
        self.points.retain(|point| now - point.at < FRESH);
        if seen.rows <= 0.0 || seen.span <= 0.0 {
            return;
        }
        let key = key(limit);
        let at = self.points.partition_point(|point| point.key < key);
        if self.points.get(at).is_none_or(|point| point.key != key) {
            if self.points.len() >= POINTS {
                return;
            }
            self.points.insert(at, Point { key, limit, rows: 0.0, span: 0.0, row_seconds: 0.0, at: now });
        }
        let fresh =
            Point { key, limit, rows: seen.rows, span: seen.span, row_seconds: seen.rows * seen.latency, at: now };
        if let Some(point) = self.points.get_mut(at) {
            if point.rows > 0.0 && (fresh.beats(point, dispersion) || point.beats(&fresh, dispersion)) {
                *point = fresh;
                return;
            }
            point.add(now, limit, seen);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.points.clear();
    }

    /// The point at `limit`.
    pub(super) fn at(&self, limit: f64) -> Option<Point> {
        let key = key(limit);
        self.points.iter().find(|point| point.key == key).copied()
    }

    /// The lower limit that let clearly more through than `limit`; the best of them. `dispersion` is the variance over the mean
    /// of a count of rows.
    pub(super) fn better_below(&self, limit: f64, dispersion: f64) -> Option<Point> {
        let here = self.at(limit)?;
        let below = self.points.iter().filter(|point| {
            APART * point.limit < here.limit && here.at - point.at < RECENT && point.beats(&here, dispersion)
        });
        below.max_by(|a, b| a.rate().total_cmp(&b.rate())).copied()
    }

    /// Whether a lower limit let clearly fewer rows through than `limit`.
    pub(super) fn falls_below(&self, limit: f64, dispersion: f64) -> bool {
        self.at(limit).is_some_and(|here| {
            self.points.iter().any(|point| {
                APART * point.limit < here.limit && point.limit > 0.5 * here.limit && here.beats(point, dispersion)
            })
        })
    }

    /// Whether a higher limit let clearly fewer rows through than `limit`.
    pub(super) fn falls_above(&self, limit: f64, dispersion: f64) -> bool {
        self.at(limit).is_some_and(|here| {
            self.points.iter().any(|point| point.limit > APART * here.limit && here.beats(point, dispersion))
        })
    }
}

// === impl Point ===

impl Point {
    fn add(&mut self, now: Seconds, limit: f64, seen: &Observed) {
        let keeps = (ROWS / (self.rows + seen.rows)).min(1.0);
        let share = seen.rows / (self.rows + seen.rows);
        self.limit += share * (limit - self.limit);
        self.rows = keeps * (self.rows + seen.rows);
        self.span = keeps * (self.span + seen.span);
        self.row_seconds = keeps * (self.row_seconds + seen.rows * seen.latency);
        self.at = now;
    }

    /// Rows a second.
    pub(super) fn rate(&self) -> f64 {
        self.rows / self.span.max(1e-9)
    }

    /// Mean latency.
    pub(super) fn latency(&self) -> Seconds {
        self.row_seconds / self.rows.max(1e-9)
    }

    /// Whether it let clearly more through than `other`.
    fn beats(&self, other: &Self, dispersion: f64) -> bool {
        let error = (dispersion * (1.0 / self.rows.max(1.0) + 1.0 / other.rows.max(1.0))).sqrt();
        self.rate() > other.rate() * (1.0 + GAIN.0 + GAIN.1 * error)
    }
}

fn key(limit: f64) -> i32 {
    (limit.max(1.0).ln() / POINT.ln()).round() as i32
}
