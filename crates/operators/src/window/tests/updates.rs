//! Windows over updates beside a naive oracle: rows come, change and go; each window keeps its rows, and every aggregate is
//! computed anew of what is left.

use std::collections::BTreeMap;

use arrow::array::Float64Array;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::bit_and_or_xor::bit_xor_udaf;
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::logical_expr::Operator as Comparison;
use datafusion::scalar::ScalarValue;

use super::oracle::text;
use super::*;
use crate::row_errors::Failed;

/// What happens to the operator.
#[derive(Debug, Clone)]
pub enum Change {
    /// Rows of a batch.
    Rows(Vec<Edit>),
    Watermark(i64),
    Restart(u16),
}

/// One step of a change stream. Places count the rows that stand.
#[derive(Debug, Clone)]
pub enum Edit {
    Add(Option<u8>, i64, Option<i64>),
    Delete(usize),
    /// Another value, perhaps at another time.
    Update(usize, Option<i64>, Option<i64>),
}

/// How a case runs.
#[derive(Debug, Clone, Copy)]
struct Case {
    shape: Shape,
    lateness: i64,
    changes: bool,
    /// Whether a row is taken back under another id than it was given.
    other_ids: bool,
    bug: Option<WindowBug>,
}

struct Kept {
    row: Row,
    start: i64,
    end: i64,
}

struct Oracle {
    case: Case,
    watermark: i64,
    kept: Vec<Kept>,
    late: Vec<(u64, RowKind)>,
}

pub fn input() -> SchemaRef {
    let mut fields = super::input().fields().to_vec();
    fields.push(Arc::new(Field::new("x", DataType::Float64, true)));
    fields.push(Arc::new(Field::new("name", DataType::Utf8, true)));
    Arc::new(Schema::new(fields))
}

/// The columns of other tests, a float and a text; both follow from the value.
pub fn wide(rows: &[Row]) -> Batch {
    let narrow = super::batch(rows);
    let mut columns = narrow.rows().columns().to_vec();
    columns.push(Arc::new(rows.iter().map(|row| row.value.map(half)).collect::<Float64Array>()));
    columns.push(Arc::new(rows.iter().map(|row| row.value.map(name)).collect::<StringArray>()));
    narrow.with_rows(RecordBatch::try_new(input(), columns).unwrap()).unwrap()
}

pub fn half(value: i64) -> f64 {
    value as f64 / 2.0
}

pub fn name(value: i64) -> String {
    format!("{}", (b'k' as i64 + value) as u8 as char)
}

pub fn aggregates(updates: bool) -> Vec<Aggregate> {
    let of = |function, column: &str, is_distinct, filter| {
        let argument = col(column, &input()).unwrap();
        let built = AggregateExprBuilder::new(function, vec![argument]).schema(input()).alias(column);
        let built = Arc::new(built.with_distinct(is_distinct).build().unwrap());
        let make = if updates { Aggregate::of_updates } else { Aggregate::new };
        make(built, filter, &input()).unwrap()
    };
    let positive = binary(col("value", &input()).unwrap(), Comparison::Gt, lit(0i64), &input()).unwrap();
    vec![
        of(count_udaf(), "value", false, None),
        of(sum_udaf(), "value", false, None),
        of(min_udaf(), "value", false, None),
        of(max_udaf(), "value", false, Some(Arc::clone(&positive))),
        of(count_udaf(), "value", true, None),
        of(sum_udaf(), "x", false, Some(positive)),
        of(avg_udaf(), "x", false, None),
        of(max_udaf(), "name", false, None),
        of(median_udaf(), "x", false, None),
        of(bit_xor_udaf(), "value", false, None),
    ]
}

fn settings_of(case: Case, updates: bool) -> WindowSettings {
    let mut settings = super::settings(case.shape, case.lateness, case.bug);
    settings.aggregates = aggregates(updates);
    let mut fields = settings.output.fields()[..4].to_vec();
    if case.shape == Shape::Whole {
        settings.time = None;
        fields.truncate(1);
    }
    for (place, aggregate) in settings.aggregates.iter().enumerate() {
        let kind = aggregate.function.field().data_type().clone();
        fields.push(Arc::new(Field::new(format!("a{place}"), kind, true)));
    }
    settings.keys = KeyColumns::new(vec![0], &input()).unwrap();
    settings.output = Arc::new(Schema::new(fields));
    let slices = settings.slices && !updates;
    WindowSettings { updates, slices, changes: case.changes, ..settings }
}

