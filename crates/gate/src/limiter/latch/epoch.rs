//! Measures one epoch: a window that holds only the effect of the present limit.
//!
//! The mean latency comes from Little's law, in flight over rate, because the mean of what ended lies while the limit moves:
//! the fast calls end first. Rates are counted from one instant of answers to another, because a GPU answers 32 calls within a
//! millisecond and a window that begins inside such a clump is wrong by a third. Nothing is smoothed here; what would mislead
//! is left out.

use super::super::{Attempt, Seconds};

/// Answers closer than this are one instant: a batch that was answered as a whole.
const CLUMP: Seconds = 0.001;

/// Share of the pipeline that must be answered under a new limit before its effect is taken as visible. One sixth is enough
/// on first-in-first-out servers.
const REPLACED_SHARE: f64 = 1.0 / 6.0;

/// Counts between the start and the end of an epoch, and when the next may start.
#[derive(Debug, Clone, Default)]
pub(super) struct Epoch {
    running: bool,
    started: Seconds,
    row_seconds: f64,
    first: Option<Seconds>,
    last: Seconds,
    rows: f64,
    instants: f64,
    late: f64,
    missed: f64,
    attempts: f64,
    /// Rows refused as overload since the start.
    pub(super) refused: f64,
    calls: CallSums,
    settle_at: Seconds,
    changed_at: Seconds,
    rows_since_change: f64,
}

/// Sums over calls sent after the last change, for batches: each call is a clean sample, its instants are not.
#[derive(Debug, Clone, Copy, Default)]
struct CallSums {
    count: f64,
    rows: f64,
    seconds: f64,
    row_seconds: f64,
}

/// What an epoch showed. Rates are rows a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Observed {
    /// Mean rows in flight.
    pub(super) in_flight: f64,
    /// Time that `rows` were counted over.
    pub(super) span: Seconds,
    /// Rows answered.
    pub(super) rows: f64,
    /// Instants of answers.
    pub(super) instants: f64,
    /// Throughput.
    pub(super) rate: f64,
    /// Mean latency of a row.
    pub(super) latency: Seconds,
    /// Rows slower than the late line.
    pub(super) late: f64,
    /// Rows slower than the objective.
    pub(super) missed: f64,
}

/// What an epoch needs before it may end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// Rows (single rows) or calls (batches).
    pub(super) count: f64,
    /// Instants of answers, single rows only.
    pub(super) instants: f64,
    /// Least time between the first and the last answer, single rows only.
    pub(super) span: Seconds,
    /// It ends after this in any case.
    pub(super) span_max: Seconds,
}

// === impl Epoch ===

impl Epoch {
    /// Whether one is being counted.
    pub(super) fn running(&self) -> bool {
        self.running
    }

    /// Since when.
    pub(super) fn elapsed(&self, now: Seconds) -> Seconds {
        (now - self.started).max(0.0)
    }

    /// Attempts that ended in it.
    pub(super) fn attempts(&self) -> f64 {
        self.attempts
    }

    /// Rows answered in it.
    pub(super) fn rows(&self) -> f64 {
        self.rows
    }

    /// Throws the epoch away; the next may start at once.
    pub(super) fn abandon(&mut self, now: Seconds) {
        self.running = false;
        self.settle_at = now;
    }

    /// Throws the epoch away; the next starts once the effect of a change made now can be seen.
    pub(super) fn settle(&mut self, now: Seconds, latency: Seconds) {
        self.running = false;
        self.settle_at = now + 4.0 * latency + 0.2;
        self.changed_at = now;
        self.rows_since_change = 0.0;
    }

    /// Goes on counting an epoch that was just ended, for its result was not clear enough.
    pub(super) fn extend(&mut self) {
        self.running = true;
    }

