//! `image_to_tensor`: decode, resize and normalise in one step, into one buffer for the whole batch.
//!
//! One step, because the picture in between is the large thing: fused, it lives in memory reused from row to row, and the
//! tensor is written once, where the model reads it. It never starts threads: subtasks are the parallelism.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, FixedSizeListArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, UInt8Type};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::decode::{Scratch, Size, Target};
use super::pixels::Mode;
use super::{limits, unusable};
use crate::arguments::Arguments;
use crate::bytes::cell;

/// `image_to_tensor(image, width, height [, mode [, dtype [, mean [, std]]]])`; see its reference page.
#[derive(Debug)]
pub struct ImageToTensor;

/// Type of a tensor's values, and how samples of 0..=255 become them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    /// As they are.
    Uint8,
    /// `(sample / 255 - mean) / std`.
    Float32 { mean: f32, std: f32 },
}

struct Bound {
    target: Target,
    values: Values,
    output: FieldRef,
    /// Idle scratch, one for each subtask that ever evaluated at the same time.
    idle: Mutex<Vec<Scratch>>,
}

/// The tensors of a batch, row after row.
enum Tensors {
    Uint8(Vec<u8>),
    Float32 { values: Vec<f32>, mean: f32, std: f32 },
}

// === impl ImageToTensor ===

impl RowFunction for ImageToTensor {
    fn name(&self) -> &'static str {
        "image_to_tensor"
    }

    fn usage(&self) -> &'static str {
        "image_to_tensor(image, width, height [, mode [, dtype [, mean [, std]]]])"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, arguments, 3..=7)?;
        arguments.bytes_column(0, "image")?;
        let width = arguments.int(1, "width", 1..=limits::TENSOR_SIDE_MAX)? as usize;
        let height = arguments.int(2, "height", 1..=limits::TENSOR_SIDE_MAX)? as usize;
        let mode = arguments.choice(3, "mode", &[("RGB", Mode::Rgb), ("L", Mode::L)])?;
        let values = values(&arguments)?;
        let (value, bytes) = match values {
            Values::Uint8 => (DataType::UInt8, 1),
            Values::Float32 { .. } => (DataType::Float32, 4),
        };
        let tensor = TensorType::new(value, [height, width, mode.channels()]);
        let accepted = format!("sides whose tensor takes at most {} bytes", limits::TENSOR_BYTES_MAX);
        let tensor = tensor.checked(limits::TENSOR_BYTES_MAX / bytes);
        let tensor = tensor.map_err(|source| arguments.refuse(2, "height", accepted).source(source))?;
        let target = Target { size: Size { width, height }, mode };
        let output = Arc::new(tensor.field(self.name(), true));
        Ok(Arc::new(Bound { target, values, output, idle: Mutex::default() }))
    }
}

/// Reads `dtype`, `mean` and `std`.
fn values(arguments: &Arguments<'_>) -> Result<Values> {
    let plain = Values::Float32 { mean: 0.0, std: 1.0 };
    let chosen = arguments.choice(4, "dtype", &[("uint8", Values::Uint8), ("float32", plain)])?;
    let (mean, std) = (arguments.number(5, "mean")?, arguments.number(6, "std")?);
    match (chosen, mean) {
        (Values::Uint8, Some(_)) => Err(arguments.refuse(5, "mean", "nothing where dtype is 'uint8'")),
        (Values::Uint8, None) => Ok(Values::Uint8),
        _ if std.is_some_and(|std| std <= 0.0) => Err(arguments.refuse(6, "std", "a number above 0")),
        _ => Ok(Values::Float32 { mean: mean.unwrap_or(0.0), std: std.unwrap_or(1.0) }),
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let [images] = columns else {
            return Err(Error::new(Kind::Internal, "evaluate image_to_tensor").with("columns", columns.len()));
        };
        let mut scratch = self.idle().pop().map_or_else(Scratch::new, Ok)?;
        let mut tensors = Tensors::with_capacity(self.values, rows, self.target)?;
        let mut valid = vec![false; rows];
        let mut errors = Vec::new();
        for (row, valid) in valid.iter_mut().enumerate() {
            let outcome = match cell(images, row)? {
                Some(encoded) => tensors.push(encoded, self.target, &mut scratch).map(|()| *valid = true),
                None => Ok(()),
            };
            tensors.fill_to((row + 1) * self.target.values());
            match outcome {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::Data => errors.push((row, error)),
                Err(error) => return Err(error),
            }
        }
        scratch.trim();
        self.idle().push(scratch);
        Ok(Evaluated { column: self.column(tensors, valid)?, errors })
    }
}

