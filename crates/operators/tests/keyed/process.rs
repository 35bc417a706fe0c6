//! A process function with every kind of state, timers, a side output and dead letters, against a sequential oracle.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::operator::Operator;
use forebay_core::process::ProcessSite;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result, RowId, RowKind};
use forebay_operators::process::{
    Column, Columns, Context, Json, List, Map, NoSettings, ProcessBug, ProcessFunction, ProcessSettings, Row, Shape,
    SideOutput, TableSpec, Timer, Value, process,
};
use forebay_state::keyed::StateSettings;
use proptest::prelude::*;

use crate::harness::{Bench, Table, batch, compare, is_found, row, schema};

const SIZE: i64 = 10;

/// A sum for each bucket of event time, given when it is over, and at the end all values of the key.
struct Totals {
    value: Column<i64>,
    late: SideOutput,
    sums: Map<i64, Json<i64>>,
    values: List<i64>,
    count: Value<u64>,
}

impl ProcessFunction for Totals {
    type Settings = NoSettings;

    fn declare(_settings: NoSettings, shape: &mut Shape) -> Result<Self> {
        shape.needs_event_time();
        shape.output(Columns::key().int("bucket").int("total"));
        Ok(Self {
            value: shape.column("value0"),
            late: shape.side("late", Columns::input()),
            sums: shape.map(TableSpec::new("sums", 1)),
            values: shape.list(TableSpec::new("values", 1)),
            count: shape.value(TableSpec::new("count", 1)),
        })
    }

    fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
        if context.is_late(row) {
            return context.side(self.late).forward(row);
        }
        let value = row.need(self.value)?;
        if value < 0 {
            context.output().cell(-2i64).cell(value).emit()?;
            return Err(Error::new(Kind::Data, "add value").source("it is negative"));
        }
        let bucket = row.time().unwrap_or(EventTime(0)).0.div_euclid(SIZE) * SIZE;
        if value == 0 {
            self.sums.remove(context, &bucket)?;
            context.delete_timer(EventTime(bucket + SIZE - 1), "over");
            return Ok(());
        }
        self.sums.get_or(context, &bucket, Json::default)?.0 += value;
        self.values.push(context, value)?;
        *self.count.get_or(context, || 0)? += 1;
        context.set_timer(EventTime(bucket + SIZE - 1), "over")?;
        context.set_timer(EventTime::MAX, "end")
    }

    fn on_timer(&mut self, timer: &Timer, context: &mut Context<'_>) -> Result<()> {
        if timer.name == "end" {
            let values = self.values.take(context)?;
            let agrees = self.count.take(context)? == Some(values.len() as u64);
            return context.output().cell(if agrees { -1i64 } else { -3 }).cell(values.iter().sum::<i64>()).emit();
        }
        let bucket = timer.time.0 - SIZE + 1;
        // A bucket that was taken back has no timer.
        let total = self.sums.remove(context, &bucket)?.map_or(-9, |sum| sum.0);
        context.output().cell(bucket).cell(total).emit()
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// Key, time behind the watermark, value.
    Row(Option<u8>, i64, i64),
    Watermark(i64),
    Restore(u16),
    Complete,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (prop::option::weighted(0.9, 0..4u8), -4..25i64, -1..9i64)
            .prop_map(|(key, time, value)| Act::Row(key, time, value)),
        3 => (0..12i64).prop_map(Act::Watermark),
        1 => (1..5u16).prop_map(Act::Restore),
        1 => Just(Act::Complete),
    ];
    prop::collection::vec(act, 1..80)
}

fn operator(bug: Option<ProcessBug>) -> Box<dyn Operator> {
    let mut fields: Vec<_> = schema(0).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[1].set_metadata([("forebay.event_time".to_string(), "true".to_string())].into());
    let input = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let site = ProcessSite { input, keys: vec![0], settings: "{}".to_string() };
    let settings = ProcessSettings { site, sides: vec!["late".into()], state: StateSettings::default(), bug };
    process::<Totals>("totals").operator(&settings).unwrap()
}

/// What the function must have given, and what it still keeps.
#[derive(Default)]
struct Oracle {
    sums: BTreeMap<(Option<u8>, i64), i64>,
    values: BTreeMap<Option<u8>, i64>,
    given: Table,
    late: usize,
    dead: usize,
}

impl Oracle {
    fn row(&mut self, key: Option<u8>, time: i64, value: i64, watermark: i64) {
        let bucket = time.div_euclid(SIZE) * SIZE;
        if time <= watermark {
            self.late += 1;
        } else if value < 0 {
            self.dead += 1;
        } else if value == 0 {
            self.sums.remove(&(key, bucket));
        } else {
            *self.sums.entry((key, bucket)).or_default() += value;
            *self.values.entry(key).or_default() += value;
        }
    }

