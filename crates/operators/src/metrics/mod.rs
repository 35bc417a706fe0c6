//! How good predictions were: accuracy, precision, recall, AUC, log loss, calibration error and drift, by key and interval.
//!
//! Takes updates: a prediction whose label changes is taken back and counted anew, exactly (`tally`). A row without a label
//! counts as a prediction and in drift, and in nothing else.
//!
//! An interval gives its row when the watermark reaches its last moment. With allowed lateness it stays that much longer, and
//! gives a row that replaces the one before (`-U`, `+U`) at the next watermark after a change; one behind that is late and leaves
//! by side output 1. Without intervals a key has one row for all time, given anew at each watermark after a change.
//!
//! Drift compares the scores of an interval with those of the same key in the reference period. Intervals that end before the
//! period does have none, because the period is not complete when they give their row. The row of all time has none until the
//! period is over, and is then given anew.

mod results;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use arrow::array::{Array, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::element::Epoch;
use forebay_core::keys::{Key, KeyColumns};
use forebay_core::operator::{Context, Drained, Frozen, Operator, Out, Restored, Room};
use forebay_core::row_kind::RowKind;
use forebay_core::time::EventTime;
use forebay_core::{Batch, Error, Kind, Result};
use forebay_state::keyed::{KeyedState, Space, StateSettings, StateTable, TableSpec, Timer, Timers};

use crate::clock::Clock;
use results::Results;
pub use tally::Scale;
use tally::{Figures, Pane};

/// Side output of changes that came too late.
const LATE: u8 = 1;

/// Rows given out at one `poll`: each is computed from a few hundred counts.
const RESULTS_MAX: usize = 256;

/// What a metrics step computes.
#[derive(Clone)]
pub struct MetricsSettings {
    /// Places of the key columns; without any, all rows have one key.
    pub keys: KeyColumns,
    /// Place of the event time, a timestamp in microseconds.
    pub time: usize,
    /// Place of the score, a float from 0 to 1.
    pub score: usize,
    /// Place of the label, a boolean, or 1 or 0; null where there is none.
    pub label: usize,
    /// Length of the intervals; `None`: all time is one.
    pub every: Option<Duration>,
    /// How much longer than the watermark an interval takes changes.
    pub lateness: Duration,
    /// How rows are counted.
    pub scale: Scale,
    /// The period that drift is measured against, from the first moment to before the second, in microseconds.
    pub reference: Option<(i64, i64)>,
    /// The keys; with intervals start, end and last moment; the counts; the ratios.
    pub output: SchemaRef,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<MetricsBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsBug {
    /// A row that is taken back is counted.
    CountRetractions,
    /// A row that is replaced is not taken back.
    KeepOld,
    /// A change of an interval that has given its row gives no new one.
    ForgetLate,
    /// A restart forgets the watermark.
    ForgetClock,
}

/// See the module.
pub struct Metrics {
    settings: MetricsSettings,
    outs: VecDeque<Out>,
    /// The watermark whose timers are being worked off.
    firing: Option<EventTime>,
    opened: Option<Opened>,
}

struct Opened {
    uid: String,
    state: KeyedState,
    /// By end of the interval.
    panes: StateTable<Pane>,
    /// Scores of the reference period.
    reference: StateTable<Pane>,
    /// When a pane gives its row; a time before the watermark: at the next one.
    due: Timers,
    /// When a pane takes no more changes.
    ends: Timers,
    clock: Clock,
    results: Results,
}

/// A row that can be counted.
struct Counted {
    time: EventTime,
    score: f64,
    label: Option<bool>,
}

// === impl Metrics ===

impl Metrics {
    /// A metrics step.
    pub fn new(settings: MetricsSettings) -> Self {
        Self { settings, outs: VecDeque::new(), firing: None, opened: None }
    }

    fn opened(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("open comes first")
    }

    /// The end of the interval of `time`, as a space; empty without intervals.
    fn space(&self, time: EventTime) -> Space {
        let Some(every) = self.settings.every else { return Space::EMPTY };
        let every = micros(every).max(1);
        Space::of_time(EventTime(time.0.saturating_sub(time.0.rem_euclid(every)).saturating_add(every)))
    }

