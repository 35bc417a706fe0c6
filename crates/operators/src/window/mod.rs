//! Windows: aggregates of the rows of a key by event time, in tumbling, sliding and session windows.
//!
//! A window is complete when the watermark reaches its last moment, and then gives one row. With allowed lateness it stays
//! that much longer: a row that comes late changes it, and the new result replaces the one before (`-U`, `+U`; a session
//! that grew is another window: `-D`, `+I`). A row that is too late for all its windows leaves by the side output `late`.
//!
//! Over updates a row is taken back from its windows as if it had never come (`-U`, `-D`; `+U` adds as `+I` does). A window
//! that gave a result and loses its last row takes the result back (`-D`). What the operator never had, or no longer has, is
//! not taken back: a late one leaves by the side output like any late row. A window of all of time may give each change instead
//! of one result at the end: after a batch one `+I`, one `-U` and `+U`, or one `-D` for each key whose result changed. A session
//! that loses a row may be two, so sessions over updates keep their rows (`standing`).
//!
//! State is one pane for each key and window, by key group, with a timer at its end; the watermark is part of it. Overlapping windows
//! share slices instead (`sliced.rs`), where the planner says so. A batch is grouped by key and window or slice first, so each
//! pane is found once a batch. Results leave in order of time, then key, a bounded
//! number at each `poll`. Sums of floats depend on the order in which rows come, everything else that is exact does not.

mod agenda;
mod aggregate;
mod balance;
mod cell;
mod decimals;
mod exact;
mod floats;
mod given;
mod group;
mod incoming;
mod opened;
mod pane;
mod scalars;
mod sessions;
mod settings;
mod shape;
mod sliced;
mod spread;
mod standing;
mod taken;
#[cfg(test)]
mod tests;
mod values;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, TimestampMicrosecondArray};
use arrow::datatypes::TimestampMicrosecondType;
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::on_error::OnError;
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room};
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};
use forebay_state::keyed::{KeyedState, Space, StatePart, TableSpec, Timer};

pub use aggregate::Aggregate;
pub use settings::{WindowBug, WindowSettings};
pub use shape::Shape;

use crate::clock::Clock;
use crate::stored_rows::RowWriter;
use cell::{Layout, Shared};
use given::Results;
use group::{Group, Grouped};
use incoming::Incoming;
use opened::{Opened, fires, give, spans_of};
use pane::Pane;
use shape::Span;
use sliced::Sliced;
use standing::Standing;

/// Side output of rows that came too late.
const LATE: u8 = 1;

/// Results given out at one `poll`: a batch of common size, made in well under 10 ms.
const RESULTS_MAX: usize = 1024;

/// See the module.
pub struct Window {
    settings: WindowSettings,
    layout: Shared,
    outs: VecDeque<Out>,
    /// The watermark whose windows are being worked off.
    firing: Option<EventTime>,
    opened: Option<Opened>,
}

/// What a batch brings to its windows.
enum Brought {
    Values(Incoming),
    /// Of sessions that keep their rows.
    Rows(RowWriter),
}

// === impl Window ===

impl Window {
    /// A window step.
    pub fn new(settings: WindowSettings) -> Self {
        let layout = Layout { aggregates: settings.aggregates.clone(), counted: settings.updates };
        Self { settings, layout: Arc::new(layout), outs: VecDeque::new(), firing: None, opened: None }
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("open comes first")
    }

    /// The rows that have an event time; the others are dead letters.
    fn timed(&mut self, batch: Batch) -> Result<Batch> {
        let found = self.times(&batch);
        if found.null_count() == 0 {
            return Ok(batch);
        }
        let dead = |place: usize| DeadLetter {
            row: batch.ids()[place],
            operator: self.opened.as_ref().map_or_else(String::new, |opened| opened.uid.clone()),
            kind: Kind::Data,
            reason: "the row has no event time".to_string(),
            attempts: 0,
            input: describe_row(&batch, place),
        };
        // What was no row when it was given is none when it is taken back.
        let is_dead = |place: &usize| found.is_null(*place) && !batch.kind(*place).is_retraction();
        let letters: Vec<DeadLetter> = (0..batch.len()).filter(is_dead).map(dead).collect();
        if !letters.is_empty() {
            self.outs.push_back(Out::DeadLetters(letters));
        }
        let keep: BooleanArray = (0..batch.len()).map(|place| Some(found.is_valid(place))).collect();
        batch.filter(&keep)
    }

