//! `l2_normalize`: every embedding at length 1, so that a dot product is the cosine.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, LargeListArray, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::numbers::Numbers;
use super::vectors::{Vector, VectorColumn, Vectors};
use super::{kernels, unusable};
use crate::arguments::Arguments;

/// `l2_normalize(embedding)`; see its reference page.
#[derive(Debug)]
pub struct L2Normalize;

#[derive(Debug)]
struct Bound {
    embedding: VectorColumn,
    output: FieldRef,
}

// === impl L2Normalize ===

impl RowFunction for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn usage(&self) -> &'static str {
        "l2_normalize(embedding)"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 1..=1)?;
        let embedding = VectorColumn::read(&arguments, given, 0, "embedding")?;
        let item = Arc::new(Field::new("item", embedding.value.clone(), true));
        let output = match (&embedding.list, embedding.length) {
            (_, Some(length)) => TensorType::new(embedding.value.clone(), [length]).field(self.name(), true),
            (DataType::LargeList(_), None) => Field::new(self.name(), DataType::LargeList(item), true),
            _ => Field::new(self.name(), DataType::List(item), true),
        };
        Ok(Arc::new(Bound { embedding, output: Arc::new(output) }))
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
        let (mut valid, mut lengths) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let usable = append(&mut values, &embeddings, row).unwrap_or_else(|error| {
                errors.push((row, error));
                false
            });
            let length = match self.embedding.length {
                Some(length) => length,
                None if usable => embeddings.length(row),
                None => 0,
            };
            if !usable {
                values.pad(length);
            }
            valid.push(usable);
            lengths.push(length);
        }
        let column = self.column(values.into_array(), lengths, NullBuffer::from(valid))?;
        Ok(Evaluated { column, errors })
    }
}

/// Appends the values of `row` at length 1; `false` where it is null.
fn append(values: &mut Numbers, embeddings: &Vectors, row: usize) -> Result<bool> {
    let Some(vector) = embeddings.row(row)? else { return Ok(false) };
    let divisors = match vector {
        Vector::Single(values) => kernels::divisors(values),
        Vector::Double(values) => kernels::divisors(values),
    };
    let (first, then) = divisors.ok_or_else(|| unusable("all values are zero, which is no direction"))?;
    values.append(vector, |value| value / first / then);
    Ok(true)
}

impl Bound {
    fn column(&self, values: ArrayRef, lengths: Vec<usize>, nulls: NullBuffer) -> Result<ArrayRef> {
        let nulls = Some(nulls);
        let made: Result<ArrayRef, _> = match self.output.data_type() {
            DataType::FixedSizeList(item, length) => {
                FixedSizeListArray::try_new(Arc::clone(item), *length, values, nulls).map(|list| Arc::new(list) as _)
            }
            DataType::LargeList(item) => {
                let offsets = OffsetBuffer::from_lengths(lengths);
                LargeListArray::try_new(Arc::clone(item), offsets, values, nulls).map(|list| Arc::new(list) as _)
            }
            DataType::List(item) => {
                let offsets = OffsetBuffer::from_lengths(lengths);
                ListArray::try_new(Arc::clone(item), offsets, values, nulls).map(|list| Arc::new(list) as _)
            }
            other => return Err(internal().with("type", other)),
        };
        made.map_err(|source| internal().source(source))
    }
}

fn internal() -> Error {
    Error::new(Kind::Internal, "evaluate l2_normalize")
}
