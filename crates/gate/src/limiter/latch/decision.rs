//! Why the limit is what it is: the last decisions, each with its reason.

use std::collections::VecDeque;
use std::fmt;

use super::super::Seconds;

/// Decisions kept.
const KEPT: usize = 100;

/// What moved the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was known.
    Began,
    /// A run before this one left a hint; half of it is a safe start.
    Hinted,
    /// Twice the calls at once gained enough throughput to go on doubling.
    LanesDoubled,
    /// More calls at once gained little.
    LanesFound,
    /// Slow start: latency leaves room, so the limit grows by up to twice.
    StartGrew,
    /// Slow start ended: latency is near what the objective allows.
    StartNearObjective,
    /// Slow start ended: the backend says that calls wait inside it.
    StartQueued,
    /// Slow start ended: twice in flight bought nothing.
    StartAtKnee,
    /// Slow start ended at the highest limit allowed.
    StartFull,
    /// The objective binds: cut by the share of late rows, plus steady growth.
    AtObjective,
    /// Latency is below the target.
    UnderTarget,
    /// Latency is above the target.
    OverTarget,
    /// Rows miss the objective.
    Breach,
    /// Answers since the last cut are slower than the objective.
    Emergency,
    /// Less is in flight than allowed, and still too slow.
    SlowWhileIdle,
    /// Far less is in flight than allowed: the limit follows use, slowly.
    Unused,
    /// The backend's gauges show calls that wait inside it.
    GaugeWaiting,
    /// The backend's gauges show calls put back for want of memory.
    GaugePreempted,
    /// The backend's answers say that it is over its capacity.
    Utilized,
    /// A cut cost throughput and did not lower latency: undone.
    CutFutile,
    /// The objective is missed, and cutting does not help; kept from starving.
    Missed,
    /// The objective is missed with one row in flight: steered by what is possible for a while.
    OutOfReach,
    /// A lower limit let more through not long ago: does it still?
    FewerTried,
    /// A lower target is tried: does throughput stay?
    ProbeDown,
    /// A higher target is tried: does throughput rise?
    ProbeUp,
    /// The probe did not pay: back to where it began.
    ProbeUndone,
    /// The number of calls at once is measured at one batch size.
    LaneProbe,
    /// Another number of calls at once pays.
    LaneKept,
    /// Another number of calls at once does not pay.
    LaneUndone,
    /// The backend refuses calls above this many.
    Refused,
    /// Fewer calls did not stop the refusals: they have another cause.
    RefusedAnyway,
    /// Too many rows in one call for the backend's memory.
    TooLarge,
    /// A while without running out of memory: a slightly larger call may be tried.
    MemoryRegrown,
    /// The rate limit moved.
    PaceSnapped,
    /// Throttled while probing the rate limit.
    PaceTrimmed,
    /// Nearly everything fails: nothing is sent for a while.
    BreakerOpened,
    /// Answers are back: slow start from a few rows.
    BreakerClosed,
}

/// A move of the limit. Repeats of one reason are one decision that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// When it was first taken.
    pub at: Seconds,
    /// When it was last repeated.
    pub until: Seconds,
    /// Why.
    pub reason: Reason,
    /// Rows that could be in flight before.
    pub from: f64,
    /// Rows that can be in flight since.
    pub to: f64,
}

/// The last decisions.
#[derive(Debug, Clone)]
pub(super) struct Decisions {
    kept: VecDeque<Decision>,
}

// === impl Decisions ===

impl Decisions {
    pub(super) fn new() -> Self {
        Self { kept: VecDeque::with_capacity(KEPT) }
    }

    /// Adds one, or lets the last one go on.
    pub(super) fn add(&mut self, at: Seconds, reason: Reason, from: f64, to: f64) {
        if let Some(last) = self.kept.back_mut()
            && last.reason == reason
        {
            (last.until, last.to) = (at, to);
            return;
        }
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Decision { at, until: at, reason, from, to });
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.kept.iter()
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Began => "nothing known yet",
            Self::Hinted => "half of what a run before this one settled on",
            Self::LanesDoubled => "twice the calls at once gained throughput",
            Self::LanesFound => "more calls at once gain little",
            Self::StartGrew => "slow start: latency leaves room",
            Self::StartNearObjective => "slow start ended near the objective",
            Self::StartQueued => "slow start ended: calls wait inside the backend",
            Self::StartAtKnee => "slow start ended: twice in flight bought nothing",
            Self::StartFull => "slow start ended at the highest limit allowed",
            Self::AtObjective => "held at the objective by the share of late rows",
            Self::UnderTarget => "latency is below the target",
            Self::OverTarget => "latency is above the target",
            Self::Breach => "rows miss the objective",
            Self::Emergency => "the latest answers are slower than the objective",
            Self::SlowWhileIdle => "too slow although less than allowed is in flight",
            Self::Unused => "far less is in flight than allowed",
            Self::GaugeWaiting => "the backend's gauges show calls waiting inside it",
            Self::GaugePreempted => "the backend puts calls back for want of memory",
            Self::Utilized => "the backend says that it is over its capacity",
            Self::CutFutile => "a cut cost throughput and did not lower latency: undone",
            Self::Missed => "rows miss the objective, and cutting does not help",
            Self::OutOfReach => "the objective is out of reach at any limit",
            Self::FewerTried => "fewer in flight let more rows through: trying that",
            Self::ProbeDown => "trying a lower latency target",
            Self::ProbeUp => "trying a higher latency target",
            Self::ProbeUndone => "the probe did not pay: undone",
            Self::LaneProbe => "trying another number of calls at once",
            Self::LaneKept => "another number of calls at once pays",
            Self::LaneUndone => "another number of calls at once does not pay",
            Self::Refused => "the backend refuses calls above this many",
            Self::RefusedAnyway => "refusals do not depend on the limit: ignored for a while",
            Self::TooLarge => "a call had too many rows for the backend's memory",
            Self::MemoryRegrown => "a while without running out of memory",
            Self::PaceSnapped => "the backend's rate limit moved",
            Self::PaceTrimmed => "throttled while probing the rate limit",
            Self::BreakerOpened => "nearly everything fails: breaker open",
            Self::BreakerClosed => "answers are back: slow start",
        })
    }
}
