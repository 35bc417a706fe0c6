//! What a window step takes of a batch, for all windows that its rows are in.

use std::borrow::Cow;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};

use super::cell::Layout;
use super::pane::{Pane, print_of};
use super::taken::Taken;
use super::{WindowBug, WindowSettings};
use crate::row_errors::Failed;

/// See the module.
pub(super) struct Incoming {
    /// What each row adds to the print of its windows.
    prints: Vec<u64>,
    taken: Vec<Taken>,
    /// True where a row takes an earlier one back; `None` where all add.
    gone: Option<Vec<bool>>,
    /// Of a step that forgets keys.
    times: Option<TimestampMicrosecondArray>,
}

// === impl Incoming ===

impl Incoming {
    /// What `batch` brings, and its rows of which an aggregate cannot be given what it takes.
    ///
    /// # Errors
    /// `Data` for a failure that lies in an expression and not in a value.
    pub fn of(batch: &Batch, settings: &WindowSettings) -> Result<(Self, Failed)> {
        let mut failed = Failed::default();
        let taken = settings.aggregates.iter().map(|aggregate| aggregate.take(batch, &mut failed));
        let taken = taken.collect::<Result<_>>()?;
        let times = |place: usize| batch.rows().column(place).as_primitive::<TimestampMicrosecondType>().clone();
        let incoming = Self {
            prints: batch.ids().iter().map(|id| print_of(*id)).collect(),
            taken,
            gone: batch.kinds().map(|kinds| kinds.iter().map(|kind| kind.is_retraction()).collect()),
            times: settings.ttl.map(|(place, _)| times(place)),
        };
        Ok((incoming, failed))
    }

    /// Those of `rows` that add, and those that take back. Where nothing is there yet (`is_new`), what takes back before the first
    /// row that adds is left out: that row was forgotten, or came before the operator began.
    pub fn split<'a>(&self, rows: &'a [u32], is_new: bool, bug: Option<WindowBug>) -> (Cow<'a, [u32]>, Vec<u32>) {
        let Some(gone) = self.gone.as_ref().filter(|_| bug != Some(WindowBug::AddRetractions)) else {
            return (Cow::Borrowed(rows), Vec::new());
        };
        let takes_back = |row: &&u32| gone[**row as usize];
        let first = if is_new { rows.iter().take_while(takes_back).count() } else { 0 };
        let (back, mut added): (Vec<u32>, Vec<u32>) = rows[first..].iter().partition(takes_back);
        if bug == Some(WindowBug::DropUpdates) && !back.is_empty() {
            added.clear();
        }
        (Cow::Owned(added), back)
    }

    /// Adds the rows `added` to `pane` and takes the rows `gone` back; false if none is left in it.
    ///
    /// # Errors
    /// `Data` if an aggregate cannot take them.
    pub fn put(&self, pane: &mut Pane, layout: &Layout, added: &[u32], gone: &[u32]) -> Result<bool> {
        let print = |row: &u32| self.prints[*row as usize];
        pane.print = added.iter().fold(pane.print, |sum, row| sum.wrapping_add(print(row)));
        pane.print = gone.iter().fold(pane.print, |sum, row| sum.wrapping_sub(print(row)));
        let live = pane.live(layout)?;
        for ((cell, aggregate), taken) in live.cells.iter_mut().zip(&layout.aggregates).zip(&self.taken) {
            cell.update(aggregate, taken, added, gone)?;
        }
        let Some(rows) = &mut live.rows else { return Ok(true) };
        *rows += added.len() as i64 - gone.len() as i64;
        Ok(*rows > 0)
    }

    /// The event time of the latest of `rows`, the least time if none has one; `None` if keys are not forgotten, or without
    /// rows.
    pub fn latest(&self, rows: &[u32]) -> Option<EventTime> {
        let times = self.times.as_ref()?;
        let time = |row: &u32| {
            let row = *row as usize;
            if times.is_valid(row) { EventTime(times.value(row)) } else { EventTime::MIN }
        };
        rows.iter().map(time).max()
    }
}
