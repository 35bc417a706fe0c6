//! JSON lines: one object per line. Columns that a line lacks are null; members that the schema lacks are ignored.
//!
//! The ordinal of a row is the byte position of its line. Numbers and truth values are taken for a text column as they are
//! written, a text that spells a number for a number column; any other mismatch makes the line a dead letter, a number that its
//! column would change too.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use forebay_core::types::numbers::{has_numbers, misfit};
use forebay_core::{Error, Kind, Result};

use super::format::Position;
use super::records::{Decode, RecordFormat};

/// The format `jsonl` with the columns to read.
#[derive(Clone)]
pub(super) struct JsonLines {
    schema: SchemaRef,
    /// The type of a line, if numbers are in it.
    line: Option<DataType>,
}

// === impl JsonLines ===

impl JsonLines {
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let line = DataType::Struct(schema.fields().clone());
        let format = Self { schema, line: Some(line).filter(has_numbers) };
        let tried = format.builder().build_decoder();
        tried.map_err(|source| Error::new(Kind::Invalid, "set up jsonl reader").source(source))?;
        Ok(format)
    }

    /// Mixed columns are inferred as text, so numbers must pass for text.
    fn builder(&self) -> ReaderBuilder {
        ReaderBuilder::new(SchemaRef::clone(&self.schema)).with_coerce_primitive(true)
    }
}

impl RecordFormat for JsonLines {
    const HEADER: bool = false;

    fn cut(&self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| *byte == b'\n').map(|place| place + 1)
    }

    fn ordinal(&self, position: Position) -> u64 {
        position.bytes
    }

    fn decoder(&self, _header: &[u8]) -> std::result::Result<Box<dyn Decode>, String> {
        Ok(Box::new(self.clone()))
    }
}

impl Decode for JsonLines {
    fn decode(&self, records: &[&[u8]]) -> std::result::Result<RecordBatch, ArrowError> {
        let mut decoder = self.builder().with_batch_size(records.len() + 1).build_decoder()?;
        for (place, record) in records.iter().enumerate() {
            if let Some(why) = self.line.as_ref().and_then(|line| misfit(record, line)) {
                return Err(ArrowError::JsonError(why));
            }
            decoder.decode(record)?;
            // A line that stops inside an object would otherwise swallow the next line, a line of two objects add a row.
            if decoder.has_partial_record() {
                decoder.decode(b"\n")?;
            }
            if decoder.has_partial_record() || decoder.len() != place + 1 {
                return Err(ArrowError::JsonError("the line is not exactly one JSON object".to_string()));
            }
        }
        let rows = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(SchemaRef::clone(&self.schema)));
        if rows.num_rows() == records.len() {
            Ok(rows)
        } else {
            Err(ArrowError::JsonError("the line is not exactly one JSON object".to_string()))
        }
    }
}
