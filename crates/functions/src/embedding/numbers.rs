//! Values of embeddings while a column of them is written.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array};
use arrow::datatypes::DataType;

use super::vectors::Vector;

/// Values in the precision of their column.
pub(super) enum Numbers {
    Single(Vec<f32>),
    Double(Vec<f64>),
}

// === impl Numbers ===

impl Numbers {
    /// None yet, of type `Float32` or else `Float64`.
    pub(super) fn new(value: &DataType) -> Self {
        match value {
            DataType::Float32 => Self::Single(Vec::new()),
            _ => Self::Double(Vec::new()),
        }
    }

    /// Appends the values of `vector`, each made another by `change`.
    pub(super) fn append(&mut self, vector: Vector<'_>, change: impl Fn(f64) -> f64) {
        match (self, vector) {
            (Self::Single(all), Vector::Single(values)) => {
                all.extend(values.iter().map(|value| change(f64::from(*value)) as f32));
            }
            (Self::Single(all), Vector::Double(values)) => {
                all.extend(values.iter().map(|value| change(*value) as f32));
            }
            (Self::Double(all), Vector::Single(values)) => {
                all.extend(values.iter().map(|value| change(f64::from(*value))));
            }
            (Self::Double(all), Vector::Double(values)) => all.extend(values.iter().map(|value| change(*value))),
        }
    }

    /// Appends `count` zeros: the values under a null.
    pub(super) fn pad(&mut self, count: usize) {
        match self {
            Self::Single(all) => all.resize(all.len() + count, 0.0),
            Self::Double(all) => all.resize(all.len() + count, 0.0),
        }
    }

    pub(super) fn into_array(self) -> ArrayRef {
        match self {
            Self::Single(all) => Arc::new(Float32Array::from(all)),
            Self::Double(all) => Arc::new(Float64Array::from(all)),
        }
    }
}
