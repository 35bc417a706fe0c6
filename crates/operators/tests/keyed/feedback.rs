//! Predictions with their labels.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::RowKind;
use forebay_operators::feedback::{FeedbackBug, FeedbackSettings, feedback};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;

use crate::harness::{Bench, In, Table, batch, compare, is_found, row, schema, shape, texts};

/// Microseconds.
const WAIT: i64 = 10;
const BEFORE: i64 = 3;
const RETENTION: i64 = 30;

#[derive(Debug, Clone)]
enum Act {
    /// On a port, of a key, so much ahead of the watermark.
    Row(u8, Option<u8>, i64),
    /// One of the rows of a port that are there is taken back.
    TakeBack(u8, prop::sample::Index),
    Watermark(i64),
    Restore(u16),
    Complete,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let key = prop::option::weighted(0.95, 0..4u8);
    let act = prop_oneof![
        14 => (0..2u8, key, -40..20i64).prop_map(|(port, key, ahead)| Act::Row(port, key, ahead)),
        3 => (0..2u8, any::<prop::sample::Index>()).prop_map(|(port, which)| Act::TakeBack(port, which)),
        4 => (0..12i64).prop_map(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ];
    prop::collection::vec(act, 1..100)
}

fn settings(bug: Option<FeedbackBug>) -> FeedbackSettings {
    let (predictions, labels) = (schema(0), schema(1));
    let fields = predictions.fields().iter().chain(&labels.fields()[1..]).cloned();
    let state = Arc::new(Field::new("label_state", DataType::Utf8, false));
    FeedbackSettings {
        predictions: shape(0),
        labels: shape(1),
        output: Arc::new(Schema::new(fields.chain([state]).collect::<Vec<_>>())),
        appended: vec![1, 2],
        wait: Duration::from_micros(WAIT as u64),
        before: Duration::from_micros(BEFORE as u64),
        retention: Duration::from_micros(RETENTION as u64),
        state: StateSettings::default(),
        bug,
    }
}

/// A row, and whether it came behind the watermark of its end.
fn is_late(row: &In) -> bool {
    let more = if row.port == 0 { RETENTION } else { BEFORE + RETENTION };
    row.time + more <= row.seen
}

fn check(bug: Option<FeedbackBug>, acts: &[Act]) -> Result<(), String> {
    let make = || feedback(&settings(bug)).unwrap();
    let mut bench = Bench::new(&make);
    let (mut rows, mut late, mut now): (Vec<In>, Vec<In>, i64) = (Vec::new(), Vec::new(), 0);
    for (number, act) in acts.iter().enumerate() {
        match act {
            Act::Row(port, key, ahead) => {
                let row = row(&bench, number, *port, *key, now + ahead, number as i64);
                bench.push(*port, batch(&row, RowKind::Insert));
                if is_late(&row) { late.push(row) } else { rows.push(row) }
            }
            Act::TakeBack(port, which) => {
                // What is forgotten cannot be taken back; only rows that are kept still are.
                let is_kept = |row: &In| row.port == *port && !is_late(&In { seen: bench.watermark, ..row.clone() });
                let places: Vec<usize> = (0..rows.len()).filter(|place| is_kept(&rows[*place])).collect();
                if !places.is_empty() && !is_settled(&rows, &bench) {
                    let row = rows.remove(places[which.index(places.len())]);
                    bench.push(*port, batch(&row, RowKind::Delete));
                }
            }
            Act::Watermark(more) => {
                now += more;
                bench.watermark(now);
            }
            Act::Restore(parallelism) => bench.restore(*parallelism),
            Act::Complete => bench.complete(),
        }
        compare(&bench.out, &expected(&rows, bench.watermark))?;
    }
    bench.watermark(i64::MAX);
    let sides: Vec<_> = late.iter().map(|row| (row.port + 1, row.id)).collect();
    if bench.sides != sides {
        return Err(format!("late {:?}, expected {sides:?}", bench.sides));
    }
    let on_time = |given: &&crate::harness::Given| {
        let row = rows.iter().find(|row| row.port == 0 && given.row[2] == row.value.to_string());
        // A prediction that was behind the watermark itself has nothing to be in time for.
        row.is_some_and(|row| row.time.saturating_sub(row.seen) > -WAIT && row.time <= given.told)
    };
    let firsts = bench.out.iter().filter(|given| given.kind == RowKind::Insert);
    if let Some(given) = firsts.clone().find(on_time) {
        return Err(format!("{given:?} is behind the watermark"));
    }
    compare(&bench.out, &expected(&rows, i64::MAX))
}

/// Whether a prediction was forgotten whose row depends on rows that may still be taken back.
fn is_settled(rows: &[In], bench: &Bench<'_>) -> bool {
    rows.iter().any(|row| row.port == 0 && is_late(&In { seen: bench.watermark, ..row.clone() }))
}

/// The rows of all predictions when the watermark is `now`.
fn expected(rows: &[In], now: i64) -> Table {
    let mut table = Table::new();
    for prediction in rows.iter().filter(|row| row.port == 0) {
        // The later of two rows meets the other only if that is still kept.
        let meets = |label: &&In| {
            let apart = label.time - prediction.time;
            let is_later = label.value > prediction.value;
            let (first, seen) = if is_later { (prediction, label.seen) } else { (*label, prediction.seen) };
            label.port == 1
                && label.key.is_some()
                && label.key == prediction.key
                && (-BEFORE..=RETENTION).contains(&apart)
                && !is_late(&In { seen, ..first.clone() })
        };
        let mut labels: Vec<&In> = rows.iter().filter(meets).collect();
        labels.sort_by_key(|label| (label.time, label.id));
        let state = match labels.as_slice() {
            [] if prediction.time + WAIT <= now || prediction.key.is_none() => "missing",
            [] => continue,
            [label] if label.time <= prediction.time + WAIT => "matched",
            [_] => "late",
            _ => "revised",
        };
        let text = |row: &In| texts(&batch(row, RowKind::Insert), 0);
        let mut out = text(prediction);
        out.extend(labels.last().map_or(vec![String::new(), String::new()], |label| text(label).split_off(1)));
        out.push(state.to_string());
        *table.entry(out).or_default() += 1;
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_prediction_has_the_row_that_its_labels_say(acts in acts()) {
        check(None, &acts).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        FeedbackBug::KeepOld,
        FeedbackBug::ForgetMissing,
        FeedbackBug::DropLabels,
        FeedbackBug::IgnoreTime,
        FeedbackBug::NoHold,
    ] {
        assert!(is_found(acts(), |acts| check(Some(bug), &acts)), "{bug:?}");
    }
}

#[test]
fn a_prediction_is_missing_its_label_then_has_it_late_then_revised() {
    let make = || feedback(&settings(None)).unwrap();
    let mut bench = Bench::new(&make);
    bench.watermark(0);
    let rows = [(0, 1), (1, 15), (1, 20), (1, 18)];
    for (number, (port, time)) in rows.into_iter().enumerate() {
        let row = row(&bench, number, port, Some(1), time, number as i64);
        bench.push(port, batch(&row, RowKind::Insert));
        bench.watermark(12 + number as i64);
    }
    let shown: Vec<String> =
        bench.out.iter().map(|given| format!("{} {} {}", given.kind, given.row[4], given.row[5])).collect();
    // The last label is older than the one before, which stays.
    assert_eq!(shown, ["+I  missing", "-U  missing", "+U 1 late", "-U 1 late", "+U 2 revised"]);
}

#[test]
fn nothing_is_kept_once_nothing_can_change() {
    let make = || feedback(&settings(None)).unwrap();
    let mut bench = Bench::new(&make);
    bench.watermark(100);
    let empty = bench.stored_bytes();
    for (number, (port, time)) in [(0, 101), (1, 105), (1, 106), (0, 108)].into_iter().enumerate() {
        let row = row(&bench, number, port, Some(1), time, number as i64);
        bench.push(port, batch(&row, RowKind::Insert));
    }
    bench.watermark(120);
    assert!(bench.stored_bytes() > empty);
    bench.watermark(108 + BEFORE + RETENTION);
    assert_eq!(bench.stored_bytes(), empty);
}
