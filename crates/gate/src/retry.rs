//! Whether, how often and how soon a failed call is tried again.
//!
//! Three rules that hold together: a row has few attempts; all retries of a backend together have one [`Budget`], earned
//! by first attempts, so that a struggling backend never sees more than a tenth on top; and a retry waits for a random
//! time ([`Backoff`]), so that calls which failed together do not come back together. Nothing here waits: it answers
//! how long to.

use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::limiter::Class;

/// Why an attempt failed, as far as what to do next depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A row of the call is bad: no other attempt of it will do.
    Data,
    /// Refused by a rate limit or quota.
    Throttled,
    /// Refused because the backend is full.
    Overloaded,
    /// Not there.
    Down,
    /// No answer in time.
    Timeout,
    /// Too much for the backend's memory or for one call.
    TooLarge,
    /// Whatever worked on the call died of it.
    Died,
}

/// A failed attempt, as the caller reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub fault: Fault,
    /// For people and dead letters; shared by all rows of the call.
    pub reason: Arc<str>,
    /// How long the backend asks to be left alone with these rows.
    pub retry_after: Option<Duration>,
}

/// What to do with rows whose retry the budget does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// They fail, or take their fallback.
    Fail,
    /// They wait for the budget, until their deadline. Give the budget a trickle: without one it only refills while new
    /// rows come.
    Wait,
}

/// How failed calls are tried again.
#[derive(Debug, Clone)]
pub struct RetrySettings {
    /// How often a row is sent, the first time included; splitting a call is no attempt.
    pub attempts_max: u32,
    /// Sending a row twice does no harm. Where it does, a row that may have been worked on is not sent again.
    pub idempotent: bool,
    /// The pause before a retry.
    pub backoff: Backoff,
    /// What all retries together may cost.
    pub budget: BudgetSettings,
    /// What becomes of rows when the budget is spent.
    pub spent: Spent,
}

/// How a [`Budget`] is earned, in retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetSettings {
    /// Earned by each first attempt. A tenth: retries never add more than 10 % to a backend's load.
    pub ratio: f64,
    /// Most that can be saved.
    pub cap: f64,
    /// There from the start, so that a lone failure of a young job is retried.
    pub start: f64,
    /// Earned by time alone. 0 unless rows wait for the budget.
    pub per_second: f64,
}

/// Retries that may be made now. One for each backend, shared by all that call it.
#[derive(Debug, Clone)]
pub struct Budget {
    settings: BudgetSettings,
    saved: f64,
    updated: Duration,
}

/// Full jitter: the pause is uniform between nothing and a bound that doubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first pause.
    pub first: Duration,
    /// Bound that is not doubled any more.
    pub longest: Duration,
}

// === impl Fault ===

impl Fault {
    /// What it tells a limiter.
    pub fn class(self) -> Class {
        match self {
            Self::Data => Class::Answered,
            Self::Throttled => Class::Throttled,
            Self::Overloaded => Class::Overloaded,
            Self::Down | Self::Died => Class::Down,
            Self::Timeout => Class::Timeout,
            Self::TooLarge => Class::TooLarge,
        }
    }

    /// True if another attempt of the same call may succeed.
    pub fn is_retryable(self, idempotent: bool) -> bool {
        match self {
            Self::Throttled | Self::Overloaded | Self::Down => true,
            Self::Timeout | Self::Died => idempotent,
            Self::Data | Self::TooLarge => false,
        }
    }

    /// True if fewer rows in a call may succeed, or one row among several may be at fault.
    ///
    /// A call that ran out of time is split from its second attempt on: the first time is more likely a busy backend.
    pub fn splits(self, attempts: u32, idempotent: bool) -> bool {
        match self {
            Self::TooLarge | Self::Data => true,
            Self::Died => idempotent,
            Self::Timeout => idempotent && attempts >= 2,
            Self::Throttled | Self::Overloaded | Self::Down => false,
        }
    }
}

// === impl Failure ===

impl Failure {
    /// A failure without a word on when to come back.
    pub fn new(fault: Fault, reason: impl Into<Arc<str>>) -> Self {
        Self { fault, reason: reason.into(), retry_after: None }
    }

    /// The backend asked to be left alone for `pause`.
    pub fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

// === impl RetrySettings ===

impl Default for RetrySettings {
    fn default() -> Self {
        let backoff = Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(5) };
        Self { attempts_max: 3, idempotent: true, backoff, budget: BudgetSettings::default(), spent: Spent::Fail }
    }
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { ratio: 0.1, cap: 50.0, start: 5.0, per_second: 0.0 }
    }
}

// === impl Budget ===

impl Budget {
    /// A budget that holds its start.
    pub fn new(settings: BudgetSettings) -> Self {
        Self { saved: settings.start.min(settings.cap), settings, updated: Duration::ZERO }
    }

    /// A call was sent for the first time.
    pub fn earn(&mut self) {
        self.saved = (self.saved + self.settings.ratio).min(self.settings.cap);
    }

    /// Pays for one retry; false, and nothing paid, if there is not enough.
    pub fn try_spend(&mut self, now: Duration) -> bool {
        self.trickle(now);
        // Ten tenths are not quite one in binary.
        let enough = self.saved >= 1.0 - 1e-9;
        if enough {
            self.saved = (self.saved - 1.0).max(0.0);
        }
        enough
    }

    /// What is saved, in retries.
    pub fn saved(&self) -> f64 {
        self.saved
    }

    fn trickle(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.updated).as_secs_f64();
        self.updated = self.updated.max(now);
        self.saved = (self.saved + passed * self.settings.per_second).min(self.settings.cap);
    }
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait after failure number `failures`, counted from 1. What the backend asked for is kept, plus up to
    /// a tenth, so that callers who were told the same do not come back together.
    pub fn pause(&self, failures: u32, retry_after: Option<Duration>, chance: &mut Chance) -> Duration {
        if let Some(asked) = retry_after {
            return asked.saturating_add(asked.mul_f64(0.1 * chance.unit()));
        }
        let doublings = failures.saturating_sub(1).min(20);
        let bound = self.first.saturating_mul(1 << doublings).min(self.longest);
        bound.mul_f64(chance.unit())
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
