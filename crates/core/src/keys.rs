//! Keys: the values of a row's key columns as bytes that mean the same on every machine and in every release.
//!
//! State is found by these bytes and key groups follow from them, so the encoding is a format of its own, not that of a
//! library: for each column a tag byte, then the value. Numbers are little-endian in their own width, text and binary are
//! length-prefixed. Two rows have the same key exactly when their bytes are equal; all nulls are equal to each other, all NaN
//! are, and -0.0 is 0.0. The order of bytes is not the order of values.

mod decode;

use std::borrow::Borrow;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use smallvec::SmallVec;

use crate::error::{Error, Kind, Result};
use crate::hash::hash64;
use crate::key_group::KeyGroup;

pub use decode::columns_of;

const NULL: u8 = 0;
const VALUE: u8 = 1;

/// Longest key that needs no heap block: a number or a short text, and the struct is 32 bytes.
const INLINE_BYTES_MAX: usize = 23;

/// The bytes of a key. State compares, hashes and copies them more often than anything else.
type KeyBytes = SmallVec<[u8; INLINE_BYTES_MAX]>;

/// The key of a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(KeyBytes);

/// The key columns of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumns {
    places: Vec<usize>,
}

// === impl Key ===

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(KeyBytes::from_slice(bytes.as_ref()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key group of this key, of `groups` in all.
    pub fn group(&self, groups: u16) -> KeyGroup {
        KeyGroup::of_hash(hash64(&self.0), groups)
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

// === impl KeyColumns ===

impl KeyColumns {
    /// The columns at `places` of `schema`, in that order. No columns: every row has the same key.
    ///
    /// # Errors
    /// `Invalid` for a type that cannot be a key (nested types, intervals), naming the column.
    pub fn new(places: Vec<usize>, schema: &Schema) -> Result<Self> {
        for place in &places {
            let field = schema
                .fields()
                .get(*place)
                .ok_or_else(|| Error::new(Kind::Internal, "find key column").with("place", place))?;
            if !can_be_key(field.data_type()) {
                return Err(Error::new(Kind::Invalid, "use column as key")
                    .with("column", field.name())
                    .with("type", field.data_type())
                    .source("a key column is a number, text, binary, boolean, date, time or timestamp"));
            }
        }
        Ok(Self { places })
    }

    /// The places of the columns.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The key of every row.
    ///
    /// # Errors
    /// `Internal` if a column has another type than the schema said.
    pub fn keys(&self, rows: &RecordBatch) -> Result<Vec<Key>> {
        Ok(self.encode(rows)?.into_iter().map(Key).collect())
    }

    /// The key group of every row, of `groups` in all.
    ///
    /// # Errors
    /// Those of [`KeyColumns::keys`].
    pub fn groups(&self, rows: &RecordBatch, groups: u16) -> Result<Vec<KeyGroup>> {
        Ok(self.encode(rows)?.iter().map(|key| KeyGroup::of_hash(hash64(key), groups)).collect())
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Vec<KeyBytes>> {
        let mut keys = vec![KeyBytes::new(); rows.num_rows()];
        for place in &self.places {
            append(rows.column(*place), &mut keys)?;
        }
        Ok(keys)
    }
}

/// Whether values of `kind` can be keys.
pub fn can_be_key(kind: &DataType) -> bool {
    use DataType as D;
    match kind {
        D::Dictionary(_, value) => can_be_key(value),
        D::Null | D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => true,
        D::UInt64 | D::Float32 | D::Float64 | D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary => true,
        D::BinaryView | D::FixedSizeBinary(_) | D::Date32 | D::Date64 | D::Timestamp(_, _) => true,
        D::Time32(_) | D::Time64(_) | D::Decimal128(_, _) => true,
        _ => false,
    }
}

/// Appends the encoded value of each row of `column` to its key.
fn append(column: &ArrayRef, keys: &mut [KeyBytes]) -> Result<()> {
    use DataType as D;
    match column.data_type() {
        D::Null => keys.iter_mut().for_each(|key| key.push(NULL)),
        D::Boolean => each(column, keys, |place, key| key.push(u8::from(column.as_boolean().value(place)))),
        D::Int8 => number::<Int8Type, 1>(column, keys, i8::to_le_bytes),
        D::Int16 => number::<Int16Type, 2>(column, keys, i16::to_le_bytes),
        D::Int32 => number::<Int32Type, 4>(column, keys, i32::to_le_bytes),
        D::Int64 => number::<Int64Type, 8>(column, keys, i64::to_le_bytes),
        D::UInt8 => number::<UInt8Type, 1>(column, keys, u8::to_le_bytes),
        D::UInt16 => number::<UInt16Type, 2>(column, keys, u16::to_le_bytes),
        D::UInt32 => number::<UInt32Type, 4>(column, keys, u32::to_le_bytes),
        D::UInt64 => number::<UInt64Type, 8>(column, keys, u64::to_le_bytes),
        D::Float32 => number::<Float32Type, 4>(column, keys, |value| one_f32(value).to_le_bytes()),
        D::Float64 => number::<Float64Type, 8>(column, keys, |value| one_f64(value).to_le_bytes()),
        D::Date32 => number::<Date32Type, 4>(column, keys, i32::to_le_bytes),
        D::Date64 => number::<Date64Type, 8>(column, keys, i64::to_le_bytes),
        D::Decimal128(_, _) => number::<Decimal128Type, 16>(column, keys, i128::to_le_bytes),
        D::Timestamp(TimeUnit::Second, _) => number::<TimestampSecondType, 8>(column, keys, i64::to_le_bytes),
        D::Timestamp(TimeUnit::Millisecond, _) => number::<TimestampMillisecondType, 8>(column, keys, i64::to_le_bytes),
        D::Timestamp(TimeUnit::Microsecond, _) => number::<TimestampMicrosecondType, 8>(column, keys, i64::to_le_bytes),
        D::Timestamp(TimeUnit::Nanosecond, _) => number::<TimestampNanosecondType, 8>(column, keys, i64::to_le_bytes),
        D::Time32(TimeUnit::Second) => number::<Time32SecondType, 4>(column, keys, i32::to_le_bytes),
        D::Time32(_) => number::<Time32MillisecondType, 4>(column, keys, i32::to_le_bytes),
        D::Time64(TimeUnit::Microsecond) => number::<Time64MicrosecondType, 8>(column, keys, i64::to_le_bytes),
        D::Time64(_) => number::<Time64NanosecondType, 8>(column, keys, i64::to_le_bytes),
        D::Utf8 => each(column, keys, |place, key| piece(key, column.as_string::<i32>().value(place).as_bytes())),
        D::LargeUtf8 => each(column, keys, |place, key| piece(key, column.as_string::<i64>().value(place).as_bytes())),
        D::Utf8View => each(column, keys, |place, key| piece(key, column.as_string_view().value(place).as_bytes())),
        D::Binary => each(column, keys, |place, key| piece(key, column.as_binary::<i32>().value(place))),
        D::LargeBinary => each(column, keys, |place, key| piece(key, column.as_binary::<i64>().value(place))),
        D::BinaryView => each(column, keys, |place, key| piece(key, column.as_binary_view().value(place))),
        D::FixedSizeBinary(_) => {
            each(column, keys, |place, key| piece(key, column.as_fixed_size_binary().value(place)));
        }
        D::Dictionary(_, value) => {
            let plain = arrow::compute::cast(column, value)
                .map_err(|source| Error::new(Kind::Internal, "read key column").source(source))?;
            append(&plain, keys)?;
        }
        other => return Err(Error::new(Kind::Internal, "read key column").with("type", other)),
    }
    Ok(())
}

/// Tags each row and lets `write` append the values that are not null.
fn each(column: &dyn Array, keys: &mut [KeyBytes], mut write: impl FnMut(usize, &mut KeyBytes)) {
    for (place, key) in keys.iter_mut().enumerate() {
        if column.is_null(place) {
            key.push(NULL);
        } else {
            key.push(VALUE);
            write(place, key);
        }
    }
}

fn number<T: ArrowPrimitiveType, const WIDTH: usize>(
    column: &ArrayRef,
    keys: &mut [KeyBytes],
    bytes: impl Fn(T::Native) -> [u8; WIDTH],
) {
    let values = column.as_primitive::<T>();
    each(column, keys, |place, key| key.extend_from_slice(&bytes(values.value(place))));
}

fn piece(key: &mut KeyBytes, bytes: &[u8]) {
    // Lengths of Arrow values of one batch fit 32 bits wherever a batch fits memory; a longer one would only be cut in its prefix.
    key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    key.extend_from_slice(bytes);
}

fn one_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

fn one_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray, StringViewArray};

    fn rows(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn keys(rows: &RecordBatch) -> Vec<Key> {
        let places = (0..rows.num_columns()).collect();
        KeyColumns::new(places, &rows.schema()).unwrap().keys(rows).unwrap()
    }

    #[test]
    fn short_and_long_keys_are_their_bytes() {
        for length in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 100] {
            let bytes: Vec<u8> = (0..length as u8).collect();
            assert_eq!(Key::new(&bytes).as_bytes(), bytes);
        }
        assert!(Key::new([7; 24]) < Key::new([8; 2]), "ordered as bytes, whatever their length");
        assert_eq!(size_of::<Key>(), 32);
    }

    #[test]
    fn equal_values_have_equal_keys_and_only_they() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("ab"), None, Some("a"), None, Some("")]));
        let tail: ArrayRef = Arc::new(StringArray::from(vec![Some("bc"), Some("c"), None, Some("bc"), None, None]));
        let keys = keys(&rows(vec![("text", text), ("tail", tail)]));
        assert_ne!(keys[0], keys[1], "values are kept apart");
        assert_eq!(keys[0], keys[3]);
        assert_eq!(keys[2], keys[4], "nulls are equal");
        assert_ne!(keys[5], keys[4], "empty text is not null");
    }

    #[test]
    fn floats_that_mean_the_same_are_the_same_key() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let keys = keys(&rows(vec![("x", values)]));
        assert_eq!((&keys[0], &keys[2]), (&keys[1], &keys[3]));
    }

    #[test]
    fn views_and_plain_text_are_the_same_key() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["forebay"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["forebay"]));
        assert_eq!(keys(&rows(vec![("x", plain)])), keys(&rows(vec![("x", view)])));
    }

    #[test]
    fn stored_bytes_and_groups_do_not_change_between_releases() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(258), None]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("hi"), Some("")]));
        let keys = keys(&rows(vec![("n", number), ("t", text)]));
        assert_eq!(keys[0].as_bytes(), [1, 2, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, b'h', b'i']);
        assert_eq!(keys[1].as_bytes(), [0, 1, 0, 0, 0, 0]);
        assert_eq!(keys[0].group(128), KeyGroup(35));
    }

    #[test]
    fn nested_types_are_refused_by_name() {
        let list = DataType::new_list(DataType::Int64, true);
        let schema = Schema::new(vec![arrow::datatypes::Field::new("tags", list, true)]);
        let error = KeyColumns::new(vec![0], &schema).unwrap_err();
        assert!(error.chain().contains("tags"));
    }
}
