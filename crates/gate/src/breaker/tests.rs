//! The breaker's transitions, and that none of them is a dead end.

use std::time::Duration;

use proptest::prelude::*;

use super::{Breaker, State};

const WAIT: Duration = Duration::from_secs(10);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(1, WAIT);
    for _ in 0..20 {
        breaker.on_end(ms(0), false);
    }
    breaker
}

#[test]
fn opens_at_twenty_failures_and_not_before() {
    let mut breaker = Breaker::new(1, WAIT);
    for _ in 0..19 {
        breaker.on_end(ms(0), false);
    }
    assert_eq!(breaker.state(ms(0)), State::Closed);
    breaker.on_end(ms(0), false);
    assert_eq!(breaker.state(ms(0)), State::Open);
    assert!(!breaker.allows(ms(1)));
}

#[test]
fn stays_closed_while_one_in_five_is_answered() {
    let mut breaker = Breaker::new(1, WAIT);
    for n in 0..1000 {
        breaker.on_end(ms(n), n % 5 == 0);
    }
    assert_eq!(breaker.state(ms(1000)), State::Closed);
}

#[test]
fn failures_of_an_hour_ago_do_not_count() {
    let mut breaker = Breaker::new(1, WAIT);
    for n in 0..200 {
        breaker.on_end(Duration::from_secs(n * 100), false);
    }
    assert_eq!(breaker.state(Duration::from_secs(20_000)), State::Closed);
}

#[test]
fn half_open_lets_one_call_through_and_closes_on_its_answer() {
    let mut breaker = opened();
    assert_eq!(breaker.state(ms(700)), State::HalfOpen);
    assert!(breaker.allows(ms(700)));
    assert!(!breaker.allows(ms(700)));
    breaker.on_end_of(ms(700), ms(720), true);
    assert_eq!(breaker.state(ms(720)), State::Closed);
    assert!(breaker.allows(ms(720)));
}

/// Refused in no time, a half-open call ends before its limiter's next tick could ask for it.
#[test]
fn a_half_open_call_that_nobody_asked_for_counts() {
    let mut breaker = opened();
    let until = breaker.allows_at().unwrap();
    breaker.on_end_of(until, until, false);
    assert_eq!(breaker.state(until), State::Open);
    let later = breaker.allows_at().unwrap();
    assert!(later > until);
    breaker.on_end_of(later, later, true);
    assert_eq!(breaker.state(later), State::Closed);
}

#[test]
fn pauses_double_up_to_the_longest() {
    let mut breaker = opened();
    let (mut now, mut pauses) = (ms(0), vec![]);
    for _ in 0..8 {
        let until = breaker.allows_at().unwrap();
        pauses.push((until - now).as_secs_f64());
        now = until;
        assert!(breaker.allows(now));
        breaker.on_end_of(now, now, false);
    }
    for (pause, base) in pauses.iter().zip([0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]) {
        assert!((0.75 * base..=1.25 * base).contains(pause), "{pauses:?}");
    }
}

#[test]
fn answers_of_calls_sent_before_it_opened_change_nothing() {
    let mut breaker = Breaker::new(1, WAIT);
    for _ in 0..20 {
        breaker.on_end(ms(100), false);
    }
    assert!(breaker.allows(ms(800)));
    breaker.on_end_of(ms(50), ms(810), true);
    breaker.on_end_of(ms(60), ms(811), false);
    assert_eq!(breaker.state(ms(820)), State::HalfOpen);
    assert!(!breaker.allows(ms(820)), "the one call is still out");
}

#[test]
fn a_half_open_call_that_never_ends_is_given_up() {
    let mut breaker = opened();
    assert!(breaker.allows(ms(700)));
    assert!(!breaker.allows(ms(10_699)));
    assert!(!breaker.allows(ms(10_700)), "gives it up, and pauses");
    assert_eq!((breaker.state(ms(10_700)), breaker.lost()), (State::Open, 1));
    let again = breaker.allows_at().unwrap();
    assert!(breaker.allows(again));
}

proptest! {
    /// Whatever happened before, from any moment on it lets a call through within the longest pause and the wait for a lost call.
    #[test]
    fn never_sticks(steps in prop::collection::vec((0u64..5_000, 0u8..4), 0..300)) {
        let (mut breaker, mut now) = (Breaker::new(7, WAIT), Duration::ZERO);
        for (millis, what) in steps {
            now += ms(millis);
            match what {
                0 => { breaker.allows(now); }
                1 => breaker.on_end(now, true),
                _ => breaker.on_end_of(now.saturating_sub(ms(900)), now, false),
            }
        }
        let mut waited = Duration::ZERO;
        while !breaker.allows(now + waited) {
            waited += ms(100);
            prop_assert!(waited <= WAIT + ms(12_600), "{breaker:?}");
        }
    }
}