    /// Counts a row that is not late; false if it is.
    fn count(&mut self, key: &Key, row: &Counted, is_retraction: bool) -> Result<bool> {
        let (space, lateness, bug) = (self.space(row.time), self.settings.lateness, self.settings.bug);
        let (scale, reference) = (self.settings.scale, self.settings.reference);
        let opened = self.opened();
        let watermark = opened.clock.of(key);
        let last = last_of(&space);
        let end = last.map(|last| last.plus(lateness));
        if end.is_some_and(|end| end <= watermark) {
            return Ok(false);
        }
        let sign = if is_retraction && bug != Some(MetricsBug::CountRetractions) { -1 } else { 1 };
        let pane = opened.panes.get_or_insert_with(key, &space, Pane::default)?;
        pane.tally.add(scale, row.score, row.label, sign);
        if bug != Some(MetricsBug::ForgetLate) || last.is_some_and(|last| last > watermark) {
            opened.due.set(last.unwrap_or(EventTime::MIN), key, &space)?;
        }
        if let Some(end) = end.filter(|_| !lateness.is_zero()) {
            opened.ends.set(end, key, &space)?;
        }
        if reference.is_some_and(|(from, to)| (from..to).contains(&row.time.0)) {
            let pane = opened.reference.get_or_insert_with(key, &Space::EMPTY, Pane::default)?;
            pane.tally.add(scale, row.score, None, sign);
        }
        Ok(true)
    }

    /// Gives the row of a pane if it has changed.
    fn give(&mut self, timer: &Timer, watermark: EventTime) -> Result<()> {
        let (key, space) = (&timer.key, &timer.space);
        let (reference, bug) = (self.settings.reference, self.settings.bug);
        let stays = self.settings.every.is_none() || !self.settings.lateness.is_zero();
        let opened = self.opened();
        let known_by = last_of(space).unwrap_or(watermark);
        let period = match reference {
            None => None,
            Some((_, to)) if known_by.0 < to.saturating_sub(1) => Some(None),
            Some(_) => Some(opened.reference.get(key, &Space::EMPTY)?.map(|pane| &pane.tally)),
        };
        let Some(pane) = opened.panes.get_mut(key, space)? else { return Ok(()) };
        let over = reference.map(|(_, to)| EventTime(to.saturating_sub(1))).filter(|over| known_by < *over);
        if let (Some(over), None) = (over, last_of(space)) {
            // The row of all time is given anew when the period is over, also if nothing changes until then.
            opened.due.set(over, key, space)?;
        }
        let new = (!pane.tally.is_empty()).then(|| pane.tally.figures(period));
        let old = std::mem::replace(&mut pane.given, new.clone());
        if new.is_none() || !stays {
            opened.panes.remove(key, space)?;
        }
        opened.results.replace(key, space, old.filter(|_| bug != Some(MetricsBug::KeepOld)), new);
        Ok(())
    }

