//! `tensor_cast`: the same shape with values of another type, for models that take only that.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float16Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float16Type};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::dtype::{self, DTYPES};
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::rows::TensorRows;
use super::{bounded, unusable};
use crate::arguments::Arguments;

/// `tensor_cast(tensor, dtype)`; see its reference page.
#[derive(Debug)]
pub struct TensorCast;

#[derive(Debug)]
struct Bound {
    width: usize,
    dtype: &'static str,
    value: DataType,
    output: FieldRef,
}

// === impl TensorCast ===

impl RowFunction for TensorCast {
    fn name(&self) -> &'static str {
        "tensor_cast"
    }

    fn usage(&self) -> &'static str {
        "tensor_cast(tensor, dtype)"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 2..=2)?;
        let tensor = match given.first() {
            Some(Argument::Column(field)) => {
                TensorType::of(field).filter(|tensor| dtype::name_of(&tensor.value).is_some())
            }
            _ => None,
        };
        let accepted = "a column of tensors; tensor_reshape makes them of lists";
        let tensor = tensor.ok_or_else(|| arguments.refuse(0, "tensor", accepted))?;
        let choices: Vec<(&str, usize)> = DTYPES.iter().enumerate().map(|(place, (name, _))| (*name, place)).collect();
        let (dtype, value) = &DTYPES[arguments.choice(1, "dtype", &choices)?];
        let width = tensor.row_values();
        let tensor = bounded(TensorType { value: value.clone(), ..tensor }).map_err(|source| {
            arguments.refuse(1, "dtype", "a type in which a row takes at most 256 MiB").source(source)
        })?;
        let output = Arc::new(tensor.field(self.name(), true));
        Ok(Arc::new(Bound { width, dtype, value: value.clone(), output }))
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], _rows: usize) -> Result<Evaluated> {
        let internal = || Error::new(Kind::Internal, "evaluate tensor_cast").with("columns", columns.len());
        let [column] = columns else { return Err(internal()) };
        let mut rows = TensorRows::of(column, self.width)?;
        // What does not fit becomes null, and a row with a null an error.
        let whole = rows.values.data_type().is_integer();
        rows.values = cast(&rows.values, &self.value).map_err(|source| internal().source(source))?;
        if whole && self.value == DataType::Float16 {
            rows.values = finite(&rows.values);
        }
        rows.refuse_nulls(self.width, || unusable(format!("a value of it does not fit {}", self.dtype)));
        rows.into_column(&self.output)
    }
}

/// Half-precision values with nulls in place of infinite ones, which whole numbers beyond their range become.
fn finite(values: &ArrayRef) -> ArrayRef {
    let halves = values.as_primitive::<Float16Type>();
    Arc::new(halves.iter().map(|half| half.filter(|half| half.is_finite())).collect::<Float16Array>())
}
