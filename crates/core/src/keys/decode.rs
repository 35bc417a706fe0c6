//! Keys back to columns: the values that their bytes stand for, so that state need not hold them a second time.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, NullArray, PrimitiveBuilder, StringBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::{Key, VALUE};
use crate::error::{Error, Kind, Result};

/// The columns that `keys` were made of, which had types `kinds`, one row a key. A float that was -0.0 is 0.0.
///
/// # Errors
/// `Corrupt` if the bytes of a key cannot be those of such columns.
pub fn columns_of(keys: &[Key], kinds: &[DataType]) -> Result<Vec<ArrayRef>> {
    let mut rests: Vec<&[u8]> = keys.iter().map(Key::as_bytes).collect();
    let columns = kinds.iter().map(|kind| column(&mut rests, kind)).collect::<Result<_>>()?;
    if rests.iter().any(|rest| !rest.is_empty()) {
        return Err(corrupt("bytes behind the last column"));
    }
    Ok(columns)
}

fn column(rests: &mut [&[u8]], kind: &DataType) -> Result<ArrayRef> {
    use DataType as D;
    Ok(match kind {
        D::Null => {
            rests.iter_mut().try_for_each(|rest| tag(rest).map(drop))?;
            Arc::new(NullArray::new(rests.len()))
        }
        D::Boolean => booleans(rests)?,
        D::Int8 => numbers::<Int8Type, 1>(rests, kind, i8::from_le_bytes)?,
        D::Int16 => numbers::<Int16Type, 2>(rests, kind, i16::from_le_bytes)?,
        D::Int32 => numbers::<Int32Type, 4>(rests, kind, i32::from_le_bytes)?,
        D::Int64 => numbers::<Int64Type, 8>(rests, kind, i64::from_le_bytes)?,
        D::UInt8 => numbers::<UInt8Type, 1>(rests, kind, u8::from_le_bytes)?,
        D::UInt16 => numbers::<UInt16Type, 2>(rests, kind, u16::from_le_bytes)?,
        D::UInt32 => numbers::<UInt32Type, 4>(rests, kind, u32::from_le_bytes)?,
        D::UInt64 => numbers::<UInt64Type, 8>(rests, kind, u64::from_le_bytes)?,
        D::Float32 => numbers::<Float32Type, 4>(rests, kind, f32::from_le_bytes)?,
        D::Float64 => numbers::<Float64Type, 8>(rests, kind, f64::from_le_bytes)?,
        D::Date32 => numbers::<Date32Type, 4>(rests, kind, i32::from_le_bytes)?,
        D::Date64 => numbers::<Date64Type, 8>(rests, kind, i64::from_le_bytes)?,
        D::Decimal128(_, _) => numbers::<Decimal128Type, 16>(rests, kind, i128::from_le_bytes)?,
        D::Timestamp(unit, _) => match unit {
            TimeUnit::Second => numbers::<TimestampSecondType, 8>(rests, kind, i64::from_le_bytes)?,
            TimeUnit::Millisecond => numbers::<TimestampMillisecondType, 8>(rests, kind, i64::from_le_bytes)?,
            TimeUnit::Microsecond => numbers::<TimestampMicrosecondType, 8>(rests, kind, i64::from_le_bytes)?,
            TimeUnit::Nanosecond => numbers::<TimestampNanosecondType, 8>(rests, kind, i64::from_le_bytes)?,
        },
        D::Time32(TimeUnit::Second) => numbers::<Time32SecondType, 4>(rests, kind, i32::from_le_bytes)?,
        D::Time32(_) => numbers::<Time32MillisecondType, 4>(rests, kind, i32::from_le_bytes)?,
        D::Time64(TimeUnit::Microsecond) => numbers::<Time64MicrosecondType, 8>(rests, kind, i64::from_le_bytes)?,
        D::Time64(_) => numbers::<Time64NanosecondType, 8>(rests, kind, i64::from_le_bytes)?,
        D::Utf8 => texts(rests)?,
        D::LargeUtf8 | D::Utf8View => cast(&texts(rests)?, kind)?,
        D::Binary => bytes(rests)?,
        D::LargeBinary | D::BinaryView => cast(&bytes(rests)?, kind)?,
        D::FixedSizeBinary(width) => fixed(rests, *width)?,
        D::Dictionary(_, value) => cast(&column(rests, value)?, kind)?,
        other => return Err(Error::new(Kind::Internal, "read key").with("type", other)),
    })
}