    /// Works off due timers until a batch is full or none is left.
    fn fire(&mut self, watermark: EventTime) -> Result<()> {
        while self.opened().results.len() < RESULTS_MAX {
            if let Some(timer) = self.opened().due.due(watermark) {
                self.give(&timer, watermark)?;
                continue;
            }
            let opened = self.opened();
            while let Some(timer) = opened.ends.due(watermark) {
                opened.panes.remove(&timer.key, &timer.space)?;
            }
            opened.clock.advance(watermark);
            self.firing = None;
            self.flush()?;
            self.outs.push_back(Out::Watermark(watermark));
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let batch = self.opened().results.take()?;
        self.outs.extend(batch.map(Out::Batch));
        Ok(())
    }

    fn dead(&self, batch: &Batch, place: usize, reason: &str) -> DeadLetter {
        DeadLetter {
            row: batch.ids()[place],
            operator: self.opened.as_ref().map_or_else(String::new, |opened| opened.uid.clone()),
            kind: Kind::Data,
            reason: reason.to_string(),
            attempts: 0,
            input: describe_row(batch, place),
        }
    }
}

/// The columns of a batch that are read.
struct Columns {
    times: arrow::array::TimestampMicrosecondArray,
    scores: Float64Array,
    labels: Int64Array,
}

// === impl Columns ===

impl Columns {
    fn of(settings: &MetricsSettings, batch: &Batch) -> Result<Self> {
        let column = |place: usize, kind: &DataType| {
            let wrong = |source| Error::new(Kind::Internal, "read predictions").with("column", place).source(source);
            cast(batch.rows().column(place), kind).map_err(wrong)
        };
        Ok(Self {
            times: batch.rows().column(settings.time).as_primitive::<TimestampMicrosecondType>().clone(),
            scores: column(settings.score, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
            labels: column(settings.label, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
        })
    }

    /// The row at `place`, or why it cannot be counted.
    fn row(&self, place: usize) -> Result<Counted, &'static str> {
        if self.times.is_null(place) {
            return Err("the row has no event time");
        }
        let score = self.scores.value(place);
        if self.scores.is_null(place) || !(0.0..=1.0).contains(&score) {
            return Err("the score is not from 0 to 1");
        }
        let label = match (self.labels.is_null(place), self.labels.value(place)) {
            (true, _) => None,
            (false, label @ (0 | 1)) => Some(label == 1),
            _ => return Err("the label is neither 0 nor 1"),
        };
        Ok(Counted { time: EventTime(self.times.value(place)), score, label })
    }
}

/// The last moment of the interval that ends where `space` says; `None` where all time is one.
fn last_of(space: &Space) -> Option<EventTime> {
    space.time().map(|end| EventTime(end.0.saturating_sub(1)))
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

impl Operator for Metrics {
    fn open(&mut self, context: Context, restored: Restored) -> Result<()> {
        let identity = &context.identity;
        let mut state = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let panes = state.table(TableSpec::new("panes", 1))?;
        let reference = state.table(TableSpec::new("reference", 1))?;
        let (due, ends) = (state.timers("due")?, state.timers("ends")?);
        let forgets = self.settings.bug == Some(MetricsBug::ForgetClock);
        let clock = Clock::open(&mut state, "clock", identity, forgets)?;
        state.opened()?;
        let uid = identity.uid.clone();
        let results = Results::new(&uid, &self.settings);
        self.opened = Some(Opened { uid, state, panes, reference, due, ends, clock, results });
        Ok(())
    }

    fn room(&self) -> Room {
        if self.outs.is_empty() && self.firing.is_none() { Room::Room } else { Room::Full }
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        let keys = self.settings.keys.keys(batch.rows())?;
        let columns = Columns::of(&self.settings, &batch)?;
        let (mut late, mut dead) = (Vec::new(), Vec::new());
        for (place, key) in keys.iter().enumerate() {
            let is_retraction = batch.kind(place).is_retraction();
            match columns.row(place) {
                Ok(row) => {
                    if !self.count(key, &row, is_retraction)? {
                        late.push(place);
                    }
                }
                // What was no row when it was given is none when it is taken back.
                Err(_) if is_retraction => {}
                Err(reason) => dead.push(self.dead(&batch, place, reason)),
            }
        }
        if !dead.is_empty() {
            self.outs.push_back(Out::DeadLetters(dead));
        }
        if !late.is_empty() {
            self.outs.push_back(Out::Side(LATE, batch.take(&late)?));
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.firing = self.firing.max(Some(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        while let (true, Some(watermark)) = (self.outs.is_empty(), self.firing) {
            self.fire(watermark)?;
        }
        Ok(self.outs.pop_front())
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let Opened { state, panes, reference, due, ends, clock, .. } = self.opened();
        let snapshot = state.snapshot(epoch, &mut [panes, reference, due, ends, clock.part()?])?;
        Ok(Box::pin(async move { Ok(snapshot) }))
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.opened().state.on_checkpoint_complete(epoch);
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.outs.is_empty() && self.firing.is_none() { Drained::Done } else { Drained::Pending })
    }
}

/// What turns the row that was given into the one that holds now.
fn change(old: Option<Figures>, new: Option<Figures>) -> Vec<(RowKind, Figures)> {
    match (old, new) {
        (old, new) if old == new => Vec::new(),
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![(RowKind::Insert, new)],
        (Some(old), None) => vec![(RowKind::Delete, old)],
        (Some(old), Some(new)) => vec![(RowKind::UpdateBefore, old), (RowKind::UpdateAfter, new)],
    }
}