    /// Whether the next epoch may start. Calls of a batch are told apart by when they were sent, so they need not wait.
    pub(super) fn may_start(&self, now: Seconds, limit: f64, batched: bool) -> bool {
        batched || now >= self.settle_at || self.rows_since_change >= 1.0 + limit * REPLACED_SHARE
    }

    /// Begins to count.
    pub(super) fn start(&mut self, now: Seconds, row_seconds: f64) {
        *self = Self {
            running: true,
            started: now,
            row_seconds,
            last: now,
            settle_at: self.settle_at,
            changed_at: self.changed_at,
            rows_since_change: self.rows_since_change,
            ..Self::default()
        };
    }

    /// An attempt ended, however it did.
    pub(super) fn on_attempt(&mut self) {
        self.attempts += 1.0;
    }

    /// Rows came back or timed out; counts how much of the pipeline was replaced since the last change.
    pub(super) fn on_replaced(&mut self, sent: Seconds, rows: f64) {
        if sent >= self.changed_at {
            self.rows_since_change += rows;
        }
    }

    /// An answer came.
    pub(super) fn on_answer(&mut self, now: Seconds, attempt: &Attempt, late_line: Seconds, objective: Seconds) {
        if !self.running {
            return;
        }
        let (latency, rows) = (attempt.latency(), attempt.rows as f64);
        if attempt.sent >= self.changed_at {
            self.calls.count += 1.0;
            self.calls.rows += rows;
            self.calls.seconds += latency;
            self.calls.row_seconds += latency * rows;
        }
        let Some(first) = self.first else {
            (self.first, self.last) = (Some(now), now);
            return;
        };
        if now - first <= CLUMP {
            return;
        }
        if now - self.last > CLUMP {
            self.instants += 1.0;
        }
        self.last = now;
        self.rows += rows;
        self.late += if latency > late_line { rows } else { 0.0 };
        self.missed += if latency > objective { rows } else { 0.0 };
    }

    /// Time between the first and the last answer.
    pub(super) fn answered_span(&self) -> Seconds {
        self.first.map_or(0.0, |first| (self.last - first).max(0.0))
    }

    /// Whether it holds what `need` asks for.
    pub(super) fn enough(&self, need: &Need, batched: bool) -> bool {
        if batched {
            return self.calls.count >= need.count;
        }
        self.rows >= need.count && self.instants >= need.instants && self.answered_span() >= need.span
    }

    /// Rate so far and the rows and instants it rests on, to see early that a probe is losing.
    pub(super) fn so_far(&self) -> (f64, f64, f64) {
        (self.rows / self.answered_span().max(1e-6), self.rows, self.instants)
    }

    /// Ends it. `latency_before` stands in where nothing was answered; `lanes` is given for batches.
    pub(super) fn finish(
        &mut self,
        now: Seconds,
        row_seconds: f64,
        latency_before: Seconds,
        lanes: Option<usize>,
    ) -> Observed {
        let wall = self.elapsed(now).max(1e-9);
        let in_flight = ((row_seconds - self.row_seconds) / wall).max(0.0);
        let span = if self.rows > 0.0 { self.answered_span().max(1e-9) } else { wall };
        let mut rate = self.rows / span;
        let mut latency = if self.rows > 0.0 { in_flight / rate } else { span.max(latency_before) };
        if let Some(lanes) = lanes
            && self.calls.rows > 0.0
            && self.calls.seconds > 0.0
        {
            latency = self.calls.row_seconds / self.calls.rows;
            rate = lanes as f64 * self.calls.rows / self.calls.seconds;
        }
        self.abandon(now);
        let (rows, instants, late, missed) = (self.rows, self.instants, self.late, self.missed);
        Observed { in_flight, span, rows, instants, rate, latency, late, missed }
    }
}

// === impl Observed ===

impl Observed {
    /// Share of rows behind the late line; everything, if nothing was answered.
    pub(super) fn late_share(&self) -> f64 {
        if self.rows > 0.0 { self.late / self.rows } else { 1.0 }
    }
}
