//! What a batcher promises, by table and by property.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn batcher(rows_max: usize, bytes_max: usize, linger_micros: u64) -> Batcher<u32> {
    Batcher::new(BatcherSettings::new(rows_max, bytes_max, micros(linger_micros)))
}

fn row(item: u32, bytes: usize) -> Entry<u32> {
    Entry::new(item, u64::from(item), bytes)
}

fn keyed(item: u32, key: u64) -> Entry<u32> {
    Entry { key: Some(key), ..row(item, 1) }
}

fn taken(batcher: &mut Batcher<u32>, now: u64) -> Vec<(Vec<u32>, Cause)> {
    let formed = std::iter::from_fn(|| batcher.take(micros(now)));
    formed.map(|formed| (formed.rows.iter().map(|row| row.item).collect(), formed.cause)).collect()
}

#[test]
fn rows_bytes_linger_and_flush_each_complete_a_batch() {
    let mut b = batcher(2, 10, 5);
    b.push(row(1, 1), micros(0));
    b.push(row(2, 1), micros(0));
    assert_eq!(taken(&mut b, 0), [(vec![1, 2], Cause::Rows)]);
    b.push(row(3, 6), micros(0));
    b.push(row(4, 6), micros(1));
    assert_eq!(taken(&mut b, 1), [(vec![3], Cause::Bytes)]);
    assert_eq!(taken(&mut b, 5), []);
    assert_eq!(taken(&mut b, 6), [(vec![4], Cause::Linger)]);
    b.push(row(5, 1), micros(7));
    b.flush();
    assert_eq!(taken(&mut b, 7), [(vec![5], Cause::Flush)]);
    assert_eq!(b.next_due(), None);
}

#[test]
fn a_row_above_the_byte_limit_travels_alone() {
    let mut b = batcher(8, 10, 5);
    b.push(row(1, 3), micros(0));
    b.push(row(2, 99), micros(0));
    b.push(row(3, 3), micros(0));
    b.flush();
    assert_eq!(taken(&mut b, 0), [(vec![1], Cause::Bytes), (vec![2], Cause::Bytes), (vec![3], Cause::Flush)]);
}

#[test]
fn cost_completes_a_batch_like_bytes() {
    let mut b = batcher(8, 100, 5);
    b.settings.cost_max = 10;
    for (item, cost) in [(1, 6), (2, 6), (3, 4)] {
        b.push(Entry { cost, ..row(item, 1) }, micros(0));
    }
    assert_eq!(taken(&mut b, 0), [(vec![1], Cause::Cost), (vec![2, 3], Cause::Cost)]);
}

#[test]
fn a_retried_group_travels_alone_and_leaves_the_open_batch_be() {
    let mut b = batcher(8, 100, 5);
    b.push(row(1, 1), micros(0));
    b.retry(vec![row(2, 1)], micros(1));
    b.push(row(3, 1), micros(2));
    assert_eq!(taken(&mut b, 2), [(vec![2], Cause::Retry)]);
    assert_eq!(b.next_due(), Some(micros(5)));
    assert_eq!(taken(&mut b, 5), [(vec![1, 3], Cause::Linger)]);
}

#[test]
fn a_due_batch_stays_open_until_somebody_takes_it() {
    let mut b = batcher(3, 100, 5);
    b.push(row(1, 1), micros(0));
    assert!(b.is_ready(micros(5)));
    b.push(row(2, 1), micros(9));
    assert_eq!(taken(&mut b, 9), [(vec![1, 2], Cause::Linger)]);
}

#[test]
fn the_limits_may_move_between_any_two_calls() {
    let mut b = batcher(8, 100, 50);
    (0..5).for_each(|item| b.push(row(item, 1), micros(0)));
    b.set_knobs(2, micros(5));
    let expected = [(vec![0, 1], Cause::Linger), (vec![2, 3], Cause::Linger), (vec![4], Cause::Linger)];
    assert_eq!(taken(&mut b, 5), expected);
}

