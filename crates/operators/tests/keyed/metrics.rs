//! Figures by key and interval; the formulas themselves are tested beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::keys::KeyColumns;
use forebay_core::row::SplitId;
use forebay_core::{Batch, RowId, RowKind};
use forebay_operators::metrics::{Metrics, MetricsBug, MetricsSettings, Scale};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;

use crate::harness::{Bench, is_found, table};

const EVERY: i64 = 10;
const LATENESS: i64 = 15;

#[derive(Debug, Clone)]
enum Act {
    /// Of a key, so much ahead of the watermark, with a score in twentieths and a label.
    Row(u8, i64, u8, Option<bool>),
    TakeBack(prop::sample::Index),
    Watermark(i64),
    Restore(u16),
    Complete,
}

/// A row that went in and was not late.
#[derive(Debug, Clone)]
struct Counted {
    number: usize,
    key: u8,
    time: i64,
    score: f64,
    label: Option<bool>,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let label = prop::option::weighted(0.8, any::<bool>());
    let act = prop_oneof![
        14 => (0..3u8, -30..20i64, 0..=20u8, label).prop_map(|(key, ahead, score, label)| Act::Row(key, ahead, score, label)),
        4 => any::<prop::sample::Index>().prop_map(Act::TakeBack),
        3 => (0..12i64).prop_map(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ];
    prop::collection::vec(act, 1..100)
}

fn moment() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("version", DataType::Utf8, true),
        Field::new("at", moment(), true),
        Field::new("score", DataType::Float64, true),
        Field::new("label", DataType::Boolean, true),
    ]))
}

fn settings(every: bool, reference: bool, bug: Option<MetricsBug>) -> MetricsSettings {
    let mut fields = vec![Field::new("version", DataType::Utf8, true)];
    if every {
        fields.extend(["start", "end", "last"].map(|name| Field::new(name, moment(), false)));
    }
    fields.extend(["predictions", "labelled"].map(|name| Field::new(name, DataType::Int64, false)));
    let ratios = ["accuracy", "precision", "recall", "auc", "log_loss", "calibration_error", "drift"];
    let ratios = ratios.into_iter().take(if reference { 7 } else { 6 });
    fields.extend(ratios.map(|name| Field::new(name, DataType::Float64, true)));
    MetricsSettings {
        keys: KeyColumns::new(vec![0], &input()).unwrap(),
        time: 1,
        score: 2,
        label: 3,
        every: every.then(|| Duration::from_micros(EVERY as u64)),
        lateness: if every && !reference { Duration::from_micros(LATENESS as u64) } else { Duration::ZERO },
        scale: Scale { threshold: 0.5, bins: 10 },
        reference: reference.then_some((0, 2 * EVERY)),
        output: Arc::new(Schema::new(fields)),
        state: StateSettings::default(),
        bug,
    }
}

fn batch(row: &Counted, kind: RowKind) -> Batch {
    let key: ArrayRef = Arc::new(StringArray::from(vec![row.key.to_string()]));
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![row.time]));
    let score: ArrayRef = Arc::new(Float64Array::from(vec![row.score]));
    let label: ArrayRef = Arc::new(BooleanArray::from(vec![row.label]));
    let rows = RecordBatch::try_new(input(), vec![key, time, score, label]).unwrap();
    Batch::new(rows, vec![RowId::new(SplitId(1), row.number as u64)]).unwrap().with_kinds(vec![kind]).unwrap()
}

/// The first moment behind the interval of `time`.
fn end_of(time: i64) -> i64 {
    (time.div_euclid(EVERY) + 1) * EVERY
}

fn check(every: bool, reference: bool, bug: Option<MetricsBug>, acts: &[Act]) -> Result<(), String> {
    let settings = settings(every, reference, bug);
    let lateness = settings.lateness.as_micros() as i64;
    let make = || Box::new(Metrics::new(settings.clone())) as _;
    let mut bench = Bench::new(&make);
    let (mut rows, mut now, mut late): (Vec<Counted>, i64, usize) = (Vec::new(), 0, 0);
    for (number, act) in acts.iter().enumerate() {
        let is_late = |row: &Counted| every && end_of(row.time) - 1 + lateness <= bench.watermark;
        match act {
            Act::Row(key, ahead, score, label) => {
                let row =
                    Counted { number, key: *key, time: now + ahead, score: f64::from(*score) / 20.0, label: *label };
                late += usize::from(is_late(&row));
                let is_late = is_late(&row);
                bench.push(0, batch(&row, RowKind::Insert));
                if !is_late {
                    rows.push(row);
                }
            }
            Act::TakeBack(which) if !rows.is_empty() => {
                let place = which.index(rows.len());
                let row = rows[place].clone();
                late += usize::from(is_late(&row));
                if !is_late(&row) {
                    rows.remove(place);
                }
                bench.push(0, batch(&row, RowKind::UpdateBefore));
            }
            Act::TakeBack(_) => {}
            Act::Watermark(more) => {
                now += more;
                bench.watermark(now);
            }
            Act::Restore(parallelism) => bench.restore(*parallelism),
            Act::Complete => bench.complete(),
        }
    }
    bench.watermark(i64::MAX);
    if bench.sides.len() != late {
        return Err(format!("{} late, expected {late}", bench.sides.len()));
    }
    if lateness == 0 && every && bench.out.iter().any(|given| given.kind != RowKind::Insert) {
        return Err("a row was taken back".to_string());
    }
    let found = table(&bench.out)?;
    let expected = expected(every, reference, &rows);
    if found.len() != expected.len() {
        return Err(format!("found {found:?}\nexpected {expected:?}"));
    }
    for (row, count) in &found {
        let keys = if every { 4 } else { 1 };
        let figures: Vec<Option<f64>> = row[keys..].iter().map(|text| text.parse().ok()).collect();
        let key = (row[0].clone(), if every { row[2].clone() } else { String::new() });
        let is_near = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
            (found, expected) => found == expected,
        };
        let same = expected.get(&key).is_some_and(|figures_of| figures.iter().zip(figures_of).all(is_near));
        if !same || *count != 1 {
            return Err(format!("found {row:?} {count} times, expected {:?}", expected.get(&key)));
        }
    }
    Ok(())
}

