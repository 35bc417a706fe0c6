//! Keys, deadlines, costs, lengths and watermarks, as the operator follows them.

use datafusion::physical_expr::expressions::binary;
use datafusion::physical_expr::expressions::{col, lit};

use forebay_core::keys::KeyColumns;

use super::super::ladder::Computed;
use super::*;

fn remainder(of: i64) -> Arc<dyn datafusion::physical_expr::PhysicalExpr> {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let n = col("n", &schema).unwrap();
    binary(n, datafusion::logical_expr::Operator::Modulo, lit(of), &schema).unwrap()
}

fn with(rows: RowFacts) -> InferenceSettings {
    InferenceSettings { rows, ..settings(Order::Unordered, OnError::DeadLetter) }
}

/// Rows with a column of keys beside their number.
fn keyed(numbers: std::ops::Range<i64>, keys: i64) -> Batch {
    let ids: Vec<RowId> = numbers.clone().map(|n| RowId::new(SplitId(7), n as u64)).collect();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone()));
    let key: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(|n| n % keys)));
    Batch::new(RecordBatch::try_from_iter([("n", column), ("k", key)]).unwrap(), ids).unwrap()
}

fn per_key() -> InferenceSettings {
    let fields = [("n", DataType::Int64), ("y", DataType::Int64), ("k", DataType::Int64)];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, name == "y")).collect();
    let mut settings = settings(Order::PerKey, OnError::DeadLetter);
    let keys = Schema::new(vec![fields[0].clone(), fields[2].clone()]);
    settings.rows.key = Some(KeyColumns::new(vec![1], &keys).unwrap());
    settings.answers.kept = vec![0];
    settings.answers.schema = Arc::new(Schema::new(fields[..2].to_vec()));
    settings
}

#[test]
fn rows_of_a_key_are_never_in_two_calls_and_leave_in_order() {
    let mut bench = Bench::restored(per_key(), Restored::default());
    // Keys 0, 1, 2, 0 fill the first call; all other rows have keys that are out.
    bench.operator.on_batch(keyed(0..10, 3)).unwrap();
    assert_eq!(bench.model.call_sizes(), [4]);
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "rows 0=0 1=10 2=20 3=30");
    bench.operator.drain().unwrap();
    assert_eq!(bench.calls()[1..], [vec![4, 7, 5, 8], vec![6, 9]], "a key is in one of them only");
    bench.model.answer(2, None);
    bench.model.answer(1, None);
    assert_eq!(bench.out(), "rows 4=40 5=50 6=60 7=70 8=80 9=90");
}

#[test]
fn a_row_of_a_key_waits_for_the_one_before_it_that_failed() {
    let mut bench = Bench::restored(per_key(), Restored::default());
    bench.operator.on_batch(keyed(0..4, 2)).unwrap();
    bench.model.answer(0, Some(Kind::Unavailable));
    bench.out();
    // Each is tried alone; the second of a key waits for the first.
    assert_eq!(bench.model.call_sizes(), [4, 1, 1]);
    bench.model.answer(1, Some(Kind::Unavailable));
    bench.model.answer(2, None);
    assert_eq!(bench.out(), "rows 1=10 | dead 0 unavailable after 2");
    let mut calls = bench.calls()[3..].to_vec();
    calls.sort();
    assert_eq!(calls, [[2], [3]]);
}

#[test]
fn a_restore_keeps_the_order_of_a_key_whose_rows_are_in_the_key_group_of_the_key() {
    let mut bench = Bench::restored(per_key(), Restored::default());
    for split in [9u64, 3, 7, 1] {
        let ids = vec![RowId::new(SplitId(split), split)];
        let column = |value: u64| Arc::new(Int64Array::from(vec![value as i64])) as ArrayRef;
        let rows = RecordBatch::try_from_iter([("n", column(split)), ("k", column(5))]).unwrap();
        bench.operator.on_batch(Batch::new(rows, ids).unwrap()).unwrap();
    }
    let restored = bench.snapshot(1);
    assert_eq!(restored.groups.len(), 1, "wherever the rows come from");
    let mut again = Bench::restored(per_key(), restored);
    again.operator.drain().unwrap();
    again.model.answer(0, None);
    assert_eq!(again.out(), "rows 9=90 3=30 7=70 1=10");
}

