//! What a user may say about a gate. Everything but the objective has a default.

use std::time::Duration;

use super::vocabulary::Order;
use crate::batcher::BatcherSettings;
use crate::deadline::DeadlineSettings;
use crate::fallback::Ladder;
use crate::hedge::HedgeSettings;
use crate::permits::Caps;
use crate::retry::RetrySettings;
use crate::shed::BacklogSettings;

/// Most bytes of a request batch unless told otherwise: a quarter of what gRPC servers refuse.
const BYTES_MAX: usize = 1 << 20;

/// Settings of a gate; see each part.
#[derive(Debug, Clone)]
pub struct GateSettings {
    /// Objective and deadlines.
    pub deadlines: DeadlineSettings,
    /// When a request batch is complete. Its rows and linger are the limiter's to say, and overwritten.
    pub batcher: BatcherSettings,
    /// Hard caps of each replica.
    pub caps: Caps,
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

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }
}
