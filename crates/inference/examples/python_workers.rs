//! How long a tensor takes to a Python worker and back beyond the function itself: in place, through one copy on each side,
//! and over the socket, beside one `memcpy` of as many bytes. `python_workers PYTHON FOLDER`, where `FOLDER` has the functions;
//! prints one line of JSON for each figure. `benchmarks/python_workers/run.py` calls it.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Float32Type};
use forebay_inference::hosts::process::{ProcessHost, ProcessSettings, WorkerCommand};
use forebay_inference::hosts::python::{self, PythonCode, PythonSettings};
use forebay_inference::hosts::{Host, Replica};
use forebay_inference::request::{RequestBatch, RequestId};

const MIB: usize = 1 << 20;
const WARM_UP: usize = 20;
/// Sizes in MiB, and how often each is measured.
const SIZES: [(usize, usize); 3] = [(1, 400), (10, 200), (64, 60)];
/// The way rows go, the function that is asked, whether rows are made in shared memory, whether there is any.
const WAYS: [(&str, &str, bool, bool); 4] = [
    ("in place, returned as it came", "same", true, true),
    ("in place, answered into fb.empty", "filled", true, true),
    ("one memcpy on each side", "copied", false, true),
    ("over the socket", "copied", false, false),
];

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(python), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("expected PYTHON FOLDER");
        std::process::exit(2);
    };
    let folder = PathBuf::from(folder);
    for (mib, rounds) in SIZES {
        told("memcpy", mib, &mut (0..rounds + WARM_UP).map(memcpy(mib * MIB)).collect::<Vec<_>>());
        for (way, function, made_in_place, shared) in WAYS {
            let host = host(&format!("functions:{function}_{mib}"), folder.clone(), python.clone().into(), shared);
            told(way, mib, &mut round_trips(&host, mib * MIB, made_in_place, rounds).await);
        }
    }
}

fn host(function: &str, folder: PathBuf, interpreter: PathBuf, shares_memory: bool) -> ProcessHost {
    let settings = PythonSettings {
        model: "measured".into(),
        code: PythonCode::Function(function.into()),
        path: vec![folder],
        replicas: 1,
        version: None,
        memory_bytes: None,
        seats: None,
        log: None,
        signature: None,
    };
    let host = python::host(&settings, WorkerCommand::python(interpreter)).unwrap();
    ProcessHost::new(ProcessSettings { shares_memory, ..host.settings().clone() })
}

/// Microseconds of each round trip, less what the function says that it took.
async fn round_trips(host: &ProcessHost, bytes: usize, made_in_place: bool, rounds: usize) -> Vec<f64> {
    let replica: Arc<dyn Replica> = host.start(0).await.unwrap();
    let values = values(host, bytes, made_in_place);
    let mut times = Vec::new();
    for round in 0..rounds + WARM_UP {
        let batch = RequestBatch::new(vec![RequestId(round as u128)], rows(&values)).unwrap();
        let (answer, took) = tokio::spawn(timed(Arc::clone(&replica), batch)).await.unwrap();
        let answered = answer.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values().clone();
        let asked = ScalarBuffer::<f32>::from(values.clone());
        // All of it while warming up only: reading 64 MiB would leave the caches cold for the next round trip.
        let first = if round < WARM_UP { 1 } else { asked.len() - 1 };
        assert_eq!(answered[first..], asked[first..], "another tensor came back");
        // A function that is timed says so in its first value, in nanoseconds.
        let function_nanos = f64::from(answered[0] - asked[0]);
        times.push((took.as_nanos() as f64 - function_nanos) / 1e3);
    }
    times
}

/// One call, made where the engine makes it: in a task of the runtime.
async fn timed(replica: Arc<dyn Replica>, batch: RequestBatch) -> (RecordBatch, Duration) {
    let started = Instant::now();
    let answer = replica.call(batch).await.unwrap().rows;
    (answer, started.elapsed())
}

/// Numbers from 0 on, in memory of this process or of the host.
fn values(host: &ProcessHost, bytes: usize, made_in_place: bool) -> Buffer {
    let numbers = (0..bytes / 4).map(|value| value as f32);
    if !made_in_place {
        return numbers.collect::<Vec<_>>().into();
    }
    let mut draft = host.arena().expect("shared memory").draft(bytes).unwrap();
    let places = draft.bytes_mut().chunks_exact_mut(4);
    places.zip(numbers).for_each(|(place, value)| place.copy_from_slice(&value.to_le_bytes()));
    draft.freeze().buffer(bytes).unwrap()
}

/// One row with all values.
fn rows(values: &Buffer) -> RecordBatch {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let flat = Float32Array::new(values.clone().into(), None);
    let size = flat.len() as i32;
    let column: ArrayRef = Arc::new(FixedSizeListArray::new(item, size, Arc::new(flat), None));
    RecordBatch::try_from_iter([("pixels", column)]).unwrap()
}

/// Copies between two pieces of memory that are there already; microseconds.
fn memcpy(bytes: usize) -> impl FnMut(usize) -> f64 {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    move |_| {
        let started = Instant::now();
        black_box(&mut to).copy_from_slice(black_box(&from));
        started.elapsed().as_nanos() as f64 / 1e3
    }
}

fn told(way: &str, mib: usize, times: &mut Vec<f64>) {
    times.drain(..WARM_UP);
    times.sort_by(f64::total_cmp);
    let at = |ratio: f64| times[((times.len() - 1) as f64 * ratio) as usize];
    let gigabytes = (mib * MIB) as f64 / 1e9;
    println!(
        r#"{{"way":"{way}","mib":{mib},"rounds":{},"p50_us":{:.1},"p90_us":{:.1},"gb_s":{:.2}}}"#,
        times.len(),
        at(0.5),
        at(0.9),
        gigabytes / (at(0.5) / 1e6),
    );
}
