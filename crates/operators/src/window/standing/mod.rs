//! Session windows over updates: at any moment the sessions of a key are those of the rows that stand, which came and were not
//! taken back.
//!
//! A session that loses a row may be two, and no aggregate of the whole can tell what each of them holds. So the rows are kept
//! ([`rows`]), as far as aggregates need them ([`columns`]), and beside them where each session begins and ends ([`session`]). A row
//! that comes or goes looks at the rows and sessions next to it and no further ([`moves`]). A result is computed when it is due, of
//! the rows of its session alone, by fresh accumulators ([`results`]): they never take a row back, so every aggregate will do.
//!
//! A row is late, to be added or to be taken back, if the session that it is or would be in is over. What is taken back, is not
//! late and is not there does nothing.
//!
//! A session may be over because it lost a row: its end then lies behind the watermark. It goes when the next watermark comes,
//! whichever that is. Until then another row may join it to a session that is not over, so that an update in place (`-U`, `+U`)
//! cuts nothing in two.

mod columns;
mod extent;
mod moves;
mod results;
mod rows;
mod session;

use forebay_core::time::EventTime;
use forebay_core::{Batch, Result};
use forebay_state::keyed::{KeyedState, StatePart, StateTable, TableSpec};

use super::group::Grouped;
use super::opened::Opened;
use super::{RESULTS_MAX, Shape, Window, WindowBug, WindowSettings};
use crate::row_errors::Failed;
use crate::stored_rows::RowWriter;
use columns::Columns;
use moves::{Row, Touched};
use rows::Rows;
use session::Session;

/// Rows that are read for results before the host gets its turn, unless there is nothing to put out yet: about 10 ms.
const ROWS_PER_TURN: usize = 65_536;

/// What there is beside [`Opened`] where sessions are over updates.
pub(super) struct Standing {
    rows: Rows,
    /// By key and time of the first row.
    sessions: StateTable<Session>,
    columns: Columns,
    gap: i64,
    lateness: i64,
    bug: Option<WindowBug>,
}

// === impl Standing ===

impl Standing {
    /// See [`Columns::writer`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn writer(&self, batch: &Batch) -> Result<(RowWriter, Failed)> {
        self.columns.writer(batch)
    }

    /// The tables, to be opened behind those of [`Opened`]; `None` for any other window.
    ///
    /// # Errors
    /// `Invalid` if an aggregate takes values that cannot be kept, and those of [`KeyedState::table`].
    pub fn open(state: &mut KeyedState, settings: &WindowSettings) -> Result<Option<Self>> {
        let (Shape::Session { gap }, true) = (settings.shape, settings.updates) else { return Ok(None) };
        Ok(Some(Self {
            rows: Rows::new(state.table(TableSpec::new("rows", 1))?),
            sessions: state.table(TableSpec::new("sessions", 1))?,
            columns: Columns::new(&settings.aggregates)?,
            gap,
            lateness: settings.lateness,
            bug: settings.bug,
        }))
    }

    /// The tables, as they were opened.
    pub fn parts(&mut self) -> [&mut dyn StatePart; 2] {
        [self.rows.part(), &mut self.sessions]
    }
}

// === impl Window ===

impl Window {
    /// Adds the rows of `batch` and takes rows back; complete sessions that changed give their results anew. Answers the places
    /// of rows that are late.
    pub(super) fn update_standing(&mut self, batch: &Batch, times: &[i64], writer: &RowWriter) -> Result<Vec<usize>> {
        let keys = self.settings.keys.keys(batch.rows())?;
        let adds_all = self.settings.bug == Some(WindowBug::AddRetractions);
        let Opened { standing: Some(standing), clock, ends, results, .. } = self.opened() else {
            return Ok(Vec::new());
        };
        let (grouped, of_row) = Grouped::of_keys(keys, |key| clock.of(key));
        let (mut touched, mut late, mut content) = (Touched::default(), Vec::new(), Vec::new());
        for (row, (time, place)) in times.iter().zip(of_row).enumerate() {
            content.clear();
            writer.write(row, &mut content);
            let (key, watermark) = (&grouped.keys[place], grouped.watermarks[place]);
            let is_retraction = batch.kind(row).is_retraction() && !adds_all;
            let time = EventTime(*time);
            if !standing.row(
                &Row { key, place, watermark, time, content: &content, is_retraction },
                ends,
                &mut touched,
            )? {
                late.push(row);
            }
        }
        standing.give(&grouped, touched, results)?;
        Ok(late)
    }

    /// Gives results of complete sessions until a batch is full; true if none is left.
    pub(super) fn fire_standing(&mut self, watermark: EventTime) -> Result<bool> {
        let Opened { standing: Some(standing), clock, ends, results, .. } = self.opened() else { return Ok(true) };
        let mut read = 0;
        while results.len() < RESULTS_MAX && (read < ROWS_PER_TURN || results.len() == 0) {
            let Some(timer) = ends.due(watermark) else { return Ok(true) };
            read += standing.ring(&timer, watermark.max(clock.of(&timer.key)), ends, results)?;
        }
        Ok(false)
    }
}
