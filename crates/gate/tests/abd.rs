//! The twelve defects found in the existing asynchronous batch operators (AB-D1..D12), each as a rule and a test of it.
//!
//! Three concern state, watermarks and event time, which a gate does not have; they are tested where those are, in
//! `crates/operators/src/inference/tests.rs`:
//! - AB-D1, buffered and in-flight rows survive a failover: `snapshot_holds_every_row_not_given_out_and_a_restore_asks_them_again`;
//! - AB-D8, a watermark waits for the rows before it: `unordered_rows_leave_as_they_finish_but_not_past_a_watermark`;
//! - AB-D9, a row leaves with what it came with, its event time included: `ordered_rows_leave_as_they_came` (rows are
//!   never taken apart: an answer is a column more).

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_gate::gate::{Action, CallId, Event, Order, Outcome, RowId};
use forebay_gate::limiter::Fixed;
use forebay_gate::retry::{Failure, Fault};
use forebay_gate::{Gate, GateSettings, Row};

/// A gate, its clock, and what it asked for and nobody did yet.
struct Desk {
    gate: Gate<u32, u32>,
    now: Duration,
    calls: Vec<(CallId, Vec<u32>)>,
    settled: Vec<(u32, Outcome<u32>)>,
    full: bool,
    wake: Option<Duration>,
}

impl Desk {
    fn new(settings: GateSettings, calls: usize, rows: usize, linger: f64) -> Self {
        let gate = Gate::new(settings.rows(rows), vec![Box::new(Fixed::new(calls, rows, linger))]);
        Self { gate, now: Duration::ZERO, calls: Vec::new(), settled: Vec::new(), full: false, wake: None }
    }

    fn offer(&mut self, rows: impl IntoIterator<Item = u32>) {
        self.step(Event::Offer(rows.into_iter().map(Row::new).collect()));
    }

    fn step(&mut self, event: Event<u32, u32>) {
        let mut actions = Vec::new();
        self.gate.step(event, self.now, &mut actions);
        for action in actions {
            match action {
                Action::Send { call, rows, .. } => self.calls.push((call, rows)),
                Action::Settle { item, outcome, .. } => self.settled.push((item, outcome)),
                Action::Full => self.full = true,
                Action::Room => self.full = false,
                Action::Wake(at) => self.wake = Some(at),
                Action::Cancel { .. } => {}
            }
        }
    }

    fn at(&mut self, millis: u64) {
        let until = Duration::from_millis(millis);
        while let Some(at) = self.wake.filter(|at| *at <= until) {
            self.now = at;
            self.wake = None;
            self.step(Event::Timer);
        }
        self.now = until;
    }

    /// Answers the oldest call; `bad` makes a call that holds it fail as a whole.
    fn answer(&mut self, bad: Option<u32>) {
        let (call, rows) = self.calls.remove(0);
        if bad.is_some_and(|bad| rows.contains(&bad)) {
            self.step(Event::Failed { call, failure: Failure::new(Fault::Data, "bad row") });
        } else {
            self.step(Event::Answered { call, outcomes: rows.iter().map(|row| Ok(row * 10)).collect() });
        }
    }

    fn fail(&mut self, fault: Fault) {
        let (call, _) = self.calls.remove(0);
        self.step(Event::Failed { call, failure: Failure::new(fault, "failed") });
    }

    fn sent(&self) -> Vec<Vec<u32>> {
        self.calls.iter().map(|(_, rows)| rows.clone()).collect()
    }

    fn settled_rows(&self) -> Vec<u32> {
        self.settled.iter().map(|(row, _)| *row).collect()
    }
}

fn settings() -> GateSettings {
    GateSettings::objective(Duration::from_millis(200))
}

/// AB-D2: no backpressure, unbounded batches in flight. Rule: what waits and what is in flight are both bounded, and the
/// source is told to stop at the bound.
#[test]
fn ab_d2_waiting_and_in_flight_are_bounded() {
    let mut settings = settings();
    settings.backlog.rows_max = 8;
    let mut desk = Desk::new(settings, 2, 4, 0.0);
    let mut offered = 0;
    while !desk.full && offered < 1_000 {
        desk.offer([offered]);
        offered += 1;
    }
    assert_eq!((desk.calls.len(), desk.gate.in_flight()), (2, 2));
    assert!(desk.gate.queued() == 8 && offered < 20, "the source stops at the bound: {offered}");
    desk.answer(None);
    assert!(!desk.full, "and goes on when there is room");
}

