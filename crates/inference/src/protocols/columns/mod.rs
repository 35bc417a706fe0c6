//! Cells as JSON and JSON as columns, for protocols that speak JSON.
//!
//! Strict both ways: a number that does not fit its type, NaN, a null where none may be or an array of another shape is an
//! error that names the place, never a changed value. Text is the one type that takes anything: what is no string becomes
//! its JSON.

mod cells;
mod values;

pub use self::cells::cell;
pub use self::values::{array_of, column_of};

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
