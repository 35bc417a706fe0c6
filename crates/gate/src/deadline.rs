//! How long an attempt may take, and which rows are not worth sending any more.
//!
//! A row has one deadline, from the moment it was offered; attempts share what is left of it. Rows that can no longer
//! be answered in time are not sent: the backend would work for nobody. Never looks at a clock.

use std::time::Duration;

/// How a backend's objective becomes timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineSettings {
    /// The latency that the user declared for a call.
    pub objective: Duration,
    /// Deadline of rows that bring none, after they were offered; `None`: they wait for ever.
    pub deadline: Option<Duration>,
}

// === impl DeadlineSettings ===

impl DeadlineSettings {
    /// Twice the objective: later answers are failures to whoever declared it, earlier ones may still be slow.
    pub fn attempt_max(&self) -> Duration {
        self.objective.saturating_mul(2)
    }

    /// How long an attempt may take that is sent now with rows of which the first must be answered by `deadline`.
    pub fn timeout(&self, deadline: Option<Duration>, now: Duration) -> Duration {
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(now));
        self.attempt_max().min(left)
    }

    /// The deadline of a row offered now that brings `own`.
    pub fn of_row(&self, own: Option<Duration>, now: Duration) -> Option<Duration> {
        own.or_else(|| self.deadline.and_then(|deadline| now.checked_add(deadline)))
    }
}

/// True if a row with this deadline cannot be answered in time any more, where a call takes `latency`.
pub fn is_expired(deadline: Option<Duration>, latency: Duration, now: Duration) -> bool {
    deadline.is_some_and(|deadline| deadline <= now || deadline.saturating_sub(now) < latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const SETTINGS: DeadlineSettings = DeadlineSettings { objective: millis(200), deadline: Some(millis(900)) };

    #[test]
    fn a_timeout_is_twice_the_objective_or_what_is_left() {
        let case = |deadline, now, expected| assert_eq!(SETTINGS.timeout(deadline, millis(now)), millis(expected));
        case(None, 5, 400);
        case(Some(millis(1_000)), 5, 400);
        case(Some(millis(1_000)), 700, 300);
        case(Some(millis(1_000)), 1_200, 0);
    }

    #[test]
    fn a_row_keeps_its_own_deadline() {
        assert_eq!(SETTINGS.of_row(Some(millis(7)), millis(100)), Some(millis(7)));
        assert_eq!(SETTINGS.of_row(None, millis(100)), Some(millis(1_000)));
        let patient = DeadlineSettings { deadline: None, ..SETTINGS };
        assert_eq!(patient.of_row(None, millis(100)), None);
    }

    #[test]
    fn rows_with_less_time_than_a_call_takes_are_expired() {
        let case = |deadline, now, expected| assert_eq!(is_expired(deadline, millis(40), millis(now)), expected);
        case(None, 9_999, false);
        case(Some(millis(100)), 0, false);
        case(Some(millis(100)), 60, false);
        case(Some(millis(100)), 61, true);
        case(Some(millis(100)), 101, true);
    }

    #[test]
    fn a_passed_deadline_is_expired_however_fast_calls_are() {
        assert!(is_expired(Some(millis(5)), Duration::ZERO, millis(5)));
    }
}
