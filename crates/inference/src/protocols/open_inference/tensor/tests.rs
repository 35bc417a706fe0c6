//! Every type over the wire, and answers that lie about themselves.

use arrow::array::{Float32Array, Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

fn slot(value: DataType, shape: &[Option<usize>]) -> Slot {
    Slot { name: "x".into(), value, shape: shape.to_vec() }
}

fn raw(datatype: &str, shape: &[i64], bytes: &[u8]) -> Taken {
    let content = Content::Raw(Bytes::copy_from_slice(bytes));
    Taken { name: "x".into(), datatype: datatype.into(), shape: shape.to_vec(), content }
}

fn json(datatype: &str, shape: &[i64], data: Value) -> Taken {
    Taken { name: "x".into(), datatype: datatype.into(), shape: shape.to_vec(), content: Content::Json(data) }
}

/// Sends a column and takes its own bytes back as the answer.
fn echoed(slot: &Slot, field: &Field, column: &ArrayRef) -> ArrayRef {
    let given = given(slot, field, column).unwrap();
    let taken = raw(given.datatype, &given.shape, &given.raw());
    taken.column(slot, column.len(), true).unwrap().1
}

#[test]
fn every_type_survives_the_wire() {
    for value in [
        DataType::Boolean,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
    ] {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 1, 0, 7, 100]));
        let column = arrow::compute::cast(&numbers, &value).unwrap();
        let field = Field::new("x", value.clone(), false);
        assert_eq!(&echoed(&slot(value.clone(), &[]), &field, &column), &column, "{value}");
        let middle = column.slice(1, 4);
        assert_eq!(&echoed(&slot(value.clone(), &[]), &field, &middle), &middle, "a slice of {value}");
        let kind = TensorType::new(value.clone(), [2]);
        let (_, tensor) = wrapped(&slot(value.clone(), &[Some(2)]), vec![2], column, 3).unwrap();
        let slice = tensor.slice(1, 2);
        let back = echoed(&slot(value.clone(), &[Some(2)]), &kind.field("x", false), &slice);
        assert_eq!(back.as_fixed_size_list(), slice.as_fixed_size_list(), "tensors of {value}");
    }
}

#[test]
fn numbers_go_out_without_a_copy() {
    let column: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
    let given = given(&slot(DataType::Float32, &[]), &Field::new("x", DataType::Float32, false), &column).unwrap();
    let buffer = column.as_primitive::<Float32Type>().values().inner().as_ptr();
    assert_eq!(given.raw().as_ptr(), buffer);
}

#[test]
fn hostile_answers_are_told_apart_and_allocate_nothing() {
    let case = |taken: Taken, value: DataType, shape: &[Option<usize>], expected: &str| {
        let why = taken.column(&slot(value, shape), 2, false).unwrap_err();
        assert!(why.contains(expected), "{why}");
    };
    let float = || DataType::Float32;
    case(raw("FP32", &[3], &[0; 12]), float(), &[], "3 answers to 2 rows");
    case(raw("FP32", &[1], &[0; 4]), float(), &[], "1 answers to 2 rows");
    case(raw("FP32", &[], &[0; 4]), float(), &[], "its shape is [], expected float32[rows]");
    case(raw("FP32", &[-2], &[0; 4]), float(), &[], "negative axis");
    case(raw("FP64", &[2], &[0; 16]), float(), &[], "it is FP64, expected float32[rows]");
    case(raw("FP32", &[2, 3], &[0; 24]), float(), &[Some(2)], "its shape is [2, 3], expected float32[rows, 2]");
    case(raw("FP32", &[2], &[0; 7]), float(), &[], "7 bytes came for 2 values of 4 bytes");
    case(raw("FP32", &[2], &[0; 9]), float(), &[], "9 bytes came for 2 values of 4 bytes");
    case(raw("FP32", &[2, i64::MAX, i64::MAX], &[0; 8]), float(), &[None, None], "beyond any memory");
    case(raw("FP32", &[2, i64::MAX], &[0; 8]), float(), &[None], "8 bytes came for");
    case(raw("FP32", &[2, i64::MAX / 8], &[0; 8]), float(), &[None], "8 bytes came for");
    case(raw("FP32", &[2], &f32::NAN.to_le_bytes().repeat(2)), float(), &[], "row 0 is NaN or infinite");
    case(
        raw("BYTES", &[2], b"\x01\0\0\0a\xff\xff\xff\xff"),
        DataType::Utf8,
        &[],
        "says it has 4294967295 bytes, 0 are left",
    );
    case(raw("BYTES", &[2], b"\x01\0\0\0a\x01\0"), DataType::Utf8, &[], "7 bytes came for 2 values");
    case(raw("BYTES", &[2], b"\x01\0\0\0a\x01\0\0\0\xff"), DataType::Utf8, &[], "value 1 is no UTF-8 text");
    case(raw("BYTES", &[2], b"\x01\0\0\0a\0\0\0\0more"), DataType::Utf8, &[], "4 bytes are left over");
    case(raw("BYTES", &[2, i64::MAX / 2 - 1], b"\x01\0\0\0a"), DataType::Utf8, &[None], "bytes came for");
    case(json("FP32", &[2], serde_json::json!([1.0])), float(), &[], "1 values came, its shape has 2");
    case(json("FP32", &[2], serde_json::json!([1.0, null])), float(), &[], "value 1 is null");
    case(json("FP32", &[2], serde_json::json!([1.0, "NaN"])), float(), &[], "expected a finite number");
    case(json("FP32", &[2], Value::Null), float(), &[], "1 values came");
    case(json("INT8", &[2], serde_json::json!([1, 300])), DataType::Int8, &[], "value 1 is 300");
    case(json("BYTES", &[2], serde_json::json!(["a", 1])), DataType::Utf8, &[], "value 1 is no text");
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let field = Field::new("x", DataType::Utf8, true);
    let error = given(&slot(DataType::Utf8, &[]), &field, &nulls).unwrap_err();
    assert_eq!((error.kind(), error.chain().contains("models take no nulls")), (Kind::Data, true));
    let error = given(&slot(DataType::Float32, &[]), &field, &nulls).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

proptest! {
    #[test]
    fn no_bytes_and_no_shape_can_break_the_reader(
        shape in proptest::collection::vec(prop_oneof![-2i64..5, Just(i64::MAX)], 0..4),
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        datatype in prop_oneof![Just("FP32"), Just("BYTES"), Just("BOOL"), Just("INT64")],
    ) {
        let value = super::super::datatype::value_of(datatype).unwrap();
        for axes in [vec![], vec![None], vec![Some(2)]] {
            let taken = raw(datatype, &shape, &bytes);
            if let Ok((_, column)) = taken.column(&slot(value.clone(), &axes), 2, true) {
                prop_assert_eq!(column.len(), 2);
            }
        }
    }
}
