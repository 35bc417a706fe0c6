//! What rows are ordered by, as bytes whose order is that of the values.
//!
//! The bytes are stored in checkpoints, so the encoding is a format of its own. For each column a tag (0 a value, 1 NaN, 2
//! null), then the value: numbers big-endian with the sign turned so that negative ones come first, text and binary with a
//! zero byte doubled as `00 ff` and `00 00` at the end. Descending columns have the bytes of the value inverted. NaN and null
//! are last either way.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use forebay_core::{Error, Kind, Result};

const VALUE: u8 = 0;
const NAN: u8 = 1;
const NULL: u8 = 2;

/// A column that rows are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderColumn {
    /// Its place.
    pub place: usize,
    /// Greatest first.
    pub descending: bool,
}

/// For each row what it is ordered by.
///
/// # Errors
/// `Invalid` for a type that has no order here.
pub(super) fn encode(rows: &RecordBatch, columns: &[OrderColumn]) -> Result<Vec<Vec<u8>>> {
    let mut orders = vec![Vec::new(); rows.num_rows()];
    for column in columns {
        append(rows.column(column.place), column.descending, &mut orders)?;
    }
    Ok(orders)
}

/// For each value of `column`, ascending, what it is ordered by.
///
/// # Errors
/// `Invalid` for a type that has no order here.
pub(crate) fn encode_column(column: &ArrayRef) -> Result<Vec<Vec<u8>>> {
    let mut orders = vec![Vec::new(); column.len()];
    append(column, false, &mut orders)?;
    Ok(orders)
}

/// Whether these are the bytes of a null.
pub(crate) fn is_null(order: &[u8]) -> bool {
    order == [NULL]
}

/// The type as whose values those of `kind` are compared; `None` if they have no order here.
pub(crate) fn comparable(kind: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match kind {
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => D::Int64,
        D::Date32 | D::Date64 | D::Timestamp(..) => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Decimal128(..) => kind.clone(),
        D::Float16 | D::Float32 | D::Float64 => D::Float64,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => D::LargeBinary,
        D::Dictionary(_, value) => comparable(value)?,
        _ => return None,
    })
}

fn append(column: &ArrayRef, descending: bool, orders: &mut [Vec<u8>]) -> Result<()> {
    let refused = || Error::new(Kind::Invalid, "order rows").with("type", column.data_type());
    let column = match column.data_type() {
        DataType::Dictionary(_, value) => cast(column, value).map_err(|source| refused().source(source))?,
        _ => ArrayRef::clone(column),
    };
    let kind = comparable(column.data_type()).ok_or_else(refused)?;
    let column = cast(&column, &kind).map_err(|source| refused().source(source))?;
    for (place, order) in orders.iter_mut().enumerate() {
        if column.is_null(place) {
            order.push(NULL);
            continue;
        }
        let start = order.len() + 1;
        order.push(VALUE);
        match kind {
            DataType::Int64 => order.extend(signed(column.as_primitive::<Int64Type>().value(place))),
            DataType::Float64 => match float(column.as_primitive::<Float64Type>().value(place)) {
                Some(bytes) => order.extend(bytes),
                None => order[start - 1] = NAN,
            },
            DataType::LargeBinary => put_bytes(column.as_binary::<i64>().value(place), order),
            _ => {
                let value = column.as_primitive::<Decimal128Type>().value(place);
                order.extend((value as u128 ^ (1 << 127)).to_be_bytes());
            }
        }
        if descending {
            order[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    Ok(())
}

fn signed(value: i64) -> [u8; 8] {
    (value as u64 ^ (1 << 63)).to_be_bytes()
}

/// `None` for NaN. Zero has one sign.
fn float(value: f64) -> Option<[u8; 8]> {
    if value.is_nan() {
        return None;
    }
    let bits = (value + 0.0).to_bits();
    let negative = bits >> 63 == 1;
    Some((if negative { !bits } else { bits ^ (1 << 63) }).to_be_bytes())
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Float64Array, Int32Array, StringArray, TimestampSecondArray, UInt64Array};

    /// Columns in ascending order, null last.
    fn columns() -> Vec<ArrayRef> {
        let floats = [f64::NEG_INFINITY, -1.5, 0.0, 1e-300, 7.0, f64::INFINITY, f64::NAN].map(Some);
        let binaries: [Option<&[u8]>; 6] = [Some(b""), Some(b"\0"), Some(b"\0\x01"), Some(b"\x01"), Some(b"a"), None];
        vec![
            Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(-1), Some(0), Some(9), None])),
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX])),
            Arc::new(Float64Array::from_iter(floats.into_iter().chain([None]))),
            Arc::new(StringArray::from(vec![Some(""), Some("a"), Some("a\0"), Some("ab"), Some("b"), None])),
            Arc::new(BinaryArray::from_iter(binaries)),
            Arc::new(TimestampSecondArray::from(vec![-5, 5])),
        ]
    }

    fn encoded(column: ArrayRef, descending: bool) -> Vec<Vec<u8>> {
        let rows = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
        encode(&rows, &[OrderColumn { place: 0, descending }]).unwrap()
    }

    #[test]
    fn bytes_have_the_order_of_values_and_what_has_none_is_last() {
        for column in columns() {
            let ascending = encoded(Arc::clone(&column), false);
            assert!(ascending.windows(2).all(|pair| pair[0] < pair[1]), "{column:?}");
            let mut descending = encoded(Arc::clone(&column), true);
            let values = ascending.iter().filter(|bytes| bytes[0] == VALUE).count();
            descending[..values].reverse();
            assert!(descending.windows(2).all(|pair| pair[0] < pair[1]), "{column:?}");
        }
    }

    #[test]
    fn zero_has_one_sign_and_a_list_has_no_order() {
        let zeros = encoded(Arc::new(Float64Array::from(vec![0.0, -0.0])), false);
        assert_eq!(zeros[0], zeros[1]);
        let list = arrow::array::ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]);
        let rows = RecordBatch::try_from_iter([("x", Arc::new(list) as ArrayRef)]).unwrap();
        let error = encode(&rows, &[OrderColumn { place: 0, descending: false }]).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
