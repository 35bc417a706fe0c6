//! What the tests with real processes share: an [`Env`] over tokio, the child program, and rows.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "this is the Env that the lint asks for")]

pub mod servers;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use forebay_core::disk::Disk;
use forebay_core::env::Env;
use forebay_core::testing::MemoryDisk;
use forebay_core::time::Instant;
use forebay_inference::hosts::process::WorkerCommand;
use forebay_inference::request::{Outcome, RequestBatch, RequestId};
use futures::future::BoxFuture;

/// Real time and real tasks; files in memory.
pub struct TokioEnv {
    started: std::time::Instant,
    disk: MemoryDisk,
}

// === impl TokioEnv ===

impl TokioEnv {
    pub fn shared() -> Arc<dyn Env> {
        Arc::new(Self { started: std::time::Instant::now(), disk: MemoryDisk::new() })
    }
}

impl Env for TokioEnv {
    fn now(&self) -> Instant {
        Instant(self.started.elapsed().as_micros() as u64)
    }

    fn wall_micros(&self) -> i64 {
        0
    }

    fn random(&self) -> u64 {
        4
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) {
        tokio::task::spawn_blocking(work);
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }
}

/// The child program that cargo built beside the tests.
pub fn command() -> WorkerCommand {
    WorkerCommand {
        program: env!("CARGO_BIN_EXE_forebay-test-worker").into(),
        arguments: Vec::new(),
        variables: Vec::new(),
    }
}

/// Rows with one `text` column and the ids `first..`.
pub fn texts(first: u128, texts: &[&str]) -> RequestBatch {
    let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    batch(first, RecordBatch::try_from_iter([("text", column)]).unwrap())
}

/// `rows` under the ids `first..`.
pub fn batch(first: u128, rows: RecordBatch) -> RequestBatch {
    let ids = (first..first + rows.num_rows() as u128).map(RequestId).collect();
    RequestBatch::new(ids, rows).unwrap()
}

/// Each outcome as one line: the answer's cells, or kind and reason.
pub fn shown(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(shown_one).collect()
}

/// Each row of `rows` as one line of its cells.
pub fn cells(rows: &RecordBatch) -> Vec<String> {
    let answered = |place| shown_one(&Outcome::Answered { rows: rows.clone(), place });
    (0..rows.num_rows()).map(answered).collect()
}

fn shown_one(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed { kind, reason, .. } | Outcome::GivenUp { kind, reason } => {
            format!("{}: {reason}", kind.name())
        }
        Outcome::Answered { rows, place } => {
            let cells = rows
                .columns()
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column, *place).unwrap());
            cells.collect::<Vec<_>>().join(" ")
        }
    }
}
