//! What a process function may do in a call, one case each, and what is said when it does something else.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use forebay_core::operator::Operator;
use forebay_core::process::ProcessSite;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result, RowKind};
use forebay_operators::process::{
    Column, Columns, Context, DurationText, ProcessFunction, ProcessSettings, Row, Shape, SideOutput, StoredRow,
    TableSpec, Timer, Value, process,
};
use forebay_state::keyed::StateSettings;

use crate::harness::{Bench, batch, row, schema};

/// Does what its setting says.
struct Probe {
    does: String,
    value: Column<i64>,
    side: SideOutput,
    kept: Value<StoredRow>,
    last: Value<i64>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(rename = "do")]
    does: String,
    gap: Option<DurationText>,
}

impl ProcessFunction for Probe {
    type Settings = Settings;

    fn declare(settings: Settings, shape: &mut Shape) -> Result<Self> {
        let does = settings.does;
        shape.output(match does.as_str() {
            "twice the column" => Columns::input().int("value0"),
            "append" | "stored" => Columns::input().int("more"),
            "forward" | "forward twice" => Columns::input(),
            _ => Columns::new().int("one").text("two").nullable().field(Field::new("three", DataType::Int8, false)),
        });
        if does.starts_with("updates") {
            shape.takes_updates();
            shape.gives_updates();
        }
        match does.as_str() {
            "missing column" => drop(shape.column::<i64>("valeu")),
            "wrong type" => drop(shape.column::<bool>("value0")),
            "no event time" => shape.needs_event_time(),
            "reserved state" => drop(shape.value::<i64>(TableSpec::new(".timers", 1))),
            "two states" => drop(shape.value::<i64>(TableSpec::new("last", 1))),
            "bad settings" => return Err(Error::new(Kind::Invalid, "read gap").with("gap", settings.gap.is_some())),
            _ => {}
        }
        Ok(Self {
            value: shape.column("value0"),
            side: shape.side("side", Columns::new().int("one")),
            kept: shape.value(TableSpec::new("kept", 1)),
            last: shape.value(TableSpec::new("last", 1).ttl(std::time::Duration::from_micros(10))),
            does,
        })
    }

    fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
        let value = row.need(self.value)?;
        let given = |context: &mut Context<'_>| context.output().cell(value).cell("x").cell(1i64).emit();
        match self.does.as_str() {
            "too few" => context.output().cell(1i64).cell("x").emit(),
            "too many" => context.output().cell(1i64).cell("x").cell(1i64).cell(1i64).emit(),
            "wrong cell" => context.output().cell("one").cell("x").cell(1i64).emit(),
            "null" => context.output().cell(None::<i64>).cell("x").cell(1i64).emit(),
            "nullable" => context.output().cell(value).cell(None::<&str>).cell(-128i64).emit(),
            "range" => context.output().cell(value).cell("x").cell(128i64).emit(),
            "no row" => context.output().row(row).emit(),
            "an update" => context.output().kind(RowKind::Delete).cell(value).cell("x").cell(1i64).emit(),
            "updates" => {
                let kind = row.kind();
                context.output().kind(kind).tag(b"only").cell(value).cell("x").cell(1i64).emit()
            }
            "forward" => context.output().forward(row),
            "forward twice" => {
                context.output().forward(row)?;
                context.output().forward(row)
            }
            "append" => context.output().row(row).cell(value + 1).emit(),
            "stored" => {
                self.kept.set(context, row.store()?)?;
                context.set_timer(EventTime::MAX, "end")
            }
            "side" => context.side(self.side).cell(value).emit(),
            "begun" => {
                // Begun and let go: not given.
                let _ = context.output().cell(1i64);
                given(context)
            }
            "bad timer" => context.set_timer(EventTime(5), "bad"),
            "ttl" => {
                let last = self.last.get(context)?.copied().unwrap_or(-1);
                self.last.set(context, value)?;
                context.output().cell(last).cell("x").cell(1i64).emit()
            }
            "invalid" => Err(Error::new(Kind::Invalid, "do as told")),
            _ => given(context),
        }
    }

    fn on_timer(&mut self, _timer: &Timer, context: &mut Context<'_>) -> Result<()> {
        match self.kept.take(context)? {
            Some(kept) => context.output().stored(&kept).cell(7i64).emit(),
            None => Err(Error::new(Kind::Data, "find row").source("none is kept")),
        }
    }
}

fn input(timed: bool) -> SchemaRef {
    let mut fields: Vec<Field> = schema(0).fields().iter().map(|field| field.as_ref().clone()).collect();
    if timed {
        fields[1].set_metadata([("forebay.event_time".to_string(), "true".to_string())].into());
    }
    Arc::new(Schema::new(fields))
}

fn settings(does: &str, sides: &[&str]) -> ProcessSettings {
    let site = ProcessSite { input: input(true), keys: vec![0], settings: format!("{{\"do\": \"{does}\"}}") };
    let sides = sides.iter().map(|side| (*side).to_string()).collect();
    ProcessSettings { site, sides, state: StateSettings::default(), bug: None }
}

fn operator(does: &str) -> Box<dyn Operator> {
    process::<Probe>("probe").operator(&settings(does, &["side"])).unwrap()
}

/// What two rows, of values 3 and 4, and the end of the input make of it: rows, how many left by sides, how many are dead.
fn done(does: &str) -> (Vec<Vec<String>>, usize, usize) {
    let make = || operator(does);
    let mut bench = Bench::new(&make);
    for (number, value) in [3, 4].into_iter().enumerate() {
        let row = row(&bench, number, 0, Some(1), 1, value);
        bench.push(0, batch(&row, RowKind::Insert));
    }
    bench.watermark(i64::MAX);
    (bench.out.into_iter().map(|given| given.row).collect(), bench.sides.len(), bench.dead)
}