#[test]
fn a_deadline_sends_a_batch_before_its_linger() {
    let mut b = batcher(8, 100, 500);
    b.set_latency(micros(40));
    b.push(row(1, 1), micros(0));
    b.push(Entry { deadline: Some(micros(200)), ..row(2, 1) }, micros(0));
    assert_eq!(b.next_due(), Some(micros(140)), "one and a half latencies before the deadline");
    assert_eq!(taken(&mut b, 139), []);
    assert_eq!(taken(&mut b, 140), [(vec![1, 2], Cause::Deadline)]);
}

#[test]
fn a_watermark_sends_what_it_waits_for() {
    let mut b = batcher(8, 100, 500);
    b.settings.watermark_sends = true;
    b.push(Entry { event_time: Some(10), ..row(1, 1) }, micros(0));
    b.on_watermark(9);
    assert_eq!(taken(&mut b, 0), []);
    b.on_watermark(10);
    assert_eq!(taken(&mut b, 0), [(vec![1], Cause::Watermark)]);
}

#[test]
fn after_the_end_nothing_waits_for_others() {
    let mut b = batcher(8, 100, 500);
    b.push(keyed(1, 7), micros(0));
    b.end();
    assert_eq!(taken(&mut b, 0), [(vec![1], Cause::Flush)]);
    b.push(keyed(2, 7), micros(0));
    assert_eq!(taken(&mut b, 0), [], "but its key still does");
    b.done(7, 1);
    assert_eq!(taken(&mut b, 0), [(vec![2], Cause::Flush)]);
}

#[test]
fn rows_of_similar_cost_go_together() {
    let mut b = batcher(2, 100, 5);
    b.settings.cost_ratio = Some(2.0);
    for (item, cost) in [(1, 100), (2, 9), (3, 120), (4, 10)] {
        b.push(Entry { cost, ..row(item, 1) }, micros(0));
    }
    assert_eq!(taken(&mut b, 0), [(vec![1, 3], Cause::Rows), (vec![2, 4], Cause::Rows)]);
}

#[test]
fn rows_of_different_buckets_never_go_together() {
    let mut b = batcher(2, 100, 5);
    for (item, bucket) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
        b.push(Entry { bucket, ..row(item, 1) }, micros(0));
    }
    assert_eq!(taken(&mut b, 0), [(vec![2, 3], Cause::Rows), (vec![1, 4], Cause::Rows)]);
}

#[test]
fn rows_of_a_key_wait_for_those_before_them() {
    let mut b = batcher(2, 100, 5);
    for item in 1..=5 {
        b.push(keyed(item, 7), micros(0));
    }
    b.push(keyed(6, 8), micros(0));
    b.push(row(7, 1), micros(0));
    assert_eq!(taken(&mut b, 0), [(vec![1, 2], Cause::Rows), (vec![6, 7], Cause::Rows)]);
    b.done(7, 1);
    assert_eq!(taken(&mut b, 9), [], "row 2 is still out");
    b.done(7, 2);
    assert_eq!(taken(&mut b, 9), [(vec![3, 4], Cause::Rows)]);
}

#[test]
fn halves_of_a_failed_batch_keep_the_order_of_their_key() {
    let mut b = batcher(4, 100, 0);
    (1..=4).for_each(|item| b.push(keyed(item, 7), micros(0)));
    let mut formed = b.take(micros(0)).unwrap();
    b.push(keyed(5, 7), micros(0));
    let second = formed.rows.split_off(2);
    b.retry(formed.rows, micros(1));
    b.retry(second, micros(1));
    assert_eq!(taken(&mut b, 1), [(vec![1, 2], Cause::Retry)]);
    b.done(7, 1);
    b.done(7, 2);
    assert_eq!(taken(&mut b, 1), [(vec![3], Cause::Retry)]);
    b.done(7, 3);
    assert_eq!(taken(&mut b, 1), [(vec![4], Cause::Retry)]);
    b.done(7, 4);
    assert_eq!(taken(&mut b, 1), [(vec![5], Cause::Linger)]);
    b.done(7, 5);
    assert!(b.keys.is_empty(), "a key without rows is forgotten");
}

