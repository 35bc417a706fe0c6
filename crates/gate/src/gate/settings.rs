//! What a user may say about a gate. Everything but the objective has a default.

use std::time::Duration;

use super::vocabulary::Order;
use crate::batcher::BatcherSettings;
use crate::deadline::DeadlineSettings;
use crate::fallback::Ladder;
use crate::hedge::HedgeSettings;
use crate::limiter::Limiter;
use crate::limiter::latch::{self, Latch};
use crate::permits::Caps;
use crate::quota::Limits;
use crate::replicas::ReplicaSettings;
use crate::retry::RetrySettings;
use crate::shed::BacklogSettings;

/// Most bytes of a request batch unless told otherwise: a quarter of what gRPC servers refuse.
const BYTES_MAX: usize = 1 << 20;
/// Most calls in flight unless told otherwise: what one process can serve with sockets to spare.
const CALLS_MAX: usize = 4096;

/// Settings of a gate; see each part.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// Objective and deadlines.
    pub deadlines: DeadlineSettings,
    /// When a request batch is complete. Within `rows_max`, rows and linger are the limiter's to say.
    pub batcher: BatcherSettings,
    /// Hard caps of each replica.
    pub caps: Caps,
    /// What all replicas together may be asked for.
    pub limits: Limits,
    /// Retries and their budget.
    pub retry: RetrySettings,
    /// Second copies of slow calls, between several replicas; only if `retry.idempotent`.
    pub hedge: HedgeSettings,
    /// How many rows may wait.
    pub backlog: BacklogSettings,
    /// Other answers.
    pub ladder: Ladder,
    /// Order of outcomes.
    pub order: Order,
    /// The backend stops working on a cancelled call, so that its permit is free at once. Where it does not, the permit
    /// stays out until the answer, or for two more objectives.
    pub cancel_frees: bool,
    /// Breakers, on by default. A limiter with one of its own (LATCH) does not need the gate's for a single replica, but
    /// is not harmed by it.
    pub breakers: bool,
    /// Varies jitter and choices.
    pub seed: u64,
    /// A bug for tests to find; none in production.
    #[doc(hidden)]
    pub planted: Option<Bug>,
}

/// Bugs planted to see that tests find them.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    PermitLeaks,
    LimitIgnored,
    BudgetIgnored,
    AttemptsIgnored,
    UnsafeRetry,
    OrderForgotten,
    KeysOvertake,
    KeyFreedByFailure,
    ShrunkLimitIgnored,
    HalfLost,
    ExpiredSent,
    LoserForgotten,
    EndForgotten,
    WakeForgotten,
    CancelledAnswered,
}

// === impl GateSettings ===

impl GateSettings {
    /// Defaults for calls that shall take no longer than `latency`.
    pub fn objective(latency: Duration) -> Self {
        Self {
            deadlines: DeadlineSettings { objective: latency, deadline: None },
            batcher: BatcherSettings::new(1, BYTES_MAX, Duration::ZERO),
            caps: Caps::default(),
            limits: Limits::default(),
            retry: RetrySettings::default(),
            hedge: HedgeSettings::OFF,
            backlog: BacklogSettings::default(),
            ladder: Ladder::default(),
            order: Order::Unordered,
            cancel_frees: false,
            breakers: true,
            seed: 0,
            planted: None,
        }
    }

    /// Calls may carry up to `rows_max` rows: for backends that do not batch by themselves.
    pub fn rows(mut self, rows_max: usize) -> Self {
        self.batcher.rows_max = rows_max.max(1);
        self
    }

    /// The limiter that fits these settings: LATCH with their objective.
    pub fn limiter(&self) -> Box<dyn Limiter> {
        Box::new(Latch::new(latch::Settings {
            objective: self.deadlines.objective.as_secs_f64(),
            calls_max: self.caps.calls_max.min(CALLS_MAX),
            rows_max: self.batcher.rows_max,
            seed: self.seed,
            hint: None,
        }))
    }

    pub(super) fn replicas(&self) -> ReplicaSettings {
        let (breakers, objective) = (self.breakers, self.deadlines.objective);
        let loose = self.has(Bug::LimitIgnored);
        ReplicaSettings { caps: self.caps, objective, breakers, model_breaker: breakers, seed: self.seed, loose }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }
}
