//! What the planner asks of files: their columns, and small tables as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::csv::reader::Format as CsvFormat;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::json::reader::infer_json_schema_from_iterator;
use forebay_core::source::{Enumerator, Split};
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};
use futures::StreamExt;
use serde_json::{Value, json};

use super::csv::{Csv, column_names};
use super::format::{Content, Position};
use super::records::RecordFormat;
use super::{FileFormat, FilePattern, FilesEnumerator, ReaderSettings, images, parser};
use crate::sinks::files::tensors;

/// Records of the first file that decide on its columns' types.
const RECORDS_MAX: usize = 1000;
/// Bytes of the first file that are looked at for them.
const SAMPLE_BYTES: u64 = 8 << 20;
/// What is said of gzip and zstd files.
const COMPRESSED: &str = "it is compressed, and compressed files are not read: unpack it first";
/// Files that are looked at for one with records: writers of many files leave some of them empty.
const FILES_MAX: usize = 100;

/// The columns of the files that `pattern` means, as the first of them (by path) has them.
///
/// Images have fixed columns. CSV and JSON lines are inferred from the first 1,000 good records (at most 8 MiB) of the
/// first file that is not empty, among 100, every column nullable; a column that only has nulls there is text. Parquet files say it
/// themselves.
///
/// # Errors
/// `Invalid` if no file matches or that file has no columns to find, naming it; what the store answers.
pub async fn infer_schema(store: Arc<dyn Store>, format: FileFormat, pattern: FilePattern) -> Result<SchemaRef> {
    let splits = FilesEnumerator::new("", Arc::clone(&store), pattern).splits().await?;
    let is_text = matches!(format, FileFormat::JsonLines | FileFormat::Csv);
    let first = if is_text { first_with_records(&store, &splits, format).await? } else { splits.first() };
    let Some(first) = first.or_else(|| splits.first()).cloned() else {
        return Err(Error::new(Kind::Internal, "infer columns").source("an enumerator answered no file"));
    };
    let unclear = |why: String| {
        Error::new(Kind::Invalid, "infer columns").with("format", format).with("file", &first.name).source(why)
    };
    match format {
        FileFormat::Images => Ok(images::schema()),
        FileFormat::Parquet => match super::parquet::file_schema(store, first.clone()).await {
            Ok(schema) => distinct(schema).and_then(in_order).map_err(unclear),
            Err(error) if error.kind() == Kind::Data => Err(unclear(error.chain())),
            Err(error) => Err(error),
        },
        FileFormat::JsonLines => infer_json(&sample(&store, &first).await?).map_err(unclear),
        FileFormat::Csv => infer_csv(&sample(&store, &first).await?).map_err(unclear),
    }
}

/// All rows of the files that `pattern` means, in path and file order, for tables small enough to hold in memory.
///
/// # Errors
/// `Invalid` beyond `rows_max` rows; `Data` for a row that cannot be read, naming it, because a table with holes would
/// give wrong answers; what the store answers.
pub async fn read_table(
    store: Arc<dyn Store>,
    format: FileFormat,
    pattern: FilePattern,
    rows_max: usize,
) -> Result<RecordBatch> {
    let schema = infer_schema(Arc::clone(&store), format, pattern.clone()).await?;
    let name = pattern.pattern().to_string();
    let splits = FilesEnumerator::new("", Arc::clone(&store), pattern).splits().await?;
    let parser = parser(format, Arc::clone(&schema), &ReaderSettings::default())?;
    let (mut all, mut rows_read) = (Vec::new(), 0);
    for split in &splits {
        let mut chunks = parser.open(Arc::clone(&store), split, Position::default());
        while let Some(chunk) = chunks.next().await {
            match chunk?.content {
                Content::Rows { rows, .. } => {
                    rows_read += rows.num_rows();
                    all.push(rows);
                }
                Content::Bad(bad) => {
                    let (input, reason) = bad.into_iter().map(|bad| (bad.input, bad.reason)).next().unwrap_or_default();
                    return Err(Error::new(Kind::Data, "read table").with("row", input).source(reason));
                }
            }
            if rows_read > rows_max {
                return Err(Error::new(Kind::Invalid, "read table")
                    .with("pattern", name)
                    .with("rows_max", rows_max)
                    .source("the table has more rows than may be held in memory"));
            }
        }
    }
    concat_batches(&schema, &all).map_err(|source| Error::new(Kind::Internal, "read table").source(source))
}

/// The first of `splits` with a record, or if there is none, with a header.
async fn first_with_records<'a>(
    store: &Arc<dyn Store>,
    splits: &'a [Split],
    format: FileFormat,
) -> Result<Option<&'a Split>> {
    let mut with_header = None;
    for split in splits.iter().take(FILES_MAX) {
        let sample = sample(store, split).await?;
        let text = sample.trim_ascii();
        if !text.is_empty() && (format == FileFormat::JsonLines || text.contains(&b'\n')) {
            return Ok(Some(split));
        }
        with_header = with_header.or((!text.is_empty()).then_some(split));
    }
    Ok(with_header)
}

/// The start of `split`, up to its last whole line if it is cut.
async fn sample(store: &Arc<dyn Store>, split: &Split) -> Result<Vec<u8>> {
    let found = store.read_range(&split.name, 0..split.size_bytes.min(SAMPLE_BYTES)).await?.unwrap_or_default();
    let mut bytes = found.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&found).to_vec();
    if split.size_bytes > SAMPLE_BYTES {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1));
    }
    Ok(bytes)
}

