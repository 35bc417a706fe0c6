//! The first rows of each key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::RowKind;
use forebay_operators::top::{OrderColumn, TopBug, TopSettings, top};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;

use crate::harness::{Bench, In, Table, batch, compare, is_found, row, schema, shape, texts};

const ROWS: usize = 3;

#[derive(Debug, Clone)]
enum Act {
    Row(Option<u8>, i64),
    /// One of the rows that are there is taken back.
    TakeBack(prop::sample::Index),
    Watermark,
    Restore(u16),
    Complete,
}

/// How the step is set.
#[derive(Debug, Clone, Copy)]
struct Case {
    ranks: bool,
    updates: bool,
    descending: bool,
    bug: Option<TopBug>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (prop::option::weighted(0.9, 0..3u8), 0..9i64).prop_map(|(key, value)| Act::Row(key, value)),
        5 => any::<prop::sample::Index>().prop_map(Act::TakeBack),
        1 => Just(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ];
    prop::collection::vec(act, 1..100)
}

fn case() -> impl Strategy<Value = Case> {
    any::<[bool; 3]>().prop_map(|[ranks, updates, descending]| Case { ranks, updates, descending, bug: None })
}

fn settings(case: Case, ttl: Option<Duration>) -> TopSettings {
    let mut fields = schema(0).fields().to_vec();
    fields.extend(case.ranks.then(|| Arc::new(Field::new("rank", DataType::Int64, false))));
    TopSettings {
        input: shape(0),
        rows: ROWS,
        order: vec![OrderColumn { place: 2, descending: case.descending }],
        ranks: case.ranks,
        updates: case.updates,
        ttl,
        output: Arc::new(Schema::new(fields)),
        state: StateSettings::default(),
        bug: case.bug,
    }
}

fn check(case: Case, acts: &[Act]) -> Result<(), String> {
    let make = || top(&settings(case, None)).unwrap();
    let mut bench = Bench::new(&make);
    let mut rows: Vec<In> = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        match act {
            Act::Row(key, value) => {
                let row = row(&bench, number, 0, *key, 0, *value);
                bench.push(0, batch(&row, RowKind::Insert));
                rows.push(row);
            }
            Act::TakeBack(which) if case.updates && !rows.is_empty() => {
                let row = rows.remove(which.index(rows.len()));
                bench.push(0, batch(&row, RowKind::UpdateBefore));
            }
            Act::TakeBack(_) => {}
            Act::Watermark => bench.watermark(number as i64),
            Act::Restore(parallelism) => bench.restore(*parallelism),
            Act::Complete => bench.complete(),
        }
        compare(&bench.out, &expected(case, &rows))?;
    }
    Ok(())
}

fn expected(case: Case, rows: &[In]) -> Table {
    let mut by_key: BTreeMap<Option<u8>, Vec<&In>> = BTreeMap::new();
    rows.iter().for_each(|row| by_key.entry(row.key).or_default().push(row));
    let mut table = Table::new();
    for rows in by_key.values_mut() {
        rows.sort_by_key(|row| (if case.descending { -row.value } else { row.value }, row.id));
        for (rank, row) in (1..).zip(rows.iter().take(ROWS)) {
            let mut row = texts(&batch(row, RowKind::Insert), 0);
            row.extend(case.ranks.then(|| rank.to_string()));
            *table.entry(row).or_default() += 1;
        }
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_rows_are_there_at_all_times(acts in acts(), case in case()) {
        check(case, &acts).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [TopBug::KeepPushedOut, TopBug::ForgetNext, TopBug::DropRest] {
        let case = Case { ranks: false, updates: true, descending: true, bug: Some(bug) };
        assert!(is_found(acts(), |acts| check(case, &acts)), "{bug:?}");
    }
}

#[test]
fn a_stream_that_only_adds_leaves_no_more_than_the_first_rows_in_state() {
    let bytes = |count: i64| {
        let case = Case { ranks: false, updates: false, descending: true, bug: None };
        let make = || top(&settings(case, None)).unwrap();
        let mut bench = Bench::new(&make);
        for value in 0..count {
            let row = row(&bench, value as usize, 0, Some(1), 0, value % 50);
            bench.push(0, batch(&row, RowKind::Insert));
        }
        bench.stored_bytes()
    };
    assert_eq!(bytes(3), bytes(300));
}

#[test]
fn a_key_is_forgotten_a_time_to_live_after_its_latest_row() {
    let case = Case { ranks: false, updates: false, descending: true, bug: None };
    let make = || top(&settings(case, Some(Duration::from_micros(10)))).unwrap();
    let mut bench = Bench::new(&make);
    let empty = bench.stored_bytes();
    for (number, (time, watermark)) in [(1, 5), (4, 11), (5, 16), (17, 30)].into_iter().enumerate() {
        let row = row(&bench, number, 0, Some(1), time, 9 - number as i64);
        bench.push(0, batch(&row, RowKind::Insert));
        bench.watermark(watermark);
        bench.restore(3);
    }
    assert_eq!(bench.out.len(), 4, "the key lives on to 15, then a row is the first again");
    assert_eq!(bench.stored_bytes(), empty);
}