/// AB-D3: inputs are not copied when objects are reused. Rule: the gate owns what it was offered; what the caller does to
/// its own object changes neither the first attempt nor a retry.
#[test]
fn ab_d3_a_row_is_owned_from_the_offer_to_the_outcome() {
    let mut gate: Gate<Vec<u8>, ()> = Gate::new(settings(), vec![Box::new(Fixed::new(1, 1, 0.0))]);
    let mut reused = vec![1, 2, 3];
    let mut actions = Vec::new();
    gate.step(Event::Offer(vec![Row::new(reused.clone())]), Duration::ZERO, &mut actions);
    reused.fill(9);
    let mut seen = Vec::new();
    for at in 0..2 {
        let now = Duration::from_secs(at);
        gate.step(Event::Timer, now, &mut actions);
        for action in std::mem::take(&mut actions) {
            if let Action::Send { call, mut rows, .. } = action {
                seen.push(rows[0].clone());
                rows[0].fill(7);
                gate.step(Event::Failed { call, failure: Failure::new(Fault::Down, "") }, now, &mut actions);
            }
        }
    }
    assert_eq!(seen, [[1, 2, 3], [1, 2, 3]]);
}

/// AB-D4: after a batch left full, its timer flushes the next, younger batch early. Rule: a timer belongs to one batch.
#[test]
fn ab_d4_the_timer_of_a_batch_that_left_does_not_flush_the_next() {
    let mut desk = Desk::new(settings(), 9, 2, 0.010);
    desk.offer([1, 2]);
    desk.at(8);
    desk.offer([3]);
    desk.at(17);
    assert_eq!(desk.sent(), [vec![1, 2]]);
    desk.at(18);
    assert_eq!(desk.sent(), [vec![1, 2], vec![3]]);
}

/// AB-D5: the ordered operator duplicates the unordered one. Rule: one core; order is a policy on outcomes alone.
#[test]
fn ab_d5_order_changes_when_rows_leave_and_nothing_else() {
    let run = |order| {
        let mut desk = Desk::new(GateSettings { order, ..settings() }, 3, 2, 0.0);
        desk.offer(0..6);
        let sent = desk.sent();
        desk.calls.rotate_left(1);
        (0..3).for_each(|_| desk.answer(None));
        (sent, desk.settled_rows(), desk.gate.counts())
    };
    let (unordered, ordered) = (run(Order::Unordered), run(Order::Ordered));
    assert_eq!((unordered.0, unordered.2), (ordered.0, ordered.2));
    assert_eq!(unordered.1, [2, 3, 4, 5, 0, 1]);
    assert_eq!(ordered.1, [0, 1, 2, 3, 4, 5]);
}

/// AB-D6: parameter names differ between variants. Rule: one settings type serves every variant, so they cannot.
#[test]
fn ab_d6_every_variant_takes_the_same_settings() {
    let settings = settings();
    for order in [Order::Unordered, Order::PerKey, Order::Ordered] {
        let mut desk = Desk::new(GateSettings { order, ..settings.clone() }, 1, 1, 0.0);
        desk.offer([4]);
        desk.answer(None);
        assert_eq!(desk.settled, [(4, Outcome::Answered(40))]);
    }
}

/// AB-D7: tests sleep instead of synchronising. Rule: nothing in this crate reads a clock or sleeps, tests included; only
/// `wrap.rs` does, and its tests run in paused time.
#[test]
fn ab_d7_nothing_sleeps() {
    let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let clock = ["::sleep", "Instant::now", "SystemTime"].iter().any(|word| text.contains(word));
            assert!(!clock || name.starts_with("wrap"), "{} knows a clock", path.display());
            assert!(!name.ends_with("_tests.rs") || !clock || text.contains("start_paused = true"), "{name} sleeps");
            read += 1;
        }
    }
    assert!(read > 20);
}

