//! Parquet: row groups fetched by range, one batch decoded at a time, only the wanted columns.
//!
//! The ordinal of a row is its index in the file, which is also the position. Columns of tensors that the Parquet sink
//! stored as bytes come back as tensors, timestamps in the unit that is asked for. The bytes of one row group's wanted columns are in memory while it is read.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use bytes::Bytes;
use forebay_core::source::Split;
use forebay_core::store::Store;
use forebay_core::types::extension_name;
use forebay_core::types::tensor::{FIXED_SHAPE_TENSOR, TensorType};
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::format::{Chunk, Chunks, Content, Format, Limits, Position, changed, check_length, nothing, unreadable};
use crate::sinks::files::tensors;

/// Read with the footer in one request; footers of files with some hundred columns fit.
const FOOTER_BYTES: usize = 64 << 10;

/// The format `parquet` with the columns to read.
pub(super) struct ParquetFiles {
    schema: SchemaRef,
    limits: Limits,
}

/// One file being read.
struct File {
    schema: SchemaRef,
    split: Split,
    position: Position,
    rows: Option<ParquetRecordBatchStream<StoreFile>>,
    limits: Limits,
    store: Arc<dyn Store>,
    done: bool,
}

/// A file of a store as the Parquet library reads it.
struct StoreFile {
    store: Arc<dyn Store>,
    split: Split,
}

/// A Parquet file's columns as rows will have them.
///
/// # Errors
/// `Data` if the file is no Parquet file, and what the store answers.
pub(super) async fn file_schema(store: Arc<dyn Store>, split: Split) -> Result<SchemaRef> {
    let name = split.name.clone();
    match ParquetRecordBatchStreamBuilder::new(StoreFile { store, split }).await {
        Ok(builder) => Ok(Arc::new(restored_schema(builder.schema()))),
        Err(error) => Err(store_error(error)
            .unwrap_or_else(|why| Error::new(Kind::Data, "read parquet footer").with("file", name).source(why))),
    }
}

fn restored_schema(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(|field| tensors::restored_field(field)).collect::<Vec<_>>())
}

/// The store's own error inside a Parquet error, or that error if it is about the content.
fn store_error(error: ParquetError) -> std::result::Result<Error, ParquetError> {
    match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(error) if error.kind() != Kind::Data => Ok(*error),
            Ok(error) => Err(ParquetError::General(error.chain())),
            Err(source) => Err(ParquetError::External(source)),
        },
        other => Err(other),
    }
}

// === impl ParquetFiles ===

impl ParquetFiles {
    pub fn new(schema: SchemaRef, limits: Limits) -> Self {
        Self { schema, limits }
    }
}

impl Format for ParquetFiles {
    fn open(&self, store: Arc<dyn Store>, split: &Split, from: Position) -> Chunks {
        // A finished or given-up file stands at its end.
        if from.bytes > 0 {
            return nothing();
        }
        let file = File {
            schema: Arc::clone(&self.schema),
            split: split.clone(),
            position: from,
            rows: None,
            limits: self.limits,
            store,
            done: false,
        };
        stream::unfold(file, |mut file| async move { file.next().await.transpose().map(|chunk| (chunk, file)) }).boxed()
    }

    fn expected_bytes(&self, split: &Split) -> u64 {
        split.size_bytes.min(self.limits.batch_bytes_max as u64)
    }

    fn files_ahead(&self) -> usize {
        2
    }
}

// === impl File ===