// === impl Oracle ===

impl Oracle {
    fn row(&mut self, row: &Row) {
        let (size, every) = match self.case.shape {
            Shape::Tumble { size } => (size, size),
            Shape::Slide { size, every } => (size, every),
            _ => (i64::MAX, 0),
        };
        let starts = (-100..200).filter(|start: &i64| every > 0 && start.rem_euclid(every) == 0);
        let starts: Vec<i64> = if every == 0 { vec![0] } else { starts.collect() };
        let mut taken = every == 0;
        for (start, end) in starts.into_iter().map(|start| (start, start.saturating_add(size))) {
            let holds = every == 0 || (start..end).contains(&row.time);
            if !holds || (end - 1).saturating_add(self.case.lateness) <= self.watermark {
                continue;
            }
            taken = true;
            if row.kind.is_retraction() {
                let of = |kept: &Kept| kept.start == start && kept.row.place == row.place;
                let found = self.kept.iter().position(of).expect("it was given before");
                self.kept.remove(found);
            } else {
                self.kept.push(Kept { row: row.clone(), start, end });
            }
        }
        if !taken {
            self.late.push((row.place, row.kind));
        }
    }

    fn table(&self) -> Vec<Line> {
        let mut windows: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
        for kept in &self.kept {
            if self.case.changes || kept.end - 1 <= self.watermark {
                windows.entry((kept.row.key, kept.start, kept.end)).or_default().push(&kept.row);
            }
        }
        let timed = self.case.shape != Shape::Whole;
        let mut lines: Vec<Line> = windows.iter().map(|(place, rows)| line(*place, rows, timed)).collect();
        lines.sort();
        lines
    }
}

/// What a window gives of its rows.
pub fn line((key, start, end): (Option<u8>, i64, i64), rows: &[&Row], timed: bool) -> Line {
    let mut values: Vec<i64> = rows.iter().filter_map(|row| row.value).collect();
    values.sort_unstable();
    let (count, sum) = (values.len() as i64, values.iter().sum::<i64>());
    let some = |value: i64| (count > 0).then_some(value);
    let positive: Vec<i64> = values.iter().copied().filter(|value| *value > 0).collect();
    let float = |value: Option<f64>| text(value.map(|value| format!("{value:?}")));
    let middle = |values: &[i64]| half(values[values.len() / 2]) + half(values[(values.len() - 1) / 2]);
    let times = [start, end, end - 1].map(|time| time.to_string());
    let mut line = vec![text(key)];
    line.extend(times.into_iter().filter(|_| timed));
    line.extend([
        count.to_string(),
        text(some(sum)),
        text(values.first()),
        text(positive.last()),
        values.iter().collect::<std::collections::BTreeSet<_>>().len().to_string(),
        float((!positive.is_empty()).then(|| positive.iter().map(|value| half(*value)).sum())),
        float((count > 0).then(|| values.iter().map(|value| half(*value)).sum::<f64>() / count as f64)),
        text(values.iter().copied().map(name).max()),
        float((count > 0).then(|| middle(&values) / 2.0)),
        text((count > 0).then(|| values.iter().fold(0, |all, value| all ^ value))),
    ]);
    line
}

/// The rows of a batch that make `edits` of the rows that stand.
pub fn rows_of(edits: &[Edit], standing: &mut Vec<Row>, place: &mut u64) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |key, time, value, kind, standing: &mut Vec<Row>| {
        *place += 1;
        let row = Row { place: *place, key, time, value, kind };
        standing.push(row.clone());
        row
    };
    for edit in edits {
        match edit {
            Edit::Add(key, time, value) => rows.push(add(*key, *time, *value, RowKind::Insert, standing)),
            Edit::Delete(at) if !standing.is_empty() => {
                let row = standing.remove(at % standing.len());
                rows.push(Row { kind: RowKind::Delete, ..row });
            }
            Edit::Update(at, time, value) if !standing.is_empty() => {
                let old = standing.remove(at % standing.len());
                rows.push(Row { kind: RowKind::UpdateBefore, ..old.clone() });
                let time = time.unwrap_or(old.time);
                rows.push(add(old.key, time, *value, RowKind::UpdateAfter, standing));
            }
            Edit::Delete(_) | Edit::Update(..) => {}
        }
    }
    rows
}

