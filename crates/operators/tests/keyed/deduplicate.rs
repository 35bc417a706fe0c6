//! One row of each key.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::RowKind;
use forebay_operators::deduplicate::{DeduplicateBug, DeduplicateSettings, Keep, deduplicate};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;

use crate::harness::{Bench, In, Table, batch, compare, is_found, row, schema, shape, texts};

const EVERY: [Keep; 4] = [Keep::FirstToCome, Keep::Earliest, Keep::LastToCome, Keep::Latest];

#[derive(Debug, Clone)]
enum Act {
    /// Of a key, so much ahead of the watermark.
    Row(Option<u8>, i64),
    Watermark(i64),
    Restore(u16),
    Complete,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (prop::option::weighted(0.9, 0..6u8), -10..30i64).prop_map(|(key, ahead)| Act::Row(key, ahead)),
        3 => (0..15i64).prop_map(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ];
    prop::collection::vec(act, 1..100)
}

fn settings(keep: Keep, ttl: Option<Duration>, bug: Option<DeduplicateBug>) -> DeduplicateSettings {
    DeduplicateSettings { input: shape(0), output: schema(0), keep, ttl, state: StateSettings::default(), bug }
}

/// Runs `acts` and says what is wrong.
fn check(keep: Keep, bug: Option<DeduplicateBug>, acts: &[Act]) -> Result<(), String> {
    let make = || deduplicate(&settings(keep, None, bug)).unwrap();
    let mut bench = Bench::new(&make);
    let (mut rows, mut now) = (Vec::new(), 0);
    for (number, act) in acts.iter().enumerate() {
        match act {
            Act::Row(key, ahead) => {
                let row = row(&bench, number, 0, *key, now + ahead, number as i64);
                bench.push(0, batch(&row, RowKind::Insert));
                rows.push(row);
            }
            Act::Watermark(more) => {
                now += more;
                bench.watermark(now);
            }
            Act::Restore(parallelism) => bench.restore(*parallelism),
            Act::Complete => bench.complete(),
        }
    }
    bench.watermark(i64::MAX);
    let only_adds = matches!(keep, Keep::FirstToCome | Keep::Earliest);
    if only_adds && bench.out.iter().any(|given| given.kind != RowKind::Insert) {
        return Err("a row was taken back".to_string());
    }
    let (expected, late) = expected(keep, &rows);
    if bench.sides != late.iter().map(|row| (1, row.id)).collect::<Vec<_>>() {
        return Err(format!("late {:?}, expected {late:?}", bench.sides));
    }
    let behind =
        |given: &&crate::harness::Given| rows.iter().any(|row| row_text(row) == given.row && row.time <= given.told);
    if let Some(given) = bench.out.iter().find(behind).filter(|_| keep == Keep::Earliest) {
        return Err(format!("{given:?} is behind the watermark"));
    }
    compare(&bench.out, &expected)
}

/// The table at the end, and what is late.
fn expected(keep: Keep, rows: &[In]) -> (Table, Vec<&In>) {
    let mut kept: BTreeMap<Option<u8>, &In> = BTreeMap::new();
    let mut late = Vec::new();
    for row in rows {
        let before = kept.get(&row.key).copied();
        if keep == Keep::Earliest && row.time <= row.seen {
            if before.is_none_or(|before| before.time > row.seen) {
                late.push(row);
            }
            continue;
        }
        let is_better = before.is_none_or(|before| match keep {
            Keep::FirstToCome => false,
            Keep::Earliest => (row.time, row.id) < (before.time, before.id),
            Keep::LastToCome => true,
            Keep::Latest => (row.time, row.id) > (before.time, before.id),
        });
        if is_better {
            kept.insert(row.key, row);
        }
    }
    (kept.values().map(|row| (row_text(row), 1)).collect(), late)
}

fn row_text(row: &In) -> Vec<String> {
    texts(&batch(row, RowKind::Insert), 0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_row_of_each_key_is_kept(acts in acts(), which in 0..4usize) {
        check(EVERY[which], None, &acts).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn planted_bugs_are_found() {
    for (keep, bug) in [
        (Keep::Earliest, DeduplicateBug::DoNotWait),
        (Keep::Earliest, DeduplicateBug::ForgetClock),
        (Keep::Latest, DeduplicateBug::IgnoreTime),
        (Keep::LastToCome, DeduplicateBug::KeepOld),
    ] {
        assert!(is_found(acts(), |acts| check(keep, Some(bug), &acts)), "{bug:?}");
    }
}

#[test]
fn a_key_is_forgotten_after_its_time_to_live_and_what_it_gave_stays() {
    for keep in EVERY {
        let make = || deduplicate(&settings(keep, Some(Duration::from_micros(10)), None)).unwrap();
        let mut bench = Bench::new(&make);
        bench.watermark(0);
        for (number, (time, watermark)) in [(1, 11), (11, 12), (13, 40)].into_iter().enumerate() {
            let row = row(&bench, number, 0, Some(1), time, 0);
            bench.push(0, batch(&row, RowKind::Insert));
            bench.watermark(watermark);
        }
        let (inserts, all) = (bench.out.iter().filter(|given| given.kind == RowKind::Insert).count(), bench.out.len());
        // The first row counts until 11. By arrival and by time the second is one more of its key, or, where the last is kept,
        // its successor; the third comes at 12, when a first row is forgotten and a successor is not.
        let expected = if matches!(keep, Keep::FirstToCome | Keep::Earliest) { (2, 2) } else { (1, 5) };
        assert_eq!((inserts, all), expected, "{keep:?}");
        assert!(bench.stored_bytes() < 2000, "nothing is kept but the clock");
    }
}