const SECOND: Duration = Duration::from_secs(1);

fn due() -> InferenceSettings {
    with(RowFacts { deadline: Some(SECOND), ..RowFacts::default() })
}

#[test]
fn a_row_past_its_deadline_costs_no_call() {
    let mut bench = Bench::restored(due(), Restored::default());
    bench.rows(0..12);
    assert_eq!(bench.model.call_sizes(), [4, 4], "no permit for the rest");
    bench.pass(SECOND);
    let dead =
        |rows: std::ops::Range<u64>| rows.map(|row| format!("{row} timeout after 1")).collect::<Vec<_>>().join(", ");
    assert_eq!(bench.out(), format!("dead {}", dead(0..12)));
    bench.model.answer(0, None);
    bench.model.answer(1, None);
    bench.snapshot(1);
    assert_eq!(bench.out(), "", "late answers change nothing");
    assert_eq!(bench.model.call_sizes(), [4, 4]);
    assert_eq!(bench.operator.drain().unwrap(), Drained::Done);
    bench.snapshot(2);
    bench.operator.on_checkpoint_complete(Epoch(2));
    let closed = bench.model.closed.lock().unwrap().iter().map(|(_, rows)| rows).sum::<usize>();
    assert_eq!(closed, 12 + 12, "what may have come after its row had left is closed, too");
}

#[test]
fn a_row_past_its_deadline_takes_its_fallback_and_frees_its_key_when_its_call_ends() {
    let mut settings = per_key();
    settings.rows.deadline = Some(SECOND);
    let constant = Computed::new("constant".into(), vec![("y".into(), DataType::Int64, Some(lit(-1i64)))]);
    let ladder = vec![Rung::Computed(constant)];
    let mut bench = Bench::with_ladder(ManualEnv::new(1), settings, Restored::default(), ladder);
    bench.operator.on_batch(keyed(0..1, 1)).unwrap();
    bench.pass(LINGER);
    bench.pass(SECOND - LINGER);
    assert_eq!(bench.out(), "rows 0=-1");
    bench.operator.on_batch(keyed(1..2, 1)).unwrap();
    bench.pass(LINGER);
    assert_eq!(bench.model.call_sizes(), [1], "the first call of this key is still in flight");
    bench.model.answer(0, None);
    assert_eq!(bench.out(), "");
    bench.pass(LINGER);
    assert_eq!(bench.model.call_sizes(), [1, 1]);
    bench.model.answer(1, None);
    assert_eq!(bench.out(), "rows 1=10");
}

#[test]
fn a_request_batch_leaves_in_time_for_the_deadline_of_its_first_row() {
    let mut settings = due();
    settings.batcher.linger = SECOND * 60;
    let env = ManualEnv::new(1);
    let model = Arc::new(Scripted::default());
    let gate = ModelGate::fixed(Arc::new(env.clone()), 2, 4, SECOND * 60);
    let mut operator = Inference::new(settings, model.clone(), gate);
    operator.open(crate::tests::context(&env), Restored::default()).unwrap();
    let mut bench = Bench { env, model, operator };
    bench.rows(0..4);
    bench.env.advance(Duration::from_millis(100));
    bench.model.answer(0, None);
    bench.out();
    let began = forebay_core::env::Env::now(&bench.env);
    bench.rows(4..5);
    let wait = bench.operator.next_timer().unwrap().since(began);
    assert_eq!(wait, Duration::from_millis(850), "one and a half calls of 100 ms before the deadline");
    bench.pass(wait);
    assert_eq!(bench.model.call_sizes(), [4, 1]);
}

#[test]
fn the_time_that_a_job_is_down_counts_for_no_deadline() {
    let mut bench = Bench::restored(due(), Restored::default());
    bench.rows(0..1);
    bench.pass(Duration::from_millis(600));
    let restored = bench.snapshot(1);
    let mut again = Bench::restored(due(), restored);
    again.pass(Duration::from_millis(399));
    assert_eq!(again.out(), "");
    again.pass(Duration::from_millis(1));
    assert_eq!(again.out(), "dead 0 timeout after 1");
}

