//! `audio_metadata`: what a file of audio says about itself, without decoding it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::{Error, Kind, Result};

use super::file::{AudioFile, Header};
use super::guarded;
use crate::arguments::Arguments;
use crate::bytes::cell;

/// `audio_metadata(audio)`; see its reference page.
#[derive(Debug)]
pub struct AudioMetadata;

#[derive(Debug)]
struct Bound {
    fields: Fields,
    output: FieldRef,
}

/// The columns while they are filled.
#[derive(Default)]
struct Columns {
    format: StringBuilder,
    sample_rate: Int64Builder,
    channels: Int64Builder,
    frames: Int64Builder,
    duration_seconds: Float64Builder,
}

// === impl AudioMetadata ===

impl RowFunction for AudioMetadata {
    fn name(&self) -> &'static str {
        "audio_metadata"
    }

    fn usage(&self) -> &'static str {
        "audio_metadata(audio)"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 1..=1)?;
        arguments.bytes_column(0, "audio")?;
        let fields = Fields::from(vec![
            Field::new("format", DataType::Utf8, true),
            Field::new("sample_rate", DataType::Int64, true),
            Field::new("channels", DataType::Int64, true),
            Field::new("frames", DataType::Int64, true),
            Field::new("duration_seconds", DataType::Float64, true),
        ]);
        let output = Arc::new(Field::new(self.name(), DataType::Struct(fields.clone()), true));
        Ok(Arc::new(Bound { fields, output }))
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let internal = || Error::new(Kind::Internal, "evaluate audio_metadata").with("columns", columns.len());
        let [files] = columns else { return Err(internal()) };
        let (mut made, mut valid, mut errors) = (Columns::default(), Vec::with_capacity(rows), Vec::new());
        for row in 0..rows {
            let read = |file| guarded(file, || AudioFile::open(file).map(|file| (file.format(), file.header())));
            let found = cell(files, row)?.map(read).transpose().unwrap_or_else(|error| {
                errors.push((row, error));
                None
            });
            valid.push(found.is_some());
            made.append(found);
        }
        let column = StructArray::try_new(self.fields.clone(), made.finish(), Some(NullBuffer::from(valid)));
        Ok(Evaluated { column: Arc::new(column.map_err(|source| internal().source(source))?), errors })
    }
}

// === impl Columns ===

impl Columns {
    fn append(&mut self, found: Option<(&str, Header)>) {
        let frames = found.and_then(|(_, header)| header.frames);
        let seconds = found.and_then(|(_, header)| Some(header.frames? as f64 / f64::from(header.sample_rate)));
        self.format.append_option(found.map(|(format, _)| format));
        self.sample_rate.append_option(found.map(|(_, header)| i64::from(header.sample_rate)));
        self.channels.append_option(found.map(|(_, header)| i64::from(header.channels)));
        self.frames.append_option(frames.and_then(|frames| i64::try_from(frames).ok()));
        self.duration_seconds.append_option(seconds);
    }

    fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.format.finish()),
            Arc::new(self.sample_rate.finish()),
            Arc::new(self.channels.finish()),
            Arc::new(self.frames.finish()),
            Arc::new(self.duration_seconds.finish()),
        ]
    }
}
