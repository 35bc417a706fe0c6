//! One output file while it is written: rows in, encoded bytes out. All in memory, no I/O.

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use forebay_core::{Error, Kind, Result};
use std::sync::Arc;

use super::jsonl::JsonLinesFile;
use super::parquet::ParquetFile;
use super::{FileSinkSettings, SinkFormat};

/// Encodes the rows of one file.
pub(super) trait Encoder: Send {
    /// Adds rows of the sink's schema.
    ///
    /// # Errors
    /// `Internal` if the rows do not have that schema or cannot be encoded.
    fn write(&mut self, rows: &RecordBatch) -> Result<()>;

    /// About how many bytes the file has now.
    fn size_bytes(&self) -> usize;

    /// The whole file.
    ///
    /// # Errors
    /// `Internal`.
    fn finish(self: Box<Self>) -> Result<Bytes>;
}

/// An empty file.
///
/// # Errors
/// `Invalid` if the format cannot hold the schema.
pub(super) fn open(schema: &SchemaRef, settings: &FileSinkSettings) -> Result<Box<dyn Encoder>> {
    Ok(match settings.format {
        SinkFormat::Parquet => Box::new(ParquetFile::new(schema, settings)?),
        SinkFormat::JsonLines => Box::new(JsonLinesFile::new(schema)?),
    })
}

/// Whether files of this format can hold rows of `schema`, found by encoding one row of nulls.
///
/// # Errors
/// `Invalid`, naming the column.
pub(super) fn check(schema: &SchemaRef, settings: &FileSinkSettings) -> Result<()> {
    for field in schema.fields() {
        let wrong = |error: Error| {
            Error::new(Kind::Invalid, "set up file sink")
                .with("format", settings.format)
                .with("column", field.name())
                .with("type", field.data_type())
                .source(error)
        };
        let nullable: Field = field.as_ref().clone().with_nullable(true);
        let one = Arc::new(Schema::new(vec![nullable]));
        let row = RecordBatch::try_new(Arc::clone(&one), vec![new_null_array(field.data_type(), 1)])
            .map_err(|source| wrong(Error::new(Kind::Invalid, "make an empty row").source(source)))?;
        let mut file = open(&one, settings).map_err(wrong)?;
        file.write(&row).and_then(|()| file.finish()).map_err(wrong)?;
    }
    Ok(())
}
