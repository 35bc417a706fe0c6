//! Functions on images: encoded files in, pixels as tensors out.
//!
//! Files come from strangers. Every format's header is read first and held against [`limits`]; only then is memory taken.
//! A file that cannot be decoded in full is an error of its row, never half a picture.

mod decode;
mod image_to_tensor;
mod jpeg;
pub mod limits;
mod pixels;
mod raster;

pub use image_to_tensor::ImageToTensor;

use std::fmt::Display;

use forebay_core::{Error, Kind};

/// The error of a row whose bytes are no usable image, with the reason.
fn unusable(reason: impl Display) -> Error {
    Error::new(Kind::Data, "decode image").with("reason", reason)
}
