//! `from_json`: one JSON value a row becomes a value of a given Arrow type, lists and structs included.
//!
//! Text comes from strangers: each row is first checked to be exactly one JSON value, so that no row can end its neighbour's
//! value or begin one of its own. Then all rows are decoded together; only if that fails is each decoded alone, to find out
//! which of them do not fit the type.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::numbers::misfit;
use forebay_core::{Error, Kind, Result};
use serde::de::IgnoredAny;

use crate::arguments::Arguments;

/// `from_json(text, type)`; see its reference page.
#[derive(Debug)]
pub struct FromJson;

#[derive(Debug)]
struct Bound {
    output: FieldRef,
    /// One column, of the result.
    schema: SchemaRef,
}

// === impl FromJson ===

impl RowFunction for FromJson {
    fn name(&self) -> &'static str {
        "from_json"
    }

    fn usage(&self) -> &'static str {
        "from_json(text, type)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let read = Arguments::new(self, arguments, 2..=2)?;
        let accepted = "a column of text";
        let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match arguments.first() {
            Some(Argument::Column(field)) if is_text(field.data_type()) => {}
            _ => return Err(read.refuse(0, "text", accepted)),
        }
        let accepted = "an Arrow type such as 'Int64', 'List(Utf8)' or 'Struct(\"label\": Utf8, \"score\": Float64)'";
        let Some(Argument::Text(text)) = arguments.get(1) else { return Err(read.refuse(1, "type", accepted)) };
        let kind = DataType::from_str(text).map_err(|source| read.refuse(1, "type", accepted).source(source))?;
        let output = Arc::new(Field::new(self.name(), kind, true));
        let schema = Arc::new(Schema::new(vec![Arc::clone(&output)]));
        let bound = Bound { output, schema };
        // Not every type can be read from JSON; an empty batch shows it.
        bound.decode(&[]).map_err(|source| read.refuse(1, "type", accepted).source(source))?;
        Ok(Arc::new(bound))
    }
}

// === impl Bound ===

impl Bound {
    /// One value for each of `texts`, which are JSON.
    fn decode(&self, texts: &[&str]) -> Result<ArrayRef, ArrowError> {
        let builder = ReaderBuilder::new(Arc::clone(&self.schema)).with_batch_size(texts.len().max(1));
        let mut decoder = builder.build_decoder()?;
        for text in texts {
            if let Some(why) = misfit(text.as_bytes(), self.output.data_type()) {
                return Err(ArrowError::JsonError(why));
            }
            let line = format!("{{\"{}\":{text}}}\n", self.output.name());
            decoder.decode(line.as_bytes())?;
        }
        let decoded = decoder.flush()?;
        Ok(decoded.map_or_else(|| new_empty_array(self.output.data_type()), |rows| Arc::clone(rows.column(0))))
    }

    /// The value of one row, null without text.
    fn row(&self, text: Option<&str>) -> Result<ArrayRef> {
        let Some(text) = text else { return Ok(new_null_array(self.output.data_type(), 1)) };
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| unreadable(text).with("reason", error))?;
        self.decode(&[text]).map_err(|error| unreadable(text).with("reason", error))
    }

    /// Each row by itself: those that fit, nulls and errors for the others.
    fn one_by_one(&self, texts: &[Option<&str>]) -> Result<Evaluated> {
        let (mut values, mut errors) = (Vec::with_capacity(texts.len()), Vec::new());
        for (place, text) in texts.iter().enumerate() {
            values.push(self.row(*text).unwrap_or_else(|error| {
                errors.push((place, error));
                new_null_array(self.output.data_type(), 1)
            }));
        }
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let column = concat(&values).map_err(|source| internal().source(source))?;
        Ok(Evaluated { column, errors })
    }
}

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let [text] = columns else { return Err(internal().with("columns", columns.len())) };
        if rows == 0 {
            return Ok(Evaluated { column: new_empty_array(self.output.data_type()), errors: Vec::new() });
        }
        let text = cast(text, &DataType::LargeUtf8).map_err(|source| internal().source(source))?;
        let texts: Vec<Option<&str>> = text.as_string::<i64>().iter().collect();
        let is_json = |text: &Option<&str>| text.is_none_or(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        if texts.iter().all(is_json) {
            let all: Vec<&str> = texts.iter().map(|text| text.unwrap_or("null")).collect();
            if let Ok(column) = self.decode(&all)
                && column.len() == rows
            {
                return Ok(Evaluated { column, errors: Vec::new() });
            }
        }
        self.one_by_one(&texts)
    }
}

/// The error of a row whose text is not what was asked for.
fn unreadable(text: &str) -> Error {
    /// Characters of it that are shown.
    const SHOWN: usize = 60;
    let shown: String = text.chars().take(SHOWN).collect();
    Error::new(Kind::Data, "read JSON").with("text", shown)
}

fn internal() -> Error {
    Error::new(Kind::Internal, "evaluate from_json")
}
