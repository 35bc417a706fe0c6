//! Single values as bytes of state. The type is known to who reads them and is not stored.
//!
//! One tag byte (null or not), then numbers little-endian in eight bytes, decimals in sixteen, text and binary as they are
//! behind their length. Whatever else an aggregate keeps (lists, structs) is an Arrow stream of one row and one column.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::scalar::ScalarValue;
use forebay_core::{Error, Kind, Result};

const NULL: u8 = 0;
const VALUE: u8 = 1;
const ARROW: u8 = 2;

/// Appends `value`.
///
/// # Errors
/// `Internal` for a value that Arrow cannot write.
pub(super) fn put(value: &ScalarValue, out: &mut Vec<u8>) -> Result<()> {
    use ScalarValue as S;
    if value.is_null() {
        out.push(NULL);
        return Ok(());
    }
    let start = out.len();
    out.push(VALUE);
    let mut number = |bits: [u8; 8]| out.extend_from_slice(&bits);
    match value {
        S::Boolean(Some(value)) => number(u64::from(*value).to_le_bytes()),
        S::Int8(Some(value)) => number(i64::from(*value).to_le_bytes()),
        S::Int16(Some(value)) => number(i64::from(*value).to_le_bytes()),
        S::Int32(Some(value)) | S::Date32(Some(value)) => number(i64::from(*value).to_le_bytes()),
        S::Int64(Some(value)) | S::Date64(Some(value)) => number(value.to_le_bytes()),
        S::TimestampSecond(Some(value), _) | S::TimestampMillisecond(Some(value), _) => number(value.to_le_bytes()),
        S::TimestampMicrosecond(Some(value), _) | S::TimestampNanosecond(Some(value), _) => number(value.to_le_bytes()),
        S::UInt8(Some(value)) => number(u64::from(*value).to_le_bytes()),
        S::UInt16(Some(value)) => number(u64::from(*value).to_le_bytes()),
        S::UInt32(Some(value)) => number(u64::from(*value).to_le_bytes()),
        S::UInt64(Some(value)) => number(value.to_le_bytes()),
        S::Float32(Some(value)) => number(u64::from(value.to_bits()).to_le_bytes()),
        S::Float64(Some(value)) => number(value.to_bits().to_le_bytes()),
        S::Decimal128(Some(value), _, _) => out.extend_from_slice(&value.to_le_bytes()),
        S::Utf8(Some(value)) | S::LargeUtf8(Some(value)) | S::Utf8View(Some(value)) => piece(value.as_bytes(), out),
        S::Binary(Some(value)) | S::LargeBinary(Some(value)) | S::BinaryView(Some(value)) => piece(value, out),
        other => {
            out.truncate(start);
            out.push(ARROW);
            piece(&stream(other).map_err(|source| unwritable(other, source))?, out);
        }
    }
    Ok(())
}

/// Takes a value of type `kind` from the front of `rest`.
///
/// # Errors
/// `Corrupt` if the bytes are not such a value.
pub(super) fn take(rest: &mut &[u8], kind: &DataType) -> Result<ScalarValue> {
    use DataType as D;
    use ScalarValue as S;
    let tag = *bytes(rest, 1)?.first().ok_or_else(|| corrupt("a value is missing"))?;
    match tag {
        NULL => return S::try_from(kind).map_err(|_| corrupt("a null of no known type")),
        VALUE => {}
        ARROW => return read_stream(take_piece(rest)?, kind),
        _ => return Err(corrupt("there is no such kind of value")),
    }
    Ok(match kind {
        D::Boolean => S::Boolean(Some(number(rest)? != 0)),
        D::Int8 => S::Int8(Some(number(rest)? as i8)),
        D::Int16 => S::Int16(Some(number(rest)? as i16)),
        D::Int32 => S::Int32(Some(number(rest)? as i32)),
        D::Date32 => S::Date32(Some(number(rest)? as i32)),
        D::Int64 => S::Int64(Some(number(rest)? as i64)),
        D::Date64 => S::Date64(Some(number(rest)? as i64)),
        D::Timestamp(TimeUnit::Second, zone) => S::TimestampSecond(Some(number(rest)? as i64), zone.clone()),
        D::Timestamp(TimeUnit::Millisecond, zone) => S::TimestampMillisecond(Some(number(rest)? as i64), zone.clone()),
        D::Timestamp(TimeUnit::Microsecond, zone) => S::TimestampMicrosecond(Some(number(rest)? as i64), zone.clone()),
        D::Timestamp(TimeUnit::Nanosecond, zone) => S::TimestampNanosecond(Some(number(rest)? as i64), zone.clone()),
        D::UInt8 => S::UInt8(Some(number(rest)? as u8)),
        D::UInt16 => S::UInt16(Some(number(rest)? as u16)),
        D::UInt32 => S::UInt32(Some(number(rest)? as u32)),
        D::UInt64 => S::UInt64(Some(number(rest)?)),
        D::Float32 => S::Float32(Some(f32::from_bits(number(rest)? as u32))),
        D::Float64 => S::Float64(Some(f64::from_bits(number(rest)?))),
        D::Decimal128(precision, scale) => {
            let bits = bytes(rest, 16)?.try_into().map_err(|_| corrupt("a decimal is cut"))?;
            S::Decimal128(Some(i128::from_le_bytes(bits)), *precision, *scale)
        }
        D::Utf8 => S::Utf8(Some(text(rest)?)),
        D::LargeUtf8 => S::LargeUtf8(Some(text(rest)?)),
        D::Utf8View => S::Utf8View(Some(text(rest)?)),
        D::Binary => S::Binary(Some(take_piece(rest)?.to_vec())),
        D::LargeBinary => S::LargeBinary(Some(take_piece(rest)?.to_vec())),
        D::BinaryView => S::BinaryView(Some(take_piece(rest)?.to_vec())),
        _ => return Err(corrupt("a value of another type")),
    })
}

