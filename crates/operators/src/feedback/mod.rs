//! The feedback loop's join: each prediction with the label that comes for it later.
//!
//! A label counts for the predictions of its key that it lies near to: from `before` earlier than the prediction to
//! `retention` later. The last of them by event time is the label of the prediction. What a prediction's row says follows from
//! event times alone, never from the order of arrival: `missing` while there is no label and the watermark is past its wait,
//! `matched` with one label within the wait, `late` with one behind it, `revised` with several. Whenever that changes, the row
//! given before is taken back and the new one given (`-U`, `+U`); before the wait is over a prediction without a label has none.
//!
//! Both inputs may take rows back. A prediction is forgotten, and its last row stays, when the watermark reaches the end of its
//! retention; one that comes later still is late and leaves by side output 1. A label for which every prediction is forgotten
//! leaves by side output 2. The event time of a row is the prediction's; the watermark is held back by the wait, so that rows in
//! order are not late for those behind.

mod settings;

use arrow::datatypes::SchemaRef;
use forebay_core::element::Epoch;
use forebay_core::keys::Key;
use forebay_core::operator::{Identity, Operator, Restored, Snapshot};
use forebay_core::time::EventTime;
use forebay_core::{Result, RowId, RowKind};
use forebay_state::keyed::{KeyedState, Space, StateTable, TableSpec, Timer, Timers};

use crate::clock::Clock;
use crate::keyed_rows::output::{Mark, Output, Stored};
use crate::keyed_rows::{Frame, FrameShape, Row, Rules, Side};
pub use settings::{FeedbackBug, FeedbackSettings};
use settings::{LabelState, Labels, TEXTS, View};

/// Spaces of timers.
const WAITED: Space = Space::EMPTY;
const PREDICTION_ENDS: &[u8] = &[1];
const LABEL_ENDS: &[u8] = &[2];

/// The operator.
///
/// # Errors
/// `Invalid` for a column that cannot be a key or cannot be stored.
pub fn feedback(settings: &FeedbackSettings) -> Result<Box<dyn Operator>> {
    let shape = FrameShape {
        inputs: vec![settings.predictions.clone(), settings.labels.clone()],
        nulls_are_keys: false,
        order: Vec::new(),
        output: SchemaRef::clone(&settings.output),
        appended: settings.appended.clone(),
        mark: Some(Mark::Text(&TEXTS)),
    };
    Ok(Box::new(Frame::new(&shape, FeedbackRules { settings: settings.clone(), state: None })?))
}

struct FeedbackRules {
    settings: FeedbackSettings,
    state: Option<State>,
}

struct State {
    keyed: KeyedState,
    /// By time and id: whether the wait is over, then the stored row.
    predictions: StateTable<Vec<u8>>,
    /// Stored rows by time and id.
    labels: StateTable<Vec<u8>>,
    timers: Timers,
    clock: Clock,
}

// === impl FeedbackRules ===

