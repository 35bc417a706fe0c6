//! Schemas as they cross the socket: the same few again and again, so each side keeps the last one it saw.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::writer::StreamWriter;
use forebay_core::{Error, Kind, Result};

/// The last schema and its encoding.
#[derive(Debug, Default)]
pub struct LastSchema(Mutex<Option<(SchemaRef, Buffer)>>);

// === impl LastSchema ===

impl LastSchema {
    /// `schema` as Arrow encodes it.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn encoded(&self, schema: &SchemaRef) -> Result<Buffer> {
        self.kept(
            |(last, _)| Arc::ptr_eq(last, schema) || last == schema,
            || Ok((Arc::clone(schema), encoded(schema)?)),
        )
        .map(|(_, bytes)| bytes)
    }

    /// The schema that `bytes` are.
    ///
    /// # Errors
    /// `Corrupt` if they are none.
    pub fn decoded(&self, bytes: &Buffer) -> Result<SchemaRef> {
        self.kept(|(_, last)| last == bytes, || Ok((decoded(bytes)?, Buffer::from_slice_ref(bytes))))
            .map(|(schema, _)| schema)
    }

    fn kept(
        &self,
        is_it: impl FnOnce(&(SchemaRef, Buffer)) -> bool,
        make: impl FnOnce() -> Result<(SchemaRef, Buffer)>,
    ) -> Result<(SchemaRef, Buffer)> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref()
            && is_it(known)
        {
            return Ok(known.clone());
        }
        let made = make()?;
        *last = Some(made.clone());
        Ok(made)
    }
}

fn encoded(schema: &SchemaRef) -> Result<Buffer> {
    let mut bytes = Vec::new();
    StreamWriter::try_new(&mut bytes, schema)
        .map_err(|source| Error::new(Kind::Internal, "encode schema for model process").source(source))?;
    Ok(bytes.into())
}

fn decoded(bytes: &Buffer) -> Result<SchemaRef> {
    let failed = |source| Error::new(Kind::Corrupt, "read schema of model process").source(source);
    try_schema_from_ipc_buffer(bytes).map(Into::into).map_err(failed)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn schema(name: &str) -> SchemaRef {
        let tensor = Field::new_fixed_size_list(name, Field::new("item", DataType::Float32, false), 4, true);
        Arc::new(Schema::new(vec![tensor.with_metadata([("k".to_string(), "v".to_string())].into())]))
    }

    #[test]
    fn schemas_come_back_whichever_was_last() {
        let (here, there) = (LastSchema::default(), LastSchema::default());
        for name in ["a", "a", "b", "a"] {
            let bytes = here.encoded(&schema(name)).unwrap();
            assert_eq!(there.decoded(&bytes).unwrap(), schema(name));
        }
    }

    #[test]
    fn every_cut_of_a_schema_is_an_error() {
        let (last, bytes) = (LastSchema::default(), LastSchema::default().encoded(&schema("a")).unwrap());
        for cut in 0..bytes.len() {
            assert!(last.decoded(&bytes.slice_with_length(0, cut)).is_err(), "{cut}");
        }
    }
}
