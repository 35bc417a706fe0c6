//! CSV: comma-separated records under a header, quoted with `"` as RFC 4180 says; a quoted value may hold line breaks.
//!
//! Columns are found by their name in the header, in any order; others are skipped. An empty value is null. The ordinal of
//! a row is its record number, from 0, header and byte order mark not counted, blank lines counted.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field, Schema, SchemaRef,
};
use arrow::error::ArrowError;
use forebay_core::types::numbers::why_changed;

use super::format::Position;
use super::records::{Decode, RecordFormat};

/// The length of `2024-01-31`.
const DATE_CHARACTERS: usize = 10;

/// The format `csv` with the columns to read.
#[derive(Clone)]
pub(super) struct Csv {
    schema: SchemaRef,
}

/// Decodes records under one file's header.
struct Decoder {
    /// Every column of the file: those wanted with their type, the others as text.
    file: SchemaRef,
    /// Place in the file of each wanted column.
    wanted: Vec<usize>,
    schema: SchemaRef,
}

/// Where a scan for the end of a record stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scan {
    ValueStart,
    Plain,
    Quoted,
    /// After a quote inside a quoted value: its end, or the first half of a doubled quote.
    Quote,
}

/// The column names of a header record.
///
/// # Errors
/// Why it is none.
pub(super) fn column_names(header: &[u8]) -> Result<Vec<String>, String> {
    let (schema, _) = Format::default().with_header(true).infer_schema(header, Some(0)).map_err(|e| e.to_string())?;
    Ok(schema.fields().iter().map(|field| field.name().clone()).collect())
}

// === impl Csv ===

impl Csv {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl RecordFormat for Csv {
    const HEADER: bool = true;

    fn cut(&self, bytes: &[u8]) -> Option<usize> {
        let mut scan = Scan::ValueStart;
        for (place, byte) in bytes.iter().enumerate() {
            scan = match (scan, byte) {
                (Scan::Quoted, b'"') => Scan::Quote,
                (Scan::Quoted, _) | (Scan::ValueStart | Scan::Quote, b'"') => Scan::Quoted,
                (_, b'\n') => return Some(place + 1),
                (_, b',') => Scan::ValueStart,
                _ => Scan::Plain,
            };
        }
        None
    }

    fn ordinal(&self, position: Position) -> u64 {
        position.rows
    }

    fn decoder(&self, header: &[u8]) -> Result<Box<dyn Decode>, String> {
        if header.trim_ascii_end().contains(&b'\r') {
            return Err("its line breaks are carriage returns alone: make them `\\n` or `\\r\\n`".to_string());
        }
        let names = column_names(header)?;
        let mut wanted = Vec::new();
        for field in self.schema.fields() {
            let place = names.iter().position(|name| name == field.name());
            wanted.push(
                place
                    .ok_or_else(|| format!("the file has no column `{}`, only: {}", field.name(), names.join(", ")))?,
            );
        }
        let field = |(place, name): (usize, &String)| {
            let found = wanted.iter().position(|wanted| *wanted == place);
            let kept = found.map(|found| &self.schema.fields()[found]);
            let kept = kept.filter(|field| !is_parsed_later(field.data_type()));
            kept.map_or_else(|| Arc::new(Field::new(name, DataType::Utf8, true)), Arc::clone)
        };
        let fields: Vec<Arc<Field>> = names.iter().enumerate().map(field).collect();
        if let Some(twice) = self.schema.fields().iter().find(|field| count(&names, field.name()) > 1) {
            return Err(format!("the header has two columns `{}`: rename one", twice.name()));
        }
        Ok(Box::new(Decoder { file: Arc::new(Schema::new(fields)), wanted, schema: Arc::clone(&self.schema) }))
    }
}

// === impl Decoder ===

impl Decode for Decoder {
    fn decode(&self, records: &[&[u8]]) -> Result<RecordBatch, ArrowError> {
        self.read(records).map_err(without_line)
    }
}

impl Decoder {
    fn read(&self, records: &[&[u8]]) -> Result<RecordBatch, ArrowError> {
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.file))
            .with_batch_size(records.len() + 1)
            .with_projection(self.wanted.clone())
            .build_decoder();
        for record in records {
            let mut read = 0;
            while read < record.len() {
                match decoder.decode(&record[read..])? {
                    0 => break,
                    bytes => read += bytes,
                }
            }
        }
        decoder.decode(&[])?;
        let rows = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.schema)));
        if rows.num_rows() != records.len() {
            return Err(ArrowError::CsvError(format!("{} rows in {} records", rows.num_rows(), records.len())));
        }
        let fields = self.schema.fields().iter();
        let columns = fields.zip(rows.columns()).map(|(field, column)| match field.data_type() {
            DataType::Date32 => dates(column),
            kind if kind.is_decimal() => decimals(column, kind),
            _ => Ok(Arc::clone(column)),
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?)
    }
}

/// The error without the line that Arrow's reader counts: it sees one record, and the row's input says which.
fn without_line(error: ArrowError) -> ArrowError {
    let plain = |text: String| text.replace(" at line 0", "").replace(" for line 1", "");
    match error {
        ArrowError::ParseError(text) => ArrowError::ParseError(plain(text)),
        ArrowError::CsvError(text) => ArrowError::CsvError(plain(text)),
        other => other,
    }
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|other| *other == name).count()
}

/// Arrow's reader takes a time of day after a date, and digits that a decimal does not keep, and drops them.
fn is_parsed_later(kind: &DataType) -> bool {
    *kind == DataType::Date32 || kind.is_decimal()
}

/// Text as decimals.
fn decimals(text: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if let Some(why) = text.as_string::<i32>().iter().flatten().find_map(|text| why_changed(text, kind)) {
        return Err(ArrowError::ParseError(why));
    }
    match kind {
        DataType::Decimal32(precision, scale) => parsed::<Decimal32Type>(text, *precision, *scale),
        DataType::Decimal64(precision, scale) => parsed::<Decimal64Type>(text, *precision, *scale),
        DataType::Decimal128(precision, scale) => parsed::<Decimal128Type>(text, *precision, *scale),
        DataType::Decimal256(precision, scale) => parsed::<Decimal256Type>(text, *precision, *scale),
        other => Err(ArrowError::ParseError(format!("{other} is no decimal"))),
    }
}

// A cast would take no exponents.
fn parsed<T: DecimalType>(text: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef, ArrowError> {
    let each = text.as_string::<i32>().iter();
    let values = each.map(|text| text.map(|text| parse_decimal::<T>(text, precision, scale)).transpose());
    let values = values.collect::<Result<PrimitiveArray<T>, _>>()?;
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// Text as dates.
fn dates(text: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let longer = text.as_string::<i32>().iter().flatten().find(|text| text.trim().len() > DATE_CHARACTERS);
    if let Some(longer) = longer {
        return Err(ArrowError::ParseError(format!("{longer:?} is no date")));
    }
    cast_with_options(text, &DataType::Date32, &CastOptions { safe: false, ..CastOptions::default() })
}
