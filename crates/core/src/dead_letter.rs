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
    /// The row as JSON, at most [`INPUT_BYTES_MAX`] bytes; binary cells as their length.
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

/// Row `place` of `batch` as a short JSON object for a dead letter: text and numbers as they are, binary and nested cells
/// as their type, everything cut at [`INPUT_BYTES_MAX`].
pub fn describe_row(batch: &Batch, place: usize) -> String {
    let mut parts = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.rows().columns()) {
        let value = match field.data_type() {
            _ if column.is_null(place) => "null".to_string(),
            kind if kind.is_numeric() || *kind == DataType::Boolean => shown(column, place),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => quoted(&shown(column, place)),
            other => quoted(&format!("<{other}>")),
        };
        parts.push(format!("{}: {value}", quoted(field.name())));
    }
    let mut text = format!("{{{}}}", parts.join(", "));
    if text.len() > INPUT_BYTES_MAX {
        let end = (0..=INPUT_BYTES_MAX - 3).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
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
    use super::*;
    use crate::row::SplitId;

    #[test]
    fn long_and_odd_text_is_cut_and_escaped() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a\"\n".to_string() + &"é".repeat(5000)]));
        let rows = RecordBatch::try_from_iter([("text", text)]).unwrap();
        let batch = Batch::new(rows, vec![RowId::new(SplitId(1), 0)]).unwrap();
        let shown = describe_row(&batch, 0);
        assert!(shown.starts_with(r#"{"text": "a\"\u000a"#), "{shown}");
        assert!(shown.len() <= INPUT_BYTES_MAX && shown.ends_with("..."));
    }
}
