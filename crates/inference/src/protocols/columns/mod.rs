//! Cells as JSON and JSON as columns, for protocols that speak JSON.
//!
//! Strict both ways: a number that does not fit its type, NaN, a null where none may be or an array of another shape is an
//! error that names the place, never a changed value. Text takes any value but a null: what is no string becomes its JSON, as
//! it came where it is read by [`written`].

mod cells;
mod values;
mod written;

pub use self::cells::cell;
pub use self::values::{array_of, column_of};
pub use self::written::{at, parts, written};

/// Where in a value something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch(pub String);

// === impl Mismatch ===

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests;
