//! Built-in row functions: what a query can call by name on a column of rows.
//!
//! One file a function, one folder a modality; [`functions`] is the plain list that the engine registers, so that
//! `grep` finds every function. A function here never does I/O, never reads a clock and never fails a batch for the sake
//! of one row.

mod arguments;
pub mod audio;
mod bytes;
pub mod embedding;
pub mod image;
pub mod json;
pub mod tensor;
pub mod url;

use std::sync::Arc;

use forebay_core::function::RowFunction;

/// Every built-in row function, each under its own name.
pub fn functions() -> Vec<Arc<dyn RowFunction>> {
    vec![
        Arc::new(image::ImageToTensor),
        Arc::new(json::FromJson),
        Arc::new(url::ParseUrl),
        Arc::new(embedding::CosineSimilarity),
        Arc::new(embedding::CosineDistance),
        Arc::new(embedding::DotProduct),
        Arc::new(embedding::EuclideanDistance),
        Arc::new(embedding::L2Normalize),
        Arc::new(embedding::TruncateEmbedding),
        Arc::new(tensor::TensorReshape),
        Arc::new(tensor::TensorCast),
        Arc::new(audio::DecodeAudio),
        Arc::new(audio::AudioMetadata),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lower_case_and_usage_starts_with_them() {
        let mut names: Vec<&str> = functions().iter().map(|function| function.name()).collect();
        for function in functions() {
            assert_eq!(function.name(), function.name().to_lowercase());
            assert!(function.usage().starts_with(&format!("{}(", function.name())));
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), names.contains(&"image_to_tensor")), (count, true));
    }
}
