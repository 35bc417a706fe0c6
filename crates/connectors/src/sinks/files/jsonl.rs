//! JSON lines: one object per row, nulls left out, tensors as flat lists, times as RFC 3339 text.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use forebay_core::{Error, Kind, Result};

use super::encoder::Encoder;

/// A file of JSON lines.
pub(super) struct JsonLinesFile {
    bytes: Vec<u8>,
}

// === impl JsonLinesFile ===

impl JsonLinesFile {
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        if schema.fields().iter().any(|field| holds_bytes(field)) {
            return Err(
                Error::new(Kind::Invalid, "choose json types").source("JSON has no bytes; drop or encode the column")
            );
        }
        Ok(Self { bytes: Vec::new() })
    }
}

impl Encoder for JsonLinesFile {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut writer = LineDelimitedWriter::new(&mut self.bytes);
        writer
            .write(rows)
            .and_then(|()| writer.finish())
            .map_err(|source| Error::new(Kind::Internal, "encode json lines").source(source))
    }

    fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn finish(self: Box<Self>) -> Result<Bytes> {
        Ok(Bytes::from(self.bytes))
    }
}

fn holds_bytes(field: &Field) -> bool {
    match field.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds_bytes(item),
        DataType::Struct(members) => members.iter().any(|member| holds_bytes(member)),
        DataType::Dictionary(_, value) => holds_bytes(&Field::new("value", value.as_ref().clone(), true)),
        _ => false,
    }
}
