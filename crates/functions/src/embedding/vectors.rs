//! A column of embeddings as slices of numbers, a row at a time, whatever list holds them.

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use forebay_core::function::Argument;
use forebay_core::types::tensor::TensorType;
use forebay_core::{Error, Kind, Result};

use super::{DIMENSIONS_MAX, unusable};
use crate::arguments::Arguments;

const COLUMN: &str = "a column of lists of numbers, or of tensors of one axis";

/// What is known of a column of embeddings when the query is planned.
#[derive(Debug, Clone)]
pub(super) struct VectorColumn {
    /// Its column's list type.
    pub list: DataType,
    /// `Float32` or `Float64`: what its values are, or become where they are whole numbers.
    pub value: DataType,
    /// Values in each row, if the type says so.
    pub length: Option<usize>,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Vector<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

/// A column of embeddings.
pub(super) struct Vectors {
    values: Values,
    lengths: Lengths,
    nulls: Option<NullBuffer>,
}

enum Values {
    Single(Float32Array),
    Double(Float64Array),
}

/// Where a row's values lie.
enum Lengths {
    Equal(usize),
    Offsets(OffsetBuffer<i64>),
}

// === impl VectorColumn ===

impl VectorColumn {
    /// The column of embeddings at `place`.
    pub(super) fn read(arguments: &Arguments<'_>, given: &[Argument], place: usize, name: &str) -> Result<Self> {
        match given.get(place) {
            Some(Argument::Column(field)) => Self::of(field),
            _ => None,
        }
        .ok_or_else(|| arguments.refuse(place, name, COLUMN))
    }

    fn of(field: &FieldRef) -> Option<Self> {
        let list = field.data_type().clone();
        let (item, length) = match &list {
            DataType::List(item) | DataType::LargeList(item) => (item, None),
            DataType::FixedSizeList(item, length) => (item, usize::try_from(*length).ok()),
            _ => return None,
        };
        if TensorType::of(field).is_some_and(|tensor| tensor.shape.len() != 1) {
            return None;
        }
        let value = match item.data_type() {
            DataType::Float32 | DataType::Float16 => DataType::Float32,
            other if other.is_numeric() => DataType::Float64,
            _ => return None,
        };
        Some(Self { list, value, length })
    }

    /// The rows of `column`, which has this type.
    pub(super) fn rows(&self, column: &ArrayRef) -> Result<Vectors> {
        let internal = || Error::new(Kind::Internal, "read embeddings").with("type", column.data_type());
        let (values, lengths) = match column.data_type() {
            DataType::FixedSizeList(..) => {
                let list = column.as_fixed_size_list();
                (list.values().clone(), Lengths::Equal(usize::try_from(list.value_length()).map_err(|_| internal())?))
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let offsets: Vec<i64> = list.offsets().iter().map(|offset| i64::from(*offset)).collect();
                within(list.values(), &offsets)
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                within(list.values(), list.offsets())
            }
            _ => return Err(internal()),
        };
        let values = cast(&values, &self.value).map_err(|source| internal().source(source))?;
        let values = match self.value {
            DataType::Float32 => Values::Single(values.as_primitive::<Float32Type>().clone()),
            _ => Values::Double(values.as_primitive::<Float64Type>().clone()),
        };
        Ok(Vectors { values, lengths, nulls: column.logical_nulls() })
    }
}

/// The values between the first and the last of `offsets`, and the offsets among these.
fn within(values: &ArrayRef, offsets: &[i64]) -> (ArrayRef, Lengths) {
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let moved: Vec<i64> = offsets.iter().map(|offset| offset - first).collect();
    let used = values.slice(first as usize, (last - first) as usize);
    (used, Lengths::Offsets(OffsetBuffer::new(moved.into())))
}

// === impl Vectors ===

impl Vectors {
    /// The values of `row`, or `None` where it is null.
    ///
    /// # Errors
    /// `Data` if one of its values is null.
    pub(super) fn row(&self, row: usize) -> Result<Option<Vector<'_>>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let (start, length) = self.place(row);
        let nulls = match &self.values {
            Values::Single(values) => values.nulls(),
            Values::Double(values) => values.nulls(),
        };
        if nulls.is_some_and(|nulls| nulls.slice(start, length).null_count() > 0) {
            return Err(unusable("a value of it is null"));
        }
        Ok(Some(match &self.values {
            Values::Single(values) => Vector::Single(&values.values()[start..start + length]),
            Values::Double(values) => Vector::Double(&values.values()[start..start + length]),
        }))
    }

    /// How many values `row` has; unspecified where it is null.
    pub(super) fn length(&self, row: usize) -> usize {
        self.place(row).1
    }

    /// Where the values of `row` begin, and how many there are.
    fn place(&self, row: usize) -> (usize, usize) {
        match &self.lengths {
            Lengths::Equal(length) => (row * length, *length),
            Lengths::Offsets(offsets) => (offsets[row] as usize, (offsets[row + 1] - offsets[row]) as usize),
        }
    }
}

// === impl Vector ===

impl Vector<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
        }
    }

    /// Its first `count` values, of which it has as many.
    pub(super) fn first(self, count: usize) -> Self {
        match self {
            Self::Single(values) => Self::Single(&values[..count]),
            Self::Double(values) => Self::Double(&values[..count]),
        }
    }
}

/// The constant embedding that `text` writes: finite numbers, `[0.25, -1, 3e-2]`.
pub(super) fn constant(text: &str) -> Option<Vec<f64>> {
    let numbers = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let values: Option<Vec<f64>> = numbers.split(',').map(|number| number.trim().parse().ok()).collect();
    values.filter(|values| values.len() <= DIMENSIONS_MAX as usize && values.iter().all(|value| value.is_finite()))
}
