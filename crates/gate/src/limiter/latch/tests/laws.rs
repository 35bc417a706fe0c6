//! The law over an observed epoch, the tail, the target and the futility test, as tables.

use super::super::brake::Brake;
use super::super::epoch::{Epoch, Need, Observed};
use super::super::futility::{Futility, Verdict};
use super::super::hold::View;
use super::super::lanes::Lanes;
use super::super::tail::Tail;
use super::super::target::Target;
use super::*;

const VIEW: View = View {
    limit: 100.0,
    latency: 0.5,
    late_share: 0.0,
    target: 0.5,
    highest: 0.5,
    late_line: 0.9,
    at_top: true,
    elasticity: 1.0,
    since: 1.0,
};

fn seen(rate: f64, latency: Seconds) -> Observed {
    Observed { in_flight: rate * latency, span: 1.0, rows: rate, instants: 50.0, rate, latency, late: 0.0, missed: 0.0 }
}

#[test]
fn at_the_top_the_cut_is_twice_the_late_share_and_growth_a_root() {
    let case = |limit, late_share| View { limit, late_share, ..VIEW }.next();
    for (limit, late_share, expected) in [
        (100.0, 0.0, 103.0),
        (400.0, 0.0, 406.0),
        (100.0, 0.01, 101.0),
        (100.0, 0.03, 97.0),
        (100.0, 0.9, 93.0),
        (1.0, 0.0, 1.3),
    ] {
        let (next, reason) = case(limit, late_share);
        assert!((next - expected).abs() < 1e-9, "{limit} at {late_share}: {next}");
        assert_eq!(reason, Reason::AtObjective);
    }
}

#[test]
fn below_the_top_the_limit_follows_latency_over_target() {
    let case = |latency, since| View { latency, since, at_top: false, highest: 2.0, late_line: 3.0, ..VIEW }.next();
    for (latency, since, expected, reason) in [
        (0.125, 0.25, 151.0, Reason::UnderTarget), // a quarter: the root of four, bounded by half
        (0.36, 0.72, 117.851 + 6.0, Reason::UnderTarget), // the root, plus growth
        (0.45, 0.9, 106.0, Reason::UnderTarget),
        (0.55, 1.1, 86.363, Reason::OverTarget), // proportional, and a little less
        (0.65, 1.3, 73.076, Reason::OverTarget),
        (5.0, 1.0, 66.5, Reason::OverTarget), // not by more than this at once
    ] {
        let (next, why) = case(latency, since);
        assert!((next - expected).abs() < 0.01, "{latency}: {next}");
        assert_eq!(why, reason, "{latency}");
    }
}

#[test]
fn growth_is_per_time_not_per_epoch() {
    let grown = |since| View { since, ..VIEW }.next().0 - 100.0;
    assert!((grown(2.0) - 2.0 * grown(1.0)).abs() < 1e-9);
    assert!((grown(100.0) - grown(4.0)).abs() < 1e-9, "bounded");
}

#[test]
fn a_breach_cuts_in_proportion_and_by_the_late_line_where_most_is_late() {
    let case = |latency, late_share| View { latency, late_share, ..VIEW }.next();
    let (next, reason) = case(1.0, 0.2);
    assert_eq!(reason, Reason::Breach);
    assert!((next - 47.5).abs() < 1e-9, "{next}");
    assert!((case(1.0, 0.8).0 - 85.5).abs() < 1e-9);
    assert!((case(50.0, 0.8).0 - 28.5).abs() < 1e-9, "never below this at once");
    assert_eq!(case(1.0, 0.03).1, Reason::AtObjective, "a few late rows are no breach");
}

#[test]
fn a_cut_that_costs_throughput_and_does_not_help_is_undone() {
    let mut futility = Futility::default();
    let mut judge = |limit, proposed, seen: Observed, highest| futility.judge(limit, proposed, &seen, 0.2, highest);
    assert_eq!(judge(100.0, 80.0, seen(250.0, 0.4), 0.5), Verdict::Open);
    assert_eq!(judge(80.0, 60.0, seen(200.0, 0.4), 0.5), Verdict::Open, "too early to tell");
    assert_eq!(judge(60.0, 45.0, seen(150.0, 0.4), 0.5), Verdict::ServiceTime { limit: 95.0 });
    assert_eq!(judge(100.0, 80.0, seen(250.0, 0.4), 0.3), Verdict::Open);
    assert_eq!(judge(60.0, 45.0, seen(150.0, 0.4), 0.3), Verdict::Open, "over the objective: on with it");
    assert_eq!(judge(30.0, 20.0, seen(75.0, 0.4), 0.3), Verdict::Missed { limit: 70.0 });
    assert_eq!(judge(100.0, 80.0, seen(250.0, 0.4), 0.5), Verdict::Open);
    assert_eq!(judge(60.0, 45.0, seen(240.0, 0.25), 0.5), Verdict::Open, "it helps");
}

