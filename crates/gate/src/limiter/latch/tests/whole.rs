//! What the limiter does with a backend: finds its size, follows it, survives its outages.

use super::*;

#[test]
fn finds_the_objective_of_a_backend_that_queues() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(30.0, slots(20, 0.05));
    let limit = bench.limit();
    assert!((20..=110).contains(&limit), "{}", bench.latch.why());
    let before = bench.answered;
    bench.run(10.0, slots(20, 0.05));
    assert!(bench.answered - before > 0.95 * 10.0 * 20.0 / 0.05, "{}", bench.answered - before);
}

#[test]
fn follows_a_backend_that_shrinks_and_returns() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(20.0, slots(40, 0.05));
    let large = bench.limit();
    bench.run(20.0, slots(8, 0.05));
    let small = bench.limit();
    assert!(small * 2 < large, "{large} to {small}");
    assert!(bench.latch.measured().0 < 0.3, "{}", bench.latch.why());
    bench.run(20.0, slots(40, 0.05));
    assert!(bench.limit() > 2 * small, "{}", bench.latch.why());
}

#[test]
fn never_grows_without_load() {
    let mut bench = Bench::new(settings(1.0, 1));
    bench.demand = 3;
    bench.run(60.0, slots(1000, 0.02));
    let limit = bench.limit();
    assert!(limit <= 12, "{limit}");
    bench.demand = 0;
    bench.run(600.0, slots(1000, 0.02));
    assert!(bench.limit() <= limit, "{}", bench.latch.why());
}

#[test]
fn shrinks_slowly_when_unused_so_that_a_burst_does_not_meet_slow_start() {
    let mut bench = Bench::new(settings(1.0, 1));
    bench.run(20.0, slots(100, 0.05));
    let busy = bench.limit();
    bench.demand = 5;
    bench.run(5.0, slots(100, 0.05));
    assert!(bench.limit() > busy / 2, "{busy} to {}", bench.limit());
    bench.run(300.0, slots(100, 0.05));
    assert!(bench.limit() < busy / 2, "{busy} to {}", bench.limit());
}

#[test]
fn brakes_at_once_when_everything_gets_slow_and_only_once() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(30.0, slots(40, 0.05));
    let before = bench.limit();
    bench.run(1.2, slots(8, 0.05));
    assert_eq!(bench.decided(Reason::Emergency), 1, "{:?}", bench.latch.decisions().collect::<Vec<_>>());
    assert!((before / 8..before).contains(&bench.limit()), "{before} to {}", bench.limit());
}

#[test]
fn undoes_cuts_when_the_objective_cannot_be_met_at_any_limit() {
    let mut bench = Bench::new(settings(0.2, 1));
    bench.run(120.0, |_| (0.4, Class::Answered));
    assert!(bench.decided(Reason::OutOfReach) > 0, "{}", bench.latch.why());
    let before = bench.answered;
    bench.run(60.0, |_| (0.4, Class::Answered));
    assert!(bench.answered - before > 60.0 * 2.0 / 0.4, "starved: {}", bench.latch.why());
}

#[test]
fn an_outage_opens_the_breaker_and_ends_in_slow_start() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(20.0, slots(40, 0.05));
    bench.run(5.0, |_| (0.004, Class::Down));
    assert_eq!(bench.limit().min(1), bench.limit(), "open or half-open: {}", bench.latch.why());
    bench.run(30.0, slots(40, 0.05));
    assert!(bench.decided(Reason::BreakerClosed) > 0);
    assert!(bench.limit() > 20, "{}", bench.latch.why());
}

#[test]
fn a_half_open_call_that_never_ends_does_not_stop_it_for_ever() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(5.0, slots(40, 0.05));
    bench.run(1.0, |_| (0.004, Class::Down));
    bench.run(20.0, |_| (1e9, Class::Answered));
    assert!(!bench.calls.is_empty(), "the half-open call is out for good");
    bench.run(60.0, slots(40, 0.05));
    assert!(bench.limit() > 20, "{}", bench.latch.why());
}

#[test]
fn batches_grow_to_what_the_objective_allows() {
    let mut bench = Bench::new(settings(0.3, 128));
    let gpu = |ask: Ask| ((0.02 + 0.002 * ask.rows as f64) * (ask.ahead + 1) as f64, Class::Answered);
    bench.run(60.0, gpu);
    let knobs = bench.latch.knobs();
    assert!(knobs.rows_max > 16, "{}", bench.latch.why());
    assert!(bench.latch.measured().0 < 0.3, "{}", bench.latch.why());
    assert!((0.0..=0.02).contains(&knobs.linger));
}

#[test]
fn lanes_are_found_where_the_backend_has_several_devices() {
    let mut bench = Bench::new(settings(0.4, 64));
    let gpus = |ask: Ask| ((0.03 + 0.003 * ask.rows as f64) * ((ask.ahead + 1) as f64 / 6.0).max(1.0), Class::Answered);
    bench.run(90.0, gpus);
    assert!((5..=9).contains(&bench.limit()), "{}", bench.latch.why());
}

#[test]
fn starts_at_half_of_a_hint_and_leaves_one() {
    let hint = Hint { rows_in_flight: 80.0, calls: 80, rows_max: 1 };
    let bench = Bench::new(Settings { hint: Some(hint), ..settings(0.3, 1) });
    assert_eq!(bench.limit(), 40);
    let hint = Hint { rows_in_flight: 256.0, calls: 4, rows_max: 40 };
    let bench = Bench::new(Settings { hint: Some(hint), ..settings(0.3, 64) });
    let knobs = bench.latch.knobs();
    assert_eq!((knobs.calls_max, knobs.rows_max), (4, 32));
    let broken = Hint { rows_in_flight: f64::NAN, calls: 0, rows_max: 0 };
    let mut bench = Bench::new(Settings { hint: Some(broken), ..settings(0.3, 1) });
    assert_eq!((bench.limit(), bench.latch.hint()), (4, None));
    bench.run(30.0, slots(20, 0.05));
    let left = bench.latch.hint().unwrap();
    assert!(left.rows_in_flight > 10.0 && left.calls > 10, "{left:?}");
}

#[test]
fn says_why_and_keeps_the_last_hundred_decisions() {
    let mut bench = Bench::new(settings(0.3, 1));
    assert!(bench.latch.why().contains("nothing known yet"));
    bench.run(120.0, slots(20, 0.05));
    let why = bench.latch.why();
    assert!(why.starts_with(&format!("limit {}", bench.limit())), "{why}");
    let decisions: Vec<Decision> = bench.latch.decisions().collect();
    assert!((10..=100).contains(&decisions.len()), "{}", decisions.len());
    assert!(decisions.windows(2).all(|two| two[0].until <= two[1].at && two[0].reason != two[1].reason));
    assert!(decisions.last().is_some_and(|last| last.until > 1100.0), "in the caller's time");
}