    /// The event time of each row; 0 where time is not cut.
    fn times(&self, batch: &Batch) -> TimestampMicrosecondArray {
        match self.settings.time {
            Some(time) => batch.rows().column(time).as_primitive::<TimestampMicrosecondType>().clone(),
            None => TimestampMicrosecondArray::from_value(0, batch.len()),
        }
    }

    /// What the rows bring, without those of which something cannot be computed: these are dead letters.
    fn brought(&mut self, batch: Batch) -> Result<(Batch, Brought)> {
        let settings = &self.settings;
        let opened = self.opened.as_mut().expect("open comes first");
        let brought = |batch: &Batch| match &opened.standing {
            Some(standing) => standing.writer(batch).map(|(rows, failed)| (Brought::Rows(rows), failed)),
            None => Incoming::of(batch, settings).map(|(values, failed)| (Brought::Values(values), failed)),
        };
        let (all, failed) = brought(&batch)?;
        if failed.is_empty() {
            return Ok((batch, all));
        }
        let others = failed.others(batch.len());
        let letters = failed.into_letters(OnError::DeadLetter, "aggregate rows", &batch, &opened.uid)?;
        let batch = batch.filter(&others)?;
        let (left, _) = brought(&batch)?;
        if !letters.is_empty() {
            self.outs.push_back(Out::DeadLetters(letters));
        }
        Ok((batch, left))
    }

    /// The rows by key and window.
    fn grouped(&mut self, batch: &Batch, times: &[i64]) -> Result<Grouped> {
        let keys = self.settings.keys.keys(batch.rows())?;
        let (shape, lateness, is_sliced) = (self.settings.shape, self.settings.lateness, self.settings.slices);
        let Opened { clock, panes, .. } = self.opened();
        let (mut grouped, of_row) = Grouped::of_keys(keys, |key| clock.of(key));
        if let Shape::Session { .. } = shape {
            grouped.assign_sessions(shape, lateness, times, &of_row, |key| spans_of(panes, key))?;
        } else if is_sliced {
            grouped.assign_slices(shape, lateness, times, &of_row);
        } else {
            grouped.assign(shape, lateness, times, &of_row);
        }
        Ok(grouped)
    }

    /// Puts rows into their windows or slices; answers the places of rows that are late.
    fn update_panes(&mut self, batch: &Batch, times: &[i64], incoming: &Incoming) -> Result<Vec<usize>> {
        let grouped = self.grouped(batch, times)?;
        if self.settings.slices {
            self.update_slices(&grouped, incoming)?;
        } else {
            let update =
                |group: &Group| self.update(group, &grouped.keys[group.key], grouped.watermarks[group.key], incoming);
            grouped.groups.iter().try_for_each(update)?;
        }
        Ok(grouped.late)
    }

    /// Adds the rows of `group` to its pane, or takes them back, and gives the new result if there is one already.
    fn update(&mut self, group: &Group, key: &Key, watermark: EventTime, incoming: &Incoming) -> Result<()> {
        let (span, lateness, bug) = (group.span, self.settings.lateness, self.settings.bug);
        let (changes, ttl) = (self.settings.changes, self.settings.ttl);
        let layout = Arc::clone(&self.layout);
        let opened = self.opened();
        if !group.stored.is_empty() && group.stored != [span] {
            opened.join(key, span, &group.stored, &layout, lateness, bug)?;
        }
        let space = Space::of_time(span.end);
        let is_new = opened.panes.get_mut(key, &space)?.is_none();
        let (added, gone) = incoming.split(&group.rows, is_new, bug);
        if is_new {
            if added.is_empty() {
                return Ok(());
            }
            opened.panes.insert(key, &space, Pane::new(span.start, &layout)?)?;
            if !changes {
                opened.set_timers(key, span, watermark, lateness, bug)?;
            }
        }
        let Some(pane) = opened.panes.get_mut(key, &space)? else { return Ok(()) };
        let stands = incoming.put(pane, &layout, &added, &gone)? || bug == Some(WindowBug::KeepEmpty);
        if !stands {
            return opened.leave(key, span, &layout, lateness, bug);
        }
        if changes || span.last() <= watermark {
            let (before, after) = give(pane, &layout, true)?;
            opened.replace(key, span, before, after, bug)?;
        }
        match ttl.and_then(|(_, ttl)| Some((incoming.latest(&added)?, ttl))) {
            Some((time, ttl)) => opened.touch(key, &space, time, ttl),
            None => Ok(()),
        }
    }