/// Runs `acts` beside the oracle; says where the two differ. Answers kinds and ids of all results.
fn check(case: Case, acts: &[Change], restarts: bool) -> Result<Vec<(RowKind, RowId)>, String> {
    let mut job = Job::of(settings_of(case, true), 1, wide);
    let mut oracle = Oracle { case, watermark: i64::MIN, kept: Vec::new(), late: Vec::new() };
    let (mut standing, mut place, mut names) = (Vec::new(), 0, BTreeMap::new());
    for (step, act) in acts.iter().enumerate() {
        let before = job.out.len();
        match act {
            Change::Rows(edits) => {
                let rows = rows_of(edits, &mut standing, &mut place);
                rows.iter().for_each(|row| oracle.row(row));
                let other = |row: &Row| if case.other_ids && row.kind.is_retraction() { 1 << 32 } else { 0 };
                let given: Vec<Row> =
                    rows.iter().map(|row| Row { place: row.place + other(row), ..row.clone() }).collect();
                job.rows(&given);
                let mut of_key: BTreeMap<&str, usize> = BTreeMap::new();
                for (_, _, line) in &job.out[before..] {
                    *of_key.entry(line[0].as_str()).or_default() += 1;
                }
                if case.changes && of_key.values().any(|count| *count > 2) {
                    return Err(format!("act {step} changed a key more than once: {:?}", &job.out[before..]));
                }
            }
            Change::Watermark(watermark) => {
                job.watermark(*watermark);
                oracle.watermark = oracle.watermark.max(*watermark);
            }
            Change::Restart(parallelism) if restarts => job.restart(*parallelism),
            Change::Restart(_) => {}
        }
        let (found, expected) = (job.table()?, oracle.table());
        if found != expected {
            return Err(format!("after act {step} of {acts:?}: found {found:?}, expected {expected:?}"));
        }
        let late: Vec<_> = job.late().iter().map(|(id, kind)| (id & 0xffff_ffff, *kind)).collect();
        oracle.late.sort_unstable();
        if late.iter().collect::<std::collections::BTreeSet<_>>() != oracle.late.iter().collect() {
            return Err(format!("after act {step}: late {late:?}, expected {:?}", oracle.late));
        }
        for (_, id, line) in &job.out[before..] {
            if names.entry(*id).or_insert_with(|| line.clone()) != line {
                return Err(format!("{id:?} is {line:?} and {:?}", names[id]));
            }
        }
    }
    let different: std::collections::BTreeSet<_> = names.values().collect();
    if different.len() != names.len() {
        return Err("one result has two ids".to_string());
    }
    let mut out: Vec<_> = job.out.iter().map(|(kind, id, _)| (*kind, *id)).collect();
    out.sort_unstable();
    Ok(out)
}

