//! Process functions: operators that users write, with keyed state and event-time timers.
//!
//! A user implements [`ProcessFunction`] in a crate of his own and registers it by name with the engine; the `process` step of a
//! job file names it. All rows of a key come to one instance, one at a time. What a function keeps is in state that it
//! declares: state, timers and the watermark are in every checkpoint, cut by key group, and a restore at any parallelism goes on
//! as if nothing had happened.
//!
//! ```
//! use forebay_core::{Result, time::EventTime};
//! use forebay_operators::process::{
//!     Columns, Context, DurationText, ProcessFunction, Row, Shape, TableSpec, Timer, Value,
//! };
//!
//! /// Says which keys have been silent.
//! struct Silence {
//!     after: DurationText,
//!     latest: Value<i64>,
//! }
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     after: DurationText,
//! }
//!
//! impl ProcessFunction for Silence {
//!     type Settings = Settings;
//!
//!     fn declare(settings: Settings, shape: &mut Shape) -> Result<Self> {
//!         shape.needs_event_time();
//!         shape.output(Columns::key().event_time("silent_since"));
//!         Ok(Self { after: settings.after, latest: shape.value(TableSpec::new("latest", 1)) })
//!     }
//!
//!     fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> {
//!         let Some(time) = row.time() else { return Ok(()) };
//!         let latest = self.latest.get(context)?.copied();
//!         if latest.is_none_or(|latest| latest < time.0) {
//!             if let Some(latest) = latest {
//!                 context.delete_timer(EventTime(latest).plus(self.after.0), "silent");
//!             }
//!             self.latest.set(context, time.0)?;
//!             context.set_timer(time.plus(self.after.0), "silent")?;
//!         }
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, timer: &Timer, context: &mut Context<'_>) -> Result<()> {
//!         self.latest.take(context)?;
//!         context.output().cell(timer.time).emit()
//!     }
//! }
//! ```
//!
//! - [`shape`]: what a function declares. [`row`]: a row that comes in. [`context`]: what a function may do.
//! - [`emit`]: rows on their way out, and their ids. [`state`]: values, lists and maps of the key at hand.
//! - [`trial`]: a function on its own, for tests.

pub mod cell;
pub mod columns;
pub mod context;
pub mod emit;
mod known;
mod operator;
mod outputs;
pub mod row;
pub mod settings;
pub mod shape;
pub mod state;
pub mod trial;
mod work;

use forebay_core::Result;
use serde::de::DeserializeOwned;

pub use cell::Cell;
pub use columns::{Column, ColumnValue, Columns};
pub use context::{Context, Timer};
pub use emit::Emission;
pub use forebay_state::keyed::{StateValue, TableSpec};
pub use known::{Process, process};
pub use operator::{ProcessBug, ProcessSettings};
pub use row::{Row, StoredRow};
pub use settings::{DurationText, NoSettings};
pub use shape::{Shape, SideOutput};
pub use state::{Json, List, Map, MapKey, Value};
pub use trial::Trial;

/// A function over the rows of each key, with state and timers of its own.
///
/// # Order of calls
/// `declare` once when the job is planned, of which nothing but the shape is kept; then in each subtask once more, and from there on
/// `on_row` and `on_timer` in any mix. Calls never overlap. Rows of one key come in the order in which the subtask before gave
/// them. Nothing is called before a restart or at the end; a timer at [`EventTime::MAX`](forebay_core::time::EventTime::MAX) fires
/// when the input has ended.
///
/// # What it must not do
/// No call does I/O, waits, reads a clock or draws a random number, and fields of `Self` hold nothing that rows have changed: a row
/// that is read again after a restart must do the same, and only declared state comes back. A call takes far less than 10 ms.
///
/// # Errors
/// An error of kind `Data` makes the row, or what a timer stands for, a dead letter: nothing that the call gave goes out, but what it changed in
/// state and timers stays, so check first and change then. Any other kind fails the region, which restarts from its latest
/// checkpoint; `Invalid` ends the job at once.
pub trait ProcessFunction: Send + Sized + 'static {
    /// What the job file says under `settings`. Write `#[serde(deny_unknown_fields)]` on it, so that a slip in a name is
    /// found; [`NoSettings`] where there are none.
    type Settings: DeserializeOwned;

    /// Names the columns that the function reads, the rows that it gives, its state.
    ///
    /// # Errors
    /// `Invalid` for settings that do not go together. Slips in columns are said by the shape itself.
    fn declare(settings: Self::Settings, shape: &mut Shape) -> Result<Self>;

    /// Takes a row.
    ///
    /// # Errors
    /// See the trait.
    fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()>;

    /// A timer of the key at hand is due: the watermark has reached its time. It fires once; timers of a key fire in order of time,
    /// then name.
    ///
    /// # Errors
    /// See the trait.
    fn on_timer(&mut self, _timer: &Timer, _context: &mut Context<'_>) -> Result<()> {
        Ok(())
    }
}