/// Batch 1 leaves full before its timer; batch 2 opens; the moment of batch 1's timer comes.
fn young_batch_at_old_timer(planted: Planted) -> Vec<(Vec<u32>, Cause)> {
    let mut b = batcher(2, 100, 10);
    b.settings.planted = planted;
    b.push(row(1, 1), micros(0));
    b.push(row(2, 1), micros(1));
    assert_eq!(taken(&mut b, 1).len(), 1);
    b.push(row(3, 1), micros(8));
    taken(&mut b, 10)
}

#[test]
fn a_stale_timer_does_not_flush_a_younger_batch() {
    assert_eq!(young_batch_at_old_timer(Planted::default()), []);
}

#[test]
fn the_planted_stale_timer_does() {
    let planted = Planted { stale_timer: true, ..Planted::default() };
    assert_eq!(young_batch_at_old_timer(planted), [(vec![3], Cause::Linger)]);
}

#[derive(Debug, Clone)]
enum Step {
    Push {
        bytes: usize,
        cost: u64,
        key: Option<u64>,
        deadline: Option<u64>,
    },
    Wait(u64),
    Take,
    /// The oldest batch in flight ends: as it is done, is tried again, or is split.
    End(u8),
    Knobs(usize),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let push = (0usize..40, 1u64..30, prop::option::of(0u64..3), prop::option::weighted(0.2, 0u64..90));
    prop_oneof![
        8 => push.prop_map(|(bytes, cost, key, deadline)| Step::Push { bytes, cost, key, deadline }),
        3 => (0u64..30).prop_map(Step::Wait),
        4 => Just(Step::Take),
        4 => (0u8..3).prop_map(Step::End),
        1 => (1usize..4).prop_map(Step::Knobs),
        1 => Just(Step::Flush),
    ]
}

const BYTES: usize = 50;
const LINGER: u64 = 20;
const LATENCY: u64 = 10;

/// Drives a batcher as a gate would and says what it broke.
struct Drive {
    batcher: Batcher<u32>,
    rows_max: usize,
    now: u64,
    rows: u32,
    in_flight: VecDeque<Vec<Entry<u32>>>,
    done: BTreeMap<u32, u32>,
    /// Last row of each key that was taken for the first time, and all that were taken.
    last: BTreeMap<u64, u64>,
    taken: BTreeSet<u64>,
}

