//! When to say that rows wait for a remote model, because nothing else would show it.
//!
//! Of one that is down, at once. One that is full or whose quota is spent refuses now and then as a matter of course: it is
//! spoken of when it has answered nobody for a while, or asks to be left alone for longer than that.

use std::time::Duration;

use forebay_core::time::Instant;
use forebay_gate::limiter::Class;

use super::events::Failure;

/// How often it is said, and for how long a model may refuse everybody before.
const EVERY: Duration = Duration::from_secs(10);

/// What was said, and since when the model answers nobody.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    said: Option<Instant>,
    refused_since: Option<Instant>,
}

// === impl Waiting ===

impl Waiting {
    /// A call was answered.
    pub fn answered(&mut self) {
        self.refused_since = None;
    }

    /// A call failed at `now`; answers what to say.
    pub fn failed(&mut self, now: Instant, failure: &Failure) -> Option<String> {
        let due = match failure.class {
            Class::Down => true,
            Class::Overloaded | Class::Throttled => {
                let since = *self.refused_since.get_or_insert(now);
                now.since(since) >= EVERY || failure.retry_after.is_some_and(|pause| pause > EVERY)
            }
            _ => false,
        };
        if !due || self.said.is_some_and(|said| now.since(said) < EVERY) {
            return None;
        }
        self.said = Some(now);
        let pause = failure.retry_after.filter(|pause| *pause > EVERY);
        let asked = pause.map(|pause| format!(" (it asks to be left alone for {} s)", pause.as_secs()));
        Some(format!("rows wait for their model: {}{}", failure.reason, asked.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::Kind;

    use super::*;

    fn failure(class: Class, pause_seconds: Option<u64>) -> Failure {
        let retry_after = pause_seconds.map(Duration::from_secs);
        Failure { kind: Kind::Overload, reason: "503".to_string(), class, retry_after, final_: false }
    }

    #[test]
    fn a_model_that_is_down_is_spoken_of_at_once_and_every_ten_seconds() {
        let mut waiting = Waiting::default();
        let said = [0, 9, 10, 19, 20].map(|second| {
            waiting.failed(Instant(0) + Duration::from_secs(second), &failure(Class::Down, None)).is_some()
        });
        assert_eq!(said, [true, false, true, false, true]);
        assert_eq!(waiting.failed(Instant(0) + Duration::from_secs(60), &failure(Class::Timeout, None)), None);
    }

    #[test]
    fn one_that_is_full_is_spoken_of_when_it_answers_nobody() {
        let mut waiting = Waiting::default();
        let mut said = |second, answered| {
            if answered {
                waiting.answered();
            }
            waiting.failed(Instant(0) + Duration::from_secs(second), &failure(Class::Overloaded, Some(1))).is_some()
        };
        let seen = [(0, false), (9, false), (10, true), (19, false), (20, false), (25, false), (30, false)]
            .map(|(second, answered)| said(second, answered));
        assert_eq!(seen, [false, false, false, false, true, false, true]);
        let long = Waiting::default().failed(Instant(0), &failure(Class::Throttled, Some(1_000)));
        assert_eq!(long.as_deref(), Some("rows wait for their model: 503 (it asks to be left alone for 1000 s)"));
    }
}
