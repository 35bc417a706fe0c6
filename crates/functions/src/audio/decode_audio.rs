//! `decode_audio`: a file's samples as one channel, at the rate that a model wants.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::{Error, Kind, Result};

use super::file::AudioFile;
use super::resample::resample;
use super::{guarded, limits};
use crate::arguments::Arguments;
use crate::bytes::cell;

/// `decode_audio(audio [, sample_rate])`; see its reference page.
#[derive(Debug)]
pub struct DecodeAudio;

#[derive(Debug)]
struct Bound {
    /// Samples a second; those of each file without.
    sample_rate: Option<u32>,
    item: FieldRef,
    output: FieldRef,
}

// === impl DecodeAudio ===

impl RowFunction for DecodeAudio {
    fn name(&self) -> &'static str {
        "decode_audio"
    }

    fn usage(&self) -> &'static str {
        "decode_audio(audio [, sample_rate])"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 1..=2)?;
        arguments.bytes_column(0, "audio")?;
        let sample_rate = match given.get(1) {
            None => None,
            Some(_) => Some(arguments.int(1, "sample_rate", limits::ASKED_RATES)?),
        };
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let output = Arc::new(Field::new(self.name(), DataType::List(Arc::clone(&item)), true));
        Ok(Arc::new(Bound { sample_rate, item, output }))
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let [files] = columns else { return Err(internal().with("columns", columns.len())) };
        let (mut all, mut lengths, mut valid) = (Vec::new(), Vec::with_capacity(rows), vec![false; rows]);
        let mut errors = Vec::new();
        for (row, valid) in valid.iter_mut().enumerate() {
            let before = all.len();
            if let Some(file) = cell(files, row)? {
                match guarded(file, || self.samples(file)) {
                    Ok(samples) => {
                        limits::reserve(&mut all, samples.len())?;
                        all.extend_from_slice(&samples);
                        *valid = true;
                    }
                    Err(error) if error.kind() == Kind::Data => errors.push((row, error)),
                    Err(error) => return Err(error),
                }
            }
            lengths.push(all.len() - before);
        }
        if i32::try_from(all.len()).is_err() {
            return Err(Error::new(Kind::Exhausted, "hold the samples of a batch").with("samples", all.len()));
        }
        let values = Arc::new(Float32Array::from(all));
        let nulls = NullBuffer::from(valid);
        let lists =
            ListArray::try_new(Arc::clone(&self.item), OffsetBuffer::from_lengths(lengths), values, Some(nulls));
        Ok(Evaluated { column: Arc::new(lists.map_err(|source| internal().source(source))?), errors })
    }
}

impl Bound {
    /// The samples of `file` at the rate asked for.
    fn samples(&self, file: &[u8]) -> Result<Vec<f32>> {
        let file = AudioFile::open(file)?;
        let from = file.header().sample_rate;
        match self.sample_rate.filter(|to| *to != from) {
            Some(to) => {
                // The length that the header promises is refused before anything is decoded.
                limits::check_samples(
                    file.header().frames.unwrap_or(0).saturating_mul(u64::from(to)) / u64::from(from),
                )?;
                resample(&file.mono()?, from, to)
            }
            None => {
                limits::check_samples(file.header().frames.unwrap_or(0))?;
                let samples = file.mono()?;
                limits::check_samples(samples.len() as u64)?;
                Ok(samples)
            }
        }
    }
}

fn internal() -> Error {
    Error::new(Kind::Internal, "evaluate decode_audio")
}