impl Bound {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Scratch>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn column(&self, tensors: Tensors, valid: Vec<bool>) -> Result<ArrayRef> {
        let values: ArrayRef = match tensors {
            Tensors::Uint8(values) => Arc::new(PrimitiveArray::<UInt8Type>::new(ScalarBuffer::from(values), None)),
            Tensors::Float32 { values, .. } => {
                Arc::new(PrimitiveArray::<Float32Type>::new(ScalarBuffer::from(values), None))
            }
        };
        let DataType::FixedSizeList(item, length) = self.output.data_type() else {
            return Err(Error::new(Kind::Internal, "build tensors").with("type", self.output.data_type()));
        };
        let item: &Arc<Field> = item;
        let list = FixedSizeListArray::try_new(Arc::clone(item), *length, values, Some(NullBuffer::from(valid)));
        let list = list.map_err(|source| Error::new(Kind::Internal, "build tensors").source(source))?;
        Ok(Arc::new(list))
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ImageToTensor");
        shown.field("target", &self.target).field("values", &self.values).finish_non_exhaustive()
    }
}

// === impl Tensors ===

impl Tensors {
    fn with_capacity(values: Values, rows: usize, target: Target) -> Result<Self> {
        match values {
            Values::Uint8 => reserved(rows, target).map(Tensors::Uint8),
            Values::Float32 { mean, std } => {
                reserved(rows, target).map(|values| Tensors::Float32 { values, mean, std })
            }
        }
    }

    /// Appends the tensor of `encoded`; on an error what was appended is unspecified, up to one tensor.
    ///
    /// A panic in a decoder is an error of the row too, or a job could never get past it; the scratch is replaced then.
    fn push(&mut self, encoded: &[u8], target: Target, scratch: &mut Scratch) -> Result<()> {
        match catch_unwind(AssertUnwindSafe(|| self.append(encoded, target, scratch))) {
            Ok(outcome) => outcome,
            Err(_) => {
                *scratch = Scratch::new()?;
                Err(unusable("the decoder panicked, which is a bug in it").with("bytes", encoded.len()))
            }
        }
    }

    fn append(&mut self, encoded: &[u8], target: Target, scratch: &mut Scratch) -> Result<()> {
        match self {
            Tensors::Uint8(values) => {
                let start = values.len();
                values.resize(start + target.values(), 0);
                scratch.decode_into(encoded, target, &mut values[start..])
            }
            Tensors::Float32 { values, mean, std } => {
                scratch.decode(encoded, target)?;
                normalise(&scratch.resized, *mean, *std, values);
                Ok(())
            }
        }
    }

    /// Fills with zeros up to `length`: the tensors of null rows.
    fn fill_to(&mut self, length: usize) {
        match self {
            Tensors::Uint8(values) => values.resize(length, 0),
            Tensors::Float32 { values, .. } => values.resize(length, 0.0),
        }
    }
}

/// Appends `(sample / 255 - mean) / std`, in the order of operations that NumPy would use, so that bits agree with it.
fn normalise(samples: &[u8], mean: f32, std: f32, values: &mut Vec<f32>) {
    values.extend(samples.iter().map(|sample| (f32::from(*sample) / 255.0 - mean) / std));
}

fn reserved<T>(rows: usize, target: Target) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let count = rows.saturating_mul(target.values());
    values.try_reserve_exact(count).map_err(|source| {
        Error::new(Kind::Exhausted, "take memory for tensors").with("values", count).source(source)
    })?;
    Ok(values)
}
