//! Rows that the step's model does not answer climb its ladder, once, and durably.

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, lit};

use super::super::ladder::{Computed, Second};
use super::*;

/// Settings with a column that says who answered: the model is called "first".
fn told(on_error: OnError, names: &[&str]) -> InferenceSettings {
    let mut settings = settings(Order::Unordered, on_error);
    let fields = [("n", DataType::Int64), ("y", DataType::Int64), ("by", DataType::Utf8)];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, name != "n")).collect();
    settings.answers.schema = Arc::new(Schema::new(fields));
    settings.answers.answered_by = std::iter::once(&"first").chain(names).map(|name| name.to_string()).collect();
    settings
}

fn input() -> Schema {
    Schema::new(vec![Field::new("n", DataType::Int64, false)])
}

fn computed(name: &str, expression: Arc<dyn PhysicalExpr>) -> Rung {
    Rung::Computed(Computed::new(name.into(), vec![("y".into(), DataType::Int64, Some(expression))]))
}

fn second(env: &ManualEnv, model: &Arc<Scripted>) -> Rung {
    Rung::Model(Second {
        name: "second".into(),
        revision: "1".into(),
        inputs: vec![("x".into(), 0)],
        site: Site::Here,
        model: model.clone(),
        gate: ModelGate::fixed(Arc::new(env.clone()), 2, 4, LINGER).into(),
    })
}

/// Fails every try of all rows that the first model was given.
fn fail_all(bench: &mut Bench, kind: Kind) {
    let mut call = 0;
    while call < bench.model.call_sizes().len() {
        bench.model.answer(call, Some(kind));
        bench.env.settle();
        bench.operator.poll().unwrap();
        call += 1;
    }
}

#[test]
fn a_constant_stands_for_rows_whose_tries_are_used_up() {
    let ladder = vec![computed("constant", lit(-1i64))];
    let mut bench =
        Bench::with_ladder(ManualEnv::new(1), told(OnError::DeadLetter, &["constant"]), Restored::default(), ladder);
    bench.rows(0..2);
    bench.operator.drain().unwrap();
    bench.model.answer(0, Some(Kind::Unavailable));
    bench.out();
    bench.model.answer(1, Some(Kind::Unavailable));
    bench.model.answer(2, None);
    assert_eq!(bench.out(), "rows 1=10(first) | rows 0=-1(constant)");
    assert_eq!(*bench.model.given_up.lock().unwrap(), [(1, "scripted".to_string())], "durable first");
    assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
}

#[test]
fn the_rungs_are_tried_in_order_and_an_expression_without_a_value_is_passed() {
    let divided =
        binary(lit(100i64), datafusion::logical_expr::Operator::Divide, col("n", &input()).unwrap(), &input());
    let env = ManualEnv::new(1);
    let other = Arc::new(Scripted::default());
    let ladder = vec![computed("sql", divided.unwrap()), second(&env, &other)];
    let mut bench = Bench::with_ladder(env, told(OnError::DeadLetter, &["sql", "second"]), Restored::default(), ladder);
    bench.rows(0..3);
    bench.operator.drain().unwrap();
    fail_all(&mut bench, Kind::Unavailable);
    bench.out();
    bench.operator.drain().unwrap();
    assert_eq!(other.call_sizes(), [1], "row 0 cannot be divided by");
    other.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0(second)");
}

#[test]
fn a_second_model_is_another_inference_and_at_the_end_of_the_ladder_on_error_rules() {
    let env = ManualEnv::new(1);
    let other = Arc::new(Scripted::default());
    let mut bench = Bench::with_ladder(
        env.clone(),
        told(OnError::Null, &["second"]),
        Restored::default(),
        vec![second(&env, &other)],
    );
    bench.rows(0..2);
    bench.operator.drain().unwrap();
    let asked = bench.model.calls.lock().unwrap()[0].0.ids.clone();
    bench.model.answer(0, Some(Kind::Data));
    fail_all_from(&mut bench, 1, Kind::Data);
    bench.operator.drain().unwrap();
    let asked_second = other.calls.lock().unwrap()[0].0.ids.clone();
    assert_eq!(asked_second.len(), 2);
    assert!(asked.iter().all(|id| !asked_second.contains(id)), "the same revision, another model");
    other.answer(0, Some(Kind::Data));
    bench.out();
    other.answer(1, None);
    other.answer(2, Some(Kind::Data));
    assert_eq!(bench.out(), "rows 0=0(second) 1=null");
    bench.snapshot(1);
    bench.operator.on_checkpoint_complete(Epoch(1));
    assert_eq!(*bench.model.closed.lock().unwrap(), [(Epoch(1), 4)], "both inferences of both rows");
}