    fn watermark(&mut self, watermark: i64) {
        let over = |bucket: i64| bucket + SIZE - 1 <= watermark;
        for ((key, bucket), sum) in std::mem::take(&mut self.sums) {
            if over(bucket) {
                self.give(key, bucket, sum);
            } else {
                self.sums.insert((key, bucket), sum);
            }
        }
        if watermark == i64::MAX {
            std::mem::take(&mut self.values).into_iter().for_each(|(key, sum)| self.give(key, -1, sum));
        }
    }

    fn give(&mut self, key: Option<u8>, bucket: i64, total: i64) {
        let key = key.map(|key| key.to_string()).unwrap_or_default();
        *self.given.entry(vec![key, bucket.to_string(), total.to_string()]).or_default() += 1;
    }
}

/// Does `acts`, then ends the input; answers every row given with its id.
fn check(bug: Option<ProcessBug>, acts: &[Act]) -> Result<BTreeSet<(RowId, Vec<String>)>, String> {
    let make = || operator(bug);
    let mut bench = Bench::new(&make);
    let mut oracle = Oracle::default();
    bench.watermark(100);
    for (number, act) in acts.iter().enumerate() {
        match act {
            Act::Row(key, ahead, value) => {
                let time = bench.watermark + ahead;
                let row = row(&bench, number, 0, *key, time, *value);
                bench.push(0, batch(&row, RowKind::Insert));
                oracle.row(*key, time, *value, bench.watermark);
            }
            Act::Watermark(step) => {
                bench.watermark(bench.watermark + step);
                oracle.watermark(bench.watermark);
            }
            Act::Restore(parallelism) => bench.restore(*parallelism),
            Act::Complete => bench.complete(),
        }
        compare(&bench.out, &oracle.given)?;
    }
    bench.watermark(i64::MAX);
    oracle.watermark(i64::MAX);
    compare(&bench.out, &oracle.given)?;
    if (bench.sides.len(), bench.dead) != (oracle.late, oracle.dead) {
        return Err(format!(
            "{} late and {} dead, not {} and {}",
            bench.sides.len(),
            bench.dead,
            oracle.late,
            oracle.dead
        ));
    }
    Ok(bench.out.into_iter().map(|given| (given.id, given.row)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn state_timers_and_lateness_are_exact_through_restores(acts in acts()) {
        check(None, &acts).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn ids_do_not_depend_on_restarts_and_parallelism(acts in acts()) {
        let plain: Vec<Act> = acts.iter().filter(|act| !matches!(act, Act::Restore(_))).cloned().collect();
        // Rows are numbered by their place among the acts, so a restart becomes something that does nothing.
        let plain_in_place: Vec<Act> = acts
            .iter()
            .map(|act| if matches!(act, Act::Restore(_)) { Act::Complete } else { act.clone() })
            .collect();
        prop_assert!(plain.len() <= plain_in_place.len());
        prop_assert_eq!(check(None, &acts), check(None, &plain_in_place));
    }
}

#[test]
fn planted_bugs_are_found() {
    for bug in [ProcessBug::FireEarly, ProcessBug::ForgetTimers, ProcessBug::ForgetClock, ProcessBug::KeepFailed] {
        assert!(is_found(acts(), |acts| check(Some(bug), &acts).map(drop)), "{bug:?}");
    }
}

#[test]
fn rows_of_a_batch_give_what_they_give_one_by_one() {
    let make = || operator(None);
    let run = |together: bool| {
        let mut bench = Bench::new(&make);
        bench.restore(1);
        bench.watermark(100);
        let rows: Vec<Batch> = (0..5000)
            .map(|number| {
                batch(&row(&bench, number, 0, Some((number % 7) as u8), 101 + number as i64 % 300, 2), RowKind::Insert)
            })
            .collect();
        if together {
            bench.push(0, Batch::concat(&rows[0].schema(), &rows).unwrap());
        } else {
            rows.into_iter().for_each(|row| bench.push(0, row));
        }
        bench.watermark(300);
        bench.watermark(i64::MAX);
        bench.out.into_iter().map(|given| (given.id, given.row)).collect::<BTreeSet<_>>()
    };
    assert!(run(true).len() > 200);
    assert_eq!(run(true), run(false));
}

#[test]
fn nothing_is_kept_once_every_timer_has_fired() {
    let make = || operator(None);
    let mut bench = Bench::new(&make);
    bench.watermark(i64::MAX);
    let empty = bench.stored_bytes();
    let mut bench = Bench::new(&make);
    for number in 0..50 {
        let row = row(&bench, number, 0, Some(1), number as i64, 1);
        bench.push(0, batch(&row, RowKind::Insert));
    }
    bench.watermark(0);
    assert!(bench.stored_bytes() > empty);
    bench.watermark(i64::MAX);
    assert_eq!(bench.stored_bytes(), empty);
}
