//! Whatever comes in the order of time, the knobs stay usable.

use proptest::prelude::*;

use super::*;
use crate::breaker::State;
use crate::limiter::Gauges;

#[derive(Debug, Clone, Copy)]
enum Input {
    End { latency: Seconds, class: Class, rows: usize, in_flight: f64 },
    Tick { in_flight: f64, waiting: bool },
    Gauges { waiting: f64, running: f64, preempted_total: f64 },
}

fn class() -> impl Strategy<Value = Class> {
    use Class::{Answered, Cancelled, Down, Overloaded, Throttled, Timeout, TooLarge};
    prop_oneof![
        8 => Just(Answered),
        1 => Just(Throttled), 1 => Just(Overloaded), 1 => Just(Down),
        1 => Just(Timeout), 1 => Just(TooLarge), 1 => Just(Cancelled),
    ]
}

/// Numbers as they should be, and some that nobody should send.
fn number(max: f64) -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => 0.0..max,
        1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(1e300), 1 => Just(-1.0),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (number(2.0), class(), 0usize..100, number(200.0))
            .prop_map(|(latency, class, rows, in_flight)| Input::End { latency, class, rows, in_flight }),
        6 => (number(200.0), any::<bool>()).prop_map(|(in_flight, waiting)| Input::Tick { in_flight, waiting }),
        1 => (number(100.0), number(100.0), number(1e6))
            .prop_map(|(waiting, running, preempted_total)| Input::Gauges { waiting, running, preempted_total }),
    ]
}

fn check(latch: &Latch, settings: &Settings) {
    let knobs = latch.knobs();
    let open = latch.breaker() == State::Open;
    assert!(knobs.calls_max <= settings.calls_max, "{knobs:?}");
    assert!(open || knobs.calls_max >= 1, "{knobs:?}");
    assert!((1..=settings.rows_max).contains(&knobs.rows_max), "{knobs:?}");
    assert!(knobs.pace > 0.0, "{knobs:?}");
    assert!(knobs.linger.is_finite() && (0.0..=0.02).contains(&knobs.linger), "{knobs:?}");
    assert!(latch.limit.is_finite() && latch.limit >= 1.0, "{}", latch.limit);
    assert!(latch.target().is_finite() && latch.target() > 0.0, "{}", latch.target());
    let (latency, rate) = latch.measured();
    assert!(latency.is_finite() && rate.is_finite(), "{latency} {rate}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn knobs_stay_within_bounds(
        inputs in prop::collection::vec((0.0f64..0.5, input()), 0..600),
        objective in number(5.0),
        calls_max in 0usize..300,
        rows_max in prop_oneof![Just(0usize), Just(1), 2usize..100],
        hint in prop::option::of((number(500.0), 0usize..500, 0usize..500)),
        origin in prop_oneof![Just(0.0), Just(1.7e9), Just(-50.0)],
    ) {
        let hint = hint.map(|(rows_in_flight, calls, rows_max)| Hint { rows_in_flight, calls, rows_max });
        let given = Settings { objective, calls_max, rows_max, seed: 3, hint };
        let bounds = Settings { calls_max: calls_max.max(1), rows_max: rows_max.max(1), ..given };
        let mut latch = Latch::new(given);
        let (mut now, mut row_seconds) = (origin, 0.0);
        for (elapsed, input) in inputs {
            now += elapsed * elapsed;
            match input {
                Input::End { latency, class, rows, in_flight } => {
                    latch.on_end(&Attempt { sent: now - latency, ended: now, class, rows, in_flight });
                }
                Input::Tick { in_flight, waiting } => {
                    row_seconds += in_flight * elapsed * elapsed;
                    latch.on_tick(now, Load { row_seconds, in_flight, waiting });
                }
                Input::Gauges { waiting, running, preempted_total } => {
                    latch.on_gauges(now, Gauges { waiting, running, preempted_total });
                }
            }
            check(&latch, &bounds);
        }
        prop_assert!(latch.decisions().count() <= 100 && !latch.why().is_empty());
    }
}