/// The error that a row makes of the operator.
fn fails(does: &str) -> String {
    use forebay_core::operator::{Context as Host, Identity, Restored};
    let mut operator = operator(does);
    let identity = Identity { uid: "step".into(), subtask: 0, parallelism: 1, groups: 8, attempt: 1 };
    let env = Arc::new(forebay_core::testing::ManualEnv::new(1));
    operator.open(Host { identity, env, waker: futures::task::noop_waker() }, Restored::default()).unwrap();
    let make = || super::process_calls::operator(does);
    let row = row(&Bench::new(&make), 0, 0, Some(1), 1, 3);
    operator.on_batch(batch(&row, RowKind::Insert)).unwrap();
    let error = operator.poll().unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{does}");
    error.chain()
}

#[test]
fn rows_are_given_as_declared() {
    let text = |columns: &[&str]| columns.iter().map(|column| (*column).to_string()).collect::<Vec<_>>();
    assert_eq!(done("nullable"), (vec![text(&["3", "", "-128"]), text(&["4", "", "-128"])], 0, 0));
    assert_eq!(done("begun"), (vec![text(&["3", "x", "1"]), text(&["4", "x", "1"])], 0, 0));
    let at = "1970-01-01T00:00:00.000001";
    assert_eq!(done("forward").0, [text(&["1", at, "3"]), text(&["1", at, "4"])]);
    assert_eq!(done("append").0, [text(&["1", at, "3", "4"]), text(&["1", at, "4", "5"])]);
    assert_eq!(done("stored").0, [text(&["1", at, "4", "7"])], "a kept row comes back at the end of the input");
    assert_eq!(done("side"), (Vec::new(), 2, 0));
}

#[test]
fn a_bad_row_or_timer_is_a_dead_letter_and_costs_only_itself() {
    assert_eq!(done("range"), (Vec::new(), 0, 2));
    assert_eq!(done("bad timer"), (Vec::new(), 0, 1));
}

#[test]
fn rows_of_a_side_output_that_nobody_reads_are_dropped() {
    let make = || process::<Probe>("probe").operator(&settings("side", &[])).unwrap();
    let mut bench = Bench::new(&make);
    let row = row(&bench, 0, 0, Some(1), 1, 3);
    bench.push(0, batch(&row, RowKind::Insert));
    assert_eq!((bench.out.len(), bench.sides.len()), (0, 0));
}

#[test]
fn a_row_that_takes_back_another_has_its_id_by_the_tag() {
    let make = || operator("updates");
    let mut bench = Bench::new(&make);
    for (number, kind) in [RowKind::Insert, RowKind::Delete].into_iter().enumerate() {
        let row = row(&bench, number, 0, Some(1), 1, 3);
        bench.push(0, batch(&row, kind));
    }
    let [first, second] = bench.out.as_slice() else { panic!("{:?}", bench.out) };
    assert_eq!((first.id, first.kind, second.kind), (second.id, RowKind::Insert, RowKind::Delete));
}

#[test]
fn state_lives_for_its_time() {
    let make = || operator("ttl");
    let mut bench = Bench::new(&make);
    for (number, (time, watermark)) in [(100, 105), (109, 120), (125, 130)].into_iter().enumerate() {
        let row = row(&bench, number, 0, Some(1), time, time);
        bench.push(0, batch(&row, RowKind::Insert));
        bench.watermark(watermark);
        bench.restore(3);
    }
    let seen: Vec<&str> = bench.out.iter().map(|given| given.row[0].as_str()).collect();
    assert_eq!(seen, ["-1", "100", "-1"], "100 lives on to 110, and 109 to 119");
}

#[test]
fn slips_of_a_function_are_said_when_they_happen() {
    let mut said = String::new();
    for does in ["too few", "too many", "wrong cell", "null", "no row", "an update", "forward twice", "invalid"] {
        said.push_str(&format!("{does}: {}\n", fails(does)));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn slips_of_a_declaration_are_said_when_the_job_is_planned() {
    let mut said = String::new();
    let mut case = |settings: &str, timed: bool| {
        let site = ProcessSite { input: input(timed), keys: vec![0], settings: settings.to_string() };
        let answer = process::<Probe>("probe").shape(&site).map(|_| "fine".to_string());
        said.push_str(&format!("{settings}: {}\n", answer.unwrap_or_else(|error| error.chain())));
    };
    for does in ["missing column", "wrong type", "reserved state", "two states", "twice the column", "bad settings"] {
        case(&format!("{{\"do\": \"{does}\"}}"), true);
    }
    case("{\"do\": \"no event time\"}", true);
    case("{\"do\": \"no event time\"}", false);
    case("{}", true);
    case("{\"do\": \"x\", \"gpa\": 1}", true);
    case("{\"do\": \"x\", \"gap\": \"1 parsec\"}", true);
    insta::assert_snapshot!(said);
}

#[test]
fn shapes_say_what_comes_out() {
    let site = ProcessSite { input: input(true), keys: vec![0], settings: "{\"do\": \"updates\"}".to_string() };
    let shape = process::<Probe>("probe").shape(&site).unwrap();
    assert_eq!(
        shape.output.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["one", "two", "three"]
    );
    assert_eq!((shape.sides[0].name, shape.takes_updates, shape.gives_updates), ("side", true, true));
}
