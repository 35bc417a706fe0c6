//! What a batcher promises, by table and by property.

use proptest::prelude::*;

use super::*;

fn batcher(rows_max: usize, bytes_max: usize, linger_micros: u64) -> Batcher<u32> {
    Batcher::new(BatcherSettings::new(rows_max, bytes_max, Duration::from_micros(linger_micros)))
}

fn taken(batcher: &mut Batcher<u32>, now: u64) -> Vec<(Vec<u32>, Cause)> {
    std::iter::from_fn(|| batcher.take(Instant(now))).map(|formed| (formed.items, formed.cause)).collect()
}

#[test]
fn rows_bytes_linger_and_flush_each_complete_a_batch() {
    let mut b = batcher(2, 10, 5);
    b.push(1, 1, 0, Instant(0));
    b.push(2, 1, 0, Instant(0));
    assert_eq!(taken(&mut b, 0), [(vec![1, 2], Cause::Rows)]);
    b.push(3, 6, 0, Instant(0));
    b.push(4, 6, 0, Instant(1));
    assert_eq!(taken(&mut b, 1), [(vec![3], Cause::Bytes)]);
    assert_eq!(taken(&mut b, 5), []);
    assert_eq!(taken(&mut b, 6), [(vec![4], Cause::Linger)]);
    b.push(5, 1, 0, Instant(7));
    b.flush();
    assert_eq!(taken(&mut b, 7), [(vec![5], Cause::Flush)]);
    assert_eq!(b.next_timer(), None);
}

#[test]
fn a_row_above_the_byte_limit_travels_alone() {
    let mut b = batcher(8, 10, 5);
    b.push(1, 3, 0, Instant(0));
    b.push(2, 99, 0, Instant(0));
    b.push(3, 3, 0, Instant(0));
    b.flush();
    assert_eq!(taken(&mut b, 0), [(vec![1], Cause::Bytes), (vec![2], Cause::Bytes), (vec![3], Cause::Flush)]);
}

#[test]
fn a_retried_row_travels_alone_and_leaves_the_open_batch_be() {
    let mut b = batcher(8, 100, 5);
    b.push(1, 1, 0, Instant(0));
    b.push(2, 1, 1, Instant(1));
    b.push(3, 1, 0, Instant(2));
    assert_eq!(taken(&mut b, 2), [(vec![2], Cause::Retry)]);
    assert_eq!(b.next_timer(), Some(Instant(5)));
    assert_eq!(taken(&mut b, 5), [(vec![1, 3], Cause::Linger)]);
}

/// Batch 1 leaves full before its timer; batch 2 opens; the moment of batch 1's timer comes.
fn young_batch_at_old_timer(planted: Planted) -> Vec<(Vec<u32>, Cause)> {
    let mut b = batcher(2, 100, 10);
    b.settings.planted = planted;
    b.push(1, 1, 0, Instant(0));
    b.push(2, 1, 0, Instant(1));
    assert_eq!(taken(&mut b, 1).len(), 1);
    b.push(3, 1, 0, Instant(8));
    taken(&mut b, 10)
}

#[test]
fn a_stale_timer_does_not_flush_a_younger_batch() {
    assert_eq!(young_batch_at_old_timer(Planted::default()), []);
}

#[test]
fn the_planted_stale_timer_does() {
    assert_eq!(young_batch_at_old_timer(Planted { stale_timer: true }), [(vec![3], Cause::Linger)]);
}

#[derive(Debug, Clone)]
enum Step {
    Push { bytes: usize, retried: bool },
    Wait(u64),
    Timer,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..40, prop::bool::weighted(0.1)).prop_map(|(bytes, retried)| Step::Push { bytes, retried }),
        3 => (0u64..30).prop_map(Step::Wait),
        2 => Just(Step::Timer),
        1 => Just(Step::Flush),
    ]
}

const ROWS: usize = 4;
const BYTES: usize = 50;
const LINGER: u64 = 20;

proptest! {
    #[test]
    fn every_row_leaves_once_in_order_within_the_limits(steps in prop::collection::vec(step(), 0..120)) {
        let mut b = batcher(ROWS, BYTES, LINGER);
        let (mut now, mut next, mut sizes, mut fresh) = (0u64, 0u32, Vec::new(), Vec::new());
        let mut seen = Vec::new();
        for step in steps {
            match step {
                Step::Push { bytes, retried } => {
                    b.push(next, bytes, u32::from(retried), Instant(now));
                    sizes.push((bytes, now));
                    if !retried { fresh.push(next); }
                    next += 1;
                }
                Step::Wait(micros) => now += micros,
                Step::Timer => b.on_timer(Instant(now)),
                Step::Flush => b.flush(),
            }
            while let Some(formed) = b.take(Instant(now)) {
                let bytes: usize = formed.items.iter().map(|item| sizes[*item as usize].0).sum();
                prop_assert_eq!(bytes, formed.bytes);
                prop_assert!(formed.items.len() <= ROWS);
                prop_assert!(bytes <= BYTES || formed.items.len() == 1);
                prop_assert_eq!(formed.opened, Instant(sizes[formed.items[0] as usize].1));
                if formed.cause == Cause::Linger {
                    prop_assert!(now - formed.opened.0 >= LINGER, "formed by a timer that was not its own");
                }
                seen.push(formed);
            }
            if let Some(oldest) = b.held_items().next() {
                prop_assert!(now - sizes[*oldest as usize].1 < LINGER, "a row waited longer than linger");
                prop_assert!(b.next_timer().is_some_and(|at| at.0 <= sizes[*oldest as usize].1 + LINGER));
            } else {
                prop_assert_eq!(b.next_timer(), None);
            }
        }
        b.flush();
        seen.extend(std::iter::from_fn(|| b.take(Instant(now))));
        prop_assert_eq!(b.held(), 0);
        let left: Vec<u32> = seen.iter().filter(|f| f.cause != Cause::Retry).flat_map(|f| f.items.clone()).collect();
        prop_assert_eq!(left, fresh, "fresh rows leave once, in order");
        prop_assert_eq!(seen.iter().map(|f| f.items.len()).sum::<usize>(), next as usize);
    }
}
