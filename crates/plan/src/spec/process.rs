//! What a process step is told.

use arrow::datatypes::SchemaRef;

use super::Changes;

/// A process step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessSpec {
    /// Stable name.
    pub uid: String,
    /// Name of the function.
    pub function: String,
    /// Places of the key columns; none: all rows have one key.
    pub keys: Vec<usize>,
    /// What the function is told, a JSON object.
    pub settings: String,
    /// The side outputs that others may read: name and rows, that of port 1 first.
    pub sides: Vec<(String, SchemaRef)>,
    /// What the rows of the side outputs do.
    pub sides_change: Changes,
}