impl Drive {
    fn new(planted: Planted) -> Self {
        let mut settings = BatcherSettings::new(4, BYTES, micros(LINGER));
        (settings.cost_ratio, settings.latency, settings.planted) = (Some(2.0), micros(LATENCY), planted);
        Self {
            batcher: Batcher::new(settings),
            rows_max: 4,
            now: 0,
            rows: 0,
            in_flight: VecDeque::new(),
            done: BTreeMap::new(),
            last: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Push { bytes, cost, key, deadline } => {
                let deadline = deadline.map(|after| micros(self.now + after));
                self.batcher.push(Entry { cost, key, deadline, ..row(self.rows, bytes) }, micros(self.now));
                self.rows += 1;
            }
            Step::Wait(micros) => self.now += micros,
            Step::Take => return self.take(),
            Step::End(how) => self.end(how),
            Step::Knobs(rows_max) => {
                self.rows_max = rows_max;
                self.batcher.set_knobs(rows_max, micros(LINGER));
            }
            Step::Flush => self.batcher.flush(),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), String> {
        let Some(formed) = self.batcher.take(micros(self.now)) else { return Ok(()) };
        let size = formed.size();
        let fits = size.rows <= self.rows_max && (size.bytes <= BYTES || size.rows == 1);
        check(fits && size.rows > 0, "a batch above its limits")?;
        let costs: Vec<u64> = formed.rows.iter().map(|row| row.cost).collect();
        let (least, most) = (costs.iter().min().copied().unwrap_or(1), costs.iter().max().copied().unwrap_or(1));
        check(most < 2 * least + 1, "rows of dissimilar cost in one batch")?;
        match formed.cause {
            Cause::Linger => {
                let waited = micros(self.now).saturating_sub(formed.opened);
                check(waited >= micros(LINGER), "formed by a timer that was not its own")?;
            }
            // The rest of a batch that was cut to a lower limit keeps the cause but not the row.
            Cause::Deadline if self.rows_max == 4 => {
                let left = formed.rows.iter().filter_map(|row| row.deadline).min().unwrap_or(Duration::MAX);
                check(micros(self.now) + micros(LATENCY * 3 / 2) >= left, "formed for a deadline that is far")?;
            }
            _ => {}
        }
        self.keys_hold(&formed)?;
        self.in_flight.push_back(formed.rows);
        Ok(())
    }

    fn keys_hold(&mut self, formed: &Formed<u32>) -> Result<(), String> {
        let out: BTreeSet<u64> = self.in_flight.iter().flatten().filter_map(|row| row.key).collect();
        for row in &formed.rows {
            let Some(key) = row.key else { continue };
            check(!out.contains(&key), "two batches of one key in flight")?;
            if self.taken.insert(row.seq) {
                let last = self.last.insert(key, row.seq);
                check(last.is_none_or(|last| last < row.seq), "rows of one key out of order")?;
            }
        }
        Ok(())
    }

    fn end(&mut self, how: u8) {
        let Some(mut rows) = self.in_flight.pop_front() else { return };
        match how {
            1 => self.batcher.retry(rows, micros(self.now)),
            2 if rows.len() > 1 => {
                let second = rows.split_off(rows.len() / 2);
                self.batcher.retry(rows, micros(self.now));
                self.batcher.retry(second, micros(self.now));
            }
            _ => {
                for row in rows {
                    *self.done.entry(row.item).or_default() += 1;
                    if let Some(key) = row.key {
                        self.batcher.done(key, row.seq);
                    }
                }
            }
        }
    }

    /// Ends the input and everything in flight; every row must then have been done once.
    fn finish(mut self) -> Result<(), String> {
        self.batcher.end();
        while self.batcher.held() + self.in_flight.len() > 0 {
            check(self.batcher.is_ready(micros(self.now)) || !self.in_flight.is_empty(), "rows are stuck")?;
            self.take()?;
            self.end(0);
        }
        let once = self.done.len() == self.rows as usize && self.done.values().all(|times| *times == 1);
        check(once, "a row left twice or never")?;
        check(self.batcher.keys.is_empty(), "a key is remembered for ever")
    }
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

fn run(planted: Planted, steps: Vec<Step>) -> Result<(), String> {
    let mut drive = Drive::new(planted);
    for step in steps {
        drive.step(step)?;
        check(drive.batcher.held() == drive.batcher.held_items().count(), "rows held are miscounted")?;
    }
    drive.finish()
}

proptest! {
    #[test]
    fn every_row_leaves_once_in_order_within_the_limits(steps in prop::collection::vec(step(), 0..150)) {
        prop_assert_eq!(run(Planted::default(), steps), Ok(()));
    }
}

#[test]
fn mutants() {
    use proptest::strategy::ValueTree;
    let planted = [
        Planted { stale_timer: true, ..Planted::default() },
        Planted { keys_overtake: true, ..Planted::default() },
        Planted { shrunk_limit_ignored: true, ..Planted::default() },
    ];
    for planted in planted {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let steps = prop::collection::vec(step(), 0..150);
        let found = (0..200).filter(|_| {
            let steps = steps.new_tree(&mut runner).expect("a strategy without filters").current();
            run(planted, steps).is_err()
        });
        let found = found.count();
        println!("{planted:?}: found in {found} of 200 cases");
        assert!(found > 10, "{planted:?} was found in {found} of 200 cases only");
    }
}
