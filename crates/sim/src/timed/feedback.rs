//! The feedback loop: clicks as predictions, views as their labels, and how good the predictions were.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::Books;
use crate::random::Random;
use crate::view::View;

use super::check::{standing, without_late};
use super::part::{JUDGED, JUDGED_LATE, JUDGED_LATE_LABELS, QUALITY, Sink};
use super::text::{micros, number};
use super::window::window_start;
use super::{Click, Order, Timed};

/// How many keys predictions and labels have.
const KEYS: u64 = 12;

/// A drawn join of predictions with their labels, and metrics of them. Lengths in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedbackStep {
    wait: i64,
    retention: i64,
    before: i64,
    /// Length of the intervals that have metrics of their own.
    every: Option<i64>,
}

/// Score and, where there is one, label of a prediction.
type Judged = (f64, Option<bool>);

// === impl FeedbackStep ===

impl FeedbackStep {
    pub fn draw(random: &mut Random) -> Self {
        let wait = random.pick(&[1, 300, 2_000]);
        Self {
            wait,
            retention: wait + random.pick(&[0, 500, 10_000]),
            before: random.pick(&[0, 1_000]),
            every: random.pick(&[None, Some(700), Some(5_000)]),
        }
    }

    /// The sections of the steps.
    pub fn text(&self) -> String {
        let Self { wait, retention, before, .. } = self;
        // Nothing that changes later comes too late for its interval.
        let every = self.every.map(|ms| format!("every = \"{ms}ms\", allowed_lateness = \"1h\", "));
        let (every, step) = (every.unwrap_or_default(), "[[step]]\nuid =");
        format!(
            "{step} \"asked\"\nfrom = \"clicks\"\nwith = [\"n % {KEYS} AS q\", \"n / 100.0 AS score\"]\n\n\
             {step} \"told\"\nfrom = \"views\"\nwith = [\"n % {KEYS} AS q\"]\n\n\
             {step} \"judged\"\nfrom = \"asked\"\nfeedback = {{ labels = \"told\", on = {{ q = \"q\" }}, wait = \"{wait}ms\", \
             retention = \"{retention}ms\", before = \"{before}ms\", prefix = \"l_\" }}\n\n\
             {step} \"labelled\"\nfrom = \"judged\"\nwith = [\"l_n % 2 AS label\"]\n\n\
             {step} \"quality\"\nfrom = \"labelled\"\n\
             metrics = {{ by = [\"k\"], score = \"score\", label = \"label\", {every}bins = 10 }}\n\n"
        )
    }

    /// Its sinks, and whether they take changes.
    pub fn sinks() -> Vec<(Sink, bool)> {
        vec![(JUDGED, true), (JUDGED_LATE, false), (JUDGED_LATE_LABELS, false), (QUALITY, true)]
    }

