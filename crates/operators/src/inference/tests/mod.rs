//! Scripts against the inference operator: a model that answers when told, in the order told.

mod blaming;
mod facts;
mod ladder;
mod updates;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use forebay_core::RowId;
use forebay_core::on_error::OnError;
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_gate::limiter::Class;
use futures::channel::oneshot;

use super::*;
use forebay_inference::call::ModelGate;

/// A call, and where its answer goes.
type Call = (RequestBatch, Option<oneshot::Sender<Vec<Outcome>>>);

/// A model whose calls wait until [`Scripted::answer`].
#[derive(Default)]
struct Scripted {
    calls: Mutex<Vec<Call>>,
    /// Rows given up, and why.
    given_up: Mutex<Vec<(usize, String)>>,
    /// Answered in the meantime: what giving up comes to instead.
    answered: Mutex<Option<i64>>,
    closed: Mutex<Vec<(Epoch, usize)>>,
}

impl Model for Scripted {
    fn submit(&self, batch: RequestBatch, permit: Permit) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        let (sender, receiver) = oneshot::channel();
        self.calls.lock().unwrap().push((batch, Some(sender)));
        Box::pin(async move {
            let outcomes: Vec<Outcome> = receiver.await.unwrap();
            let down = |outcome: &Outcome| matches!(outcome, Outcome::Failed { kind: Kind::Unavailable, .. });
            permit.finish(if outcomes.iter().any(down) { Class::Down } else { Class::Answered });
            Ok(outcomes)
        })
    }

    fn close(&self, epoch: Epoch, ids: Vec<RequestId>) -> BoxFuture<'static, Result<()>> {
        self.closed.lock().unwrap().push((epoch, ids.len()));
        Box::pin(async { Ok(()) })
    }

    fn give_up(&self, ids: Vec<RequestId>, kind: Kind, reason: String) -> BoxFuture<'static, Result<Vec<Outcome>>> {
        self.given_up.lock().unwrap().push((ids.len(), reason.clone()));
        let outcome = match *self.answered.lock().unwrap() {
            Some(value) => {
                let answer: ArrayRef = Arc::new(Int64Array::from(vec![value]));
                Outcome::Answered { rows: RecordBatch::try_from_iter([("y", answer)]).unwrap(), place: 0 }
            }
            None => Outcome::GivenUp { kind, reason },
        };
        Box::pin(async move { Ok(vec![outcome; ids.len()]) })
    }
}

impl Scripted {
    fn call_sizes(&self) -> Vec<usize> {
        self.calls.lock().unwrap().iter().map(|(batch, _)| batch.len()).collect()
    }

    /// Answers call number `call`: ten times the input, or `failure` for every row.
    fn answer(&self, call: usize, failure: Option<Kind>) {
        let (batch, sender) = {
            let mut calls = self.calls.lock().unwrap();
            (calls[call].0.clone(), calls[call].1.take().unwrap())
        };
        let input = batch.rows.column(0).as_primitive::<Int64Type>();
        let answer: ArrayRef = Arc::new(Int64Array::from_iter_values(input.values().iter().map(|n| n * 10)));
        let rows = RecordBatch::try_from_iter([("y", answer)]).unwrap();
        let outcome = |place| match failure {
            Some(kind) => {
                Outcome::Failed { kind, reason: "scripted".into(), retry_after: None, final_: false, together: false }
            }
            None => Outcome::Answered { rows: rows.clone(), place },
        };
        let _ = sender.send((0..batch.len()).map(outcome).collect());
    }

    /// Answers call number `call` with `value` for every row.
    fn say(&self, call: usize, value: i64) {
        let (rows, sender) = {
            let mut calls = self.calls.lock().unwrap();
            (calls[call].0.len(), calls[call].1.take().unwrap())
        };
        let answer: ArrayRef = Arc::new(Int64Array::from(vec![value; rows]));
        let answers = RecordBatch::try_from_iter([("y", answer)]).unwrap();
        let _ = sender.send((0..rows).map(|place| Outcome::Answered { rows: answers.clone(), place }).collect());
    }
}

/// The operator under test with its world.
struct Bench {
    env: ManualEnv,
    model: Arc<Scripted>,
    operator: Inference,
}

const LINGER: Duration = Duration::from_millis(5);

