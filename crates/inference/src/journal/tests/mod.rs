//! Tests of the journal: the pure core step by step, then the whole over a disk that tears, flips, fills and forgets.

mod core;
mod crash;
mod damage;
mod model_tests;
mod order;
mod trim;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::Result;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use futures::future::BoxFuture;

use super::{Journal, JournalSettings, OpenReport};
use crate::request::{Outcome, RequestId};

pub(super) const FOLDER: &str = "journal/digits";

/// A process over `disk`, and its journal.
pub(super) struct Process {
    pub env: ManualEnv,
    pub journal: Journal,
    pub report: OpenReport,
}

impl Process {
    pub fn start(disk: &MemoryDisk, attempt: u64) -> Self {
        Self::with(disk, attempt, JournalSettings::default()).unwrap()
    }

    pub fn with(disk: &MemoryDisk, attempt: u64, settings: JournalSettings) -> Result<Self> {
        let env = ManualEnv::with_disk(attempt, Arc::new(disk.clone()));
        let opening = Journal::open(Arc::new(env.clone()), FOLDER, attempt, settings);
        let (journal, report) = env.block_on(opening)?;
        Ok(Self { env, journal, report })
    }

    pub fn wait<T: 'static>(&self, work: BoxFuture<'static, T>) -> T {
        self.env.block_on(work)
    }

    /// Answers `ids` with their value times `factor`.
    pub fn answer(&self, ids: &[u128], factor: i64) {
        let appended = self.wait(self.journal.append_answers(requests(ids), rows(ids, factor))).unwrap();
        assert!(appended.duplicates.is_empty());
    }

    /// The answers to `ids`.
    pub fn find(&self, ids: &[u128]) -> Vec<Option<i64>> {
        let outcomes = self.wait(self.journal.lookup(&requests(ids))).unwrap();
        outcomes.iter().map(|outcome| outcome.as_ref().map(value)).collect()
    }
}

pub(super) fn requests(ids: &[u128]) -> Vec<RequestId> {
    ids.iter().map(|id| RequestId(*id)).collect()
}

pub(super) fn rows(ids: &[u128], factor: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(ids.iter().map(|id| Some(*id as i64 * factor)).collect::<Int64Array>());
    RecordBatch::try_from_iter([("answer", column)]).unwrap()
}

pub(super) fn value(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Answered { rows, place } => {
            rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(*place)
        }
        Outcome::Failed { kind, reason, .. } | Outcome::GivenUp { kind, reason } => panic!("{kind:?}: {reason}"),
    }
}

/// The bytes of `path`.
pub(super) fn bytes_of(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    use forebay_core::disk::Disk;
    futures::executor::block_on(disk.read(path)).unwrap().unwrap().to_vec()
}