#[test]
fn request_batches_hold_no_more_than_their_cost() {
    let mut settings = with(RowFacts { cost: Some(remainder(100)), ..RowFacts::default() });
    settings.batcher.cost_max = 40;
    let mut bench = Bench::restored(settings, Restored::default());
    bench.rows(19..23);
    assert_eq!(bench.calls(), [vec![19, 20], vec![21]], "19 and 20 fit, neither 21 nor 22 beside another");
}

#[test]
fn rows_of_similar_length_travel_together() {
    let lengths = RowFacts { length: Some(remainder(10)), buckets: vec![1, 5], ..RowFacts::default() };
    let mut bench = Bench::restored(with(lengths), Restored::default());
    bench.rows(0..12);
    assert_eq!(bench.calls(), [[2, 3, 4, 5], [6, 7, 8, 9]]);
    bench.model.answer(0, None);
    bench.out();
    assert_eq!(bench.calls()[2..], [[0, 1, 10, 11]]);
}

#[test]
fn a_watermark_sends_the_rows_that_it_waits_for_where_declared() {
    for sends in [false, true] {
        let mut settings = settings(Order::Unordered, OnError::DeadLetter);
        settings.batcher.watermark_sends = sends;
        let mut bench = Bench::restored(settings, Restored::default());
        bench.rows(0..2);
        bench.operator.on_watermark(EventTime(3)).unwrap();
        assert_eq!(bench.model.call_sizes(), if sends { vec![2] } else { vec![] });
    }
}

/// AB-D3: a timer belongs to the batch that it was set for.
#[test]
fn ab_d3_a_timer_of_a_request_batch_that_left_does_not_send_the_next_one() {
    let mut bench = Bench::new(Order::Unordered);
    bench.rows(0..3);
    bench.pass(Duration::from_millis(4));
    bench.rows(3..5);
    assert_eq!(bench.model.call_sizes(), [4], "full, a millisecond before its timer");
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.model.call_sizes(), [4], "row 4 has waited for 1 ms only");
    bench.pass(Duration::from_millis(4));
    assert_eq!(bench.model.call_sizes(), [4, 1]);
}

/// AB-D9: a row keeps its own columns, event time included, whatever its request batch goes through.
#[test]
fn ab_d9_every_row_keeps_its_event_time_over_batching_retries_and_splits() {
    let fields = ["n", "at", "y"].map(|name| Field::new(name, DataType::Int64, name == "y"));
    let mut settings = settings(Order::Unordered, OnError::DeadLetter);
    settings.answers.schema = Arc::new(Schema::new(fields.to_vec()));
    settings.answers.kept = vec![0, 1];
    settings.site = Site::Server;
    let mut bench = Bench::restored(settings, Restored::default());
    for batch in 0..3i64 {
        let numbers = batch * 2..batch * 2 + 2;
        let ids: Vec<RowId> = numbers.clone().map(|n| RowId::new(SplitId(7), n as u64)).collect();
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone()));
        let at: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.map(|n| 1_000 - n * 7)));
        let rows = RecordBatch::try_from_iter([("n", column), ("at", at)]).unwrap();
        bench.operator.on_batch(Batch::new(rows, ids).unwrap()).unwrap();
    }
    bench.operator.drain().unwrap();
    assert_eq!(bench.model.call_sizes(), [4, 2], "rows of two batches in one call");
    // The first call is cut in halves, the second comes back after a pause; then rows are answered backwards.
    bench.model.answer(0, Some(Kind::Exhausted));
    bench.model.answer(1, Some(Kind::Unavailable));
    let mut seen = Vec::new();
    for _ in 0..20 {
        bench.env.settle();
        while let Some(Out::Batch(batch)) = bench.operator.poll().unwrap() {
            let column = |name: &str| batch.rows().column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
            let (n, at, y) = (column("n"), column("at"), column("y"));
            for place in 0..batch.len() {
                assert_eq!(batch.ids()[place].ordinal as i64, n.value(place));
                assert_eq!((at.value(place), y.value(place)), (1_000 - n.value(place) * 7, n.value(place) * 10));
                seen.push(n.value(place));
            }
        }
        let open = bench.model.calls.lock().unwrap().iter().rposition(|(_, tell)| tell.is_some());
        match open {
            Some(call) => bench.model.answer(call, None),
            None => bench.pass(SECOND),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    assert!(bench.model.call_sizes().len() > 3, "calls were cut");
}
