//! What a row does to the result before it: the change that it states.
//!
//! An append-only stream holds inserts alone. In an update stream a changed result travels as two rows, the old one taken
//! back and the new one given, so that whoever sums, joins or counts stays exact. The four kinds and their short forms are
//! those of Apache Flink's change streams.

use std::fmt;

use crate::error::{Error, Kind, Result};

/// The change that a row states.
///
/// ```
/// use forebay_core::row_kind::RowKind;
/// assert_eq!("+U".parse::<RowKind>().unwrap(), RowKind::UpdateAfter);
/// assert!(RowKind::Delete.is_retraction());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`: a new row.
    #[default]
    Insert = 0,
    /// `-U`: a row as it was before its update; the row after it follows.
    UpdateBefore = 1,
    /// `+U`: a row as it is after its update.
    UpdateAfter = 2,
    /// `-D`: a row that is gone.
    Delete = 3,
}

// === impl RowKind ===

impl RowKind {
    /// True for rows that take back an earlier one of the same content.
    pub fn is_retraction(self) -> bool {
        matches!(self, Self::UpdateBefore | Self::Delete)
    }

    /// The short form: `+I`, `-U`, `+U`, `-D`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }

    /// One byte, as state and edge logs hold it.
    pub fn to_byte(self) -> u8 {
        self as u8
    }

    /// The inverse of [`RowKind::to_byte`].
    ///
    /// # Errors
    /// `Corrupt` for any other byte.
    pub fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Insert),
            1 => Ok(Self::UpdateBefore),
            2 => Ok(Self::UpdateAfter),
            3 => Ok(Self::Delete),
            other => Err(Error::new(Kind::Corrupt, "read row kind").with("byte", other)),
        }
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::str::FromStr for RowKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Insert, Self::UpdateBefore, Self::UpdateAfter, Self::Delete]
            .into_iter()
            .find(|kind| kind.text() == text)
            .ok_or_else(|| Error::new(Kind::Data, "read row kind").with("text", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_texts_read_back() {
        for byte in 0..4 {
            let kind = RowKind::from_byte(byte).unwrap();
            assert_eq!(kind.to_byte(), byte);
            assert_eq!(kind.text().parse::<RowKind>().unwrap(), kind);
        }
        assert_eq!(RowKind::from_byte(4).unwrap_err().kind(), Kind::Corrupt);
    }
}
