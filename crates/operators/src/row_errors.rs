//! What becomes of the rows that a step cannot process: dead letters, or the end of the job. (Null is the step's own affair.)

use std::collections::BTreeMap;

use arrow::array::BooleanArray;
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::on_error::OnError;
use forebay_core::{Batch, Error, Result};

/// Rows of one batch that failed, by place, each with why.
#[derive(Debug, Default)]
pub struct Failed(BTreeMap<usize, Error>);

// === impl Failed ===

impl Failed {
    /// Adds `errors`; what is known of a row already stays.
    pub fn extend(&mut self, errors: impl IntoIterator<Item = (usize, Error)>) {
        for (place, error) in errors {
            self.0.entry(place).or_insert(error);
        }
    }

    /// Whether no row failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True for each of `rows` rows that did not fail.
    pub fn others(&self, rows: usize) -> BooleanArray {
        (0..rows).map(|place| Some(!self.0.contains_key(&place))).collect()
    }

    /// The dead letters of `operator` for the rows of `batch` that failed. What takes a row back gets none: the row itself had one.
    ///
    /// # Errors
    /// The first failure, naming its row, if `on_error` says so.
    pub fn into_letters(
        self,
        on_error: OnError,
        attempted: &'static str,
        batch: &Batch,
        operator: &str,
    ) -> Result<Vec<DeadLetter>> {
        let letter = |(place, error): (usize, Error)| {
            if on_error == OnError::Fail {
                return Err(Error::new(error.kind(), attempted).with("row", batch.ids()[place]).source(error));
            }
            Ok(DeadLetter {
                row: batch.ids()[place],
                operator: operator.to_string(),
                kind: error.kind(),
                reason: error.chain(),
                attempts: 1,
                input: describe_row(batch, place),
            })
        };
        self.0.into_iter().filter(|(place, _)| !batch.kind(*place).is_retraction()).map(letter).collect()
    }
}