/// Takes `count` bytes from the front of `rest`.
pub(super) fn bytes<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count).ok_or_else(|| corrupt("it is cut"))?;
    *rest = tail;
    Ok(head)
}

/// Takes eight bytes, little-endian.
pub(super) fn number(rest: &mut &[u8]) -> Result<u64> {
    let bits = bytes(rest, 8)?.try_into().map_err(|_| corrupt("a number is cut"))?;
    Ok(u64::from_le_bytes(bits))
}

pub(super) fn corrupt(reason: &'static str) -> Error {
    Error::new(Kind::Corrupt, "read state of aggregate").source(reason)
}

/// Appends bytes behind their length.
pub(super) fn piece(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value);
}

/// Takes such bytes from the front of `rest`.
pub(super) fn take_piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = usize::try_from(number(rest)?).map_err(|_| corrupt("a length is too large"))?;
    bytes(rest, length)
}

fn text(rest: &mut &[u8]) -> Result<String> {
    String::from_utf8(take_piece(rest)?.to_vec()).map_err(|_| corrupt("a text is not UTF-8"))
}

fn stream(value: &ScalarValue) -> datafusion::error::Result<Vec<u8>> {
    let column: ArrayRef = value.to_array()?;
    let schema = Arc::new(Schema::new(vec![Field::new("value", column.data_type().clone(), true)]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    writer.write(&rows)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

fn read_stream(bytes: &[u8], kind: &DataType) -> Result<ScalarValue> {
    let broken = |_| corrupt("a stored column cannot be read");
    let mut reader = StreamReader::try_new(bytes, None).map_err(broken)?;
    let rows = reader.next().ok_or_else(|| corrupt("a stored column is empty"))?.map_err(broken)?;
    if rows.num_rows() != 1 || rows.num_columns() != 1 || rows.column(0).data_type() != kind {
        return Err(corrupt("a stored column is of another type"));
    }
    ScalarValue::try_from_array(rows.column(0), 0).map_err(|_| corrupt("a stored column cannot be read"))
}

fn unwritable(value: &ScalarValue, source: datafusion::error::DataFusionError) -> Error {
    Error::new(Kind::Internal, "write state of aggregate").with("type", value.data_type()).source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_form_are_read_back() {
        let list = ScalarValue::List(ScalarValue::new_list_nullable(
            &[ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)],
            &DataType::Int64,
        ));
        let values = [
            ScalarValue::Boolean(Some(true)),
            ScalarValue::Int8(Some(-1)),
            ScalarValue::UInt32(Some(u32::MAX)),
            ScalarValue::Float32(Some(-0.5)),
            ScalarValue::Float64(None),
            ScalarValue::Decimal128(Some(-7), 20, 2),
            ScalarValue::Utf8View(Some("ä".into())),
            ScalarValue::Binary(Some(vec![0, 1])),
            ScalarValue::TimestampMicrosecond(Some(i64::MIN), Some("+00:00".into())),
            list,
        ];
        for value in values {
            let mut out = Vec::new();
            put(&value, &mut out).unwrap();
            let mut rest = out.as_slice();
            assert_eq!(take(&mut rest, &value.data_type()).unwrap(), value);
            assert!(rest.is_empty());
            for length in 0..out.len() {
                assert_eq!(take(&mut &out[..length], &value.data_type()).unwrap_err().kind(), Kind::Corrupt);
            }
        }
    }
}
