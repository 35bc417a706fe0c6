//! Cells of columns that hold files: bytes of any of Arrow's three layouts.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use forebay_core::{Error, Kind, Result};

/// Bytes shown of a value that is no file of the kind: enough to recognise a signature or the start of a text.
const SHOWN_BYTES: usize = 8;

/// The bytes of `row`, or `None` where it is null.
pub(crate) fn cell(column: &ArrayRef, row: usize) -> Result<Option<&[u8]>> {
    if column.is_null(row) {
        return Ok(None);
    }
    match column.data_type() {
        DataType::Binary => Ok(Some(column.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Ok(Some(column.as_binary::<i64>().value(row))),
        DataType::BinaryView => Ok(Some(column.as_binary_view().value(row))),
        other => Err(Error::new(Kind::Internal, "read column of files").with("type", other)),
    }
}

/// How `file` begins, for people: `68 65 6c`.
pub(crate) fn beginning(file: &[u8]) -> String {
    let shown: Vec<String> = file.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
    shown.join(" ")
}
