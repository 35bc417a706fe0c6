//! Slow start: from a few rows to the neighbourhood of the right limit in a handful of epochs.
//!
//! One doubling that gained little proves nothing (at 12 samples the noise is 40 %), so a doubtful epoch is extended before it is
//! believed; but where the backend says that it queues, that is believed at once.

use super::super::Seconds;
use super::decision::Reason;
use super::epoch::Observed;
use super::{Latch, Phase};

/// Rows in flight, or rows a call, to start with: enough for an epoch, too few to hurt.
pub(super) const ROWS: f64 = 4.0;
/// Share of the highest target at which slow start ends.
const NEAR: f64 = 0.8;
/// A doubling that gained less than this on fewer rows or instants than these is looked at longer, up to some latencies.
const DOUBTFUL: (f64, f64, f64, f64) = (0.35, 150.0, 10.0, 5.0);
/// Gain below which, noise considered, a doubling bought nothing; with this many instants on both sides.
const FLAT: (f64, f64) = (0.12, 10.0);
/// Target at the knee, in latencies before the doubling that bought nothing.
const KNEE_LATENCIES: f64 = 1.5;
/// Growth of an epoch, and the change of the limit on leaving.
const GROWTH: (f64, f64) = (1.2, 2.0);
const LEAVE: (f64, f64) = (0.3, 1.5);
/// Doubling the lanes goes on while throughput gains this factor and latency is below this share of the highest target.
const LANES_GAIN: f64 = 1.5;
const LANES_LATENCY: f64 = 0.5;
/// Gain from which part of the last doubling of lanes is kept.
const LANES_PART: f64 = 1.15;

/// The epoch before the last doubling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    rate: f64,
    latency: Seconds,
    rows: f64,
    instants: f64,
}

/// What the last doubling was worth.
enum Gain {
    Unknown,
    Doubtful,
    /// Nothing; the latency to aim for.
    Nothing(Seconds),
}

// === impl Latch ===

impl Latch {
    /// Searches the number of calls at once, at a few rows each.
    pub(super) fn search_lanes(&mut self, now: Seconds, seen: &Observed) {
        let found = match self.step {
            Some(step) => {
                let gain = if step.rate > 0.0 { seen.rate / step.rate } else { f64::INFINITY };
                if gain < LANES_GAIN {
                    let part = if gain > LANES_PART { gain } else { 1.0 };
                    self.lanes.count = ((self.lanes.count as f64 / 2.0 * part).round() as usize).max(1);
                }
                gain < LANES_GAIN || seen.latency > LANES_LATENCY * self.target.highest()
            }
            None => false,
        };
        if found || 2 * self.lanes.count > self.settings.calls_max {
            self.phase = Phase::Start;
            self.step = None;
            self.set(ROWS * self.lanes.count as f64, Reason::LanesFound);
            self.resettle(now);
        } else {
            self.step = Some(Step::of(seen));
            self.lanes.count *= 2;
            self.set(ROWS * self.lanes.count as f64, Reason::LanesDoubled);
        }
    }

    /// Grows by up to twice an epoch until something says stop.
    pub(super) fn slow_start(&mut self, now: Seconds, seen: &Observed) {
        if self.batched() {
            self.lanes.begin();
        }
        let near = seen.latency > NEAR * self.target.highest();
        let waiting = self.reading.waiting_over(now);
        let knee = match self.last_doubling(now, seen) {
            Gain::Doubtful => {
                self.epoch.extend();
                return;
            }
            Gain::Nothing(target) => Some(target),
            Gain::Unknown => None,
        };
        let full = self.limit >= self.limit_max();
        if !near && !full && waiting <= 0.0 && knee.is_none() {
            self.step = Some(Step::of(seen));
            let growth = (self.target.highest() / seen.latency.max(1e-9)).clamp(GROWTH.0, GROWTH.1);
            self.set(self.limit * growth, Reason::StartGrew);
            return;
        }
        let reason = match (waiting > 0.0, knee.is_some(), full) {
            (true, ..) => Reason::StartQueued,
            (_, true, _) => Reason::StartAtKnee,
            (_, _, true) => Reason::StartFull,
            _ => Reason::StartNearObjective,
        };
        self.leave_start(now, seen, knee, waiting, reason);
    }

    fn leave_start(&mut self, now: Seconds, seen: &Observed, knee: Option<Seconds>, waiting: f64, reason: Reason) {
        let objective = self.target.objective();
        self.target.wanted = knee.unwrap_or(objective).min(objective);
        self.phase = Phase::Hold;
        self.step = None;
        self.probe.down_at = now + if self.batched() { 1.0 } else { 8.0 };
        self.probe.up_at = now + 4.0;
        let limit = if waiting > 0.0 { self.limit - waiting } else { seen.rate * self.target.effective() };
        self.set(limit.clamp(LEAVE.0 * self.limit, LEAVE.1 * self.limit), reason);
    }

    fn last_doubling(&self, now: Seconds, seen: &Observed) -> Gain {
        let Some(step) = self.step.filter(|step| step.rows > 0.0 && step.rate > 0.0) else {
            return Gain::Unknown;
        };
        let gain = seen.rate / step.rate - 1.0;
        let few = seen.rows < DOUBTFUL.1 || seen.instants < DOUBTFUL.2;
        let young = self.epoch.elapsed(now) < DOUBTFUL.3 * self.latency.max(0.2);
        if gain < DOUBTFUL.0 && few && young && seen.latency < NEAR * self.target.highest() {
            return Gain::Doubtful;
        }
        let error = (0.5 * (1.0 / step.rows + 1.0 / seen.rows.max(1.0))).sqrt();
        if gain + 1.5 * error < FLAT.0 && step.instants >= FLAT.1 && seen.instants >= FLAT.1 {
            return Gain::Nothing(KNEE_LATENCIES * step.latency);
        }
        Gain::Unknown
    }
}

// === impl Step ===

impl Step {
    fn of(seen: &Observed) -> Self {
        Self { rate: seen.rate, latency: seen.latency, rows: seen.rows, instants: seen.instants }
    }
}
