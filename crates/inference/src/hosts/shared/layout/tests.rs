//! What is taken apart is put together again, and what is damaged is an error.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{
    BooleanArray, Decimal128Array, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Int64Array,
    LargeStringArray, ListArray, NullArray, StringArray, StructArray,
};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

use super::*;

/// Parts as they were made, or damaged.
struct Parts(VecDeque<Part>, VecDeque<Option<Buffer>>);

impl Source for Parts {
    fn length(&mut self) -> Result<usize> {
        let part = self.0.pop_front().ok_or_else(corrupt)?;
        self.1 = part.buffers.into();
        Ok(part.length)
    }

    fn buffer(&mut self, role: Role, bytes_min: usize) -> Result<Option<Buffer>> {
        let Some(buffer) = self.1.pop_front().ok_or_else(corrupt)? else { return Ok(None) };
        let bytes = if role == Role::Text { buffer.len() } else { bytes_min };
        if buffer.len() < bytes { Err(corrupt()) } else { Ok(Some(buffer.slice_with_length(0, bytes))) }
    }
}

fn apart(array: &ArrayRef) -> Vec<Part> {
    let mut parts = Vec::new();
    take_apart(array, &mut parts).unwrap();
    parts
}

fn together(data_type: &DataType, parts: Vec<Part>) -> Result<ArrayRef> {
    put_together(data_type, &mut Parts(parts.into(), VecDeque::new()))
}

/// Arrays of 12 values of every shape that travels.
fn arrays() -> Vec<ArrayRef> {
    let numbers = || Int64Array::from_iter((0..12).map(|row| (row % 5 > 0).then_some(row)));
    let texts = || (0..12).map(|row| (row % 4 > 0).then(|| "x".repeat(row)));
    let lists = (0..12).map(|row| (row % 3 > 0).then(|| (0..row).map(Some).collect::<Vec<_>>()));
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let pixels = Arc::new(Float32Array::from_iter_values((0..36).map(|value| value as f32)));
    let nulls = Some((0..12).map(|row| row != 7).collect::<Vec<bool>>().into());
    let fields = vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)];
    let parts: Vec<ArrayRef> = vec![Arc::new(numbers()), Arc::new(StringArray::from_iter(texts()))];
    vec![
        Arc::new(numbers()),
        Arc::new(BooleanArray::from_iter((0..12).map(|row| (row % 5 > 0).then_some(row % 2 > 0)))),
        Arc::new(StringArray::from_iter(texts())),
        Arc::new(LargeStringArray::from_iter(texts())),
        Arc::new(FixedSizeBinaryArray::try_from_iter((0..12u8).map(|row| [row; 3])).unwrap()),
        Arc::new(Decimal128Array::from_iter_values(0..12)),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        Arc::new(FixedSizeListArray::new(item, 3, pixels, nulls)),
        Arc::new(StructArray::new(fields.into(), parts, None)),
        Arc::new(NullArray::new(12)),
    ]
}

#[test]
fn slices_of_every_shape_come_back() {
    for array in arrays() {
        for (start, length) in [(0, 12), (3, 5), (8, 4), (12, 0), (5, 0)] {
            let slice = array.slice(start, length);
            let back = together(slice.data_type(), apart(&slice)).unwrap();
            assert_eq!(&back, &slice, "{} {start}+{length}", slice.data_type());
        }
        assert!(type_travels(array.data_type()));
    }
}

#[test]
fn slices_carry_only_their_rows_and_copy_nothing_large() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let Some(values) = apart(&numbers.slice(10, 3)).remove(0).buffers.remove(1) else { panic!("no values") };
    let whole = numbers.to_data().buffers()[0].as_ptr() as usize;
    assert_eq!((values.as_ptr() as usize - whole, values.len()), (80, 24));
}

#[test]
fn what_needs_more_than_buffers_does_not_travel() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    for other in
        [dictionary, DataType::Utf8View, DataType::FixedSizeList(Field::new("i", DataType::Int8, true).into(), -1)]
    {
        assert!(!type_travels(&other), "{other}");
        assert!(!travels(&Schema::new(vec![Field::new_struct("s", vec![Field::new("d", other, true)], true)])));
    }
}

proptest! {
    #[test]
    fn damaged_parts_are_errors_or_arrays_but_never_panics(
        which in 0usize..10, part in 0usize..3, buffer in 0usize..3, length in 0usize..40, bytes in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        let array = &arrays()[which];
        let mut parts = apart(array);
        let part = part % parts.len();
        parts[part].length = length;
        let buffers = parts[part].buffers.len();
        if buffers > 0 {
            parts[part].buffers[buffer % buffers] = (!bytes.is_empty()).then(|| Buffer::from_slice_ref(&bytes));
        }
        if let Ok(read) = together(array.data_type(), parts) {
            prop_assert!(read.to_data().validate_full().is_ok());
        }
    }
}
