//! Joins of two streams: rows of both are kept as state by key until they can meet no other.
//!
//! - [`timed`]: rows that meet within an interval of event time, or in the same tumbling window.
//! - [`as_of`]: each row with the version of the other stream that holds at its time.
//! - [`regular`]: all rows of a key, with updates on both sides, kept for good or for a time to live.
//!
//! Port 0 is the left stream, port 1 the right one; both come keyed by the columns they are joined on. What the three have in
//! common with other operators that keep rows is `keyed_rows`. A row whose key has a null meets nothing.

pub mod as_of;
pub mod regular;
pub mod timed;

use arrow::datatypes::SchemaRef;
use forebay_core::Result;

use crate::keyed_rows::{Frame, FrameShape, Rules};
pub use crate::keyed_rows::{InputShape, Side};

/// Which rows without a partner are kept, their other columns null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// None.
    Inner,
    /// Those of the left stream.
    Left,
    /// Those of the right stream.
    Right,
    /// Those of both.
    Full,
}

/// What a join takes and gives.
#[derive(Debug, Clone)]
pub struct JoinShape {
    /// Port 0.
    pub left: InputShape,
    /// Port 1.
    pub right: InputShape,
    /// All columns of the left stream, then `appended` of the right one.
    pub output: SchemaRef,
    /// Places of the right stream's columns that are appended.
    pub appended: Vec<usize>,
    /// Rows without a partner. Where a row of the right stream stands alone, the key columns hold its key.
    pub keeps: Keeps,
}

// === impl Keeps ===

impl Keeps {
    /// Whether rows of `side` are kept without a partner.
    pub fn keeps(self, side: Side) -> bool {
        match self {
            Self::Inner => false,
            Self::Left => side == Side::Left,
            Self::Right => side == Side::Right,
            Self::Full => true,
        }
    }
}

// === impl JoinShape ===

impl JoinShape {
    /// `rules` as an operator over rows of this shape.
    fn frame<R: Rules>(&self, rules: R) -> Result<Frame<R>> {
        let shape = FrameShape {
            inputs: vec![self.left.clone(), self.right.clone()],
            nulls_are_keys: false,
            order: Vec::new(),
            output: self.output.clone(),
            appended: self.appended.clone(),
            mark: None,
        };
        Frame::new(&shape, rules)
    }
}
