//! Rows as bytes: every type comes back, broken bytes are refused.

#![allow(clippy::unwrap_used, reason = "a test may stop at anything odd")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::array::{
    BooleanArray, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Float64Array, Int64Array, ListArray,
    NullArray, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema};
use forebay_core::Kind;

use forebay_operators::stored_rows::{RowReader, RowWriter, check_storable};

fn every_type() -> RecordBatch {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(4), Some(5), Some(6)]),
    ]);
    let row = |values: [f32; 2]| Some(values.map(Some).to_vec());
    let tensors = vec![row([0.5, 1.5]), None, row([2.0, 3.0]), row([-1.0, f32::INFINITY])];
    let tensor = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(tensors, 2);
    let inner: ArrayRef = Arc::new(StringArray::from(vec![Some("in"), None, Some(""), Some("side")]));
    let fields = vec![Field::new("text", DataType::Utf8, true)];
    let nested = StructArray::new(fields.into(), vec![inner], Some(vec![true, true, false, true].into()));
    let binary = vec![Some([1u8, 2]), None, Some([3, 4]), Some([5, 6])];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3), Some(i64::MAX)]))),
        ("x", Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0, 4.0]))),
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        ("text", Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("ä longer text")]))),
        ("view", Arc::new(StringViewArray::from(vec![None, Some("short"), Some("a text that is not inline"), None]))),
        (
            "word",
            Arc::new(vec![Some("x"), Some("y"), None, Some("x")].into_iter().collect::<DictionaryArray<Int32Type>>()),
        ),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3, 4]).with_timezone("+00:00"))),
        ("fixed", Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(binary.into_iter(), 2).unwrap())),
        ("list", Arc::new(list)),
        ("tensor", Arc::new(tensor)),
        ("nested", Arc::new(nested)),
        ("nothing", Arc::new(NullArray::new(4))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn bytes(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let writer = RowWriter::new(rows).unwrap();
    let one = |place| {
        let mut out = Vec::new();
        writer.write(place, &mut out);
        out
    };
    (0..rows.num_rows()).map(one).collect()
}

#[test]
fn rows_of_every_type_come_back_alone_in_any_order_and_from_slices() {
    let rows = every_type();
    for (start, length) in [(0, 4), (1, 3), (2, 1)] {
        let slice = rows.slice(start, length);
        let stored = bytes(&slice);
        let mut reader = RowReader::new(&slice.schema()).unwrap();
        for place in (0..length).rev() {
            reader.push(&stored[place]).unwrap();
        }
        let read = RecordBatch::try_new(slice.schema(), reader.finish().unwrap()).unwrap();
        for place in 0..length {
            assert_eq!(read.slice(length - 1 - place, 1), slice.slice(place, 1));
        }
        assert_eq!((reader.rows(), reader.bytes()), (0, 0));
    }
}

#[test]
fn rows_of_nulls_stand_between_others() {
    let rows = every_type();
    let mut reader = RowReader::new(&rows.schema()).unwrap();
    reader.push(&bytes(&rows)[3]).unwrap();
    reader.push_nulls();
    let columns = reader.finish().unwrap();
    assert!(
        columns.iter().all(|column| column.len() == 2 && column.is_null(1) | (column.data_type() == &DataType::Null))
    );
    assert_eq!(columns[0].slice(0, 1).to_data(), rows.column(0).slice(3, 1).to_data());
}

#[test]
fn broken_bytes_are_corrupt_and_never_panic() {
    let rows = every_type();
    for row in bytes(&rows) {
        for end in 0..row.len() {
            let mut reader = RowReader::new(&rows.schema()).unwrap();
            assert_eq!(reader.push(&row[..end]).unwrap_err().kind(), Kind::Corrupt);
        }
        let mut reader = RowReader::new(&rows.schema()).unwrap();
        assert_eq!(reader.push(&[row, vec![0]].concat()).unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn stored_bytes_do_not_change_between_releases() {
    let n: ArrayRef = Arc::new(Int64Array::from(vec![258]));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("hi")]));
    let none: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(7)])]));
    let rows = RecordBatch::try_from_iter([("n", n), ("text", text), ("none", none), ("list", list)]).unwrap();
    let expected = [1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, b'h', b'i', 0, 1, 1, 0, 0, 0, 1, 7, 0, 0, 0];
    assert_eq!(bytes(&rows)[0], expected);
}

#[test]
fn types_that_cannot_be_kept_are_refused_by_name() {
    let entries = Field::new("entries", DataType::Struct(vec![Field::new("k", DataType::Utf8, false)].into()), false);
    let schema = Schema::new(vec![Field::new("tags", DataType::Map(Arc::new(entries), false), true)]);
    assert!(check_storable(&schema).unwrap_err().chain().contains("tags"));
}
