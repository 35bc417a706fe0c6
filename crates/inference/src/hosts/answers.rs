//! What a replica answers to a request batch: a row for each row asked, some of which it may refuse.
//!
//! A refusal concerns its row alone: the others of the request batch are answered, and nobody asks for them again.

use arrow::array::RecordBatch;

/// Answers to a request batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// One row for each row asked, in their order. What stands in the place of a refused row means nothing.
    pub rows: RecordBatch,
    /// The rows that the model refuses, and would again.
    pub refused: Vec<Refused>,
}

/// A row without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the request batch.
    pub row: usize,
    /// Why, for people.
    pub reason: String,
}

// === impl Answers ===

impl From<RecordBatch> for Answers {
    /// Answers to every row.
    fn from(rows: RecordBatch) -> Self {
        Self { rows, refused: Vec::new() }
    }
}
