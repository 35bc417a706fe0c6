//! The latency to steer for: a target in seconds, not a number in flight.
//!
//! When the backend gets slower or smaller, latency over target says at once by how much the limit is wrong; a number in
//! flight says nothing. The target never exceeds what keeps the 99th percentile under the objective, so that all clients of
//! one backend steer for a function of the objective and end up with equal shares.

use std::collections::VecDeque;

use super::super::Seconds;

/// Share of the objective that the 99th percentile is steered to. .95 breaks the objective in several scenarios, .80 costs
/// 1-3 % on backends with a tight one.
const OBJECTIVE_SHARE: f64 = 0.90;
/// Head-room added for each episode of missing the objective in the last minute, up to four: a backend that jumps every ten
/// seconds needs it, a quiet one does not.
const RESERVE: (f64, usize) = (0.05, 4);
const EPISODES_WINDOW: Seconds = 60.0;
/// Episodes closer than this are one.
const EPISODES_APART: Seconds = 5.0;
/// The target is never below this share of the objective, whatever the tail.
const OBJECTIVE_SHARE_LEAST: f64 = 0.05;
/// How long the lowest latency counts, and how far below it a target may be: further down would only starve.
const LOWEST_WINDOW: Seconds = 60.0;
const LOWEST_SHARE: f64 = 0.95;
/// From this share of the highest target on we are at the top: more latency is not to be had.
const TOP_SHARE: f64 = 0.97;

/// What an objective out of reach is stretched to: latency as it is without queueing, times this, at the 99th percentile.
const STRETCH: f64 = 1.25;
/// How long before the objective is tried again; doubles each time it is still out of reach, and starts anew once it was not for long.
const STRETCHED: (Seconds, Seconds) = (10.0, 120.0);

/// The wanted target and what bounds it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// What the settings say.
    asked: Seconds,
    /// What is steered by: as asked, or stretched while that is out of reach.
    objective: Seconds,
    stretched_until: Seconds,
    stretched_for: Seconds,
    /// Target that probes found; never above `objective`.
    pub(super) wanted: Seconds,
    highest: Seconds,
    late_line: Seconds,
    episodes: VecDeque<Seconds>,
    /// Moments and latencies, both rising: the front is the lowest of the window.
    lowest: VecDeque<(Seconds, Seconds)>,
}

// === impl Target ===

impl Target {
    /// Steers for `objective`, in seconds, until something better is known.
    pub(super) fn new(objective: Seconds) -> Self {
        let late_line = OBJECTIVE_SHARE * objective;
        let (episodes, lowest) = Default::default();
        Self {
            asked: objective,
            objective,
            stretched_until: 0.0,
            stretched_for: STRETCHED.0,
            wanted: objective,
            highest: late_line,
            late_line,
            episodes,
            lowest,
        }
    }

    /// What the 99th percentile is to stay below: as asked, or what is possible while that is out of reach.
    pub(super) fn objective(&self) -> Seconds {
        self.objective
    }

    /// Steers for what is possible for a while: `latency` is the mean at so few in flight that nothing queues, `ratio` the tail over it.
    pub(super) fn stretch(&mut self, now: Seconds, latency: Seconds, ratio: f64) {
        let again = now - self.stretched_until < 2.0 * STRETCHED.1 && self.stretched_until > 0.0;
        self.stretched_for = if again { (2.0 * self.stretched_for).min(STRETCHED.1) } else { STRETCHED.0 };
        self.stretched_until = now + self.stretched_for;
        self.objective = self.asked.max(STRETCH * latency * ratio / OBJECTIVE_SHARE);
        self.wanted = self.objective;
        self.on_bounds(ratio);
    }

    /// The mean latency that puts the 99th percentile at the late line.
    pub(super) fn highest(&self) -> Seconds {
        self.highest
    }

    /// Rows slower than this are late: what the 99th percentile is steered to.
    pub(super) fn late_line(&self) -> Seconds {
        self.late_line
    }

    /// What the limit is steered to now.
    pub(super) fn effective(&self) -> Seconds {
        self.wanted.min(self.highest).max(self.floor())
    }

    /// Whether the objective is what binds.
    pub(super) fn at_top(&self) -> bool {
        self.effective() >= TOP_SHARE * self.highest
    }

    /// Lowest latency of the last minute; the objective if none is known or it is lower.
    pub(super) fn lowest(&self) -> Seconds {
        self.lowest.front().map_or(self.objective, |low| low.1.min(self.objective))
    }

    fn floor(&self) -> Seconds {
        LOWEST_SHARE * self.lowest()
    }

    /// The objective was missed at `now` by more than a few rows.
    pub(super) fn on_episode(&mut self, now: Seconds) {
        if self.episodes.back().is_none_or(|last| *last < now - EPISODES_APART) {
            self.episodes.push_back(now);
        }
    }

    /// Moves the bounds after an epoch of mean `latency` and a tail of `ratio` times the mean.
    pub(super) fn on_epoch(&mut self, now: Seconds, latency: Seconds, ratio: f64) {
        while self.episodes.front().is_some_and(|at| *at < now - EPISODES_WINDOW) {
            self.episodes.pop_front();
        }
        if self.objective > self.asked && now >= self.stretched_until {
            (self.objective, self.wanted) = (self.asked, self.asked);
        }
        self.on_bounds(ratio);
        while self.lowest.back().is_some_and(|low| low.1 >= latency) {
            self.lowest.pop_back();
        }
        self.lowest.push_back((now, latency));
        while self.lowest.front().is_some_and(|low| low.0 < now - LOWEST_WINDOW) {
            self.lowest.pop_front();
        }
    }

    fn on_bounds(&mut self, ratio: f64) {
        let reserve = RESERVE.0 * self.episodes.len().min(RESERVE.1) as f64;
        self.late_line = OBJECTIVE_SHARE * (1.0 - reserve) * self.objective;
        self.highest = (self.late_line / ratio).clamp(OBJECTIVE_SHARE_LEAST * self.objective, self.late_line);
    }

    /// Takes `latency` for the lowest there is, because the limit cannot lower it.
    pub(super) fn forget_lowest(&mut self, now: Seconds, latency: Seconds) {
        self.lowest.clear();
        self.lowest.push_back((now, latency));
    }
}
