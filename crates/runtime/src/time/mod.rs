//! Event time at the sources: how watermarks are made from the rows that a reader gives.
//!
//! | file | holds |
//! |---|---|
//! | `clock.rs` | how late each split may still be: from rows and ends of splits to a watermark; pure |
//! | `align.rs` | keeps fast readers from running ahead of slow ones; pure but for its wakers |
//! | `reader.rs` | [`TimedReader`], a reader around another that adds watermarks, idleness and alignment |
//!
//! A watermark says "no row at or before this follows". It is a promise that the user makes with `out_of_order`; rows that
//! break it are late, and each operator that needs time says what it does with them. Each split has a clock of its own, which
//! is part of the reader's state and goes where the split goes: a restore, at any parallelism, makes no row late.

mod align;
mod clock;
mod reader;

pub use align::{Alignment, Member};
pub use clock::{Clock, Splits};
pub use reader::{TimeSettings, TimedReader};
