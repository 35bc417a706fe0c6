//! `cosine_similarity`, `cosine_distance`, `dot_product`, `euclidean_distance`: how near two embeddings are.
//!
//! They differ in one line of arithmetic, so that they share how arguments and rows are read. The second embedding is a
//! column, or a constant of the query such as the embedding of a question.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder};
use arrow::datatypes::{DataType, Field, FieldRef};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::{Error, Kind, Result};

use super::kernels::{self, Number};
use super::unusable;
use super::vectors::{Vector, VectorColumn, constant};
use crate::arguments::Arguments;

/// `cosine_similarity(embedding, other)`; see its reference page.
#[derive(Debug)]
pub struct CosineSimilarity;

/// `cosine_distance(embedding, other)`; see its reference page.
#[derive(Debug)]
pub struct CosineDistance;

/// `dot_product(embedding, other)`; see its reference page.
#[derive(Debug)]
pub struct DotProduct;

/// `euclidean_distance(embedding, other)`; see its reference page.
#[derive(Debug)]
pub struct EuclideanDistance;

/// What is computed of two embeddings.
#[derive(Debug, Clone, Copy)]
enum Measure {
    CosineSimilarity,
    CosineDistance,
    DotProduct,
    EuclideanDistance,
}

/// What the column is compared with.
#[derive(Debug)]
enum Other {
    Column(VectorColumn),
    Constant(Vec<f64>),
}

#[derive(Debug)]
struct Bound {
    measure: Measure,
    embedding: VectorColumn,
    other: Other,
    output: FieldRef,
}

// === impl CosineSimilarity ===

impl RowFunction for CosineSimilarity {
    fn name(&self) -> &'static str {
        "cosine_similarity"
    }

    fn usage(&self) -> &'static str {
        "cosine_similarity(embedding, other)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        bind(self, Measure::CosineSimilarity, arguments)
    }
}

// === impl CosineDistance ===

impl RowFunction for CosineDistance {
    fn name(&self) -> &'static str {
        "cosine_distance"
    }

    fn usage(&self) -> &'static str {
        "cosine_distance(embedding, other)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        bind(self, Measure::CosineDistance, arguments)
    }
}

// === impl DotProduct ===

impl RowFunction for DotProduct {
    fn name(&self) -> &'static str {
        "dot_product"
    }

    fn usage(&self) -> &'static str {
        "dot_product(embedding, other)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        bind(self, Measure::DotProduct, arguments)
    }
}

// === impl EuclideanDistance ===

impl RowFunction for EuclideanDistance {
    fn name(&self) -> &'static str {
        "euclidean_distance"
    }

    fn usage(&self) -> &'static str {
        "euclidean_distance(embedding, other)"
    }

    fn bind(&self, arguments: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        bind(self, Measure::EuclideanDistance, arguments)
    }
}

fn bind(function: &dyn RowFunction, measure: Measure, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
    let arguments = Arguments::new(function, given, 2..=2)?;
    let embedding = VectorColumn::read(&arguments, given, 0, "embedding")?;
    let other = match given.get(1) {
        Some(Argument::Text(text)) => constant(text).map(Other::Constant).ok_or_else(|| {
            arguments.refuse(1, "other", "a column of embeddings, or finite numbers such as '[0.25, -1]'")
        })?,
        _ => Other::Column(VectorColumn::read(&arguments, given, 1, "other")?),
    };
    let length = match &other {
        Other::Column(column) => column.length,
        Other::Constant(values) => Some(values.len()),
    };
    match (embedding.length, length) {
        (Some(left), Some(right)) if left != right => {
            Err(arguments.refuse(1, "other", format!("{left} values, as the embedding has")).with("values", right))
        }
        _ => {
            let output = Arc::new(Field::new(function.name(), DataType::Float64, true));
            Ok(Arc::new(Bound { measure, embedding, other, output }))
        }
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<Evaluated> {
        let internal = || Error::new(Kind::Internal, "compare embeddings").with("columns", columns.len());
        let embeddings = self.embedding.rows(columns.first().ok_or_else(internal)?)?;
        let others = match &self.other {
            Other::Column(column) => Some(column.rows(columns.get(1).ok_or_else(internal)?)?),
            Other::Constant(_) => None,
        };
        let other = |row| match (&others, &self.other) {
            (Some(others), _) => others.row(row),
            (None, Other::Constant(values)) => Ok(Some(Vector::Double(values))),
            (None, Other::Column(_)) => Err(internal()),
        };
        let (mut values, mut errors) = (Float64Builder::with_capacity(rows), Vec::new());
        for row in 0..rows {
            let compared = match (embeddings.row(row), other(row)) {
                (Err(error), _) | (_, Err(error)) => Err(error),
                (Ok(Some(left)), Ok(Some(right))) => self.measure.of(left, right).map(Some),
                (Ok(_), Ok(_)) => Ok(None),
            };
            values.append_option(compared.unwrap_or_else(|error| {
                errors.push((row, error));
                None
            }));
        }
        Ok(Evaluated { column: Arc::new(values.finish()), errors })
    }
}

// === impl Measure ===

impl Measure {
    fn of(self, left: Vector<'_>, right: Vector<'_>) -> Result<f64> {
        if left.len() != right.len() {
            return Err(unusable(format!("it has {} values, the other {}", left.len(), right.len())));
        }
        match (left, right) {
            (Vector::Single(left), Vector::Single(right)) => self.of_numbers(left, right),
            (Vector::Single(left), Vector::Double(right)) => self.of_numbers(left, right),
            (Vector::Double(left), Vector::Single(right)) => self.of_numbers(left, right),
            (Vector::Double(left), Vector::Double(right)) => self.of_numbers(left, right),
        }
    }

    fn of_numbers<L: Number, R: Number>(self, left: &[L], right: &[R]) -> Result<f64> {
        let cosine =
            || kernels::cosine(left, right).ok_or_else(|| unusable("all values are zero, which is no direction"));
        match self {
            Self::CosineSimilarity => cosine(),
            Self::CosineDistance => cosine().map(|cosine| 1.0 - cosine),
            Self::DotProduct => Ok(kernels::dot(left, right)),
            Self::EuclideanDistance => Ok(kernels::distance(left, right)),
        }
    }
}
