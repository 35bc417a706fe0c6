//! One more part that reads the clicks, at most, because each costs time: rows kept of each key, labels of predictions, or a
//! step that takes rows one by one.

use crate::model::Books;
use crate::random::Random;
use crate::view::View;

use super::Timed;
use super::feedback::FeedbackStep;
use super::keyed::KeyedStep;
use super::opinion::Before;
use super::rows::RowsStep;

/// Uid and folder of a sink.
pub(super) type Sink = (&'static str, &'static str);

pub(super) const ONCE: Sink = ("once_out", "_once/");
pub(super) const ONCE_LATE: Sink = ("once_late", "_once_late/");
pub(super) const BEST: Sink = ("best_out", "_best/");
pub(super) const JUDGED: Sink = ("judged_out", "_judged/");
pub(super) const JUDGED_LATE: Sink = ("judged_late", "_judged_late/");
pub(super) const JUDGED_LATE_LABELS: Sink = ("judged_late_labels", "_judged_late_labels/");
pub(super) const QUALITY: Sink = ("quality_out", "_quality/");
pub(super) const PARTS: Sink = ("parts_out", "_parts/");
pub(super) const SOME: Sink = ("some_out", "_some/");
pub(super) const TWIN: Sink = ("twin_out", "_twin/");
pub(super) const FEW: Sink = ("few_out", "_few/");

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    Keyed(KeyedStep),
    Feedback(FeedbackStep),
    Rows(RowsStep),
}

// === impl Part ===

impl Part {
    /// What `seed` draws, apart from the rest.
    pub fn draw(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed, "kept");
        match random.below(6) {
            0 => Some(Self::Keyed(KeyedStep::draw(&mut random))),
            1 => Some(Self::Feedback(FeedbackStep::draw(&mut random))),
            2 => Some(Self::Rows(RowsStep::draw(&mut random))),
            _ => None,
        }
    }

    /// Whether it reads a source of its own, `few_rows`.
    pub fn has_source(&self) -> bool {
        matches!(self, Self::Rows(RowsStep::Few { .. }))
    }

    /// The sections of the steps.
    pub fn text(&self) -> String {
        match self {
            Self::Keyed(keyed) => keyed.text(),
            Self::Feedback(feedback) => feedback.text(),
            Self::Rows(rows) => rows.text(),
        }
    }

    /// Its sinks, and whether they take changes.
    pub fn sinks(&self) -> Vec<(Sink, bool)> {
        match self {
            Self::Keyed(keyed) => keyed.sinks(),
            Self::Feedback(_) => FeedbackStep::sinks(),
            Self::Rows(rows) => rows.sinks().into_iter().map(|found| (found, false)).collect(),
        }
    }

    /// The step that gives updates, if it is one whose rows have numbers.
    pub fn updates(&self) -> Option<Before> {
        match self {
            Self::Keyed(keyed) => keyed.updates(),
            Self::Feedback(_) | Self::Rows(_) => None,
        }
    }

    /// Holds what the steps gave against all clicks.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
        match self {
            Self::Keyed(keyed) => keyed.check(view, timed, books),
            Self::Feedback(feedback) => feedback.check(view, timed, books),
            Self::Rows(rows) => rows.check(view, timed, books),
        }
    }
}
