//! The `feedback` and `metrics` tables of a step, and what can be said about them without facts.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::check::Checker;
use super::units::DurationText;
use super::{JobFileError, defaults};
use crate::asking::Thousandths;

type Result<T> = std::result::Result<T, JobFileError>;

/// Most bins that scores are put into: with more of them most would hold no row.
const BINS_MAX: u16 = 100;

/// Gives each prediction the label that comes for it later.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedbackTable {
    /// Uid of the source or step whose rows are the labels.
    #[schemars(with = "String")]
    pub labels: Spanned<String>,
    /// Column to column of the labels; all must be equal.
    #[schemars(with = "BTreeMap<String, String>")]
    pub on: BTreeMap<String, Spanned<String>>,
    /// How long after a prediction its label should come, in event time; without one it then counts as missing.
    #[schemars(with = "DurationText")]
    pub wait: Spanned<DurationText>,
    /// How long after a prediction a label still counts, at least `wait`; so long it is kept.
    #[schemars(with = "DurationText")]
    pub retention: Spanned<DurationText>,
    /// How much earlier than the prediction a label may be.
    #[serde(default = "defaults::in_order")]
    pub before: DurationText,
    /// Put before the names of the labels' columns.
    #[schemars(with = "Option<String>")]
    pub prefix: Option<Spanned<String>>,
}

/// Says how good predictions were, by key and interval of event time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsTable {
    /// The key, for example the version of the model: columns, or `expression AS name`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
    /// Column with the score, 0 to 1.
    #[schemars(with = "String")]
    pub score: Spanned<String>,
    /// Column with the label: true or false, 1 or 0; null where there is none.
    #[schemars(with = "String")]
    pub label: Spanned<String>,
    /// Length of the intervals of event time that have a row each; default one row for all time.
    #[schemars(with = "Option<DurationText>")]
    pub every: Option<Spanned<DurationText>>,
    /// How much longer than the watermark an interval takes changes; each then gives a row that replaces the one before.
    #[schemars(with = "Option<DurationText>")]
    pub allowed_lateness: Option<Spanned<DurationText>>,
    /// From which score on a row counts as positive.
    #[serde(default = "half")]
    #[schemars(with = "f64")]
    pub threshold: Spanned<f64>,
    /// Into how many bins of equal width scores are put for calibration and drift, at most 100.
    #[serde(default = "ten")]
    #[schemars(with = "NonZeroU16")]
    pub bins: Spanned<NonZeroU16>,
    /// The period of event time that drift is measured against.
    #[schemars(with = "Option<PeriodTable>")]
    pub reference: Option<Spanned<PeriodTable>>,
}

/// A period of event time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeriodTable {
    /// Its first moment, such as `2026-01-31T12:00:00Z`.
    pub from: String,
    /// The first moment behind it.
    pub to: String,
}

/// A feedback step as declared.
#[derive(Debug, Clone)]
pub struct FeedbackDecl {
    /// The stream of labels.
    pub labels: Spanned<String>,
    /// Column of the predictions to column of the labels.
    pub on: BTreeMap<String, Spanned<String>>,
    /// When a label counts as missing.
    pub wait: Duration,
    /// How much later a label may be, at least `wait`.
    pub retention: Duration,
    /// How much earlier it may be.
    pub before: Duration,
    /// What is put before the names of the labels' columns.
    pub prefix: String,
}

/// A metrics step as declared; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub struct MetricsDecl {
    /// The key.
    pub by: Vec<Spanned<String>>,
    /// Column with the score.
    pub score: Spanned<String>,
    /// Column with the label.
    pub label: Spanned<String>,
    /// Length of an interval; `None`: all time is one.
    pub every: Option<Duration>,
    /// How much longer an interval takes changes.
    pub allowed_lateness: Duration,
    /// From which score on a row counts as positive.
    pub threshold: Thousandths,
    /// How many bins; at least two.
    pub bins: u16,
    /// The period that drift is measured against, in microseconds since 1970.
    pub reference: Option<(i64, i64)>,
}

fn half() -> Spanned<f64> {
    Spanned::new(0..0, 0.5)
}

fn ten() -> Spanned<NonZeroU16> {
    Spanned::new(0..0, NonZeroU16::MIN.saturating_add(9))
}

/// Checks the `feedback` of step `number`.
pub(super) fn feedback(checker: &Checker, number: usize, table: FeedbackTable) -> Result<FeedbackDecl> {
    if table.on.is_empty() {
        let error =
            checker.error(table.labels.span(), format!("step {number}: feedback has no columns to find labels by"));
        return Err(error.with_help("on = { COLUMN = \"COLUMN_OF_THE_LABELS\" }"));
    }
    let span = table.retention.span();
    let wait = checker.positive("wait", table.wait)?;
    let retention = checker.positive("retention", table.retention)?;
    if retention < wait {
        let error = checker.error(span, format!("step {number}: retention is shorter than wait"));
        return Err(error.with_help("a prediction is kept for retention, and its label is missing only after wait"));
    }
    let prefix = table.prefix.map(|prefix| checker.filled("prefix", prefix)).transpose()?.unwrap_or_default();
    Ok(FeedbackDecl { labels: table.labels, on: table.on, wait, retention, before: table.before.0, prefix })
}

/// Checks the `metrics` of step `number`.
pub(super) fn metrics(checker: &Checker, number: usize, table: MetricsTable) -> Result<MetricsDecl> {
    let refused = |span, message: &str| checker.error(span, format!("step {number}: {message}"));
    let threshold = *table.threshold.get_ref();
    if !(0.0..=1.0).contains(&threshold) {
        let error = refused(table.threshold.span(), "threshold is a score, from 0 to 1");
        return Err(error.with_help("threshold = 0.5"));
    }
    let bins = table.bins.get_ref().get();
    if !(2..=BINS_MAX).contains(&bins) {
        let error = refused(table.bins.span(), "bins is from 2 to 100");
        return Err(error.with_help("10 is common; with many bins most hold few rows and their means say little"));
    }
    if let (None, Some(lateness)) = (&table.every, &table.allowed_lateness) {
        let error = refused(lateness.span(), "allowed_lateness says nothing without every");
        return Err(error.with_help("the one row for all time takes every change"));
    }
    let every = table.every.map(|every| checker.positive("every", every)).transpose()?;
    Ok(MetricsDecl {
        by: table.by,
        score: table.score,
        label: table.label,
        every,
        allowed_lateness: table.allowed_lateness.map(|lateness| lateness.into_inner().0).unwrap_or_default(),
        threshold: Thousandths((threshold * 1000.0).round() as u64),
        bins,
        reference: table.reference.map(|period| reference(checker, number, &period)).transpose()?,
    })
}

fn reference(checker: &Checker, number: usize, period: &Spanned<PeriodTable>) -> Result<(i64, i64)> {
    let PeriodTable { from, to } = period.get_ref();
    let micros = |text: &str| {
        let time = humantime::parse_rfc3339(text).ok()?;
        i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros()).ok()
    };
    match (micros(from), micros(to)) {
        (Some(from), Some(to)) if from < to => Ok((from, to)),
        _ => {
            let error = checker.error(period.span(), format!("step {number}: \"{from}\" to \"{to}\" is no period"));
            Err(error.with_help("reference = { from = \"2026-01-01T00:00:00Z\", to = \"2026-01-08T00:00:00Z\" }"))
        }
    }
}
