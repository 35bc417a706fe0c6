//! How heavy finished rows are: answers of any length, such as what was fetched, bound a batch by bytes as well as by rows.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use forebay_inference::request::Outcome;

/// Most bytes of text and bytes of answers in one batch given out, beyond a single row's: a column of them has room for 2 GiB,
/// and whoever comes next holds a whole batch.
pub(super) const EMIT_BYTES_MAX: usize = 64 << 20;

/// Bytes of finished answers that wait to leave, above which nothing is asked: eight times what a batch carries, so that who is
/// slower than the model by little never holds it up.
pub(super) const HELD_BYTES_MAX: usize = 512 << 20;

/// Bytes of text and bytes in what became of a row; values of fixed length count as nothing.
pub(super) fn bytes_of(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Answered { rows, place } => rows.columns().iter().map(|column| value_bytes(column, *place)).sum(),
        Outcome::Failed { .. } | Outcome::GivenUp { .. } => 0,
    }
}

fn value_bytes(column: &ArrayRef, place: usize) -> usize {
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value_length(place) as usize,
        DataType::Binary => column.as_binary::<i32>().value_length(place) as usize,
        DataType::LargeUtf8 => column.as_string::<i64>().value_length(place) as usize,
        DataType::LargeBinary => column.as_binary::<i64>().value_length(place) as usize,
        _ => 0,
    }
}
