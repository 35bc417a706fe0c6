//! Dead letters: rows that cannot be processed, with the reason, on their way to the dead-letter output.
//!
//! They commit with the same epoch as the rows that went through, so a row is in exactly one of the two outputs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::Batch;
use crate::error::{Error, Kind, Result};
use crate::row::RowId;

/// Longest input shown in a dead letter, in bytes; the rest is cut. Payloads stay at their source, which `row` names.
pub const INPUT_BYTES_MAX: usize = 4096;

/// A cell of a row that is too long keeps at least so many bytes.
const CELL_BYTES_MIN: usize = 64;

/// One row that cannot be processed.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The row's id.
    pub row: RowId,
    /// Uid of the operator that gave up on it.
    pub operator: String,
    /// Why, by kind.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The row as JSON, at most [`INPUT_BYTES_MAX`] bytes; see [`describe_row`].
    pub input: String,
}

/// The schema of the dead-letter output; no column is ever null.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Utf8, false),
        Field::new("operator", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("attempts", DataType::UInt32, false),
        Field::new("input", DataType::Utf8, false),
    ]))
}

/// Dead letters as a batch of [`schema`], each under its row's id.
///
/// # Errors
/// `Internal` only.
pub fn to_batch(letters: &[DeadLetter]) -> Result<Batch> {
    let text = |pick: fn(&DeadLetter) -> String| -> ArrayRef {
        Arc::new(letters.iter().map(|letter| Some(pick(letter))).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        text(|letter| letter.row.to_string()),
        text(|letter| letter.operator.clone()),
        text(|letter| letter.kind.name().to_string()),
        text(|letter| letter.reason.clone()),
        Arc::new(UInt32Array::from_iter_values(letters.iter().map(|letter| letter.attempts))),
        text(|letter| letter.input.clone()),
    ];
    let rows = RecordBatch::try_new(schema(), columns)
        .map_err(|source| Error::new(Kind::Internal, "build dead letters").source(source))?;
    Batch::new(rows, letters.iter().map(|letter| letter.row).collect::<Vec<_>>())
}

/// Row `place` of `batch` as a JSON object for a dead letter: numbers and booleans as they are, bytes and tensors as their
/// type, all else as text. Where that is longer than [`INPUT_BYTES_MAX`], long cells are cut, and the whole if that is not
/// enough; what is cut ends in `...`.
pub fn describe_row(batch: &Batch, place: usize) -> String {
    let whole = row_text(batch, place, usize::MAX);
    if whole.len() <= INPUT_BYTES_MAX {
        return whole;
    }
    let share = INPUT_BYTES_MAX / 2 / batch.rows().num_columns().max(1);
    cut(row_text(batch, place, share.max(CELL_BYTES_MIN)), INPUT_BYTES_MAX)
}

fn row_text(batch: &Batch, place: usize, cell_bytes_max: usize) -> String {
    let cells = batch.rows().schema_ref().fields().iter().zip(batch.rows().columns());
    let cell = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let value = cell_text(field.data_type(), column, place, cell_bytes_max);
        format!("{}: {value}", quoted(field.name()))
    };
    format!("{{{}}}", cells.map(cell).collect::<Vec<_>>().join(", "))
}

fn cell_text(kind: &DataType, column: &ArrayRef, place: usize, bytes_max: usize) -> String {
    use DataType::{Binary, BinaryView, FixedSizeBinary, FixedSizeList, LargeBinary};
    if column.is_null(place) {
        return "null".to_string();
    }
    let is_long = matches!(kind, Binary | LargeBinary | BinaryView | FixedSizeBinary(_) | FixedSizeList(..));
    let text = if is_long { format!("<{kind}>") } else { shown(column, place) };
    // JSON has no infinity, and none that is no number.
    let is_bare = kind.is_numeric() && text.ends_with(|last: char| last.is_ascii_digit()) || *kind == DataType::Boolean;
    if is_bare { text } else { quoted(&cut(text, bytes_max)) }
}

/// The text in at most `bytes_max` bytes.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn shown(column: &ArrayRef, place: usize) -> String {
    arrow::util::display::array_value_to_string(column, place).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Float64Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::row::SplitId;

    #[test]
    fn long_and_odd_text_is_cut_and_escaped() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a\"\n".to_string() + &"é".repeat(5000)]));
        let rows = RecordBatch::try_from_iter([("text", text)]).unwrap();
        let batch = Batch::new(rows, vec![RowId::new(SplitId(1), 0)]).unwrap();
        let shown = describe_row(&batch, 0);
        assert!(shown.starts_with(r#"{"text": "a\"\u000a"#), "{shown}");
        assert!(shown.len() <= INPUT_BYTES_MAX && shown.ends_with("...\"}"), "{shown}");
    }

    #[test]
    fn a_long_cell_does_not_push_out_what_is_behind_it() {
        let columns: [(&str, ArrayRef); 4] = [
            ("text", Arc::new(StringArray::from(vec!["x".repeat(9000)]))),
            ("day", Arc::new(Date32Array::from(vec![19723]))),
            ("tags", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]))),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ];
        let batch = Batch::new(RecordBatch::try_from_iter(columns).unwrap(), vec![RowId::new(SplitId(1), 0)]).unwrap();
        let shown = describe_row(&batch, 0);
        assert!(shown.ends_with(r#"xx...", "day": "2024-01-01", "tags": "[1, ]", "nan": "NaN"}"#), "{shown}");
    }
}
