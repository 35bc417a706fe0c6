//! What bounds the limit: refusals, rate limits, memory, gauges.

use super::super::ceiling::{Ceiling, Refusal};
use super::super::gauges::Reading;
use super::super::memory::Memory;
use super::super::rate::{Pacer, ThrottleKind};
use super::*;
use crate::limiter::Gauges;

/// Feeds a window of half a second and judges it.
fn window(pacer: &mut Pacer, now: Seconds, accepted: usize, throttled: usize) -> Option<Reason> {
    (0..accepted).for_each(|_| pacer.on_accepted());
    (0..throttled).for_each(|_| pacer.on_throttled());
    pacer.on_tick(now)
}

#[test]
fn pace_snaps_below_the_granted_rate_and_rises_again() {
    let mut pacer = Pacer::new();
    assert_eq!(window(&mut pacer, 0.5, 100, 0), None);
    assert!(pacer.pace.is_infinite(), "no 429, no pace");
    assert_eq!(window(&mut pacer, 1.0, 50, 50), Some(Reason::PaceSnapped));
    assert!((pacer.pace - 96.0).abs() < 1e-9, "{}", pacer.pace);
    assert_eq!(window(&mut pacer, 1.3, 30, 2), None, "too soon after the event");
    let before = pacer.pace;
    window(&mut pacer, 2.2, 96, 0);
    window(&mut pacer, 2.7, 48, 0);
    assert!(pacer.pace > before && pacer.pace < 115.1, "{}", pacer.pace);
    assert_eq!(window(&mut pacer, 3.2, 50, 1), Some(Reason::PaceTrimmed));
    let granted = (30.0 + 96.0 + 48.0 + 50.0) / 2.2;
    assert!(pacer.pace < granted && pacer.pace > 0.8 * granted, "{}", pacer.pace);
}

#[test]
fn pace_runs_away_when_the_rate_limit_is_gone_but_not_unused() {
    let mut pacer = Pacer::new();
    window(&mut pacer, 0.5, 50, 50);
    let mut now = 0.5;
    for _ in 0..100 {
        now += 0.5;
        window(&mut pacer, now, 10, 0);
    }
    assert!(pacer.pace < 100.0, "a fifth of the pace was used: nothing learned");
    for _ in 0..100 {
        now += 0.5;
        let used = pacer.pace.min(1e4) / 2.0;
        window(&mut pacer, now, used as usize, 0);
    }
    assert!(pacer.pace > 1e3, "{}", pacer.pace);
}

#[test]
fn a_429_that_follows_the_number_in_flight_is_a_concurrency_limit() {
    let mut kind = ThrottleKind::new();
    (0..100).for_each(|n| kind.on_accepted(f64::from(n % 40)));
    let mut flips = 0;
    for n in 0..40 {
        flips += u32::from(kind.on_throttled(f64::from(n), 41.0, 0.1));
    }
    assert!(kind.is_concurrency() && flips == 1);
    for n in 40..80 {
        flips += u32::from(kind.on_throttled(f64::from(n), f64::from(n % 40), 0.1));
    }
    assert!(!kind.is_concurrency() && flips == 2, "and back, when they come at any number");
}

#[test]
fn a_rate_limit_paces_and_a_concurrency_limit_does_not() {
    let mut bench = Bench::new(settings(0.4, 1));
    let (mut tokens, mut last) = (20.0f64, bench.now);
    bench.run(60.0, move |ask| {
        tokens = (tokens + (ask.now - last) * 100.0).min(20.0);
        last = ask.now;
        let granted = tokens >= 1.0;
        tokens -= if granted { 1.0 } else { 0.0 };
        if granted { (0.08, Class::Answered) } else { (0.004, Class::Throttled) }
    });
    let pace = bench.latch.knobs().pace;
    assert!((80.0..130.0).contains(&pace), "{}", bench.latch.why());
    let mut bench = Bench::new(settings(0.4, 1));
    bench.run(90.0, |ask| if ask.ahead < 30 { (0.08, Class::Answered) } else { (0.004, Class::Throttled) });
    assert!(bench.latch.knobs().pace.is_infinite(), "{}", bench.latch.why());
    assert!((20..=40).contains(&bench.limit()), "{}", bench.latch.why());
}

#[test]
fn ceiling_snaps_and_is_asked_for_again_by_the_square_of_the_time() {
    let mut ceiling = Ceiling::new();
    assert!(ceiling.limit(0.0).is_infinite());
    assert_eq!(ceiling.on_refused(10.0, 50.0, 100.0, 500.0), Some(60.0), "not below six tenths at once");
    assert_eq!(ceiling.on_refused(10.1, 80.0, 60.0, 500.0), None, "the least of an event counts");
    let at = |elapsed: f64| ceiling.limit(10.1 + elapsed);
    assert!((at(0.0) - 58.8).abs() < 1e-9);
    assert!((at(2.0) - 61.2).abs() < 1e-9);
    assert!((at(10.0) - (58.8 + 2.4 * 25.0)).abs() < 1e-9);
}