fn settings(order: Order, on_error: OnError) -> InferenceSettings {
    let fields = vec![Field::new("n", DataType::Int64, false), Field::new("y", DataType::Int64, true)];
    InferenceSettings {
        job: "test".into(),
        model_revision: "1".into(),
        inputs: vec![("x".into(), 0)],
        answers: AnswerColumns {
            outputs: vec!["y".into()],
            schema: Arc::new(Schema::new(fields)),
            kept: vec![0],
            answered_by: Vec::new(),
            on_error,
        },
        batcher: BatcherSettings::new(4, 1 << 20, LINGER),
        rows: RowFacts::default(),
        order,
        attempts_max: 2,
        site: Site::Here,
        patience: None,
        updates: None,
        planted: Planted::default(),
    }
}

impl Bench {
    fn new(order: Order) -> Self {
        Self::restored(settings(order, OnError::DeadLetter), Restored::default())
    }

    fn restored(settings: InferenceSettings, restored: Restored) -> Self {
        Self::with_ladder(ManualEnv::new(1), settings, restored, Vec::new())
    }

    fn with_ladder(env: ManualEnv, settings: InferenceSettings, restored: Restored, ladder: Vec<Rung>) -> Self {
        let model = Arc::new(Scripted::default());
        let gate = ModelGate::fixed(Arc::new(env.clone()), 2, 4, LINGER);
        let mut operator = Inference::new(settings, model.clone(), gate).with_ladder(ladder);
        operator.open(crate::tests::context(&env), restored).unwrap();
        operator.poll().unwrap();
        Self { env, model, operator }
    }

    fn rows(&mut self, numbers: std::ops::Range<i64>) {
        let ids: Vec<RowId> = numbers.clone().map(|n| RowId::new(SplitId(7), n as u64)).collect();
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
        self.operator.on_batch(Batch::new(rows, ids).unwrap()).unwrap();
    }

    /// Everything that comes out now, as text.
    fn out(&mut self) -> String {
        self.env.settle();
        let mut lines = Vec::new();
        while let Some(out) = self.operator.poll().unwrap() {
            lines.push(match out {
                Out::Batch(batch) => {
                    let answers = batch.rows().column(1).as_primitive::<Int64Type>();
                    let by = batch.rows().column_by_name("by").map(|by| by.as_string::<i32>());
                    let row = |place: usize| {
                        let by = by.filter(|by| !by.is_null(place)).map(|by| format!("({})", by.value(place)));
                        let answer = match answers.is_null(place) {
                            true => "null".to_string(),
                            false => answers.value(place).to_string(),
                        };
                        let kind = match batch.kind(place) {
                            forebay_core::row_kind::RowKind::Insert => "",
                            other => other.text(),
                        };
                        format!("{kind}{}={answer}{}", batch.ids()[place].ordinal, by.unwrap_or_default())
                    };
                    format!("rows {}", (0..batch.len()).map(row).collect::<Vec<_>>().join(" "))
                }
                Out::DeadLetters(letters) => {
                    let letter = |letter: &forebay_core::dead_letter::DeadLetter| {
                        format!("{} {} after {}", letter.row.ordinal, letter.kind.name(), letter.attempts)
                    };
                    format!("dead {}", letters.iter().map(letter).collect::<Vec<_>>().join(", "))
                }
                Out::Watermark(watermark) => format!("watermark {}", watermark.0),
                Out::Side(port, _) => unreachable!("an inference has no side output {port}"),
            });
            self.env.settle();
        }
        lines.join(" | ")
    }

    /// The input of every call so far.
    fn calls(&self) -> Vec<Vec<i64>> {
        let calls = self.model.calls.lock().unwrap();
        calls.iter().map(|(batch, _)| batch.rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    /// Lets time pass and the operator see it.
    fn pass(&mut self, time: Duration) {
        self.env.advance(time);
        let now = forebay_core::env::Env::now(&self.env);
        self.operator.on_timer(now).unwrap();
    }

    fn snapshot(&mut self, epoch: u64) -> Restored {
        let frozen = self.operator.snapshot(Epoch(epoch)).unwrap();
        let snapshot = self.env.block_on(frozen).unwrap();
        Restored { epoch: Some(Epoch(epoch)), groups: snapshot.groups.into_iter().collect() }
    }
}

#[test]
fn unordered_rows_leave_as_they_finish_but_not_past_a_watermark() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..4);
    bench.operator.on_watermark(EventTime(10)).unwrap();
    bench.rows(4..8);
    assert_eq!(bench.out(), "");
    bench.model.answer(1, None);
    assert_eq!(bench.out(), "", "rows behind the watermark wait for it");
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0 1=10 2=20 3=30 | watermark 10 | rows 4=40 5=50 6=60 7=70");
}

