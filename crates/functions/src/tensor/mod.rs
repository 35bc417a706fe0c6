//! Functions on tensors: the same values under another shape or in another type.
//!
//! A tensor is a row of a column with one shape for all rows. Values lie in one buffer for the whole column and stay there
//! where nothing about them changes. A row whose values do not fit is an error of its own; a null row stays null.

mod rows;
mod tensor_cast;
mod tensor_reshape;

pub use tensor_cast::TensorCast;
pub use tensor_reshape::TensorReshape;

use std::fmt::Display;

use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use crate::image::limits::TENSOR_BYTES_MAX;

/// Most axes of a tensor, as NumPy had it for long. Models use up to 6.
pub const AXES_MAX: usize = 32;

/// The type if one row of it stays within [`TENSOR_BYTES_MAX`].
fn bounded(tensor: TensorType) -> Result<TensorType> {
    let width = tensor.value.primitive_width().unwrap_or(1);
    tensor.checked(TENSOR_BYTES_MAX / width)
}

/// The error of a row whose values cannot be used, with the reason.
fn unusable(reason: impl Display) -> Error {
    Error::new(Kind::Data, "use tensor").with("reason", reason)
}
