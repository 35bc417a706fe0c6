//! The backend's own gauges bound the limit; they never steer it, for they are late, per process and sometimes wrong.
//!
//! Calls that wait inside the backend buy nothing, and calls put back for want of memory are done twice. How full its cache
//! is says nothing: full is normal and good.

use super::super::{Gauges, Seconds};
use super::decision::Reason;

/// Read at most this often, and believed this long.
const APART: Seconds = 1.0;
const FRESH: Seconds = 5.0;
/// Calls that may wait: a few, and a share of the running ones, so that the backend never idles.
const WAITING_FREE: (f64, f64) = (2.0, 0.05);
/// Share of the calls waiting too many that the limit is cut by.
const CUT_SHARE: f64 = 0.5;
/// New pre-emptions over running calls that are too many, and what they leave of the limit.
const PREEMPTED_SHARE: f64 = 0.02;
const PREEMPTED_KEEPS: f64 = 0.95;

/// What is left of the limit, at least, when a backend says that it is over its capacity: its word is late, and is heard
/// again with the next epoch.
const OVER_KEEPS: f64 = 0.9;

/// The last reading.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    at: Option<Seconds>,
    waiting_over: f64,
    preempted_total: f64,
    preempted_share: f64,
    /// How far a backend said that it is over its capacity, 1 for not, and when.
    over: Option<(f64, Seconds)>,
}

// === impl Reading ===

impl Reading {
    /// Takes a reading, unless one was taken just before.
    pub(super) fn update(&mut self, now: Seconds, gauges: Gauges) {
        let finite = gauges.waiting.is_finite() && gauges.running.is_finite() && gauges.preempted_total.is_finite();
        if !finite || self.at.is_some_and(|at| now - at < APART) {
            return;
        }
        let (waiting, running) = (gauges.waiting.max(0.0), gauges.running.max(0.0));
        let before = if self.at.is_some() { self.preempted_total } else { gauges.preempted_total };
        self.preempted_share = (gauges.preempted_total - before).max(0.0) / running.max(1.0);
        self.preempted_total = gauges.preempted_total;
        self.waiting_over = (waiting - (WAITING_FREE.0 + WAITING_FREE.1 * running)).max(0.0);
        self.at = Some(now);
    }

    /// The backend said how much of its capacity it uses.
    pub(super) fn on_utilization(&mut self, now: Seconds, ratio: f64) {
        if ratio.is_finite() {
            self.over = Some((ratio.max(1.0), now));
        }
    }

    /// Calls waiting inside the backend that buy nothing; 0 without a fresh reading.
    pub(super) fn waiting_over(&self, now: Seconds) -> f64 {
        if self.fresh(now) { self.waiting_over } else { 0.0 }
    }

    fn fresh(&self, now: Seconds) -> bool {
        self.at.is_some_and(|at| now - at < FRESH)
    }

    /// Bounds the law's `proposed` limit, where `limit` is the present one.
    pub(super) fn bound(&self, now: Seconds, limit: f64, proposed: (f64, Reason)) -> (f64, Reason) {
        let over = self.over.filter(|(_, at)| now - at < FRESH).map_or(1.0, |(over, _)| over);
        let keeps = (1.0 / over).max(OVER_KEEPS) * limit;
        let proposed = if over > 1.0 && keeps < proposed.0 { (keeps, Reason::Utilized) } else { proposed };
        self.bound_by_gauges(now, limit, proposed)
    }

    fn bound_by_gauges(&self, now: Seconds, limit: f64, proposed: (f64, Reason)) -> (f64, Reason) {
        if !self.fresh(now) {
            return proposed;
        }
        let bounded = if self.waiting_over > 0.0 {
            (limit - CUT_SHARE * self.waiting_over, Reason::GaugeWaiting)
        } else {
            proposed
        };
        let preempted = PREEMPTED_KEEPS * limit;
        if self.preempted_share > PREEMPTED_SHARE && preempted < bounded.0 {
            (preempted, Reason::GaugePreempted)
        } else {
            bounded
        }
    }
}
