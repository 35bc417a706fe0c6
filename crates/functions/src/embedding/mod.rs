//! Functions on embeddings: vectors of numbers, one a row, compared with each other or brought into another form.
//!
//! An embedding is a row of a list column, of one fixed length or of any, or a tensor of one axis. Sums are made in double
//! precision whatever the column holds. A row whose values cannot be used is an error of its own; a null row gives null.

mod kernels;
mod l2_normalize;
mod numbers;
mod similarity;
mod truncate_embedding;
mod vectors;

pub use l2_normalize::L2Normalize;
pub use similarity::{CosineDistance, CosineSimilarity, DotProduct, EuclideanDistance};
pub use truncate_embedding::TruncateEmbedding;

use std::fmt::Display;

use forebay_core::{Error, Kind};

/// Most values of a constant embedding and of a shortened one. Models give 256 to 8,192; 65,536 leaves room for any.
pub const DIMENSIONS_MAX: u32 = 65_536;

/// The error of a row whose embedding cannot be used, with the reason.
fn unusable(reason: impl Display) -> Error {
    Error::new(Kind::Data, "use embedding").with("reason", reason)
}
