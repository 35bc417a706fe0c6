//! The protocol's names of value types.

use arrow::datatypes::DataType;

/// Names and types; `BYTES` is text unless the settings say `Binary`. `BF16` has no Arrow type and is not taken.
const NAMES: [(&str, DataType); 14] = [
    ("BOOL", DataType::Boolean),
    ("UINT8", DataType::UInt8),
    ("UINT16", DataType::UInt16),
    ("UINT32", DataType::UInt32),
    ("UINT64", DataType::UInt64),
    ("INT8", DataType::Int8),
    ("INT16", DataType::Int16),
    ("INT32", DataType::Int32),
    ("INT64", DataType::Int64),
    ("FP16", DataType::Float16),
    ("FP32", DataType::Float32),
    ("FP64", DataType::Float64),
    ("BYTES", DataType::Utf8),
    ("BYTES", DataType::Binary),
];

/// The Arrow type of the protocol's `name`.
pub(super) fn value_of(name: &str) -> Option<DataType> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

/// The protocol's name of `value`.
pub(super) fn name_of(value: &DataType) -> Option<&'static str> {
    NAMES.iter().find(|(_, known)| known == value).map(|(name, _)| *name)
}
