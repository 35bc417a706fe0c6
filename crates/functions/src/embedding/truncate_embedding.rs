//! `truncate_embedding`: the first values of every embedding, for models trained so that these stand for the whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::numbers::Numbers;
use super::vectors::{Vector, VectorColumn};
use super::{DIMENSIONS_MAX, unusable};
use crate::arguments::Arguments;

/// `truncate_embedding(embedding, dimensions)`; see its reference page.
#[derive(Debug)]
pub struct TruncateEmbedding;

#[derive(Debug)]
struct Bound {
    embedding: VectorColumn,
    dimensions: usize,
    output: FieldRef,
}

// === impl TruncateEmbedding ===

impl RowFunction for TruncateEmbedding {
    fn name(&self) -> &'static str {
        "truncate_embedding"
    }

    fn usage(&self) -> &'static str {
        "truncate_embedding(embedding, dimensions)"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 2..=2)?;
        let embedding = VectorColumn::read(&arguments, given, 0, "embedding")?;
        let longest = embedding.length.and_then(|length| u32::try_from(length).ok()).unwrap_or(DIMENSIONS_MAX);
        let dimensions = arguments.int(1, "dimensions", 1..=longest.min(DIMENSIONS_MAX))? as usize;
        let output = Arc::new(TensorType::new(embedding.value.clone(), [dimensions]).field(self.name(), true));
        Ok(Arc::new(Bound { embedding, dimensions, output }))
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let [column] = columns else { return Err(internal().with("columns", columns.len())) };
        let embeddings = self.embedding.rows(column)?;
        let (mut values, mut errors) = (Numbers::new(&self.embedding.value), Vec::new());
        let mut valid = vec![false; rows];
        for (row, valid) in valid.iter_mut().enumerate() {
            match embeddings.row(row).and_then(|vector| vector.map(|vector| self.shortened(vector)).transpose()) {
                Ok(Some(vector)) => {
                    values.append(vector, |value| value);
                    *valid = true;
                }
                Ok(None) => values.pad(self.dimensions),
                Err(error) => {
                    values.pad(self.dimensions);
                    errors.push((row, error));
                }
            }
        }
        Ok(Evaluated { column: self.column(values.into_array(), NullBuffer::from(valid))?, errors })
    }
}

impl Bound {
    fn shortened<'a>(&self, vector: Vector<'a>) -> Result<Vector<'a>> {
        if vector.len() < self.dimensions {
            return Err(unusable(format!("it has {} values, fewer than {}", vector.len(), self.dimensions)));
        }
        Ok(vector.first(self.dimensions))
    }

    fn column(&self, values: ArrayRef, nulls: NullBuffer) -> Result<ArrayRef> {
        let DataType::FixedSizeList(item, length) = self.output.data_type() else { return Err(internal()) };
        let list = FixedSizeListArray::try_new(Arc::clone(item), *length, values, Some(nulls));
        Ok(Arc::new(list.map_err(|source| internal().source(source))?))
    }
}

fn internal() -> Error {
    Error::new(Kind::Internal, "evaluate truncate_embedding")
}