impl FeedbackRules {
    fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("open comes first")
    }

    fn add_prediction(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let (wait, retention) = (self.settings.wait, self.settings.retention);
        let labels = self.labels(key)?;
        let State { predictions, timers, clock, .. } = self.state();
        let is_overdue = row.time.plus(wait) <= clock.of(key);
        let space = Space::of_time_and(row.time, &row.id.to_bytes());
        predictions.insert(key, &space, [&[u8::from(is_overdue)], row.bytes].concat())?;
        if !is_overdue {
            timers.set(row.time.plus(wait), key, &WAITED)?;
        }
        timers.set(row.time.plus(retention), key, &Space::new(PREDICTION_ENDS))?;
        let view = self.settings.view(row.time, is_overdue, &labels);
        self.change(key, (&space, row.bytes), None, view, out)?;
        Ok(1 + labels.len())
    }

    fn remove_prediction(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let labels = self.labels(key)?;
        let predictions = &mut self.state().predictions;
        let Some(space) = find(predictions, key, row, 1)? else { return Ok(1) };
        let Some(value) = predictions.remove(key, &space)? else { return Ok(1) };
        let view = self.settings.view(row.time, value.first() == Some(&1), &labels);
        self.change(key, (&space, row.bytes), view, None, out)?;
        Ok(1 + labels.len())
    }

    fn add_label(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let before = self.labels(key)?;
        let space = Space::of_time_and(row.time, &row.id.to_bytes());
        let place = match self.settings.bug {
            Some(FeedbackBug::IgnoreTime) => before.len(),
            _ => before.partition_point(|(other, _)| *other < space),
        };
        let mut after = before.clone();
        after.insert(place, (space.clone(), row.bytes.to_vec()));
        let end = row.time.plus(self.settings.before).plus(self.settings.retention);
        let State { labels, timers, .. } = self.state();
        labels.insert(key, &space, row.bytes.to_vec())?;
        timers.set(end, key, &Space::new(LABEL_ENDS))?;
        self.relabel(key, row.time, &before, &after, out)
    }

    fn remove_label(&mut self, key: &Key, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        let before = self.labels(key)?;
        let labels = &mut self.state().labels;
        let Some(space) = find(labels, key, row, 0)? else { return Ok(1) };
        labels.remove(key, &space)?;
        let after = before.iter().filter(|(other, _)| *other != space).cloned().collect();
        self.relabel(key, row.time, &before, &after, out)
    }

    /// The labels of a key changed at `time`: so do the rows of the predictions that this counts for.
    fn relabel(
        &mut self,
        key: &Key,
        time: EventTime,
        before: &Labels,
        after: &Labels,
        out: &mut Output,
    ) -> Result<usize> {
        let (first, last) = (time.minus(self.settings.retention), time.plus(self.settings.before));
        let predictions = self.predictions(key, Space::of_time(first)..=behind(last))?;
        for (space, value) in &predictions {
            let (is_overdue, bytes) = (value.first() == Some(&1), value.get(1..).unwrap_or_default());
            let old = self.settings.view(time_of(space), is_overdue, before);
            let new = self.settings.view(time_of(space), is_overdue, after);
            self.change(key, (space, bytes), old, new, out)?;
        }
        Ok(predictions.len() + before.len())
    }

    /// The wait of a key's predictions up to `time` is over.
    fn waited(&mut self, key: &Key, time: EventTime, out: &mut Output) -> Result<()> {
        let labels = self.labels(key)?;
        for (space, mut value) in self.predictions(key, ..=behind(time))? {
            if value.first() != Some(&0) {
                continue;
            }
            let old = self.settings.view(time_of(&space), false, &labels);
            let new = self.settings.view(time_of(&space), true, &labels);
            self.change(key, (&space, &value[1..]), old, new, out)?;
            if self.settings.bug != Some(FeedbackBug::ForgetMissing) {
                value[0] = 1;
                self.state().predictions.insert(key, &space, value)?;
            }
        }
        Ok(())
    }

    /// Gives what makes a prediction's row say `new` instead of `old`.
    fn change(
        &self,
        key: &Key,
        (space, bytes): (&Space, &[u8]),
        old: View<'_>,
        new: View<'_>,
        out: &mut Output,
    ) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let row = Stored { id: id_of(space), bytes };
        let is_update = old.is_some() && new.is_some();
        if let Some((label, state)) = old.filter(|_| self.settings.bug != Some(FeedbackBug::KeepOld)) {
            let kind = if is_update { RowKind::UpdateBefore } else { RowKind::Delete };
            out.marked(kind, Some(key), Some(row), label.map(stored), state as u32)?;
        }
        if let Some((label, state)) = new {
            let kind = if is_update { RowKind::UpdateAfter } else { RowKind::Insert };
            out.marked(kind, Some(key), Some(row), label.map(stored), state as u32)?;
        }
        Ok(())
    }

    fn labels(&mut self, key: &Key) -> Result<Labels> {
        let labels = self.state().labels.scan(key)?;
        Ok(labels.map(|(space, bytes)| (space.clone(), bytes.clone())).collect())
    }

    fn predictions(&mut self, key: &Key, range: impl std::ops::RangeBounds<Space>) -> Result<Vec<(Space, Vec<u8>)>> {
        let found = self.state().predictions.scan_range(key, range)?;
        Ok(found.map(|(space, value)| (space.clone(), value.clone())).collect())
    }

    fn on_due(&mut self, timer: &Timer, out: &mut Output) -> Result<()> {
        let FeedbackSettings { wait, before, retention, .. } = self.settings;
        match timer.space.as_bytes() {
            PREDICTION_ENDS => {
                let last = behind(timer.time.minus(retention));
                self.state().predictions.remove_range(&timer.key, ..=last).map(drop)
            }
            LABEL_ENDS => {
                let last = behind(timer.time.minus(retention).minus(before));
                self.state().labels.remove_range(&timer.key, ..=last).map(drop)
            }
            _ => self.waited(&timer.key, timer.time.minus(wait), out),
        }
    }
}

