//! The vocabulary shared by batcher, hosts and journal: which inference, which rows, and what became of them.
//!
//! A request batch is only transport. Identity, outcome and retry count belong to each row, so that a row answered once
//! is known again however rows are batched after a restore.

use std::fmt;
use std::time::Duration;

use arrow::array::RecordBatch;
use forebay_core::hash::hash128_parts;
use forebay_core::{Error, Kind, Result, RowId};

/// Identity of one inference: a hash of job, operator, model revision and row.
///
/// The same row asked of another revision of the model is another inference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u128);

/// Rows sent in one call, one id a row.
#[derive(Debug, Clone)]
pub struct RequestBatch {
    /// Which inference each row is; as many as `rows` has rows.
    pub ids: Vec<RequestId>,
    /// The rows, in the order of `ids`.
    pub rows: RecordBatch,
}

/// What became of one row. All are final: a finished row is never sent again.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The model answered.
    Answered {
        /// Answers of many rows, shared by their outcomes.
        rows: RecordBatch,
        /// Which row of `rows` is this one's answer.
        place: usize,
    },
    /// The row failed for good.
    Failed {
        /// Why, by kind.
        kind: Kind,
        /// Why, for people.
        reason: String,
        /// How long the model asked to be left alone, where it did. Not kept in the journal.
        retry_after: Option<Duration>,
        /// The model forbids another try. Not kept in the journal either.
        final_: bool,
        /// Other rows were in the call that failed, and the fault may be theirs. A call for several of those who ask has more rows than
        /// any of them gave. Nor kept in the journal, which has no such failures.
        together: bool,
    },
    /// Those who asked do not ask for it again, and took another answer: whoever asks later gets this and nothing runs.
    GivenUp {
        /// The last failure, by kind.
        kind: Kind,
        /// The last failure, for people.
        reason: String,
    },
}

// === impl RequestId ===

impl RequestId {
    /// The inference of `row` by `model_revision` in `operator` of `job`.
    pub fn new(job: &str, operator: &str, model_revision: &str, row: RowId) -> Self {
        let parts = [job.as_bytes(), operator.as_bytes(), model_revision.as_bytes(), &row.to_bytes()];
        Self(hash128_parts(&parts))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl RequestBatch ===

impl RequestBatch {
    /// Joins ids and rows.
    ///
    /// # Errors
    /// `Internal` if the counts differ.
    pub fn new(ids: Vec<RequestId>, rows: RecordBatch) -> Result<Self> {
        if ids.len() == rows.num_rows() {
            return Ok(Self { ids, rows });
        }
        Err(Error::new(Kind::Internal, "join requests and rows").with("ids", ids.len()).with("rows", rows.num_rows()))
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_core::row::SplitId;

    #[test]
    fn each_part_makes_another_inference() {
        let row = RowId::new(SplitId(1), 2);
        let id = RequestId::new("job", "classify", "digits@1", row);
        assert_eq!(id, RequestId::new("job", "classify", "digits@1", row));
        assert_ne!(id, RequestId::new("other", "classify", "digits@1", row));
        assert_ne!(id, RequestId::new("job", "score", "digits@1", row));
        assert_ne!(id, RequestId::new("job", "classify", "digits@2", row));
        assert_ne!(id, RequestId::new("job", "classify", "digits@1", RowId::new(SplitId(1), 3)));
    }
}
