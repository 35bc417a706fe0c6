//! Measures what a call to a model in a child process costs beyond the model itself. Prints, asserts no time.
//!
//!     cargo test --workspace --test round_trip -- --ignored --nocapture

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_gate::permits::Size;
use forebay_inference::call::ModelGate;
use forebay_inference::hosts::fake::{FakeSettings, host};
use forebay_inference::service::{Service, ServiceSettings};
use futures::future::poll_fn;
use std::task::Poll;

use support::{TokioEnv, command, texts};

/// Sends `rows` rows in batches of `batch`, as many at once as the gate says; the wall time after warm-up.
async fn run(latency: Duration, text: &str, rows: usize, batch: usize, limit: usize) -> Duration {
    let host = host(&FakeSettings { latency, ..FakeSettings::default() }, command()).unwrap();
    let service = Service::new(TokioEnv::shared(), Arc::new(host), None, ServiceSettings::default());
    let gate = ModelGate::fixed(TokioEnv::shared(), limit, batch, Duration::ZERO);
    let size = Size { rows: batch, bytes: batch * text.len(), cost: batch as u64 };
    service.submit(texts(u128::MAX - 1, &["warm"]), forebay_inference::call::Permit::unlimited()).await.unwrap();
    let started = Instant::now();
    let mut waiting = Vec::new();
    for first in (0..rows).step_by(batch) {
        let permit = poll_fn(|context| match gate.try_acquire(size, context.waker()) {
            Some(permit) => Poll::Ready(permit),
            None => Poll::Pending,
        });
        let permit = permit.await;
        let texts = texts(first as u128, &vec![text; batch.min(rows - first)]);
        waiting.push(service.submit(texts, permit));
    }
    for told in futures::future::join_all(waiting).await {
        told.unwrap();
    }
    let wall = started.elapsed();
    let counters = service.counters();
    let micros = |ratio| counters.latencies.percentile_micros(ratio).unwrap();
    println!(
        "latency {latency:?}, {} bytes a row, {rows} rows, batches of {batch}, {limit} in flight: {wall:?}, {} calls, p50 {} us, p99 {} us",
        text.len(),
        counters.calls,
        micros(0.5),
        micros(0.99)
    );
    wall
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn overhead_of_a_child_process() {
    let model = Duration::from_millis(5);
    for limit in [1, 2] {
        let wall = run(model, "some text", 20_000, 64, limit).await;
        println!("  {:.3} of the ideal", wall.as_secs_f64() / (313.0 * model.as_secs_f64()));
    }
    run(Duration::ZERO, "some text", 200_000, 64, 1).await;
    run(Duration::ZERO, "some text", 200_000, 64, 2).await;
    run(Duration::ZERO, &"x".repeat(1 << 20), 200, 1, 1).await;
}
