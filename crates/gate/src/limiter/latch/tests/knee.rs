//! What is known of throughput by limit, how latency follows the limit, and a backend that thrashes.

use super::super::curve::Curve;
use super::super::elasticity::Elasticity;
use super::super::epoch::Observed;
use super::super::hold::View;
use super::*;

fn seen(rate: f64, limit: f64) -> Observed {
    let (rows, latency) = (400.0, limit / rate);
    Observed { in_flight: limit, span: rows / rate, rows, instants: 50.0, rate, latency, late: 0.0, missed: 0.0 }
}

#[test]
fn the_curve_knows_where_fewer_let_more_through() {
    let curve = |points: &[(f64, f64)]| {
        let mut curve = Curve::default();
        points.iter().for_each(|&(limit, rate)| curve.add(1.0, limit, &seen(rate, limit), 0.5));
        curve
    };
    for (points, limit, better, above, below) in [
        (&[(10.0, 250.0), (16.0, 400.0), (32.0, 210.0)][..], 32.0, Some(16.0), false, false),
        (&[(10.0, 250.0), (16.0, 400.0), (32.0, 210.0)], 16.0, None, true, true),
        (&[(10.0, 250.0), (16.0, 400.0), (32.0, 400.0)], 32.0, None, false, false), // a queue
        (&[(16.0, 400.0), (32.0, 370.0)], 32.0, None, false, false),                // may be chance
        (&[(30.0, 400.0), (32.0, 210.0)], 32.0, None, false, false),                // the same limit: it changed
        (&[(16.0, 400.0)], 32.0, None, false, false),                               // nothing known here
    ] {
        let curve = curve(points);
        assert_eq!(curve.better_below(limit, 0.5).map(|point| point.limit), better, "{points:?}");
        assert_eq!(curve.falls_above(limit, 0.5), above, "{points:?}");
        assert_eq!(curve.falls_below(limit, 0.5), below, "{points:?}");
    }
}

#[test]
fn the_curve_forgets_what_is_old_and_what_changed() {
    let mut curve = Curve::default();
    curve.add(0.0, 16.0, &seen(400.0, 16.0), 0.5);
    curve.add(11.0, 32.0, &seen(200.0, 32.0), 0.5);
    assert!(curve.better_below(32.0, 0.5).is_none(), "too long ago to go back for");
    assert!(curve.falls_above(16.0, 0.5), "but known");
    curve.add(12.0, 16.0, &seen(150.0, 16.0), 0.5);
    let point = curve.at(16.0).map(|point| point.rate());
    assert!(point.is_some_and(|rate| (rate - 150.0).abs() < 1.0), "another backend's: {point:?}");
    curve.add(80.0, 8.0, &seen(100.0, 8.0), 0.5);
    assert!(curve.at(32.0).is_none());
}

#[test]
fn elasticity_is_learned_from_steps_of_the_limit() {
    let learn = |exponent: f64, factor: f64| {
        let mut elasticity = Elasticity::default();
        (0..20).for_each(|n| {
            let limit = if n % 2 == 0 { 20.0 } else { 20.0 * factor };
            elasticity.add(limit, 0.001 * limit.powf(exponent));
        });
        elasticity.get()
    };
    for (exponent, factor, least, most) in [
        (0.0, 1.5, 1.0, 1.0),  // service time
        (1.0, 1.5, 1.0, 1.0),  // a queue
        (2.0, 1.5, 1.8, 2.0),  // past a knee
        (2.0, 1.05, 1.0, 1.0), // steps too small to tell
        (9.0, 1.5, 3.0, 4.0),
    ] {
        let found = learn(exponent, factor);
        assert!((least - 1e-9..=most + 1e-9).contains(&found), "{exponent} at {factor}: {found}");
    }
}

#[test]
fn steps_are_sized_by_the_elasticity() {
    let case = |latency: f64, elasticity| {
        let view = View {
            limit: 16.0,
            latency,
            late_share: 0.0,
            target: 0.1,
            highest: 0.5,
            late_line: 0.9,
            at_top: false,
            elasticity,
            since: 9.0,
        };
        view.next().0
    };
    for (latency, elasticity, expected) in [
        (0.144, 1.0, 0.95 * 16.0 * 0.7), // at most this much at once
        (0.144, 2.0, 0.95 * 16.0 / 1.2), // the root is enough
        (0.11, 2.0, 0.95 * 16.0 / 1.1_f64.sqrt()),
        (0.081, 2.0, 16.0 / 0.9 + 0.5), // and no further than the target
        (0.081, 1.0, 16.0 + 0.6 * 4.0 * 4.0),
        (0.64 * 0.1, 2.0, 16.0 / 0.8 + 0.5),
    ] {
        let next = case(latency, elasticity);
        assert!((next - expected).abs() < 1e-9, "{latency} at {elasticity}: {next}, not {expected}");
    }
}

#[test]
fn what_can_be_in_flight_is_whole_rows() {
    for (rows_max, lanes, limit, usable) in
        [(1, 1, 1.4, 1.0), (1, 1, 7.6, 8.0), (64, 4, 5.9, 4.0), (64, 4, 6.1, 6.1), (64, 1, 9.4, 9.0)]
    {
        let mut latch = Latch::new(settings(0.2, rows_max));
        (latch.limit, latch.lanes.count) = (limit, lanes);
        assert!((latch.usable() - usable).abs() < 1e-9, "{limit} in {lanes}: {}", latch.usable());
    }
}

#[test]
fn rests_near_a_knee() {
    let mut bench = Bench::new(settings(0.2, 1));
    let mut knee = |ask: Ask| {
        let crowd = (ask.ahead + 1) as f64 / 16.0;
        let class = if crowd > 2.0 { Class::Overloaded } else { Class::Answered };
        (if crowd > 2.0 { 0.002 } else { 0.04 * crowd.max(1.0).powi(2) }, class)
    };
    bench.run(10.0, &mut knee);
    let before = bench.answered;
    bench.run(20.0, &mut knee);
    let rate = (bench.answered - before) / 20.0;
    assert!(rate > 0.85 * 400.0, "{rate}: {}", bench.latch.why());
}