#[test]
fn ordered_rows_leave_as_they_came() {
    let mut bench = Bench::new(Order::Ordered);
    bench.rows(0..8);
    bench.model.answer(1, None);
    assert_eq!(bench.out(), "");
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0 1=10 2=20 3=30 4=40 5=50 6=60 7=70");
}

#[test]
fn linger_sends_what_is_there_and_the_limit_holds_the_rest() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..10);
    assert_eq!(bench.model.call_sizes(), [4, 4], "two permits");
    bench.env.advance(LINGER);
    let now = forebay_core::env::Env::now(&bench.env);
    bench.operator.on_timer(now).unwrap();
    assert_eq!(bench.model.call_sizes(), [4, 4]);
    bench.model.answer(0, None);
    bench.out();
    assert_eq!(bench.model.call_sizes(), [4, 4, 2]);
}

#[test]
fn a_failed_request_batch_is_tried_row_by_row_and_the_bad_row_is_a_dead_letter() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..2);
    bench.operator.drain().unwrap();
    bench.model.answer(0, Some(Kind::Unavailable));
    assert_eq!(bench.out(), "");
    assert_eq!(bench.model.call_sizes(), [2, 1, 1]);
    bench.model.answer(1, Some(Kind::Unavailable));
    bench.model.answer(2, None);
    assert_eq!(bench.out(), "rows 1=10 | dead 0 unavailable after 2");
    assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
}

#[test]
fn on_error_null_keeps_the_row_and_fail_fails_the_region() {
    let mut bench = Bench::restored(settings(Order::Unordered, OnError::Null), Restored::default());
    bench.rows(0..1);
    bench.operator.drain().unwrap();
    bench.model.answer(0, Some(Kind::Data));
    assert_eq!(bench.out(), "rows 0=null");
    let mut bench = Bench::restored(settings(Order::Unordered, OnError::Fail), Restored::default());
    bench.rows(0..1);
    bench.operator.drain().unwrap();
    bench.model.answer(0, Some(Kind::Data));
    bench.env.settle();
    let error = bench.operator.poll().unwrap_err();
    assert_eq!(
        error.chain(),
        "infer row (row=0000000000000007-0, to do=mend the row, or the model and its version: a stored failure is not asked about again): scripted"
    );
}

#[test]
fn snapshot_holds_every_row_not_given_out_and_a_restore_asks_them_again() {
    let mut bench = Bench::new(Order::Ordered);
    bench.rows(0..6);
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0 1=10 2=20 3=30");
    let restored = bench.snapshot(3);
    let mut again = Bench::restored(settings(Order::Ordered, OnError::DeadLetter), restored);
    assert_eq!(*again.model.closed.lock().unwrap(), [(Epoch(3), 4)], "what epoch 3 gave out is closed again");
    again.operator.drain().unwrap();
    again.model.answer(0, None);
    assert_eq!(again.out(), "rows 4=40 5=50");
    assert_eq!(again.model.call_sizes(), [2]);
}

#[test]
fn a_suspended_operator_finishes_what_is_in_flight_and_keeps_the_rest() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..10);
    assert_eq!(bench.model.call_sizes(), [4, 4]);
    assert_eq!(bench.operator.suspend().unwrap(), Drained::Pending);
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0 1=10 2=20 3=30");
    assert_eq!(bench.operator.suspend().unwrap(), Drained::Pending);
    bench.model.answer(1, None);
    bench.out();
    assert_eq!(bench.operator.suspend().unwrap(), Drained::Done, "two rows were never sent");
    assert_eq!(bench.model.call_sizes(), [4, 4]);
    let restored = bench.snapshot(1);
    let mut again = Bench::restored(settings(Order::Unordered, OnError::DeadLetter), restored);
    again.operator.drain().unwrap();
    assert_eq!(again.model.call_sizes(), [2]);
}

#[test]
fn a_snapshot_waits_until_the_checkpoint_before_is_closed_in_the_journal() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..4);
    bench.model.answer(0, None);
    bench.out();
    bench.snapshot(1);
    bench.operator.on_checkpoint_complete(Epoch(1));
    bench.snapshot(2);
    assert_eq!(*bench.model.closed.lock().unwrap(), [(Epoch(1), 4)]);
}

#[test]
fn garbled_state_is_corrupt_and_names_the_key_group() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..3);
    let mut restored = bench.snapshot(1);
    let (_, bytes) = &mut restored.groups[0];
    *bytes = bytes.slice(..bytes.len() / 2);
    let (env, model) = (ManualEnv::new(1), Arc::new(Scripted::default()));
    let settings = settings(Order::Unordered, OnError::DeadLetter);
    let mut operator = Inference::new(settings, model, ModelGate::fixed(Arc::new(env.clone()), 1, 4, LINGER));
    let error = operator.open(crate::tests::context(&env), restored).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("key_group="), "{error}");
}

