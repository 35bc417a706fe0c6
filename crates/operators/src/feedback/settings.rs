//! What a feedback step is told, and what the row of a prediction says by it.

use std::ops::RangeInclusive;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use forebay_core::time::EventTime;
use forebay_state::keyed::{Space, StateSettings};

use super::time_of;
use crate::keyed_rows::InputShape;

/// What the last column says, in the order of [`LabelState`].
pub(super) const TEXTS: [&str; 4] = ["missing", "matched", "late", "revised"];

/// What a feedback step does.
#[derive(Debug, Clone)]
pub struct FeedbackSettings {
    /// Port 0; has event time.
    pub predictions: InputShape,
    /// Port 1; has event time.
    pub labels: InputShape,
    /// The columns of the predictions, `appended` of the labels, then a text, the state of the label.
    pub output: SchemaRef,
    /// Places of the labels' columns that are put out.
    pub appended: Vec<usize>,
    /// How long after a prediction its label should come.
    pub wait: Duration,
    /// How much earlier than the prediction a label may be.
    pub before: Duration,
    /// How much later it may be; at least `wait`.
    pub retention: Duration,
    /// How state is kept.
    pub state: StateSettings,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<FeedbackBug>,
}

/// Mistakes that tests plant to see that their checks find them. Never set in production.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackBug {
    /// A row that is replaced is not taken back.
    KeepOld,
    /// It is forgotten that a row without a label was given.
    ForgetMissing,
    /// Labels are dropped when the watermark reaches them.
    DropLabels,
    /// The label that came last counts, whatever its time.
    IgnoreTime,
    /// The watermark is handed on as it is.
    NoHold,
}

/// What became of a prediction's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelState {
    Missing,
    Matched,
    Late,
    Revised,
}

/// The labels of a key by time and id; few, as a rule one.
pub(super) type Labels = Vec<(Space, Vec<u8>)>;

/// What the row of a prediction says: its label, as the place among the labels, and the state.
pub(super) type View<'a> = Option<(Option<&'a (Space, Vec<u8>)>, LabelState)>;

// === impl FeedbackSettings ===

impl FeedbackSettings {
    /// The times of labels that count for a prediction of `time`.
    fn counts(&self, time: EventTime) -> RangeInclusive<EventTime> {
        time.minus(self.before)..=time.plus(self.retention)
    }

    /// What the row of a prediction says.
    pub(super) fn view<'a>(&self, time: EventTime, is_overdue: bool, labels: &'a Labels) -> View<'a> {
        let range = self.counts(time);
        let first = labels.partition_point(|(space, _)| time_of(space) < *range.start());
        let end = labels.partition_point(|(space, _)| time_of(space) <= *range.end());
        match &labels[first..end.max(first)] {
            [] if is_overdue => Some((None, LabelState::Missing)),
            [] => None,
            [label] if time_of(&label.0) <= time.plus(self.wait) => Some((Some(label), LabelState::Matched)),
            [label] => Some((Some(label), LabelState::Late)),
            [.., label] => Some((Some(label), LabelState::Revised)),
        }
    }
}
