//! Parquet: the settings that make payload columns cheap, chosen per column.
//!
//! | column | encoding |
//! |---|---|
//! | tensor | fixed-size binary, uncompressed, no dictionary, no statistics (see [`super::tensors`]) |
//! | encoded image, other bytes | no dictionary, no statistics; images uncompressed: they are compressed already |
//! | all others | dictionary, statistics, Zstandard |

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use forebay_core::types::{IMAGE, extension_name};
use forebay_core::{Error, Kind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::encoder::Encoder;
use super::{FileSinkSettings, Tensors, tensors};

/// Bytes of a data page. The library looks at a page's size only between write batches, so those are sized to match.
const PAGE_BYTES: usize = 1 << 20;
/// Values of a column written between two looks at the page's size, the library's own choice for small values.
const WRITE_BATCH: usize = 1024;
/// Most bytes of address space taken at once for a file that is to grow. Growing by doubling instead would copy a file
/// of pixels once more than needed and touch twice its memory; what is never written is never backed by memory.
const RESERVED_BYTES_MAX: usize = 64 << 20;

/// A Parquet file in memory.
pub(super) struct ParquetFile {
    schema: SchemaRef,
    /// Which columns are stored as bytes of tensors.
    stored: Vec<bool>,
    writer: ArrowWriter<Vec<u8>>,
}

// === impl ParquetFile ===

impl ParquetFile {
    pub fn new(schema: &SchemaRef, settings: &FileSinkSettings) -> Result<Self> {
        let store = |field: &Field| match settings.tensors {
            Tensors::Bytes => tensors::stored_field(field),
            Tensors::List => None,
        };
        let stored: Vec<bool> = schema.fields().iter().map(|field| store(field).is_some()).collect();
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| store(field).unwrap_or_else(|| known(field))).collect();
        let schema = Arc::new(Schema::new(fields));
        let properties = properties(&schema, &stored, settings)?;
        let reserved = settings.file_bytes_max.saturating_add(settings.row_group_bytes).min(RESERVED_BYTES_MAX);
        let writer = ArrowWriter::try_new(Vec::with_capacity(reserved), Arc::clone(&schema), Some(properties))
            .map_err(|source| Error::new(Kind::Invalid, "open parquet file").source(source))?;
        Ok(Self { schema, stored, writer })
    }

    fn stored_rows(&self, rows: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
        let mut columns = Vec::with_capacity(rows.num_columns());
        for ((column, stored), field) in rows.columns().iter().zip(&self.stored).zip(self.schema.fields()) {
            columns.push(if *stored {
                Arc::new(tensors::stored_column(column)?) as ArrayRef
            } else if column.data_type() == field.data_type() {
                Arc::clone(column)
            } else {
                cast_with_options(column, field.data_type(), &CastOptions { safe: false, ..CastOptions::default() })?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

impl Encoder for ParquetFile {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let failed = || Error::new(Kind::Internal, "encode parquet");
        let rows = self.stored_rows(rows).map_err(|source| failed().source(source))?;
        self.writer.write(&rows).map_err(|source| failed().source(source))
    }

    fn size_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    fn finish(self: Box<Self>) -> Result<Bytes> {
        let bytes = self.writer.into_inner();
        bytes.map(Bytes::from).map_err(|source| Error::new(Kind::Internal, "close parquet file").source(source))
    }
}

/// The field in a type that Parquet has: it knows no whole seconds, which readers would take for plain numbers.
fn known(field: &Field) -> Field {
    let kind = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        other => other.clone(),
    };
    field.clone().with_data_type(kind)
}

fn properties(schema: &Schema, stored: &[bool], settings: &FileSinkSettings) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(settings.compression_level)
        .map_err(|source| Error::new(Kind::Invalid, "set parquet compression").source(source))?;
    let widest = schema.fields().iter().map(|field| width(field)).max().unwrap_or(1);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size((PAGE_BYTES / widest).clamp(1, WRITE_BATCH))
        .set_max_row_group_row_count(None)
        .set_max_row_group_bytes(Some(settings.row_group_bytes))
        .set_created_by(concat!("forebay ", env!("CARGO_PKG_VERSION")).to_string());
    for (field, stored) in schema.fields().iter().zip(stored) {
        let path = ColumnPath::new(vec![field.name().clone()]);
        let is_image = extension_name(field) == Some(IMAGE);
        if *stored || is_image {
            properties = properties.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
        }
        if *stored
            || is_image
            || matches!(field.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
        {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

/// Bytes of one value where they may be large: exact for tensors, a guess for encoded images.
fn width(field: &Field) -> usize {
    match field.data_type() {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(1).max(1),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => 64 << 10,
        _ => 1,
    }
}