#[test]
fn full_table_refuses_rows_until_some_leave() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..16);
    assert_eq!(bench.operator.room(), Room::Full);
    bench.model.answer(0, None);
    bench.out();
    assert_eq!(bench.operator.room(), Room::Room);
}

#[test]
fn a_model_is_told_which_tensor_its_input_is() {
    let tensor = forebay_core::types::tensor::TensorType::new(DataType::Int64, [1, 2]);
    let mut settings = settings(Order::Unordered, OnError::DeadLetter);
    settings.answers.schema =
        Arc::new(Schema::new(vec![tensor.field("n", true), Field::new("y", DataType::Int64, true)]));
    let mut bench = Bench::restored(settings, Restored::default());
    let pixels: ArrayRef = arrow::array::new_null_array(&tensor.storage(), 4);
    let schema = Arc::new(Schema::new(vec![tensor.field("n", true)]));
    let ids: Vec<RowId> = (0..4).map(|n| RowId::new(SplitId(7), n)).collect();
    bench.operator.on_batch(Batch::new(RecordBatch::try_new(schema, vec![pixels]).unwrap(), ids).unwrap()).unwrap();
    let calls = bench.model.calls.lock().unwrap();
    assert_eq!(calls[0].0.rows.schema_ref().field(0), &tensor.field("x", true));
}

#[test]
fn a_dead_server_among_many_fails_its_row_after_a_pause_and_holds_up_no_other() {
    let mut bench = Bench::restored(
        InferenceSettings { site: Site::ManyServers, ..settings(Order::Unordered, OnError::DeadLetter) },
        Restored::default(),
    );
    bench.rows(0..1);
    bench.pass(LINGER);
    bench.model.answer(0, Some(Kind::Overload));
    assert_eq!(bench.out(), "");
    bench.rows(1..5);
    assert_eq!(bench.calls(), [vec![0], vec![1, 2, 3, 4]], "others are asked meanwhile");
    bench.model.answer(1, None);
    assert_eq!(bench.out(), "rows 1=10 2=20 3=30 4=40");
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.calls().last(), Some(&vec![0]));
    bench.model.answer(2, Some(Kind::Unavailable));
    assert_eq!(bench.out(), "dead 0 unavailable after 2");
}

/// Rows of a table that were answered with so many MiB each.
fn heavy(order: Order, rows: i64, mebibytes: usize) -> Table {
    let answer: ArrayRef = Arc::new(arrow::array::BinaryArray::from(vec![&vec![0; mebibytes << 20][..]]));
    let answer = RecordBatch::try_from_iter([("y", answer)]).unwrap();
    let mut bench = Bench::restored(settings(order, OnError::DeadLetter), Restored::default());
    bench.rows(0..rows);
    let mut table = std::mem::replace(&mut bench.operator.table, Table::new(order));
    for number in 0..rows as u64 {
        table.finish(number, Outcome::Answered { rows: answer.clone(), place: 0 });
    }
    table
}

#[test]
fn large_answers_leave_in_batches_of_bounded_size() {
    let sizes = |order, mebibytes| {
        let mut table = heavy(order, 5, mebibytes);
        let mut emit = || match table.emit() {
            Some(table::Emission::Rows(rows)) => Some(rows.len()),
            _ => None,
        };
        std::iter::from_fn(&mut emit).collect::<Vec<_>>()
    };
    for order in [Order::Unordered, Order::Ordered, Order::PerKey] {
        assert_eq!(sizes(order, 30), [2, 2, 1]);
        assert_eq!(sizes(order, 70), [1, 1, 1, 1, 1], "a row that is larger goes alone");
        assert_eq!(sizes(order, 1), [5]);
    }
}

#[test]
fn nothing_is_asked_while_large_answers_wait_to_leave() {
    for order in [Order::Unordered, Order::Ordered, Order::PerKey] {
        let mut table = heavy(order, 10, 60);
        assert!(table.is_heavy());
        table.emit();
        table.emit();
        assert!(!table.is_heavy(), "8 times 60 MiB are held");
    }
    let mut bench = Bench::new(Order::Unordered);
    bench.operator.table = heavy(Order::Unordered, 10, 60);
    bench.rows(0..4);
    assert!(bench.calls().is_empty());
    bench.operator.table.emit();
    bench.operator.table.emit();
    bench.operator.send().unwrap();
    assert_eq!(bench.calls(), [vec![0, 1, 2, 3]]);
}