type Figures = BTreeMap<(String, String), Vec<Option<f64>>>;

/// Figures by version and end of the interval, from lists of rows.
fn expected(every: bool, reference: bool, rows: &[Counted]) -> Figures {
    let mut panes: BTreeMap<(u8, i64), Vec<&Counted>> = BTreeMap::new();
    for row in rows {
        panes.entry((row.key, if every { end_of(row.time) } else { i64::MAX })).or_default().push(row);
    }
    let text = |end: i64| {
        let end: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![end]));
        arrow::util::display::array_value_to_string(&end, 0).unwrap()
    };
    let figures = |((key, end), pane): (&(u8, i64), &Vec<&Counted>)| {
        let mut found = figures(pane);
        if reference {
            let period = rows.iter().filter(|row| row.key == *key && (0..2 * EVERY).contains(&row.time));
            let period: Vec<&Counted> = period.collect();
            found.push((*end >= 2 * EVERY && !period.is_empty()).then(|| drift(pane, &period)));
        }
        ((key.to_string(), if every { text(*end) } else { String::new() }), found)
    };
    panes.iter().map(figures).collect()
}

fn figures(rows: &[&Counted]) -> Vec<Option<f64>> {
    let labelled: Vec<(f64, bool)> = rows.iter().filter_map(|row| Some((row.score, row.label?))).collect();
    let count = |is: &dyn Fn(&(f64, bool)) -> bool| labelled.iter().filter(|row| is(row)).count() as f64;
    let ratio = |part: f64, all: f64| (all > 0.0).then(|| part / all);
    let all = labelled.len() as f64;
    let hits = count(&|(score, label)| *score >= 0.5 && *label);
    let (trues, falses) = (count(&|row| row.1), count(&|row| !row.1));
    let mut won = 0.0;
    for (high, _) in labelled.iter().filter(|row| row.1) {
        for (low, _) in labelled.iter().filter(|row| !row.1) {
            won += if high > low {
                1.0
            } else if high == low {
                0.5
            } else {
                0.0
            };
        }
    }
    let loss: f64 = labelled.iter().map(|(p, label)| -(if *label { *p } else { 1.0 - p }).max(1e-15).ln()).sum();
    let mut gaps: BTreeMap<u8, f64> = BTreeMap::new();
    labelled.iter().for_each(|(score, label)| *gaps.entry(bin(*score)).or_default() += score - f64::from(*label));
    vec![
        Some(rows.len() as f64),
        Some(all),
        ratio(count(&|(score, label)| (*score >= 0.5) == *label), all),
        ratio(hits, count(&|row| row.0 >= 0.5)),
        ratio(hits, trues),
        ratio(won, trues * falses),
        ratio(loss, all),
        ratio(gaps.values().map(|gap| gap.abs()).sum(), all),
    ]
}

fn drift(own: &[&Counted], reference: &[&Counted]) -> f64 {
    let share = |rows: &[&Counted], place: u8| {
        let count = rows.iter().filter(|row| bin(row.score) == place).count();
        (count as f64 / rows.len() as f64).max(1e-4)
    };
    let term =
        |place| (share(own, place) - share(reference, place)) * (share(own, place) / share(reference, place)).ln();
    (0..10).map(term).sum()
}

/// The bin of a score.
fn bin(score: f64) -> u8 {
    (((score * 1000.0) as u32).min(999) / 100) as u8
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intervals_have_the_figures_of_their_rows(acts in acts()) {
        check(true, false, None, &acts).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn one_row_for_all_time_has_those_of_all_rows(acts in acts()) {
        check(false, false, None, &acts).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn drift_is_against_the_period_of_the_same_key(acts in acts()) {
        check(true, true, None, &acts).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn one_row_for_all_time_has_drift_once_the_period_is_over(acts in acts()) {
        check(false, true, None, &acts).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [MetricsBug::CountRetractions, MetricsBug::KeepOld, MetricsBug::ForgetLate, MetricsBug::ForgetClock] {
        assert!(is_found(acts(), |acts| check(true, false, Some(bug), &acts)), "{bug:?}");
    }
}

#[test]
fn a_score_that_is_no_probability_is_a_dead_letter_once() {
    let settings = settings(true, false, None);
    let make = || Box::new(Metrics::new(settings.clone())) as _;
    let mut bench = Bench::new(&make);
    for (number, score) in [1.5, f64::NAN, -0.1].into_iter().enumerate() {
        let row = Counted { number, key: 1, time: 5, score, label: None };
        bench.push(0, batch(&row, RowKind::Insert));
        bench.push(0, batch(&row, RowKind::Delete));
    }
    bench.watermark(i64::MAX);
    assert_eq!((bench.dead, bench.out.len()), (3, 0));
}
