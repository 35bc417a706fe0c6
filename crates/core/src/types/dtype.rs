//! The types of a tensor's values, by the names that NumPy has for them.

use arrow::datatypes::DataType;

/// Every type of values that a tensor may hold, with its name.
pub const DTYPES: [(&str, DataType); 12] = [
    ("float32", DataType::Float32),
    ("float16", DataType::Float16),
    ("float64", DataType::Float64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("bool", DataType::Boolean),
];

/// The type called `name`; `None` if a tensor cannot hold it.
///
/// ```
/// use arrow::datatypes::DataType;
/// use forebay_core::types::dtype;
///
/// assert_eq!(dtype::named("float16"), Some(DataType::Float16));
/// assert_eq!(dtype::name_of(&DataType::Utf8), None);
/// ```
pub fn named(name: &str) -> Option<DataType> {
    DTYPES.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

/// The name of `value`; `None` if a tensor cannot hold it.
pub fn name_of(value: &DataType) -> Option<&'static str> {
    DTYPES.iter().find(|(_, known)| known == value).map(|(name, _)| *name)
}
