//! Windows beside a naive oracle: random rows, watermarks and restarts at other parallelisms.

mod drive;
mod oracle;
mod spread;
mod standing;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, Operator as Operation};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{binary, col, lit};
use forebay_core::keys::KeyColumns;
use forebay_core::row::{RowId, SplitId};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use drive::Job;
use oracle::Oracle;

/// A row of the tests; `place` is its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub place: u64,
    pub key: Option<u8>,
    pub time: i64,
    pub value: Option<i64>,
    pub kind: RowKind,
}

/// What happens to the operator.
#[derive(Debug, Clone)]
enum Act {
    Rows(Vec<(Option<u8>, i64, Option<i64>)>),
    Watermark(i64),
    /// A barrier, and on at this parallelism.
    Restart(u16),
}

/// What sliding windows consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Slices,
    /// A pane for each window, as where aggregates cannot be merged.
    Panes,
    /// Panes until the first restart, as a release without slices left them.
    PanesFirst,
}

/// A line of the result: key, start, end, last moment, count, sum, max, distinct values.
type Line = Vec<String>;

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn batch(rows: &[Row]) -> Batch {
    let keys: StringArray = rows.iter().map(|row| row.key.map(|key| key.to_string())).collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.time));
    let values: Int64Array = rows.iter().map(|row| row.value).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(values)];
    let ids: Vec<RowId> = rows.iter().map(|row| RowId::new(SplitId(7), row.place)).collect();
    let kinds: Vec<RowKind> = rows.iter().map(|row| row.kind).collect();
    Batch::new(RecordBatch::try_new(input(), columns).unwrap(), ids).unwrap().with_kinds(kinds).unwrap()
}

fn aggregate(function: Arc<AggregateUDF>, argument: Arc<dyn PhysicalExpr>, name: &str, distinct: bool) -> Aggregate {
    let built = AggregateExprBuilder::new(function, vec![argument]).schema(input()).alias(name);
    let built = built.with_distinct(distinct).build().unwrap();
    Aggregate::new(Arc::new(built), None, &input()).unwrap()
}

pub fn settings(shape: Shape, lateness: i64, bug: Option<WindowBug>) -> WindowSettings {
    let value = || col("value", &input()).unwrap();
    let aggregates = vec![
        aggregate(count_udaf(), lit(1i64), "rows", false),
        aggregate(sum_udaf(), value(), "total", false),
        aggregate(max_udaf(), value(), "most", false),
        aggregate(count_udaf(), value(), "different", true),
    ];
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut fields = vec![Field::new("key", DataType::Utf8, true)];
    fields.extend(["window_start", "window_end", "window_time"].map(|name| Field::new(name, time.clone(), false)));
    fields.extend(["rows", "total", "most", "different"].map(|name| Field::new(name, DataType::Int64, true)));
    WindowSettings {
        shape,
        // Also of the accumulator, which no planned step merges slices of.
        slices: matches!(shape, Shape::Slide { .. }),
        keys: KeyColumns::new(vec![0], &input()).unwrap(),
        time: Some(1),
        lateness,
        aggregates,
        updates: false,
        changes: false,
        ttl: None,
        output: Arc::new(Schema::new(fields)),
        state: StateSettings::default(),
        bug,
    }
}

