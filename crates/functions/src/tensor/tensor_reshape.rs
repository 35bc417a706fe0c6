//! `tensor_reshape`: the same values under other axes, and lists as tensors.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use forebay_core::function::{Argument, BoundFunction, Evaluated, RowFunction};
use forebay_core::types::dtype;
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::rows::TensorRows;
use super::{AXES_MAX, bounded};
use crate::arguments::Arguments;

/// `tensor_reshape(tensor, axis [, axis ..])`; see its reference page.
#[derive(Debug)]
pub struct TensorReshape;

#[derive(Debug)]
struct Bound {
    width: usize,
    output: FieldRef,
}

// === impl TensorReshape ===

impl RowFunction for TensorReshape {
    fn name(&self) -> &'static str {
        "tensor_reshape"
    }

    fn usage(&self) -> &'static str {
        "tensor_reshape(tensor, axis [, axis ..])"
    }

    fn bind(&self, given: &[Argument]) -> Result<Arc<dyn BoundFunction>> {
        let arguments = Arguments::new(self, given, 2..=AXES_MAX + 1)?;
        let (value, values) = column(given.first())
            .ok_or_else(|| arguments.refuse(0, "tensor", "a column of tensors, or of lists of numbers"))?;
        let (shape, open) = axes(&arguments, given, values)?;
        let last = given.len() - 1;
        let too_large = |source| arguments.refuse(last, "axis", "a shape of at most 256 MiB").source(source);
        let mut tensor = bounded(TensorType::new(value, shape)).map_err(too_large)?;
        if let (Some(open), Some(values)) = (open, values) {
            tensor.shape[open] = values / tensor.row_values();
        }
        match values {
            Some(values) if values != tensor.row_values() => {
                let accepted = format!("a shape of {values} values, as the tensor has");
                Err(arguments.refuse(last, "axis", accepted).with("shape", format!("{:?}", tensor.shape)))
            }
            _ => Ok(Arc::new(Bound { width: tensor.row_values(), output: Arc::new(tensor.field(self.name(), true)) })),
        }
    }
}

/// The axes, and the place of the one that follows from the others and is 1 so far; `values` are those of a row, if known.
fn axes(arguments: &Arguments<'_>, given: &[Argument], values: Option<usize>) -> Result<(Vec<usize>, Option<usize>)> {
    let (mut shape, mut open) = (Vec::new(), None);
    for place in 1..given.len() {
        match given.get(place) {
            Some(Argument::Int(-1)) if open.is_none() && values.is_some() => {
                open = Some(shape.len());
                shape.push(1);
            }
            Some(Argument::Int(-1)) => return Err(arguments.refuse(place, "axis", open_axis(values))),
            _ => shape.push(arguments.int(place, "axis", 1..=i32::MAX as u32)? as usize),
        }
    }
    Ok((shape, open))
}

/// The type of a column's values, and how many each row has if the type says so.
fn column(argument: Option<&Argument>) -> Option<(DataType, Option<usize>)> {
    let Some(Argument::Column(field)) = argument else { return None };
    let (item, values) = match field.data_type() {
        DataType::FixedSizeList(item, length) => (item, Some(usize::try_from(*length).ok()?)),
        DataType::List(item) | DataType::LargeList(item) => (item, None),
        _ => return None,
    };
    dtype::name_of(item.data_type()).map(|_| (item.data_type().clone(), values))
}

/// Where -1 may stand.
fn open_axis(values: Option<usize>) -> &'static str {
    match values {
        Some(_) => "-1 once, for the axis that follows from the others",
        None => "its length: lists may differ, so that it does not follow from the others",
    }
}

// === impl Bound ===

impl BoundFunction for Bound {
    fn output(&self) -> FieldRef {
        Arc::clone(&self.output)
    }

    fn evaluate(&self, columns: &[ArrayRef], _rows: usize) -> Result<Evaluated> {
        let [column] = columns else {
            return Err(Error::new(Kind::Internal, "evaluate tensor_reshape").with("columns", columns.len()));
        };
        TensorRows::of(column, self.width)?.into_column(&self.output)
    }
}