impl File {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if self.rows.is_none() {
            match self.start().await {
                Ok(rows) => self.rows = Some(rows),
                Err(error) => return self.give_up(error),
            }
        }
        let Some(rows) = &mut self.rows else { return Ok(None) };
        match rows.next().await {
            None => Ok(None),
            Some(Ok(rows)) => match self.wanted(&rows) {
                Ok(rows) => Ok(Some(self.chunk(rows))),
                Err(error) => self.give_up(ParquetError::from(error)),
            },
            Some(Err(error)) => self.give_up(error),
        }
    }

    /// Opens the file at the position's row.
    async fn start(&mut self) -> std::result::Result<ParquetRecordBatchStream<StoreFile>, ParquetError> {
        let file = StoreFile { store: Arc::clone(&self.store), split: self.split.clone() };
        let builder = ParquetRecordBatchStreamBuilder::new(file).await?;
        let mut places = Vec::new();
        for field in self.schema.fields() {
            places.push(place_of(builder.schema(), field).map_err(ParquetError::General)?);
        }
        let (groups, skipped) = remaining_groups(builder.metadata(), self.position.rows);
        let batch_rows = batch_rows(builder.metadata(), &self.limits);
        let mask = ProjectionMask::roots(builder.parquet_schema(), places);
        let offset = usize::try_from(self.position.rows - skipped)
            .map_err(|_| ParquetError::General("more rows than memory addresses".to_string()))?;
        builder.with_projection(mask).with_row_groups(groups).with_offset(offset).with_batch_size(batch_rows).build()
    }

    /// The wanted columns in the wanted order, tensors restored.
    fn wanted(&self, rows: &RecordBatch) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        let found = rows.schema();
        for field in self.schema.fields() {
            let place = found.index_of(field.name())?;
            let column = tensors::restored_column(found.field(place), rows.column(place))?;
            columns.push(if retimed(column.data_type(), field.data_type()) {
                in_unit(&column, field.data_type())?
            } else {
                column
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    fn chunk(&mut self, rows: RecordBatch) -> Chunk {
        let first = self.position.rows;
        self.position.rows += rows.num_rows() as u64;
        let ordinals = (first..self.position.rows).collect();
        Chunk { content: Content::Rows { rows, ordinals }, next: self.position, last: false }
    }

    fn give_up(&mut self, error: ParquetError) -> Result<Option<Chunk>> {
        self.done = true;
        match store_error(error) {
            Ok(error) => Err(error),
            Err(why) => {
                Ok(Some(unreadable(&self.split, self.position, self.position.rows, format!("read parquet: {why}"))))
            }
        }
    }
}

/// Where the wanted column is in the file.
fn place_of(file: &Schema, wanted: &Field) -> std::result::Result<usize, String> {
    let Some((place, field)) = file.fields().find(wanted.name()) else {
        let names: Vec<_> = file.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(format!("the file has no column `{}`, only: {}", wanted.name(), names.join(", ")));
    };
    tensors::check_order(field)?;
    let found = tensors::restored_field(field);
    if let (Some(shape), Some(asked)) = (shape_of(&found), shape_of(wanted))
        && shape != asked
    {
        return Err(format!(
            "the tensors of column `{}` have the shape {shape:?} in this file, not {asked:?}",
            wanted.name()
        ));
    }
    if found.data_type() == wanted.data_type() || retimed(found.data_type(), wanted.data_type()) {
        return Ok(place);
    }
    Err(format!("column `{}` is {} in this file, not {}", wanted.name(), found.data_type(), wanted.data_type()))
}

/// The shape of tensors that say theirs; lists of a fixed length say none.
fn shape_of(field: &Field) -> Option<Vec<usize>> {
    let said = extension_name(field) == Some(FIXED_SHAPE_TENSOR);
    TensorType::of(field).filter(|_| said).map(|tensor| tensor.shape)
}

/// Whether both are timestamps of one time zone and only their unit differs: event times are in microseconds.
fn retimed(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Timestamp(unit, zone), DataType::Timestamp(other, same)) => unit != other && zone == same,
        _ => false,
    }
}

/// Timestamps in the unit of `wanted`. A finer one is cut to what has passed, before 1970 as after; what does not fit is null.
fn in_unit(times: &ArrayRef, wanted: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    let per_second = |kind: &DataType| match kind {
        DataType::Timestamp(TimeUnit::Second, _) => 1,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        _ => 1_000_000_000,
    };
    let (found, asked): (i64, i64) = (per_second(times.data_type()), per_second(wanted));
    if found <= asked {
        return cast(times, wanted);
    }
    // Arrow's cast cuts towards 1970.
    let numbers = cast(times, &DataType::Int64)?;
    let cut: Int64Array = numbers.as_primitive::<Int64Type>().unary(|time| time.div_euclid(found / asked));
    cast(&cut, wanted)
}

/// The row groups that hold row `from` and later rows, and how many rows lie before them.
fn remaining_groups(metadata: &ParquetMetaData, from: u64) -> (Vec<usize>, u64) {
    let (mut skipped, mut first) = (0, 0);
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if skipped + rows > from {
            break;
        }
        skipped += rows;
        first += 1;
    }
    ((first..metadata.num_row_groups()).collect(), skipped.min(from))
}

/// Rows in a batch: fewer where rows are large, as with pixels.
fn batch_rows(metadata: &ParquetMetaData, limits: &Limits) -> usize {
    let bytes: i64 = metadata.row_groups().iter().map(|group| group.total_byte_size()).sum();
    let row_bytes = usize::try_from(bytes / metadata.file_metadata().num_rows().max(1)).unwrap_or(0).max(1);
    (limits.batch_bytes_max / row_bytes).clamp(1, limits.batch_rows)
}

// === impl StoreFile ===

impl AsyncFileReader for StoreFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let (found, split, wanted) =
            (self.store.read_range(&self.split.name, range.clone()), self.split.clone(), range.end - range.start);
        async move {
            match found.await.map_err(|error| ParquetError::External(Box::new(error)))? {
                Some(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
                other => Err(ParquetError::General(changed(&split, other.map(|bytes| bytes.len() as u64)))),
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.split.size_bytes;
            let check = check_length(self.store.as_ref(), &self.split).await;
            if let Some(reason) = check.map_err(|error| ParquetError::External(Box::new(error)))? {
                return Err(ParquetError::General(reason));
            }
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
