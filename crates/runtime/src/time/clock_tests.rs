//! What each kind of splits says of the watermark: fresh, with ends, and after splits moved to another reader.

use proptest::prelude::*;

use super::*;

const A: SplitId = SplitId(9);
const B: SplitId = SplitId(5);
const C: SplitId = SplitId(7);

/// A clock of three splits that are read as A, B, C and may be 10 µs out of order.
fn clock(splits: Splits) -> Clock {
    Clock::new(splits, Duration::from_micros(10), [A, B, C])
}

fn told(clock: &mut Clock) -> Option<i64> {
    clock.advance().map(|watermark| watermark.0)
}

#[test]
fn a_split_without_rows_holds_the_watermark_back_until_it_begins_or_ends() {
    let mut clock = clock(Splits::AnyOrder);
    clock.see(A, EventTime(100));
    clock.end(A);
    clock.see(B, EventTime(30));
    assert_eq!(told(&mut clock), None, "nothing is known of the last");
    clock.see(C, EventTime(500));
    assert_eq!(told(&mut clock), Some(19), "the slowest counts");
    clock.end(B);
    assert_eq!(told(&mut clock), Some(489));
    let mut empty = self::clock(Splits::AnyOrder);
    [A, B].into_iter().for_each(|split| empty.end(split));
    empty.see(C, EventTime(100));
    assert_eq!(told(&mut empty), Some(89), "splits without any row hold nothing back");
}

#[test]
fn splits_in_order_promise_for_those_after_them_and_no_more() {
    let mut clock = clock(Splits::InOrder);
    assert_eq!(told(&mut clock), None);
    clock.see(A, EventTime(100));
    clock.see(A, EventTime(95));
    assert_eq!(told(&mut clock), Some(89));
    clock.end(A);
    clock.see(B, EventTime(91));
    assert_eq!(told(&mut clock), None, "never back");
    clock.see(B, EventTime(120));
    assert_eq!(told(&mut clock), Some(109));
    let mut moved = self::clock(Splits::InOrder);
    moved.restore(B, EventTime(120));
    assert_eq!(told(&mut moved), None, "the first is unread, and nothing before it is known");
    moved.see(A, EventTime(50));
    assert_eq!(told(&mut moved), Some(39));
    moved.end(A);
    assert_eq!(told(&mut moved), Some(109));
}

#[test]
fn a_split_that_is_found_later_keeps_the_promise_of_those_before() {
    let mut clock = Clock::new(Splits::InOrder, Duration::from_micros(10), [A]);
    clock.see(A, EventTime(100));
    clock.end(A);
    assert_eq!(told(&mut clock), Some(89));
    clock.add(B);
    clock.add(C);
    assert_eq!(told(&mut clock), None);
    clock.see(B, EventTime(95));
    assert_eq!(told(&mut clock), None, "never back");
    clock.see(B, EventTime(130));
    assert_eq!(told(&mut clock), Some(119));
    clock.end(B);
    clock.see(C, EventTime(125));
    assert_eq!(told(&mut clock), None);
    clock.end(C);
    assert_eq!(told(&mut clock), None, "nothing is left, and nothing later was seen");
}

#[test]
fn an_ended_split_is_forgotten_once_a_later_one_outdoes_it() {
    let mut clock = Clock::new(Splits::InOrder, Duration::ZERO, (0..100).map(SplitId));
    for number in 0..99 {
        clock.see(SplitId(number), EventTime(number as i64 * 10));
        clock.end(SplitId(number));
        assert_eq!(told(&mut clock), Some(number as i64 * 10 - 1));
        assert!(clock.latest().count() <= 2, "state does not grow with the splits behind");
    }
}

#[test]
fn merged_splits_follow_the_rows_and_a_restored_reader_waits_for_its_first() {
    let mut clock = clock(Splits::Merged);
    clock.see(B, EventTime(100));
    assert_eq!(told(&mut clock), Some(89));
    clock.see(A, EventTime(95));
    assert_eq!((told(&mut clock), clock.latest().count()), (None, 0));
    let mut moved = self::clock(Splits::Merged);
    moved.restore(A, EventTime(1000));
    assert_eq!(told(&mut moved), None, "another split may be far behind this one");
    moved.see(B, EventTime(40));
    assert_eq!(told(&mut moved), Some(29));
}

#[test]
fn progress_is_that_of_the_splits_being_read() {
    let mut clock = clock(Splits::AnyOrder);
    assert_eq!(clock.progress(), EventTime::MIN);
    clock.see(A, EventTime(100));
    clock.end(A);
    assert_eq!(clock.progress(), EventTime(100));
    clock.see(B, EventTime(30));
    assert_eq!(clock.progress(), EventTime(30));
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    let mut clock = Clock::new(Splits::AnyOrder, Duration::from_micros(10), [A]);
    clock.see(A, EventTime(i64::MIN + 1));
    assert_eq!(clock.advance(), Some(EventTime::MIN));
    clock.see(A, EventTime::MAX);
    assert_eq!(clock.advance(), Some(EventTime(i64::MAX - 11)));
}

