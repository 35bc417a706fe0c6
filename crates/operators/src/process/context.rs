//! What a process function may do during a call.

use forebay_core::Result;
use forebay_core::keys::Key;
use forebay_core::time::EventTime;
use forebay_state::keyed::{Space, Timers};

use super::emit::Emission;
use super::outputs::Outputs;
use super::row::Row;
use super::shape::SideOutput;
use super::state::Table;

/// The key at hand, its state and timers, and the way out; valid during the call.
pub struct Context<'a> {
    pub(super) key: &'a Key,
    pub(super) watermark: EventTime,
    /// Event time of the row or timer at hand.
    pub(super) now: Option<EventTime>,
    pub(super) tables: &'a mut [Box<dyn Table>],
    pub(super) timers: &'a mut Timers,
    pub(super) outputs: &'a mut Outputs,
}

/// A timer that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When it was set to fire; [`EventTime::MAX`] for the end of the input.
    pub time: EventTime,
    /// Which of the key's timers.
    pub name: String,
}

// === impl Context ===

impl Context<'_> {
    /// The key at hand, as bytes; equal keys have equal bytes.
    pub fn key(&self) -> &Key {
        self.key
    }

    /// The watermark: no row at or before it is expected. Survives a restart. How far it is when a row comes differs from run to
    /// run, within what the source promises.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// Whether `row` is late: its event time is at or before the watermark. A row without event time never is.
    pub fn is_late(&self, row: &Row<'_>) -> bool {
        row.time().is_some_and(|time| time <= self.watermark)
    }

    /// Calls [`on_timer`](super::ProcessFunction::on_timer) for this key once the watermark reaches `time`; at the next watermark if it
    /// already has. [`EventTime::MAX`] is the end of the input. Setting a timer twice sets it once; a key's timers are told
    /// apart by time and name.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn set_timer(&mut self, time: EventTime, name: &str) -> Result<()> {
        self.timers.set(time, self.key, &Space::new(name.as_bytes())).map(drop)
    }

    /// Takes a timer back; false if it was not set.
    pub fn delete_timer(&mut self, time: EventTime, name: &str) -> bool {
        self.timers.remove(time, self.key, &Space::new(name.as_bytes()))
    }

    /// Begins a row of the output.
    pub fn output(&mut self) -> Emission<'_> {
        Emission::new(self.outputs, self.key, 0)
    }

    /// Begins a row of a side output.
    pub fn side(&mut self, side: SideOutput) -> Emission<'_> {
        Emission::new(self.outputs, self.key, side.0)
    }
}

// === impl Timer ===

impl Timer {
    pub(super) fn of(timer: &forebay_state::keyed::Timer) -> Self {
        Self { time: timer.time, name: String::from_utf8_lossy(timer.space.as_bytes()).into_owned() }
    }
}