/// Runs `acts` beside the oracle; says where the two differ. Answers the ids of all results.
fn check(
    shape: Shape,
    lateness: i64,
    acts: &[Act],
    bug: Option<WindowBug>,
    restarts: bool,
    of: Of,
) -> Result<Vec<RowId>, String> {
    let settings = settings(shape, lateness, bug);
    let slices = settings.slices && of == Of::Slices;
    let mut job = Job::new(WindowSettings { slices, ..settings }, 1);
    let mut oracle = Oracle::new(shape, lateness);
    let mut place = 0;
    for (step, act) in acts.iter().enumerate() {
        match act {
            Act::Rows(rows) => {
                let mut given = Vec::new();
                for (key, time, value) in rows {
                    place += 1;
                    given.push(Row { place, key: *key, time: *time, value: *value, kind: RowKind::Insert });
                }
                job.rows(&given);
                given.into_iter().for_each(|row| oracle.row(row));
            }
            Act::Watermark(watermark) => {
                job.watermark(*watermark);
                oracle.watermark(*watermark);
            }
            Act::Restart(parallelism) if restarts => {
                if of == Of::PanesFirst {
                    job.upgrade();
                }
                job.restart(*parallelism);
            }
            Act::Restart(_) => {}
        }
        let (found, expected) = (job.table()?, oracle.table());
        if found != expected {
            return Err(format!("after act {step} of {acts:?}: found {found:?}, expected {expected:?}"));
        }
        if job.late() != oracle.late() {
            return Err(format!("after act {step}: late {:?}, expected {:?}", job.late(), oracle.late()));
        }
    }
    let mut ids = job.ids.clone();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("two results have one id".to_string());
    }
    Ok(ids)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let row = (prop::option::of(0u8..3), 0i64..60, prop::option::of(-3i64..4));
    let act = prop_oneof![
        4 => prop::collection::vec(row, 1..8).prop_map(Act::Rows),
        3 => (0i64..60).prop_map(Act::Watermark),
        1 => (1u16..5).prop_map(Act::Restart),
    ];
    prop::collection::vec(act, 1..24).prop_map(|mut acts| {
        acts.push(Act::Watermark(i64::MAX));
        acts
    })
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop_oneof![
        (1i64..20).prop_map(|size| Shape::Tumble { size }),
        (1i64..20, 1i64..20).prop_map(|(one, other)| Shape::Slide { size: one.max(other), every: one.min(other) }),
        (1i64..8).prop_map(|gap| Shape::Session { gap }),
        Just(Shape::Whole),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn windows_give_what_a_naive_oracle_gives(shape in shapes(), lateness in prop_oneof![Just(0), 1i64..20], acts in acts()) {
        let run = |restarts, of| check(shape, lateness, &acts, None, restarts, of).map_err(TestCaseError::fail);
        let straight = run(false, Of::Slices)?;
        prop_assert_eq!(run(true, Of::Slices)?, straight.clone(), "ids differ by restarts and parallelism");
        prop_assert_eq!(run(true, Of::Panes)?, straight.clone(), "ids differ by what windows consist of");
        prop_assert_eq!(run(true, Of::PanesFirst)?, straight, "ids differ by who wrote the state");
    }
}

#[test]
fn planted_bugs_are_caught() {
    use WindowBug::{DropSlices, FireEarly, ForgetClock, KeepOld, MergeOne, OneSlice};
    for bug in [FireEarly, ForgetClock, MergeOne, KeepOld, OneSlice, DropSlices] {
        let mut runner = TestRunner::deterministic();
        let cases = (shapes(), 0i64..10, acts());
        let caught = (0..500).position(|_| {
            let (shape, lateness, acts) = cases.new_tree(&mut runner).unwrap().current();
            check(shape, lateness, &acts, Some(bug), true, Of::Slices).is_err()
        });
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}

#[test]
fn a_row_exactly_a_gap_behind_a_session_joins_it_also_after_a_watermark() {
    let row = |place, time| Row { place, key: Some(1), time, value: None, kind: RowKind::Insert };
    let mut window = Window::new(settings(Shape::Session { gap: 5 }, 0, None));
    window.open(drive::context(0, 1), Restored::default()).unwrap();
    let outs = |window: &mut Window| std::iter::from_fn(|| window.poll().unwrap()).collect::<Vec<_>>();
    window.on_batch(batch(&[row(1, 10)])).unwrap();
    // A source that has given time 15 may say that all up to 14 has come.
    window.on_watermark(EventTime(14)).unwrap();
    assert!(matches!(outs(&mut window)[..], [Out::Watermark(EventTime(13))]), "nothing is complete yet");
    window.on_batch(batch(&[row(2, 15)])).unwrap();
    window.on_watermark(EventTime(20)).unwrap();
    let outs = outs(&mut window);
    let [Out::Batch(session), Out::Watermark(EventTime(19))] = &outs[..] else { panic!("{outs:?}") };
    let times = |name: &str| session.rows()[name].as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!((session.len(), times("window_start"), times("window_end")), (1, 10, 20));
    // The result is not late for who comes behind: its time is not before the watermark said until then.
    assert!(times("window_time") > 13);
}

#[test]
fn rows_without_an_event_time_are_dead_letters() {
    let mut job = Job::new(settings(Shape::Tumble { size: 10 }, 0, None), 1);
    let rows = batch(&[Row { place: 1, key: Some(1), time: 3, value: None, kind: RowKind::Insert }]);
    let columns = rows.rows().columns().to_vec();
    let none: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None]));
    let broken = RecordBatch::try_new(input(), vec![Arc::clone(&columns[0]), none, Arc::clone(&columns[2])]).unwrap();
    job.batch(0, rows.with_rows(broken).unwrap());
    assert_eq!(job.dead, 1);
    job.watermark(100);
    assert!(job.table().unwrap().is_empty());
}

/// The sum of 60 divided by each value, which cannot be done with 0; `filtered`: of values above 0.
fn shares(updates: bool, filtered: bool) -> Aggregate {
    let value = || col("value", &input()).unwrap();
    let share = binary(lit(60i64), Operation::Divide, value(), &input()).unwrap();
    let filter = filtered.then(|| binary(value(), Operation::Gt, lit(0i64), &input()).unwrap());
    let built = AggregateExprBuilder::new(sum_udaf(), vec![share]).schema(input()).alias("total").build().unwrap();
    let make = if updates { Aggregate::of_updates } else { Aggregate::new };
    make(Arc::new(built), filter, &input()).unwrap()
}