/// AB-D10: one bad row fails or re-sends the whole batch; rows are dropped silently. Rule: every row has its own outcome,
/// a failed batch is cut in halves down to the row at fault, and only that one fails, with its reason.
#[test]
fn ab_d10_only_the_row_at_fault_fails() {
    let mut desk = Desk::new(settings(), 1, 8, 0.0);
    desk.offer(0..8);
    let mut calls = 0;
    while !desk.calls.is_empty() {
        desk.answer(Some(5));
        calls += 1;
    }
    let failed: Vec<&(u32, Outcome<u32>)> =
        desk.settled.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Answered(_))).collect();
    let expected = (5, Outcome::Failed { fault: Fault::Data, reason: "bad row".into(), attempts: 4 });
    assert_eq!(failed, [&expected]);
    assert_eq!(desk.settled_rows().into_iter().collect::<BTreeSet<_>>().len(), 8, "no row is dropped");
    assert_eq!(calls, 7, "1 of eight rows, 2 of four, 2 of two and 2 of one");
    assert_eq!(desk.gate.counts().retried, 0, "which costs no retry");
}

/// AB-D10, in an answer that has an outcome for each row: nobody else is sent again.
#[test]
fn ab_d10_a_row_that_fails_alone_leaves_the_others_answered() {
    let mut desk = Desk::new(settings(), 1, 3, 0.0);
    desk.offer(0..3);
    let (call, _) = desk.calls.remove(0);
    let outcomes = vec![Ok(0), Err(Failure::new(Fault::Data, "unreadable")), Ok(20)];
    desk.step(Event::Answered { call, outcomes });
    assert!(desk.calls.is_empty());
    let failed = Outcome::Failed { fault: Fault::Data, reason: "unreadable".into(), attempts: 1 };
    assert_eq!(desk.settled, [(0, Outcome::Answered(0)), (2, Outcome::Answered(20)), (1, failed)]);
}

/// AB-D11: retries have no budget and no jitter. Rule: retries stay within a tenth of first attempts plus five, and calls
/// that failed together do not come back together.
#[test]
fn ab_d11_retries_have_a_budget_and_jitter() {
    let mut settings = settings();
    settings.breakers = false;
    let mut desk = Desk::new(settings, 1_000, 1, 0.0);
    desk.offer(0..200);
    (0..200).for_each(|_| desk.fail(Fault::Overloaded));
    assert_eq!(desk.gate.counts().retried, 25, "5 and a tenth of 200");
    assert_eq!(desk.settled.len(), 175, "the others fail at once instead of storming");
    let mut moments = BTreeSet::new();
    for millis in 0..=50 {
        let before = desk.calls.len();
        desk.at(millis);
        if desk.calls.len() > before {
            moments.insert(millis);
        }
    }
    assert_eq!(desk.calls.len(), 25, "all within the first backoff of 50 ms");
    assert!(moments.len() > 10, "spread over it: {moments:?}");
}

/// AB-D12: `capacity` limits the queue only, neither concurrency nor batches. Rule: each has a limit of its own.
#[test]
fn ab_d12_queue_concurrency_and_batch_have_separate_limits() {
    let case = |queue: usize, calls: usize, rows: usize| {
        let mut settings = settings();
        settings.backlog.rows_max = queue;
        let mut desk = Desk::new(settings, calls, rows, 0.0);
        let mut next = 0;
        while !desk.full {
            desk.offer([next]);
            next += 1;
        }
        (0..calls).for_each(|_| desk.answer(None));
        (desk.gate.in_flight(), desk.sent().iter().map(Vec::len).max().unwrap_or(0))
    };
    assert_eq!(case(12, 2, 3), (2, 3));
    assert_eq!(case(24, 2, 3), (2, 3));
    assert_eq!(case(24, 4, 3), (4, 3));
    assert_eq!(case(24, 2, 6), (2, 6));
}

/// A row is called the same from its offer to its outcome; cancelling one that is gone does nothing.
#[test]
fn a_cancelled_row_gets_one_outcome() {
    let mut desk = Desk::new(settings(), 1, 1, 0.0);
    let row: RowId = desk.gate.offer(Row::new(1), Duration::ZERO);
    desk.step(Event::Cancel(row));
    desk.step(Event::Cancel(row));
    assert_eq!(desk.settled, [(1, Outcome::Cancelled)]);
}