fn numbers<T: ArrowPrimitiveType, const WIDTH: usize>(
    rests: &mut [&[u8]],
    kind: &DataType,
    number: impl Fn([u8; WIDTH]) -> T::Native,
) -> Result<ArrayRef> {
    let mut values = PrimitiveBuilder::<T>::with_capacity(rests.len());
    for rest in rests {
        if tag(rest)? == VALUE {
            let (head, tail) = rest.split_first_chunk::<WIDTH>().ok_or_else(|| corrupt("a number is cut"))?;
            values.append_value(number(*head));
            *rest = tail;
        } else {
            values.append_null();
        }
    }
    Ok(Arc::new(values.finish().with_data_type(kind.clone())))
}

fn booleans(rests: &mut [&[u8]]) -> Result<ArrayRef> {
    let mut values = BooleanBuilder::with_capacity(rests.len());
    for rest in rests {
        let value = if tag(rest)? == VALUE { Some(tag(rest)? != 0) } else { None };
        values.append_option(value);
    }
    Ok(Arc::new(values.finish()))
}

fn texts(rests: &mut [&[u8]]) -> Result<ArrayRef> {
    let mut values = StringBuilder::new();
    for rest in rests {
        match piece(rest)? {
            Some(bytes) => values.append_value(std::str::from_utf8(bytes).map_err(|_| corrupt("a text is not UTF-8"))?),
            None => values.append_null(),
        }
    }
    Ok(Arc::new(values.finish()))
}

fn bytes(rests: &mut [&[u8]]) -> Result<ArrayRef> {
    let mut values = BinaryBuilder::new();
    for rest in rests {
        values.append_option(piece(rest)?);
    }
    Ok(Arc::new(values.finish()))
}

fn fixed(rests: &mut [&[u8]], width: i32) -> Result<ArrayRef> {
    let mut values = FixedSizeBinaryBuilder::new(width);
    for rest in rests {
        match piece(rest)? {
            Some(bytes) => values.append_value(bytes).map_err(|_| corrupt("a value has another width"))?,
            None => values.append_null(),
        }
    }
    Ok(Arc::new(values.finish()))
}

fn cast(values: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    arrow::compute::cast(values, kind).map_err(|source| Error::new(Kind::Internal, "read key").source(source))
}

fn tag(rest: &mut &[u8]) -> Result<u8> {
    let (tag, tail) = rest.split_first().ok_or_else(|| corrupt("a column is missing"))?;
    *rest = tail;
    Ok(*tag)
}

fn piece<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    if tag(rest)? != VALUE {
        return Ok(None);
    }
    let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("a length is cut"))?;
    let length = u32::from_le_bytes(*head) as usize;
    let (bytes, tail) = tail.split_at_checked(length).ok_or_else(|| corrupt("a value is cut"))?;
    *rest = tail;
    Ok(Some(bytes))
}

fn corrupt(reason: &'static str) -> Error {
    Error::new(Kind::Corrupt, "read key").source(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyColumns;
    use arrow::array::{
        BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Int16Array, LargeStringArray, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    };

    fn rows() -> RecordBatch {
        let times = TimestampMicrosecondArray::from(vec![Some(-5), None, Some(7)]).with_timezone("+00:00");
        let amounts = Decimal128Array::from(vec![Some(1), Some(-2), None]).with_precision_and_scale(9, 2).unwrap();
        let names: arrow::array::DictionaryArray<Int16Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            ("small", Arc::new(Int16Array::from(vec![Some(-3), Some(4), None]))),
            ("ratio", Arc::new(Float32Array::from(vec![Some(0.5), None, Some(-1.0)]))),
            ("text", Arc::new(StringArray::from(vec![Some(""), Some("ä"), None]))),
            ("large", Arc::new(LargeStringArray::from(vec![None, Some("b"), Some("c")]))),
            ("bytes", Arc::new(BinaryViewArray::from(vec![Some(&b"x"[..]), None, Some(b"")]))),
            ("at", Arc::new(times)),
            ("amount", Arc::new(amounts)),
            ("name", Arc::new(names)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn keys_give_back_the_columns_they_were_made_of() {
        let rows = rows();
        let keys = KeyColumns::new((0..rows.num_columns()).collect(), &rows.schema()).unwrap().keys(&rows).unwrap();
        let kinds: Vec<DataType> = rows.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let columns = columns_of(&keys, &kinds).unwrap();
        assert_eq!(RecordBatch::try_new(rows.schema(), columns).unwrap(), rows);
    }

    #[test]
    fn cut_and_foreign_bytes_are_refused() {
        let kinds = [DataType::Int64, DataType::Utf8];
        let whole = [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, b'h', b'i'];
        assert!(columns_of(&[Key::new(whole)], &kinds).is_ok());
        for length in 0..whole.len() {
            let error = columns_of(&[Key::new(&whole[..length])], &kinds).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{length} bytes");
        }
        assert!(columns_of(&[Key::new(whole)], &kinds[..1]).is_err());
    }
}