    /// A timer is due: the window is complete, or nothing can be added to it any more.
    fn on_due(&mut self, timer: &Timer) -> Result<()> {
        let Some(end) = timer.space.time() else { return Ok(()) };
        let (lateness, bug) = (self.settings.lateness, self.settings.bug);
        let layout = Arc::clone(&self.layout);
        let opened = self.opened();
        if opened.forget(timer)? {
            return Ok(());
        }
        let start = opened.panes.get(&timer.key, &timer.space)?.map(|pane| pane.start);
        let Some(start) = start else { return Ok(()) };
        let span = Span { start, end };
        if timer.time == fires(span, bug) {
            let Some(pane) = opened.panes.get_mut(&timer.key, &timer.space)? else { return Ok(()) };
            let (_, given) = give(pane, &layout, lateness > 0)?;
            opened.results.push(RowKind::Insert, &timer.key, span, given)?;
        }
        if timer.time.0 >= span.last().0.saturating_add(lateness) || lateness == 0 {
            opened.panes.remove(&timer.key, &timer.space)?;
        }
        Ok(())
    }

    /// Works off complete windows until a batch is full or none is left.
    fn fire(&mut self, watermark: EventTime) -> Result<()> {
        let is_done = match self.opened() {
            Opened { standing: Some(_), .. } => self.fire_standing(watermark)?,
            Opened { sliced: Some(_), .. } => self.fire_slices(watermark)?,
            _ => self.fire_timers(watermark)?,
        };
        self.flush()?;
        if is_done {
            self.opened().clock.advance(watermark);
            self.firing = None;
            self.outs.push_back(Out::Watermark(watermark));
        }
        Ok(())
    }

    /// True if no timer is left.
    fn fire_timers(&mut self, watermark: EventTime) -> Result<bool> {
        while self.opened().results.len() < RESULTS_MAX {
            let Some(timer) = self.opened().ends.due(watermark) else { return Ok(true) };
            self.on_due(&timer)?;
        }
        Ok(false)
    }

    fn flush(&mut self) -> Result<()> {
        let batch = self.opened().results.take()?;
        self.outs.extend(batch.map(Out::Batch));
        Ok(())
    }
}

impl Operator for Window {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        let identity = &context.identity;
        let mut state = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let mut panes = state.table(pane::spec(&self.layout))?;
        let ends = state.timers("ends")?;
        let clock = Clock::open(&mut state, "clock", identity, self.settings.bug == Some(WindowBug::ForgetClock))?;
        let latest = self.settings.ttl.map(|_| state.table(TableSpec::new("latest", 1))).transpose()?;
        let sliced = self.settings.slices.then(|| Sliced::open(&mut state, &mut panes)).transpose()?;
        let standing = Standing::open(&mut state, &self.settings)?;
        state.opened()?;
        let keys = self.settings.keys.places().len();
        let results = Results::new(&identity.uid, &self.settings, keys);
        let uid = identity.uid.clone();
        self.opened = Some(Opened { uid, state, panes, latest, ends, sliced, standing, clock, results });
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() && self.firing.is_none() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        if batch.kinds().is_some() && !self.settings.updates {
            return Err(Error::new(Kind::Internal, "aggregate rows").source("updates came to a window"));
        }
        let batch = self.timed(batch)?;
        let (batch, brought) = self.brought(batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        let times = self.times(&batch);
        let late = match brought {
            Brought::Rows(rows) => self.update_standing(&batch, times.values(), &rows)?,
            Brought::Values(values) => self.update_panes(&batch, times.values(), &values)?,
        };
        if !late.is_empty() {
            self.outs.push_back(Out::Side(LATE, batch.take(&late)?));
        }
        self.flush()
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.firing = self.firing.max(Some(self.settings.shape.seen(watermark)));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        if let (true, Some(watermark)) = (self.outs.is_empty(), self.firing) {
            self.fire(watermark)?;
        }
        Ok(self.outs.pop_front())
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let Opened { state, panes, latest, ends, clock, sliced, standing, .. } = self.opened();
        let mut parts: Vec<&mut dyn StatePart> = vec![panes, ends, clock.part()?];
        parts.extend(latest.as_mut().map(|latest| latest as &mut dyn StatePart));
        parts.extend(sliced.iter_mut().flat_map(Sliced::parts));
        parts.extend(standing.iter_mut().flat_map(Standing::parts));
        let snapshot = state.snapshot(epoch, &mut parts)?;
        Ok(Box::pin(async move { Ok(snapshot) }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.opened().state.on_checkpoint_complete(epoch);
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() && self.firing.is_none() { Drained::Done } else { Drained::Pending })
    }
}
