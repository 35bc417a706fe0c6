//! Fixed-shape tensors and embeddings, in the canonical Arrow layout `arrow.fixed_shape_tensor`.
//!
//! Storage is a `FixedSizeList` whose length is the product of the shape, values in row-major order, never null inside a
//! row. The metadata is the canonical JSON `{"shape":[...]}`. One allocation holds the whole column, so a request batch
//! goes to a model without a copy.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use crate::error::{Error, Kind, Result};
use crate::types::{EXTENSION_METADATA, extension_name, named};

/// Canonical extension name.
pub const FIXED_SHAPE_TENSOR: &str = "arrow.fixed_shape_tensor";

/// Shape and value type of a tensor column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Value type: any primitive Arrow type.
    pub value: DataType,
    /// Lengths of the axes of one row, outermost first; the row axis is not part of it.
    pub shape: Vec<usize>,
}

// === impl TensorType ===

impl TensorType {
    /// A tensor of `shape` with values of type `value`.
    pub fn new(value: DataType, shape: impl Into<Vec<usize>>) -> Self {
        Self { value, shape: shape.into() }
    }

    /// An embedding: one axis of `length` `Float32` values.
    pub fn embedding(length: usize) -> Self {
        Self::new(DataType::Float32, [length])
    }

    /// Values in one row.
    pub fn row_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// The Arrow storage type.
    ///
    /// # Panics
    /// Never for shapes whose product fits `i32`, which [`TensorType::checked`] guarantees.
    pub fn storage(&self) -> DataType {
        let item = Arc::new(Field::new("item", self.value.clone(), false));
        DataType::FixedSizeList(item, i32::try_from(self.row_values()).unwrap_or(i32::MAX))
    }

    /// A column of this type.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let metadata = format!("{{\"shape\":[{}]}}", shape.join(","));
        named(Field::new(name, self.storage(), nullable), FIXED_SHAPE_TENSOR, &metadata)
    }

    /// The same type if one row has at most `values_max` values.
    ///
    /// # Errors
    /// `Invalid` otherwise.
    pub fn checked(self, values_max: usize) -> Result<Self> {
        let values = self.shape.iter().try_fold(1usize, |all, axis| all.checked_mul(*axis));
        match values {
            Some(values) if values <= values_max && values <= i32::MAX as usize => Ok(self),
            _ => Err(Error::new(Kind::Invalid, "size tensor")
                .with("shape", format!("{:?}", self.shape))
                .with("values_max", values_max)),
        }
    }

    /// The tensor type of `field`: its declared shape, or one flat axis for a plain `FixedSizeList`; `None` for others.
    pub fn of(field: &Field) -> Option<Self> {
        let DataType::FixedSizeList(item, length) = field.data_type() else { return None };
        let length = usize::try_from(*length).ok()?;
        let flat = Self::new(item.data_type().clone(), [length]);
        if extension_name(field) != Some(FIXED_SHAPE_TENSOR) {
            return Some(flat);
        }
        let shape = field.metadata().get(EXTENSION_METADATA).and_then(|text| parse_shape(text));
        match shape {
            Some(shape) if shape.iter().product::<usize>() == length => Some(Self { shape, ..flat }),
            _ => Some(flat),
        }
    }
}

/// Reads the `shape` of the canonical metadata, which is a small JSON object.
fn parse_shape(metadata: &str) -> Option<Vec<usize>> {
    let after = metadata.split_once("\"shape\"")?.1.trim_start().strip_prefix(':')?.trim_start().strip_prefix('[')?;
    let list = after.split_once(']')?.0;
    list.split(',').filter(|part| !part.trim().is_empty()).map(|part| part.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_round_trips_shape_and_value_type() {
        let image = TensorType::new(DataType::UInt8, [224, 224, 3]);
        assert_eq!(TensorType::of(&image.field("pixels", false)), Some(image));
    }

    #[test]
    fn huge_shapes_are_refused_before_anything_is_allocated() {
        let error = TensorType::new(DataType::UInt8, [usize::MAX, 2]).checked(1 << 30).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
