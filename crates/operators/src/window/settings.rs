//! What a window step is told, and the mistakes that tests plant in it.

use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_core::keys::KeyColumns;
use forebay_state::keyed::StateSettings;

use super::{Aggregate, Shape};

/// What a window step computes.
#[derive(Clone)]
pub struct WindowSettings {
    /// How time is cut.
    pub shape: Shape,
    /// Places of the key columns; without any, all rows have one key.
    pub keys: KeyColumns,
    /// Place of the event time, a timestamp in microseconds; `None` of windows over all of time.
    pub time: Option<usize>,
    /// How much longer than the watermark a window takes rows, in microseconds.
    pub lateness: i64,
    /// What is computed of each window; of [`Aggregate::of_updates`] where `updates`, but for sessions, which keep their rows.
    pub aggregates: Vec<Aggregate>,
    /// Whether rows take back earlier ones.
    pub updates: bool,
    /// Whether overlapping windows share slices, see [`WindowSettings::shares_slices`]. Never over updates.
    pub slices: bool,
    /// Whether a window of all of time gives its result after each batch that changes it, and none at the end.
    pub changes: bool,
    /// Of such a window: the place of the event time, and how long a key is remembered after its latest row.
    pub ttl: Option<(usize, Duration)>,
    /// The keys, with event time `window_start`, `window_end` and `window_time`, the aggregates.
    pub output: SchemaRef,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<WindowBug>,
}

// === impl WindowSettings ===

impl WindowSettings {
    /// Whether windows of `shape` share slices: they overlap, no row is taken back, and all aggregates are done by hand.
    pub fn shares_slices(shape: Shape, aggregates: &[Aggregate], updates: bool) -> bool {
        let overlaps = matches!(shape, Shape::Slide { size, every } if every < size);
        overlaps && !updates && aggregates.iter().all(Aggregate::merges_cheaply)
    }
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowBug {
    /// A window fires one moment before its last.
    FireEarly,
    /// A restart forgets the watermark.
    ForgetClock,
    /// A session takes over only the first of the windows that it joins.
    MergeOne,
    /// A late row gives a new result and does not take back the old one.
    KeepOld,
    /// A window takes only the first of its slices.
    OneSlice,
    /// Slices go with the first of their windows.
    DropSlices,
    /// A row that takes one back is added.
    AddRetractions,
    /// A window whose last row was taken back stays.
    KeepEmpty,
    /// Of a batch rows are taken back and none is added.
    DropUpdates,
    /// A session that loses a row between two others stays one.
    NeverSplit,
}