/// Why no line of `sample` is an object.
fn no_object(sample: &[u8]) -> String {
    match sample.trim_ascii() {
        [] => "it is empty, or its first line is longer than 8 MiB".to_string(),
        _ if is_compressed(sample) => COMPRESSED.to_string(),
        _ => "none of its first lines is a JSON object".to_string(),
    }
}

/// Whether `sample` begins as gzip or zstd does.
fn is_compressed(sample: &[u8]) -> bool {
    matches!(sample, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..])
}

fn infer_json(sample: &[u8]) -> Result<SchemaRef, String> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut objects = Vec::new();
    let mut lines = Vec::new();
    for (line, text) in sample.split(|byte| *byte == b'\n').enumerate().take(RECORDS_MAX) {
        if let Ok(Value::Object(object)) = serde_json::from_slice(text) {
            for name in object.keys() {
                let place = places.len();
                places.entry(name.clone()).or_insert(place);
            }
            objects.push(Value::Object(object));
            lines.push(line + 1);
        }
    }
    if objects.is_empty() {
        return Err(no_object(sample));
    }
    let schema = infer_json_schema_from_iterator(objects.iter().map(Ok)).map_err(|error| {
        let misfit = places.keys().find_map(|name| Some((name, lines[first_misfit(&objects, name)?])));
        misfit.map_or_else(
            || error.to_string(),
            |(name, line)| {
                let why = "does not go with the values of lines before, such as an object after a number";
                format!("column `{name}` of line {line} {why}: name columns and types in `schema`, or mend the file")
            },
        )
    })?;
    // The inference answers in hash order; the order of first appearance is what a reader of the file expects.
    let mut fields: Vec<Field> = schema.fields().iter().map(|field| settled(field)).collect();
    fields.sort_by_key(|field| places.get(field.name()).copied());
    Ok(Arc::new(Schema::new(fields)))
}

/// The place of the first of `objects` whose member `name` does not go with those before it.
fn first_misfit(objects: &[Value], name: &str) -> Option<usize> {
    let members: Vec<(usize, Value)> = objects
        .iter()
        .enumerate()
        .filter_map(|(place, object)| Some((place, json!({ name: object.get(name)? }))))
        .collect();
    let goes =
        |count: usize| infer_json_schema_from_iterator(members[..count].iter().map(|(_, each)| Ok(each))).is_ok();
    let counts: Vec<usize> = (1..=members.len()).collect();
    let fitting = counts.partition_point(|count| goes(*count));
    members.get(fitting).map(|(place, _)| *place)
}

fn infer_csv(sample: &[u8]) -> Result<SchemaRef, String> {
    if is_compressed(sample) {
        return Err(COMPRESSED.to_string());
    }
    let csv = Csv::new(Arc::new(Schema::empty()));
    let mut rest = sample;
    let mut next = || {
        let length = csv.cut(rest).unwrap_or(rest.len());
        let (record, after) = rest.split_at(length);
        rest = after;
        (!record.is_empty()).then_some(record)
    };
    let header = next().ok_or("the file is empty")?;
    let text: Vec<Field> =
        column_names(header)?.into_iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let whole = Csv::new(Arc::new(Schema::new(text))).decoder(header)?;
    // Records of another width are dead letters later; they must not decide on types, nor stop the plan.
    let good = |record: &&[u8]| whole.decode(&[record]).is_ok();
    let mut kept = header.to_vec();
    std::iter::from_fn(next).filter(good).take(RECORDS_MAX).for_each(|record| kept.extend_from_slice(record));
    let format = CsvFormat::default().with_header(true);
    let (schema, _) = format.infer_schema(kept.as_slice(), Some(RECORDS_MAX)).map_err(|error| error.to_string())?;
    let fields = schema.fields().iter().map(|field| in_microseconds(settled(field)));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The field, in microseconds if it holds times: later records may have more digits behind the second than the first have,
/// or lie outside of the years that nanoseconds reach.
fn in_microseconds(field: Field) -> Field {
    match field.data_type() {
        DataType::Timestamp(_, zone) => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            field.with_data_type(kind)
        }
        _ => field,
    }
}

/// `schema`, unless two columns have one name: only one of them could be asked for.
fn distinct(schema: SchemaRef) -> Result<SchemaRef, String> {
    let names = || schema.fields().iter().map(|field| field.name());
    match names().enumerate().find(|(place, name)| names().take(*place).any(|before| before == *name)) {
        Some((_, name)) => Err(format!("it has two columns `{name}`: rename one")),
        None => Ok(schema),
    }
}

fn in_order(schema: SchemaRef) -> Result<SchemaRef, String> {
    schema.fields().iter().try_for_each(|field| tensors::check_order(field)).map(|()| schema)
}

/// A field whose type is decided: text where only nulls were seen, members of structs in name order.
fn settled(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => DataType::List(Arc::new(settled(item))),
        DataType::Struct(members) => {
            let mut members: Vec<Field> = members.iter().map(|member| settled(member)).collect();
            members.sort_by(|left, right| left.name().cmp(right.name()));
            DataType::Struct(Fields::from(members))
        }
        other => other.clone(),
    };
    Field::new(field.name(), kind, true)
}