/// Times of the rows of each split. In order, each split begins where the one before ended; rows lie up to 20 µs out of order.
fn inputs(in_order: bool) -> impl Strategy<Value = Vec<Vec<i64>>> {
    let split = prop::collection::vec((0i64..30, 0i64..=20), 0..12);
    (prop::collection::vec(split, 1..6), prop::collection::vec(0i64..300, 6)).prop_map(move |(splits, starts)| {
        let mut at = 0;
        let times = |(place, steps): (usize, Vec<(i64, i64)>)| {
            at = if in_order { at } else { starts[place] };
            steps
                .into_iter()
                .map(|(step, late)| {
                    at += step;
                    at - late
                })
                .collect()
        };
        splits.into_iter().enumerate().map(times).collect()
    })
}

/// Splits and how far each is read; several readers have them by turns.
struct World {
    splits: Vec<Vec<i64>>,
    given: Vec<usize>,
}

// === impl World ===

impl World {
    /// A new reader of the splits in `owned`, restored from `clocks`.
    fn open(&self, kind: Splits, owned: &[usize], clocks: &[Clock]) -> Clock {
        let mut clock = Clock::new(kind, Duration::from_micros(20), owned.iter().map(|split| SplitId(*split as u64)));
        let known = clocks.iter().flat_map(Clock::latest).filter(|(split, _)| owned.contains(&(split.0 as usize)));
        known.collect::<Vec<_>>().into_iter().for_each(|(split, time)| clock.restore(split, time));
        owned.iter().filter(|split| self.left(**split) == 0).for_each(|split| clock.end(SplitId(*split as u64)));
        clock
    }

    fn left(&self, split: usize) -> usize {
        self.splits[split].len() - self.given[split]
    }

    /// The reader of `owned` gives its next row: of the first split that has one, or, merged, of the one whose row is earliest.
    fn read(&mut self, kind: Splits, owned: &[usize], clock: &mut Clock) -> Option<i64> {
        let able = owned.iter().copied().filter(|split| self.left(*split) > 0);
        let split = match kind {
            Splits::Merged => able.min_by_key(|split| self.splits[*split][self.given[*split]])?,
            Splits::AnyOrder | Splits::InOrder => able.min()?,
        };
        let time = self.splits[split][self.given[split]];
        self.given[split] += 1;
        clock.see(SplitId(split as u64), EventTime(time));
        if self.left(split) == 0 {
            clock.end(SplitId(split as u64));
        }
        Some(time)
    }
}

/// Reads everything with `turns` of who reads next and at which parallelism; every row must be ahead of all watermarks told.
fn no_row_is_late(kind: Splits, splits: Vec<Vec<i64>>, turns: &[(usize, u8)]) -> Result<(), TestCaseError> {
    let mut world = World { given: vec![0; splits.len()], splits };
    let owned = |readers: usize, reader: usize, count: usize| -> Vec<usize> {
        (0..count).filter(|split| split % readers == reader).collect()
    };
    let count = world.splits.len();
    let mut clocks = vec![world.open(kind, &owned(1, 0, count), &[])];
    // What whoever takes the rows of all readers has been told, which must hold for good.
    let mut whole: Option<EventTime> = None;
    let mut marks = vec![None; 1];
    for (turn, rescale) in turns.iter().copied().chain((0..).map(|turn| (turn, 0))) {
        if world.given.iter().zip(&world.splits).all(|(given, rows)| *given == rows.len()) {
            break;
        }
        if (1..=4).contains(&rescale) {
            let readers = usize::from(rescale);
            clocks = (0..readers).map(|reader| world.open(kind, &owned(readers, reader, count), &clocks)).collect();
            marks = vec![None; readers];
        }
        let reader = turn % clocks.len();
        let mine = owned(clocks.len(), reader, count);
        marks[reader] = clocks[reader].advance().or(marks[reader]);
        let ended = |reader: &usize| owned(clocks.len(), *reader, count).iter().all(|split| world.left(*split) == 0);
        let holding = (0..clocks.len()).filter(|reader| !ended(reader));
        whole = whole.max(holding.map(|reader| marks[reader]).min().flatten());
        if let Some(time) = world.read(kind, &mine, &mut clocks[reader]) {
            prop_assert!(whole.is_none_or(|told| told < EventTime(time)), "{time} is late at {whole:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_row_of_splits_in_any_order_is_late_through_rescales(
        splits in inputs(false), turns in prop::collection::vec((0usize..12, 0u8..20), 0..80)
    ) {
        no_row_is_late(Splits::AnyOrder, splits, &turns)?;
    }

    #[test]
    fn no_row_of_splits_in_order_is_late_through_rescales(
        splits in inputs(true), turns in prop::collection::vec((0usize..12, 0u8..20), 0..80)
    ) {
        no_row_is_late(Splits::InOrder, splits, &turns)?;
    }

    #[test]
    fn no_row_of_merged_splits_is_late_through_rescales(
        splits in inputs(false), turns in prop::collection::vec((0usize..12, 0u8..20), 0..80)
    ) {
        no_row_is_late(Splits::Merged, splits, &turns)?;
    }
}