#[test]
fn refusals_that_do_not_depend_on_load_are_ignored() {
    let mut ceiling = Ceiling::new();
    ceiling.on_refused(1.0, 90.0, 100.0, 500.0);
    assert!(matches!(ceiling.on_epoch(2.0, 90.0, 450.0, 0.1), Refusal::Cut(limit) if limit < 90.0));
    assert_eq!(ceiling.on_epoch(3.0, 60.0, 300.0, 0.1), Refusal::Futile(100.0));
    assert!(ceiling.ignores(12.9) && !ceiling.ignores(13.1));
    assert!(ceiling.limit(4.0).is_infinite());
    assert_eq!(ceiling.on_refused(5.0, 10.0, 100.0, 500.0), None);
}

#[test]
fn settles_below_a_backend_that_refuses() {
    let mut bench = Bench::new(settings(0.3, 1));
    bench.run(40.0, |ask| if ask.ahead < 40 { (0.05, Class::Answered) } else { (0.004, Class::Overloaded) });
    assert!((30..=46).contains(&bench.limit()), "{}", bench.latch.why());
    assert!(bench.latch.knobs().pace.is_infinite());
    assert_eq!(bench.decided(Reason::BreakerOpened), 0);
}

#[test]
fn permits_of_fast_refusals_are_held_back_but_one_is_left() {
    let mut latch = Latch::new(settings(0.3, 1));
    latch.on_tick(0.0, Load::default());
    let mut attempt = Attempt { sent: 0.0, ended: 0.1, class: Class::Answered, rows: 1, in_flight: 1.0 };
    latch.on_end(&attempt);
    attempt = Attempt { sent: 0.1, ended: 0.102, class: Class::Overloaded, ..attempt };
    (0..10).for_each(|_| latch.on_end(&attempt));
    let knobs = latch.knobs();
    assert_eq!(knobs.calls_max, 1);
    assert!((knobs.pace - 10.0).abs() < 1e-6, "one a mean latency: {}", knobs.pace);
    latch.on_tick(0.5, Load::default());
    assert!(latch.knobs().pace.is_infinite());
}

#[test]
fn out_of_memory_bounds_the_batch_once_and_grows_back_slowly() {
    let mut memory = Memory::new(128, None);
    assert_eq!(memory.on_too_large(1.0, 0.5, 100), Some(0.7));
    assert_eq!(memory.on_too_large(1.1, 0.6, 100), None, "in flight together with the first");
    assert_eq!(memory.rows_allowed(), 80);
    assert!(!memory.on_tick(601.0) && memory.on_tick(601.2));
    assert_eq!(memory.rows_allowed(), 84);
    assert!(!memory.on_tick(1201.0));
    let mut now = 601.2;
    for _ in 0..20 {
        now += 600.0;
        memory.on_tick(now);
    }
    assert_eq!(memory.rows_allowed(), 128);
    assert_eq!(memory.on_too_large(now, now, 1), None, "one row is too large at any limit");
    assert_eq!(Memory::new(128, Some(40)).rows_allowed(), 40);
    assert_eq!(Memory::new(0, None).rows_allowed(), 1);
}

#[test]
fn batches_stay_below_what_memory_holds() {
    let mut bench = Bench::new(settings(2.0, 256));
    let gpu = |ask: Ask| match ask.rows {
        0..=64 => ((0.02 + 0.002 * ask.rows as f64) * (ask.ahead + 1) as f64, Class::Answered),
        _ => (1.0, Class::TooLarge),
    };
    bench.run(60.0, gpu);
    let rows = bench.latch.knobs().rows_max;
    assert!((20..=64).contains(&rows), "{}", bench.latch.why());
    assert!(bench.decided(Reason::TooLarge) > 0);
}

#[test]
fn gauges_bound_and_never_steer() {
    let law = (110.0, Reason::UnderTarget);
    let case = |waiting, running, preempted_total| {
        let mut reading = Reading::default();
        reading.update(0.0, Gauges { waiting: 0.0, running, preempted_total: 0.0 });
        reading.update(2.0, Gauges { waiting, running, preempted_total });
        reading.bound(3.0, 100.0, law)
    };
    assert_eq!(case(0.0, 100.0, 0.0), law);
    assert_eq!(case(6.0, 100.0, 0.0), law, "a few may wait");
    assert_eq!(case(27.0, 100.0, 0.0), (90.0, Reason::GaugeWaiting));
    assert_eq!(case(0.0, 100.0, 3.0), (95.0, Reason::GaugePreempted));
    assert_eq!(case(f64::NAN, 100.0, 3.0), law, "a broken reading says nothing");
    let mut reading = Reading::default();
    reading.update(0.0, Gauges { waiting: 50.0, running: 100.0, preempted_total: 1e6 });
    assert_eq!(reading.bound(1.0, 100.0, law), (78.5, Reason::GaugeWaiting), "pre-emptions of before do not count");
    assert_eq!(reading.bound(6.0, 100.0, law), law, "too old to be believed");
}

#[test]
fn a_backend_that_says_it_is_over_its_capacity_gets_less_until_it_says_otherwise() {
    let law = (110.0, Reason::UnderTarget);
    let case = |ratio: f64, now: f64| {
        let mut reading = Reading::default();
        reading.on_utilization(0.0, ratio);
        reading.bound(now, 100.0, law)
    };
    assert_eq!(case(0.8, 1.0), law);
    assert_eq!(case(1.25, 1.0), (90.0, Reason::Utilized), "a tenth at a time");
    assert!(case(1.02, 1.0).0 > 97.0);
    assert_eq!(case(1.25, 6.0), law, "too old to be believed");
    assert_eq!(case(f64::NAN, 1.0), law);
}