pub fn edits() -> impl Strategy<Value = Vec<Change>> {
    let value = || prop::option::of(-3i64..4);
    let edit = prop_oneof![
        3 => (prop::option::of(0u8..2), 0i64..60, value()).prop_map(|(key, time, value)| Edit::Add(key, time, value)),
        2 => (0usize..50).prop_map(Edit::Delete),
        2 => (0usize..50, prop::option::of(0i64..60), value()).prop_map(|(at, time, value)| Edit::Update(at, time, value)),
    ];
    let act = prop_oneof![
        5 => prop::collection::vec(edit, 1..8).prop_map(Change::Rows),
        2 => (0i64..60).prop_map(Change::Watermark),
        1 => (1u16..5).prop_map(Change::Restart),
    ];
    prop::collection::vec(act, 1..24).prop_map(|mut acts| {
        acts.push(Change::Watermark(i64::MAX));
        acts
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let shape = prop_oneof![
        (1i64..20).prop_map(|size| (Shape::Tumble { size }, false)),
        (1i64..20, 1i64..20)
            .prop_map(|(one, other)| (Shape::Slide { size: one.max(other), every: one.min(other) }, false)),
        any::<bool>().prop_map(|changes| (Shape::Whole, changes)),
    ];
    let lateness = prop_oneof![Just(0), 1i64..60];
    (shape, lateness, any::<bool>()).prop_map(|((shape, changes), lateness, other_ids)| {
        let lateness = if shape == Shape::Whole { 0 } else { lateness };
        Case { shape, lateness, changes, other_ids, bug: None }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn windows_over_updates_give_what_a_naive_oracle_gives(case in cases(), acts in edits()) {
        let restarted = check(case, &acts, true).map_err(TestCaseError::fail)?;
        let straight = check(case, &acts, false).map_err(TestCaseError::fail)?;
        prop_assert_eq!(restarted, straight, "ids differ by restarts and parallelism");
    }
}

#[test]
fn planted_bugs_of_updates_are_caught() {
    for bug in [WindowBug::AddRetractions, WindowBug::KeepEmpty, WindowBug::DropUpdates, WindowBug::KeepOld] {
        let mut runner = TestRunner::deterministic();
        let given = (cases(), edits());
        let caught = (0..500).position(|_| {
            let (case, acts) = given.new_tree(&mut runner).unwrap().current();
            check(Case { bug: Some(bug), ..case }, &acts, true).is_err()
        });
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}

/// Those of DataFusion's functions that the planner lets over updates and the operator does not do itself.
#[test]
fn accumulators_that_took_rows_back_are_as_if_those_had_never_come() {
    use datafusion::functions_aggregate::{percentile_cont, regr, stddev, variance};
    let functions = [
        (count_udaf(), 2),
        (sum_udaf(), 1),
        (avg_udaf(), 1),
        (variance::var_samp_udaf(), 1),
        (variance::var_pop_udaf(), 1),
        (stddev::stddev_udaf(), 1),
        (stddev::stddev_pop_udaf(), 1),
        (median_udaf(), 1),
        (bit_xor_udaf(), 1),
        (percentile_cont::percentile_cont_udaf(), 2),
        (regr::regr_slope_udaf(), 2),
        (regr::regr_intercept_udaf(), 2),
        (regr::regr_count_udaf(), 2),
        (regr::regr_r2_udaf(), 2),
        (regr::regr_avgx_udaf(), 2),
        (regr::regr_avgy_udaf(), 2),
        (regr::regr_sxx_udaf(), 2),
        (regr::regr_syy_udaf(), 2),
        (regr::regr_sxy_udaf(), 2),
    ];
    for (function, arguments) in functions {
        let name = function.name().to_string();
        let float = || col("x", &input()).unwrap();
        let arguments = match (name.as_str(), arguments) {
            ("bit_xor", _) => vec![col("value", &input()).unwrap()],
            ("percentile_cont", _) => vec![float(), lit(0.3f64)],
            ("sum" | "avg", _) => vec![cast_to_decimal(float())],
            (_, 1) => vec![float()],
            _ => vec![float(), binary(float(), Comparison::Multiply, float(), &input()).unwrap()],
        };
        let built = AggregateExprBuilder::new(function, arguments).schema(input()).alias("x").build().unwrap();
        let aggregate = Aggregate::of_updates(Arc::new(built), None, &input()).unwrap();
        let rows = |values: &[Option<i64>]| {
            let row = |value: &Option<i64>| Row { value: *value, ..row(1, 0, 0, RowKind::Insert) };
            wide(&values.iter().map(row).collect::<Vec<_>>())
        };
        let batch = rows(&[Some(3), Some(-1), None, Some(7), Some(7), Some(2)]);
        let taken = aggregate.take(&batch, &mut Failed::default()).unwrap();
        let over = |added: &[u32]| {
            let mut cell = cell::Cell::new(&aggregate).unwrap();
            cell.update(&aggregate, &taken, added, &[]).unwrap();
            cell
        };
        let number = |cell: &mut cell::Cell| match cell.evaluate(&aggregate, true).unwrap().cast_to(&DataType::Float64)
        {
            Ok(ScalarValue::Float64(value)) => value,
            other => panic!("{name}: {other:?}"),
        };
        let mut cell = over(&[0, 1, 2, 3, 4, 5]);
        let state = cell.state().unwrap();
        let kinds: Vec<DataType> = state.iter().map(ScalarValue::data_type).collect();
        assert_eq!(kinds, aggregate.state, "{name}");
        for (gone, left) in [(&[3u32, 1, 2][..], &[0u32, 4, 5][..]), (&[0, 5], &[4]), (&[4], &[])] {
            cell = cell::Cell::of_state(&aggregate, cell.state().unwrap()).unwrap();
            cell.update(&aggregate, &taken, &[], gone).unwrap();
            let (found, expected) = (number(&mut cell), number(&mut over(left)));
            let near = match (found, expected) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(near, "{name} of {left:?}: {found:?}, not {expected:?}");
        }
        cell.update(&aggregate, &taken, &[0, 4, 5], &[]).unwrap();
        assert_eq!(number(&mut cell), number(&mut over(&[0, 4, 5])), "{name} began anew");
    }
}

fn cast_to_decimal(value: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    datafusion::physical_expr::expressions::cast(value, &input(), DataType::Decimal128(20, 2)).unwrap()
}

#[test]
fn functions_that_cannot_take_rows_back_are_refused() {
    let last = datafusion::functions_aggregate::first_last::last_value_udaf();
    let built = AggregateExprBuilder::new(last, vec![col("value", &input()).unwrap()]).schema(input()).alias("x");
    let error = Aggregate::of_updates(Arc::new(built.build().unwrap()), None, &input()).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

const RUNNING: Case = Case { shape: Shape::Whole, lateness: 0, changes: true, other_ids: false, bug: None };

pub fn row(place: u64, time: i64, value: i64, kind: RowKind) -> Row {
    Row { place, key: Some(1), time, value: Some(value), kind }
}

/// Kind and count of all that came out.
fn counts(job: &Job) -> Vec<String> {
    job.out.iter().map(|(kind, _, line)| format!("{kind}{}", line[1])).collect()
}

#[test]
fn each_change_is_given_once_a_batch_and_over_rows_that_only_add_too() {
    for updates in [true, false] {
        let mut job = Job::of(settings_of(RUNNING, updates), 1, wide);
        job.rows(&[row(1, 0, 1, RowKind::Insert), row(2, 0, 2, RowKind::Insert)]);
        job.rows(&[row(3, 0, 3, RowKind::Insert)]);
        job.restart(2);
        job.rows(&[row(4, 0, 3, RowKind::Insert)]);
        job.watermark(i64::MAX);
        assert_eq!(counts(&job), ["+I2", "-U2", "+U3", "-U3", "+U4"], "updates: {updates}");
    }
}

#[test]
fn what_was_never_there_is_not_taken_back() {
    let mut job = Job::of(settings_of(RUNNING, true), 1, wide);
    job.rows(&[row(1, 0, 1, RowKind::Delete)]);
    assert!(job.out.is_empty());
    job.rows(&[row(2, 0, 1, RowKind::UpdateBefore), row(3, 0, 2, RowKind::UpdateAfter)]);
    assert_eq!(counts(&job), ["+I1"]);
    job.rows(&[row(3, 0, 2, RowKind::Delete)]);
    assert_eq!(counts(&job), ["+I1", "-D1"]);
}

#[test]
fn a_result_that_does_not_change_is_not_given_again() {
    let mut job = Job::of(settings_of(RUNNING, true), 1, wide);
    job.rows(&[row(1, 0, 1, RowKind::Insert)]);
    job.rows(&[row(1, 0, 1, RowKind::UpdateBefore), row(2, 0, 1, RowKind::UpdateAfter)]);
    assert_eq!(counts(&job), ["+I1"]);
}

#[test]
fn a_key_is_forgotten_after_its_time_to_live() {
    let settings = WindowSettings { ttl: Some((1, Duration::from_micros(10))), ..settings_of(RUNNING, true) };
    let mut job = Job::of(settings, 1, wide);
    job.rows(&[row(1, 5, 1, RowKind::Insert)]);
    job.watermark(12);
    job.rows(&[row(2, 7, 1, RowKind::Insert), row(3, 3, 1, RowKind::Insert)]);
    job.restart(3);
    // Ten after the latest row, which is that of 7.
    job.watermark(17);
    job.rows(&[row(4, 7, 1, RowKind::Insert)]);
    job.watermark(18);
    job.rows(&[row(4, 7, 1, RowKind::Delete), row(5, 20, 1, RowKind::Insert)]);
    assert_eq!(counts(&job), ["+I1", "-U1", "+U3", "-U3", "+U4", "+I1"]);
}