#[test]
fn the_tail_is_a_ratio_that_survives_a_shift_of_level() {
    let mut tail = Tail::default();
    assert!((tail.ratio(0.0, 0.1) - 2.0).abs() < 1e-9, "nothing known");
    let mut now = 0.0;
    for level in [0.1, 1.0] {
        tail.mute(now, level * 4.0);
        for n in 0..3000 {
            now += 0.01;
            tail.record(now, level * if n % 50 == 0 { 3.0 } else { 1.0 }, level);
        }
        let ratio = tail.ratio(now, level);
        assert!((2.5..3.2).contains(&ratio), "{ratio} at {level}");
    }
}

#[test]
fn time_outs_count_as_latencies() {
    let mut latch = Latch::new(settings(0.3, 1));
    latch.on_tick(0.0, Load::default());
    for n in 0..50 {
        let ended = 1.0 + f64::from(n) * 0.01;
        let attempt = Attempt { sent: ended - 0.6, ended, class: Class::Timeout, rows: 1, in_flight: 4.0 };
        latch.on_end(&attempt);
        if n == 10 {
            latch.on_tick(ended, Load { in_flight: 4.0, ..Load::default() });
            assert!(latch.decisions().any(|d| d.reason == Reason::Emergency), "{}", latch.why());
        }
    }
    assert!(latch.tail.mean() > 0.5);
}

#[test]
fn the_target_keeps_the_tail_under_the_objective_with_head_room_after_misses() {
    let mut target = Target::new(1.0);
    target.on_epoch(0.0, 0.01, 3.0);
    assert!((target.effective() - 0.3).abs() < 1e-9 && target.at_top());
    target.on_episode(1.0);
    target.on_episode(2.0);
    target.on_episode(7.0);
    target.on_epoch(8.0, 0.01, 3.0);
    assert!((target.effective() - 0.27).abs() < 1e-9, "two episodes, for the first two are one");
    target.on_epoch(70.0, 0.01, 3.0);
    assert!((target.effective() - 0.3).abs() < 1e-9, "a minute later all is well");
    target.wanted = 0.001;
    target.on_epoch(71.0, 0.2, 3.0);
    target.on_epoch(131.5, 0.2, 3.0);
    assert!((target.effective() - 0.19).abs() < 1e-9, "never far below what was ever seen");
}

#[test]
fn the_brake_looks_only_at_calls_sent_since_the_last_cut() {
    let mut brake = Brake::new();
    (0..8).for_each(|_| brake.record(0.0, 2.0));
    assert_eq!(brake.due(2.0, 1.0, 0.6, false), Some(0.3));
    brake.on_cut(2.0);
    (0..16).for_each(|_| brake.record(1.9, 3.0));
    assert_eq!(brake.due(9.0, 1.0, 0.6, false), None, "of before the cut");
    (0..8).for_each(|_| brake.record(9.0, 1.0));
    assert_eq!(brake.due(10.0, 1.0, 0.6, false), Some(0.6));
    assert_eq!(brake.due(10.5, 1.0, 0.6, false), None, "once an event");
}

#[test]
fn an_epoch_leaves_out_the_first_clump_and_reads_latency_off_the_mean_in_flight() {
    let mut epoch = Epoch::default();
    epoch.start(0.0, 100.0);
    let attempt = |ended: f64| Attempt { sent: ended - 0.1, ended, class: Class::Answered, rows: 1, in_flight: 8.0 };
    for clump in 0..5 {
        for n in 0..8 {
            let ended = 1.0 + f64::from(clump) * 0.5 + f64::from(n) * 1e-5;
            epoch.on_answer(ended, &attempt(ended), 0.05, 1.0);
        }
    }
    let need = Need { count: 32.0, instants: 4.0, span: 1.9, span_max: 9.0 };
    assert!(epoch.enough(&need, false) && !epoch.enough(&Need { count: 33.0, ..need }, false));
    let seen = epoch.finish(3.0, 100.0 + 3.0 * 8.0, 0.0, None);
    assert!((seen.rate - 16.0).abs() < 0.01 && (seen.latency - 0.5).abs() < 0.01, "{seen:?}");
    assert!((seen.late_share() - 1.0).abs() < 1e-9 && seen.missed < 1e-9);
}

#[test]
fn lanes_pay_by_what_they_let_through_at_the_target() {
    let case = |before, count, rows_fixed, work, reference, latency, upward| {
        Lanes::of_probe(before, count, rows_fixed, 0.2, work, reference).pays(latency, upward, 128)
    };
    // 30 ms + 3 ms a row on four devices, target .2 s: 56 rows a call.
    let (work, small) = ((56.0, 0.198), (42.0, 0.156));
    assert!(case(3, 4, 42, work, small, 0.156, true), "a device was idle");
    assert!(!case(4, 5, 45, work, (45.0, 0.165), 0.206, true), "every call waits for its turn");
    assert!(!case(4, 3, 56, work, small, 0.198, false), "a quarter would be lost");
    assert!(case(5, 4, 44, (44.0, 0.203), (44.0, 0.203), 0.162, false), "one lane only waited");
    // One device, 20 ms round trip: a second lane hides it, although at one size it gains only a third.
    assert!(case(1, 2, 64, (128.0, 0.15), (64.0, 0.087), 0.137, true), "larger batches fit");
}