#[test]
fn a_row_of_which_an_argument_cannot_be_computed_is_a_dead_letter_and_counts_nowhere() {
    let (tumble, session) = (Shape::Tumble { size: 10 }, Shape::Session { gap: 9 });
    for (shape, updates, filtered) in [
        (tumble, false, false),
        (tumble, false, true),
        (session, false, false),
        (session, true, false),
        (session, true, true),
        (tumble, true, false),
        (tumble, true, true),
    ] {
        let mut settings = settings(shape, 0, None);
        // Sessions over updates aggregate anew.
        let taken_back = updates && shape == tumble;
        settings.aggregates.truncate(1);
        if taken_back {
            let built = AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]).schema(input()).alias("rows");
            settings.aggregates =
                vec![Aggregate::of_updates(Arc::new(built.build().unwrap()), None, &input()).unwrap()];
        }
        settings.aggregates.push(shares(taken_back, filtered));
        settings.updates = updates;
        settings.output = Arc::new(Schema::new(settings.output.fields()[..6].to_vec()));
        let mut job = Job::new(settings, 1);
        let row = |place, value, kind| Row { place, key: Some(1), time: place as i64, value: Some(value), kind };
        job.rows(&[2, 0, 3].map(|value| row(value as u64, value, RowKind::Insert)));
        if updates {
            job.rows(&[row(0, 0, RowKind::Delete), row(3, 3, RowKind::Delete)]);
        }
        job.watermark(100);
        let counted = 3 - i64::from(!filtered) - if updates { 1 + i64::from(filtered) } else { 0 };
        let (dead, total) = (usize::from(!filtered), if updates { 30 } else { 50 });
        let case = format!("{shape:?}, updates {updates}, filtered {filtered}");
        assert_eq!(job.dead, dead, "{case}");
        let lines = job.table().unwrap();
        assert_eq!(
            lines.iter().map(|line| &line[4..]).collect::<Vec<_>>(),
            [[counted.to_string(), total.to_string()]],
            "{case}"
        );
    }
}

#[test]
fn a_decimal_that_is_too_large_for_its_type_says_so_and_what_to_do() {
    use arrow::array::Decimal128Array;
    let kind = DataType::Decimal128(38, 0);
    let schema = Arc::new(Schema::new(vec![Field::new("x", kind.clone(), true)]));
    let large = 6 * 10i128.pow(37);
    let column: ArrayRef = Arc::new(Decimal128Array::from(vec![large, large]).with_data_type(kind));
    let taken = super::taken::Taken { filter: None, values: super::taken::Values::Any(vec![column]) };
    for function in [sum_udaf(), datafusion::functions_aggregate::average::avg_udaf()] {
        for make in [Aggregate::new, Aggregate::of_updates] {
            let argument = col("x", &schema).unwrap();
            let built = AggregateExprBuilder::new(Arc::clone(&function), vec![argument]).schema(Arc::clone(&schema));
            let aggregate = make(Arc::new(built.alias("large").build().unwrap()), None, &schema).unwrap();
            let over = |rows: &[u32]| {
                let mut cell = super::cell::Cell::new(&aggregate)?;
                cell.update(&aggregate, &taken, rows, &[])?;
                let state = cell.state()?;
                super::cell::Cell::of_state(&aggregate, state)?.evaluate(&aggregate, true)
            };
            // The second is beyond the range of the bits as well.
            for rows in [&[0, 1][..], &[0; 6][..]] {
                let error = over(rows).unwrap_err();
                assert_eq!(error.kind(), Kind::Data);
                let text = error.chain();
                assert!(text.contains("large") && text.contains("cast the argument"), "{text}");
            }
            assert_eq!(function.name() == "sum", over(&[0]).is_ok());
        }
    }
}

#[test]
fn results_leave_in_bounded_batches_before_their_watermark() {
    let mut window = Window::new(settings(Shape::Tumble { size: 10 }, 0, None));
    window.open(drive::context(0, 1), Restored::default()).unwrap();
    let rows: Vec<Row> = (0..3000)
        .map(|place| Row { place, key: None, time: place as i64 * 10, value: None, kind: RowKind::Insert })
        .collect();
    window.on_batch(batch(&rows)).unwrap();
    assert_eq!(window.room(), Room::Room);
    window.on_watermark(EventTime(100_000)).unwrap();
    assert_eq!(window.room(), Room::Full);
    let mut sizes = Vec::new();
    while let Some(out) = window.poll().unwrap() {
        match out {
            Out::Batch(batch) => sizes.push(batch.len()),
            Out::Watermark(watermark) => assert_eq!(watermark, EventTime(100_000)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sizes, [1024, 1024, 952]);
    assert_eq!(window.drain().unwrap(), Drained::Done);
}
