//! How many rows a second a join takes; run by hand: `cargo test --release --workspace --test stream_join -- --ignored join_speed --nocapture`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use forebay_core::operator::{Context, Identity, Operator, Out, Restored};
use forebay_core::row::SplitId;
use forebay_core::testing::ManualEnv;
use forebay_core::time::EventTime;
use forebay_core::{Batch, RowId};
use forebay_state::keyed::StateSettings;
use futures::task::noop_waker;

use super::MILLI;
use forebay_operators::stream_join::as_of::as_of_join;
use forebay_operators::stream_join::regular::regular_join;
use forebay_operators::stream_join::timed::{Meeting, timed_join};
use forebay_operators::stream_join::{InputShape, JoinShape, Keeps};

const BATCHES: i64 = 500;
const ROWS: i64 = 1024;

fn schema(side: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{side}_key"), DataType::Int64, false),
        Field::new(format!("{side}_time"), DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new(format!("{side}_price"), DataType::Int64, false),
        Field::new(format!("{side}_text"), DataType::Utf8, false),
    ]))
}

/// 23 rows of bids to one auction, as in Nexmark; an auction has two bids to it in each batch.
fn batch(side: &str, number: i64) -> Batch {
    let step = if side == "left" { 1 } else { 2 };
    let rows = ROWS / step;
    let key = |row: i64| (number * ROWS / 2 + row * step / 2) ^ 0x5555;
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(key)));
    let times: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| number * 1000 + row * step)));
    let prices: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("a name of row {row}"))));
    let rows_batch = RecordBatch::try_new(schema(side), vec![keys, times, prices, texts]).unwrap();
    let split = SplitId(step as u64);
    Batch::new(rows_batch, (0..rows).map(|row| RowId::new(split, (number * rows + row) as u64)).collect::<Vec<_>>())
        .unwrap()
}

fn speed(name: &str, mut join: Box<dyn Operator>) {
    let identity = Identity { uid: "join".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
    let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
    join.open(context, Restored::default()).unwrap();
    let input: Vec<(Batch, Batch)> =
        (0..BATCHES).map(|number| (batch("left", number), batch("right", number))).collect();
    let (mut taken, mut given) = (0, 0);
    #[expect(clippy::disallowed_methods, reason = "a benchmark run by hand")]
    let start = std::time::Instant::now();
    for (number, (left, right)) in (0..).zip(input) {
        taken += left.len() + right.len();
        join.on_batch_at(0, left).unwrap();
        join.on_batch_at(1, right).unwrap();
        join.on_watermark(EventTime(number * 1000)).unwrap();
        while let Some(out) = join.poll().unwrap() {
            if let Out::Batch(batch) = out {
                given += batch.len();
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}: {:.0} rows in a second, {taken} in, {given} out", taken as f64 / seconds);
}

#[test]
#[ignore = "a benchmark"]
fn join_speed() {
    let input = |side| InputShape { schema: schema(side), keys: vec![0], time: Some(1) };
    let fields = schema("left").fields().iter().chain(&schema("right").fields()[1..]).cloned().collect::<Vec<_>>();
    let shape = JoinShape {
        left: input("left"),
        right: input("right"),
        output: Arc::new(Schema::new(fields)),
        appended: vec![1, 2, 3],
        keeps: Keeps::Inner,
    };
    let settings = StateSettings::default;
    let meeting = Meeting::Interval { before: 5 * MILLI, after: 5 * MILLI };
    speed("interval", timed_join(&shape, meeting, settings()).unwrap());
    speed("window", timed_join(&shape, Meeting::Window(10 * MILLI), settings()).unwrap());
    speed("as of", as_of_join(&shape, settings()).unwrap());
    speed("regular", regular_join(&shape, None, settings()).unwrap());
}