fn fail_all_from(bench: &mut Bench, mut call: usize, kind: Kind) {
    bench.env.settle();
    bench.operator.poll().unwrap();
    while call < bench.model.call_sizes().len() {
        bench.model.answer(call, Some(kind));
        bench.env.settle();
        bench.operator.poll().unwrap();
        call += 1;
    }
    bench.env.settle();
    bench.operator.poll().unwrap();
}

#[test]
fn an_answer_that_is_durable_already_stands() {
    let ladder = vec![computed("constant", lit(-1i64))];
    let mut bench =
        Bench::with_ladder(ManualEnv::new(1), told(OnError::DeadLetter, &["constant"]), Restored::default(), ladder);
    *bench.model.answered.lock().unwrap() = Some(77);
    bench.rows(0..1);
    bench.operator.drain().unwrap();
    fail_all(&mut bench, Kind::Timeout);
    assert_eq!(bench.out(), "rows 0=77(first)");
}

#[test]
fn a_row_that_climbed_stays_on_its_rung_over_a_restore() {
    let env = ManualEnv::new(1);
    let other = Arc::new(Scripted::default());
    let settings = told(OnError::DeadLetter, &["second"]);
    let mut bench = Bench::with_ladder(env.clone(), settings.clone(), Restored::default(), vec![second(&env, &other)]);
    bench.rows(0..1);
    bench.operator.drain().unwrap();
    fail_all(&mut bench, Kind::Unavailable);
    bench.out();
    let restored = bench.snapshot(1);
    let (env, other) = (ManualEnv::new(1), Arc::new(Scripted::default()));
    let mut again = Bench::with_ladder(env.clone(), settings.clone(), restored.clone(), vec![second(&env, &other)]);
    again.operator.drain().unwrap();
    assert_eq!((again.model.call_sizes(), other.call_sizes()), (vec![], vec![1]));
    other.answer(0, Some(Kind::Unavailable));
    again.out();
    other.answer(1, Some(Kind::Unavailable));
    assert_eq!(again.out(), "dead 0 unavailable after 4", "two tries on each rung");
    let mut shorter = Bench::with_ladder(ManualEnv::new(1), settings, restored, Vec::new());
    shorter.operator.drain().unwrap();
    assert_eq!(shorter.model.call_sizes(), [1], "a job may come back without the rung");
}

#[test]
fn a_model_down_for_longer_than_the_patience_is_asked_by_one_call_at_a_time_only() {
    let settings = InferenceSettings {
        site: Site::Server,
        patience: Some(Duration::from_secs(10)),
        ..told(OnError::DeadLetter, &["constant"])
    };
    let ladder = vec![computed("constant", lit(-1i64))];
    let mut bench = Bench::with_ladder(ManualEnv::new(1), settings, Restored::default(), ladder);
    bench.rows(0..4);
    bench.model.answer(0, Some(Kind::Unavailable));
    assert_eq!(bench.out(), "", "it may come back");
    let mut given = Vec::new();
    for second in 0..20 {
        bench.pass(Duration::from_secs(1));
        let open = bench.model.calls.lock().unwrap().iter().position(|(_, tell)| tell.is_some());
        open.into_iter().for_each(|call| bench.model.answer(call, Some(Kind::Unavailable)));
        let out = bench.out();
        assert!(second >= 9 || out.is_empty(), "{out} after {second} seconds");
        given.extend(out.replace("rows", "").replace('|', "").split_whitespace().map(String::from));
        if given.len() == 4 {
            break;
        }
        assert!(second < 15, "{given:?} after {second} seconds");
    }
    given.sort();
    assert_eq!(given, ["0=-1(constant)", "1=-1(constant)", "2=-1(constant)", "3=-1(constant)"]);
    let calls = bench.model.call_sizes().len();
    bench.rows(4..8);
    assert_eq!(bench.out(), "rows 4=-1(constant) 5=-1(constant) 6=-1(constant) 7=-1(constant)");
    assert_eq!(bench.model.call_sizes().len(), calls, "nobody is asked before the pause is over");
    bench.pass(Duration::from_secs(6));
    bench.rows(8..12);
    assert_eq!(bench.model.call_sizes().len(), calls + 1, "one call finds out");
    bench.model.answer(calls, None);
    assert_eq!(bench.out(), "rows 8=80(first) 9=90(first) 10=100(first) 11=110(first)");
    bench.rows(12..16);
    assert_eq!(bench.model.call_sizes().len(), calls + 2);
}