/// Where the row lies that `row` takes back: by its id, or by its content at the same time. The first `skipped` bytes of a
/// value are not of the row.
fn find(table: &mut StateTable<Vec<u8>>, key: &Key, row: &Row<'_>, skipped: usize) -> Result<Option<Space>> {
    let exact = Space::of_time_and(row.time, &row.id.to_bytes());
    let is_same = |value: &Vec<u8>| value.get(skipped..) == Some(row.bytes);
    if table.get(key, &exact)?.is_some_and(is_same) {
        return Ok(Some(exact));
    }
    let mut copies = table.scan_range(key, Space::of_time(row.time)..=behind(row.time))?;
    Ok(copies.find(|(_, value)| is_same(value)).map(|(space, _)| space.clone()))
}

/// Behind every row of `time`.
fn behind(time: EventTime) -> Space {
    Space::of_time_and(time, &[0xff; 17])
}

fn time_of(space: &Space) -> EventTime {
    space.time().unwrap_or(EventTime::MIN)
}

fn id_of(space: &Space) -> RowId {
    RowId::from_bytes(space.as_bytes().last_chunk::<16>().copied().unwrap_or_default())
}

fn stored((space, bytes): &(Space, Vec<u8>)) -> Stored<'_> {
    Stored { id: id_of(space), bytes }
}

impl Rules for FeedbackRules {
    fn open(&mut self, identity: &Identity, restored: Restored) -> Result<()> {
        let mut keyed = KeyedState::open(identity, self.settings.state.clone(), restored)?;
        let predictions = keyed.table(TableSpec::new("predictions", 1))?;
        let labels = keyed.table(TableSpec::new("labels", 1))?;
        let timers = keyed.timers("timers")?;
        let clock = Clock::open(&mut keyed, "clock", identity, false)?;
        keyed.opened()?;
        self.state = Some(State { keyed, predictions, labels, timers, clock });
        Ok(())
    }

    fn is_late(&mut self, side: Side, key: Option<&Key>, time: EventTime) -> Result<bool> {
        let FeedbackSettings { before, retention, .. } = self.settings;
        let end = match side {
            Side::Left => time.plus(retention),
            Side::Right => time.plus(before).plus(retention),
        };
        Ok(end <= self.state().clock.of_row(key))
    }

    fn row(&mut self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        // A null equals nothing: such a prediction never has a label, and such a label counts for none.
        let Some(key) = row.key else { return self.keyless(row, out) };
        match (row.side, row.kind.is_retraction()) {
            (Side::Left, false) => self.add_prediction(key, row, out),
            (Side::Left, true) => self.remove_prediction(key, row, out),
            (Side::Right, false) => self.add_label(key, row, out),
            (Side::Right, true) => self.remove_label(key, row, out),
        }
    }

    fn watermark(&mut self, watermark: EventTime, out: &mut Output) -> Result<EventTime> {
        while let Some(timer) = self.state().timers.due(watermark) {
            self.on_due(&timer, out)?;
        }
        if self.settings.bug == Some(FeedbackBug::DropLabels) {
            self.drop_labels(watermark)?;
        }
        self.state().clock.advance(watermark);
        match self.settings.bug {
            Some(FeedbackBug::NoHold) => Ok(watermark),
            _ if watermark == EventTime::MAX => Ok(watermark),
            _ => Ok(watermark.minus(self.settings.wait)),
        }
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Snapshot> {
        let State { keyed, predictions, labels, timers, clock } = self.state();
        keyed.snapshot(epoch, &mut [predictions, labels, timers, clock.part()?])
    }

    fn on_checkpoint_complete(&mut self, epoch: Epoch) {
        self.state().keyed.on_checkpoint_complete(epoch);
    }
}

impl FeedbackRules {
    /// A prediction without a key is missing its label from the start.
    fn keyless(&self, row: &Row<'_>, out: &mut Output) -> Result<usize> {
        if row.side == Side::Left {
            let kind = if row.kind.is_retraction() { RowKind::Delete } else { RowKind::Insert };
            let stored = Stored { id: row.id, bytes: row.bytes };
            out.marked(kind, None, Some(stored), None, LabelState::Missing as u32)?;
        }
        Ok(1)
    }

    /// The planted bug of that name.
    fn drop_labels(&mut self, watermark: EventTime) -> Result<()> {
        let labels = &mut self.state().labels;
        let mut gone = Vec::new();
        for group in labels.key_groups().collect::<Vec<_>>() {
            labels.visit_group(group, |key, space, _| {
                if time_of(space) <= watermark {
                    gone.push((key.clone(), space.clone()));
                }
                Ok(())
            })?;
        }
        gone.iter().try_for_each(|(key, space)| labels.remove(key, space).map(drop))
    }
}
