//! The `explode`, `sample` and `group` tables of a step, and what can be said about them without facts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::check::Checker;
use super::units::DurationText;
use super::{JobFileError, WindowDecl};
use crate::spec::SampleSpec;
use crate::window::{Emit, WindowShape};

type Result<T> = std::result::Result<T, JobFileError>;

/// Makes one row of each element of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplodeTable {
    /// The lists; of several, those of one row are equally long and their elements go together.
    #[schemars(with = "Vec<String>")]
    pub columns: Spanned<Vec<Spanned<String>>>,
    /// Whether a row whose lists are empty or null is dropped; default it stays as one row with null.
    #[serde(default)]
    pub ignore_empty_and_null: bool,
}

/// Keeps a part of the rows, chosen by their ids.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleTable {
    /// How many of all rows are kept, more than 0 and at most 1.
    #[schemars(with = "f64")]
    pub ratio: Spanned<f64>,
    /// Another number chooses other rows.
    #[serde(default)]
    pub seed: u64,
}

/// Computes aggregates of all rows of a key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupTable {
    /// The key: columns, or `expression AS name`. Without any, all rows have one key, and one subtask does the work.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
    /// What is computed: `function(...) AS name`.
    #[schemars(with = "Vec<String>")]
    pub aggregates: Spanned<Vec<Spanned<String>>>,
    /// When results are given: once, when the input has ended, or after each batch that changes them.
    #[serde(default)]
    pub emit: Emit,
    /// With `emit = "changes"`: how long a key is remembered after its latest row, in event time; default for good.
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Spanned<DurationText>>,
}

/// An explode step as declared.
#[derive(Debug, Clone)]
pub struct ExplodeDecl {
    /// The lists; at least one, each once.
    pub columns: Vec<Spanned<String>>,
    /// Whether rows without an element are dropped.
    pub ignore_empty_and_null: bool,
}

/// Checks the `explode` of step `number`.
pub(super) fn explode(checker: &Checker, number: usize, table: ExplodeTable) -> Result<ExplodeDecl> {
    let (span, columns) = (table.columns.span(), table.columns.into_inner());
    if columns.is_empty() {
        let error = checker.error(span, format!("step {number}: explode names no column"));
        return Err(error.with_help("columns = [\"COLUMN\"]: each element of its lists becomes a row"));
    }
    for (place, name) in columns.iter().enumerate() {
        if columns[..place].iter().any(|other| other.get_ref() == name.get_ref()) {
            let message = format!("step {number}: \"{}\" is exploded twice", name.get_ref());
            return Err(checker.error(name.span(), message));
        }
    }
    Ok(ExplodeDecl { columns, ignore_empty_and_null: table.ignore_empty_and_null })
}

/// Checks the `sample` of step `number`, called `uid`.
pub(super) fn sample(checker: &Checker, number: usize, table: &SampleTable) -> Result<SampleSpec> {
    let ratio = *table.ratio.get_ref();
    if !(ratio > 0.0 && ratio <= 1.0) {
        let message = format!("step {number}: {ratio} of all rows cannot be kept");
        let error = checker.error(table.ratio.span(), message);
        return Err(error.with_help("a ratio is more than 0 and at most 1: ratio = 0.1 keeps a tenth"));
    }
    Ok(SampleSpec::of(ratio, table.seed))
}

/// Checks the `group` of step `number`: a window over all of time.
pub(super) fn group(checker: &Checker, number: usize, table: GroupTable) -> Result<WindowDecl> {
    let (span, aggregates) = (table.aggregates.span(), table.aggregates.into_inner());
    if aggregates.is_empty() {
        let error = checker.error(span, format!("step {number}: the group computes nothing"));
        return Err(error.with_help("aggregates = [\"count(*) AS rows\"]"));
    }
    if let (Emit::End, Some(ttl)) = (table.emit, &table.ttl) {
        let error = checker.error(ttl.span(), format!("step {number}: a result at the end is of all rows of its key"));
        return Err(error.with_help("leave out ttl, or write emit = \"changes\""));
    }
    let ttl = table.ttl.map(|ttl| checker.positive("ttl", ttl)).transpose()?;
    let (shape, allowed_lateness) = (WindowShape::Whole, Duration::ZERO);
    Ok(WindowDecl { shape, by: table.by, aggregates, allowed_lateness, emit: table.emit, ttl })
}
