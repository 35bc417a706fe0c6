//! Images: one row per file, its path and its bytes as they are. Decoding is a row function's work.
//!
//! Position: a file is read or it is not (`rows` 0 or 1). Many small files are read ahead at once, and given out in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use forebay_core::source::Split;
use forebay_core::store::Store;
use forebay_core::types::image_field;
use forebay_core::{Error, Kind, Result};
use futures::{StreamExt, stream};

use super::format::{Chunk, Chunks, Content, Format, Limits, Position, changed, nothing, unreadable};

/// Files that are read at once. A disk or object store answers this many small reads as fast as one.
const FILES_AHEAD: usize = 64;

/// Columns of the format `images`: `path` (from the source's root) and `content` (the file's bytes, `forebay.image`).
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("path", DataType::Utf8, false), image_field("content", false)]))
}

/// Reads whole files.
pub(super) struct Images {
    schema: SchemaRef,
    limits: Limits,
}

// === impl Images ===

impl Images {
    pub fn new(wanted: &SchemaRef, limits: Limits) -> Result<Self> {
        let schema = schema();
        let alike = |(left, right): (&Arc<Field>, &Arc<Field>)| {
            left.name() == right.name() && left.data_type() == right.data_type()
        };
        let same = wanted.fields().len() == 2 && wanted.fields().iter().zip(schema.fields()).all(alike);
        if !same {
            return Err(Error::new(Kind::Invalid, "set up image reader")
                .with(
                    "columns",
                    wanted.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", "),
                )
                .source("images have the columns path and content"));
        }
        Ok(Self { schema, limits })
    }
}

impl Format for Images {
    fn open(&self, store: Arc<dyn Store>, split: &Split, from: Position) -> Chunks {
        if from.rows > 0 {
            return nothing();
        }
        let (split, schema, limit) = (split.clone(), Arc::clone(&self.schema), self.limits.file_bytes_max);
        stream::once(async move {
            if split.size_bytes == 0 {
                return Ok(unreadable(&split, from, 0, "the file is empty"));
            }
            if split.size_bytes > limit {
                let reason = format!("the file has {} bytes, file_bytes_max is {limit}", split.size_bytes);
                return Ok(unreadable(&split, from, 0, reason));
            }
            // One byte more than listed shows a file that has grown, without reading all of it.
            let found = store.read_range(&split.name, 0..split.size_bytes + 1).await?;
            match found {
                Some(bytes) if bytes.len() as u64 == split.size_bytes => row(schema, &split, &bytes),
                other => Ok(unreadable(&split, from, 0, changed(&split, other.map(|bytes| bytes.len() as u64)))),
            }
        })
        .boxed()
    }

    fn expected_bytes(&self, split: &Split) -> u64 {
        split.size_bytes.min(self.limits.file_bytes_max)
    }

    fn files_ahead(&self) -> usize {
        FILES_AHEAD
    }
}

fn row(schema: SchemaRef, split: &Split, content: &[u8]) -> Result<Chunk> {
    let path: ArrayRef = Arc::new(StringArray::from(vec![split.name.as_str()]));
    let content: ArrayRef = Arc::new(BinaryArray::from(vec![content]));
    let rows = RecordBatch::try_new(schema, vec![path, content])
        .map_err(|source| Error::new(Kind::Internal, "build image row").source(source))?;
    let next = Position { bytes: split.size_bytes, rows: 1 };
    Ok(Chunk { content: Content::Rows { rows, ordinals: vec![0] }, next, last: true })
}