    /// Holds what the steps gave against all clicks and views, and the metrics against the predictions as they stand.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, view: &View, timed: &Timed, books: &Books) -> Result<(), String> {
        let (mut clicks, _) = without_late(view, timed, &timed.clicks, JUDGED_LATE.1, books)?;
        without_late(view, timed, &timed.views, JUDGED_LATE_LABELS.1, books)?;
        let rows = standing(view.lines_of(JUDGED.1)?)?;
        for row in &rows {
            let place = clicks.iter().position(|click| Some(click.id) == number(row, "id"));
            let click = clicks.swap_remove(place.ok_or_else(|| format!("I1: {row} is there twice, or was late"))?);
            if !self.is_right(row, &click, timed) {
                return Err(format!("I1: the prediction {click:?} has the label of {row}"));
            }
            books.count("I1: judged predictions compared with the oracle");
        }
        match clicks.first() {
            Some(click) => Err(format!("I1: the prediction {click:?} is lost")),
            None => self.check_metrics(&rows, view, books),
        }
    }

    /// Whether `row` shows the label of `click`; where rows may be late, any of its labels.
    fn is_right(&self, row: &Value, click: &Click, timed: &Timed) -> bool {
        let range = click.at - self.before * 1000..=click.at + self.retention * 1000;
        let counts = |label: &&Click| label.n % KEYS == click.n % KEYS && range.contains(&label.at);
        let labels: Vec<&Click> = timed.views.iter().filter(counts).collect();
        let shown = number(row, "l_id");
        let label = labels.iter().find(|label| Some(label.id) == shown);
        let state = row["label_state"].as_str().unwrap_or_default();
        if number(row, "l_n") != label.map(|label| label.n) || label.is_none() != shown.is_none() {
            return false;
        }
        if timed.order == Order::Loose {
            return (state == "missing") == label.is_none();
        }
        match labels.as_slice() {
            [] => state == "missing",
            [only] if only.at <= click.at + self.wait * 1000 => state == "matched" && label.is_some(),
            [_] => state == "late" && label.is_some(),
            _ => state == "revised" && label.map(|label| label.at) == labels.iter().map(|label| label.at).max(),
        }
    }

    fn check_metrics(&self, rows: &[Value], view: &View, books: &Books) -> Result<(), String> {
        let mut expected: BTreeMap<(u64, i64), Vec<Judged>> = BTreeMap::new();
        for row in rows {
            let start = match self.every {
                Some(every) => window_start(micros(row, "at")?, every * 1000),
                None => 0,
            };
            let label = number(row, "l_n").map(|n| n % 2 == 1);
            let place = (number(row, "k").unwrap_or(u64::MAX), start);
            expected.entry(place).or_default().push((row["score"].as_f64().unwrap_or(f64::NAN), label));
        }
        for row in standing(view.lines_of(QUALITY.1)?)? {
            let start = if self.every.is_some() { micros(&row, "window_start")? } else { 0 };
            let place = (number(&row, "k").unwrap_or(u64::MAX), start);
            let judged =
                expected.remove(&place).ok_or_else(|| format!("I1: no predictions make {row}, or it is twice"))?;
            if let Some((name, value)) = figures(&judged).into_iter().find(|(name, value)| !is_near(&row[name], *value))
            {
                return Err(format!("I1: {name} is not {value:?} in {row}"));
            }
            books.count("I1: metrics compared with the oracle");
        }
        match expected.keys().next() {
            Some(place) => Err(format!("I1: the metrics of {place:?} are lost")),
            None => Ok(()),
        }
    }
}

/// The metrics of some predictions.
fn figures(judged: &[Judged]) -> [(&'static str, Option<f64>); 7] {
    let labelled: Vec<(f64, bool)> = judged.iter().filter_map(|(score, label)| Some((*score, (*label)?))).collect();
    let count =
        |of: &dyn Fn(f64, bool) -> bool| labelled.iter().filter(|(score, label)| of(*score, *label)).count() as f64;
    let share = |part: f64, all: f64| (all > 0.0).then(|| part / all);
    let is_positive = |score: f64| score >= 0.5;
    let (all, hits) = (labelled.len() as f64, count(&|score, label| is_positive(score) && label));
    let (trues, falses) = (count(&|_, label| label), count(&|_, label| !label));
    let of_pair = |first: f64, second: f64| match first.total_cmp(&second) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let of_label = |wanted: bool| labelled.iter().filter(move |(_, label)| *label == wanted).map(|(score, _)| *score);
    let ordered: f64 = of_label(true).flat_map(|first| of_label(false).map(move |second| of_pair(first, second))).sum();
    let loss = labelled.iter().map(|(score, label)| -(if *label { *score } else { 1.0 - score }).max(1e-15).ln()).sum();
    [
        ("predictions", Some(judged.len() as f64)),
        ("labelled", Some(all)),
        ("accuracy", share(count(&|score, label| is_positive(score) == label), all)),
        ("precision", share(hits, count(&|score, _| is_positive(score)))),
        ("recall", share(hits, trues)),
        ("auc", share(ordered, trues * falses)),
        ("log_loss", share(loss, all)),
    ]
}

fn is_near(found: &Value, expected: Option<f64>) -> bool {
    match (found.as_f64(), expected) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
        (found, expected) => found == expected,
    }
}
