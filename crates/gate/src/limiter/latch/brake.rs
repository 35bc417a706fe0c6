//! The emergency brake: reacts within a fraction of a latency when the backend suddenly gets several times slower.
//!
//! Only answers of calls sent after the last cut count. Without that the brake fires three times for one slow-down, and the
//! limit ends at 1.

use std::collections::VecDeque;

use super::super::Seconds;

/// Answers looked at, at most and at least; calls of a batch carry many rows, so three do.
const RECENT_MAX: usize = 16;
const RECENT_LEAST: usize = 8;
const RECENT_LEAST_BATCHED: usize = 3;
/// Their mean must be above this share of the objective.
const OBJECTIVE_SHARE: f64 = 0.97;
/// What braking leaves of the limit, least and most.
const KEEPS: (f64, f64) = (0.3, 0.8);

/// The latest answers of calls sent after the last cut.
#[derive(Debug, Clone)]
pub(super) struct Brake {
    recent: VecDeque<Seconds>,
    cut_at: Seconds,
    braked_at: Seconds,
}

// === impl Brake ===

impl Brake {
    /// Nothing seen yet.
    pub(super) fn new() -> Self {
        Self { recent: VecDeque::with_capacity(RECENT_MAX), cut_at: f64::NEG_INFINITY, braked_at: f64::NEG_INFINITY }
    }

    /// An answer or a time-out of a call sent at `sent`.
    pub(super) fn record(&mut self, sent: Seconds, latency: Seconds) {
        if sent < self.cut_at {
            return;
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(latency);
    }

    /// The limit was cut: what was sent before tells nothing of it.
    pub(super) fn on_cut(&mut self, now: Seconds) {
        self.cut_at = now;
        self.recent.clear();
    }

    /// Forgets the answers seen.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }

    /// What to keep of the limit, if braking is due. `highest` is the highest mean latency that keeps the objective.
    pub(super) fn due(&mut self, now: Seconds, objective: Seconds, highest: Seconds, batched: bool) -> Option<f64> {
        let least = if batched { RECENT_LEAST_BATCHED } else { RECENT_LEAST };
        if self.recent.len() < least {
            return None;
        }
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        if mean <= OBJECTIVE_SHARE * objective || now - self.braked_at <= mean.min(2.0 * objective) {
            return None;
        }
        self.braked_at = now;
        Some((highest / mean).clamp(KEEPS.0, KEEPS.1))
    }
}
