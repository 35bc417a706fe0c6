//! The values of a column of tensors or lists, one after the other, the same number for each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, MutableArrayData, make_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, FieldRef};
use forebay_core::function::Evaluated;
use forebay_core::{Error, Kind, Result};

use super::unusable;

/// The rows of a batch while they are made tensors.
pub(super) struct TensorRows {
    /// As many for each row as were asked for; unspecified where it is not valid, null where a value is.
    pub values: ArrayRef,
    /// Which rows are neither null nor in error.
    pub valid: Vec<bool>,
    /// Ascending by row.
    pub errors: Vec<(usize, Error)>,
}

// === impl TensorRows ===

impl TensorRows {
    /// The rows of `column`, each of `width` values. A tensor's values are not copied.
    ///
    /// # Errors
    /// `Internal` for a column of another type, `Exhausted` if there is no memory. Rows of other lengths, and rows with a
    /// null among their values, are in `errors`.
    pub(super) fn of(column: &ArrayRef, width: usize) -> Result<Self> {
        let valid = (0..column.len()).map(|row| column.is_valid(row)).collect();
        let mut rows = match column.data_type() {
            DataType::FixedSizeList(..) => {
                let values = Arc::clone(column.as_fixed_size_list().values());
                Self { values, valid, errors: Vec::new() }
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                let offsets: Vec<usize> = list.offsets().iter().map(|offset| *offset as usize).collect();
                Self::gathered(list.values(), &offsets, valid, width)?
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                let offsets: Vec<usize> = list.offsets().iter().map(|offset| *offset as usize).collect();
                Self::gathered(list.values(), &offsets, valid, width)?
            }
            other => return Err(Error::new(Kind::Internal, "read tensors").with("type", other)),
        };
        rows.refuse_nulls(width, || unusable("a value of it is null"));
        Ok(rows)
    }

    /// Makes rows with a null among their values errors.
    pub(super) fn refuse_nulls(&mut self, width: usize, error: impl Fn() -> Error) {
        let Some(nulls) = self.values.logical_nulls().filter(|nulls| nulls.null_count() > 0) else { return };
        for (row, valid) in self.valid.iter_mut().enumerate() {
            if *valid && nulls.slice(row * width, width).null_count() > 0 {
                *valid = false;
                self.errors.push((row, error()));
            }
        }
        self.errors.sort_by_key(|(row, _)| *row);
    }

    /// The lists of `width` values one after the other, zeros in place of others.
    fn gathered(values: &ArrayRef, offsets: &[usize], mut valid: Vec<bool>, width: usize) -> Result<Self> {
        let mut errors = Vec::new();
        check_memory(valid.len().saturating_mul(width), values.data_type())?;
        let data = values.to_data();
        let mut made = MutableArrayData::new(vec![&data], true, valid.len() * width);
        for ((row, valid), place) in valid.iter_mut().enumerate().zip(offsets.windows(2)) {
            let length = place[1] - place[0];
            if *valid && length != width {
                *valid = false;
                errors.push((row, unusable(format!("it has {length} values, not {width}"))));
            }
            if *valid {
                made.extend(0, place[0], place[1]);
            } else {
                made.extend_nulls(width);
            }
        }
        Ok(Self { values: make_array(made.freeze()), valid, errors })
    }

    /// The column of type `output`, with a null for every row that is not valid.
    pub(super) fn into_column(self, output: &FieldRef) -> Result<Evaluated> {
        let internal = || Error::new(Kind::Internal, "build tensors").with("type", output.data_type());
        let DataType::FixedSizeList(item, length) = output.data_type() else { return Err(internal()) };
        let values = self.values.to_data().into_builder().nulls(None).build();
        let values = make_array(values.map_err(|source| internal().source(source))?);
        let nulls = NullBuffer::new(BooleanBuffer::from(self.valid));
        let column = FixedSizeListArray::try_new(Arc::clone(item), *length, values, Some(nulls));
        Ok(Evaluated { column: Arc::new(column.map_err(|source| internal().source(source))?), errors: self.errors })
    }
}

/// Refuses what the machine has no memory for, before the process would end over it.
fn check_memory(values: usize, value: &DataType) -> Result<()> {
    let bytes = values.saturating_mul(value.primitive_width().unwrap_or(1));
    let reserved = Vec::<u8>::new().try_reserve_exact(bytes);
    reserved
        .map_err(|source| Error::new(Kind::Exhausted, "take memory for tensors").with("bytes", bytes).source(source))
}
