//! What the gate itself costs a row, on one core: `cargo run -p forebay-gate --example overhead`.
//!
//! A closed loop in virtual time: rows are offered, every call is answered 40 ms later, nothing else happens. Only the gate
//! is timed with a real clock, in rounds; the median round is reported, and the fastest and slowest beside it. The
//! loop's own work (a queue of answers, building the vectors that a caller would build) is in the figure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay_gate::gate::{Action, CallId, Event, Order};
use forebay_gate::limiter::{Fixed, Limiter};
use forebay_gate::{Gate, GateSettings, Row};

const ROWS: u64 = 100_000;
const ROUNDS: usize = 15;
const SERVICE: Duration = Duration::from_millis(40);

/// One way to use a gate.
struct Case {
    name: &'static str,
    rows_max: usize,
    latch: bool,
    change: fn(&mut GateSettings, &mut Row<u64>),
}

fn main() {
    let plain: fn(&mut GateSettings, &mut Row<u64>) = |_, _| {};
    let all: fn(&mut GateSettings, &mut Row<u64>) = |settings, row| {
        settings.order = Order::PerKey;
        row.key = Some(row.item % 100_000);
        row.deadline = Some(Duration::from_secs(1_000_000));
    };
    let ordered: fn(&mut GateSettings, &mut Row<u64>) = |settings, _| settings.order = Order::Ordered;
    let cases = [
        Case { name: "batches of 64, fixed limit", rows_max: 64, latch: false, change: plain },
        Case { name: "batches of 64, LATCH", rows_max: 64, latch: true, change: plain },
        Case { name: "batches of 64, fixed, ordered", rows_max: 64, latch: false, change: ordered },
        Case { name: "batches of 64, fixed, keys and deadlines", rows_max: 64, latch: false, change: all },
        Case { name: "unbatched, fixed limit", rows_max: 1, latch: false, change: plain },
        Case { name: "unbatched, LATCH", rows_max: 1, latch: true, change: plain },
        Case { name: "unbatched, fixed, keys and deadlines", rows_max: 1, latch: false, change: all },
    ];
    println!("{:<42} {:>10} {:>10} {:>10}", "ns a row, gate and closed loop", "median", "fastest", "slowest");
    for case in cases {
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&case)).collect();
        rounds.sort_by(f64::total_cmp);
        println!("{:<42} {:>10.0} {:>10.0} {:>10.0}", case.name, rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
    }
}

/// Nanoseconds a row.
fn round(case: &Case) -> f64 {
    let mut settings = GateSettings::objective(Duration::from_millis(200)).rows(case.rows_max);
    (case.change)(&mut settings, &mut Row::new(0));
    let fixed = || Box::new(Fixed::new(64, case.rows_max, 0.005)) as Box<dyn Limiter>;
    let limiter = if case.latch { settings.limiter() } else { fixed() };
    let mut gate: Gate<u64, u64> = Gate::new(settings.clone(), vec![limiter]);
    let (mut now, mut next, mut settled) = (Duration::ZERO, 0u64, 0u64);
    let mut answers: VecDeque<(Duration, CallId, Vec<u64>)> = VecDeque::new();
    let (mut actions, mut wake) = (Vec::new(), None);
    let started = clock();
    while settled < ROWS {
        let event = if next < ROWS && !gate.is_full() {
            let until = (next + case.rows_max as u64).min(ROWS);
            let rows = (next..until).map(|item| {
                let mut row = Row { bytes: 100, ..Row::new(item) };
                (case.change)(&mut settings, &mut row);
                row
            });
            let event = Event::Offer(rows.collect());
            next = until;
            event
        } else {
            let answered = answers.front().map_or(Duration::MAX, |(at, _, _)| *at);
            now = now.max(answered.min(wake.unwrap_or(Duration::MAX)));
            match answers.pop_front_if(|(at, _, _)| *at <= now) {
                Some((_, call, rows)) => Event::Answered { call, outcomes: rows.into_iter().map(Ok).collect() },
                None => Event::Timer,
            }
        };
        gate.step(event, now, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Send { call, rows, .. } => answers.push_back((now + SERVICE, call, rows)),
                Action::Settle { .. } => settled += 1,
                Action::Wake(at) => wake = Some(at),
                Action::Cancel { .. } | Action::Room | Action::Full => {}
            }
        }
    }
    started.elapsed().as_nanos() as f64 / ROWS as f64
}

#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn clock() -> Instant {
    Instant::now()
}
