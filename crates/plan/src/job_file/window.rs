//! The `window` table of a step, and what can be said about it without facts.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::check::Checker;
use super::units::DurationText;
use super::{JobFileError, defaults};
use crate::window::{Emit, WindowShape};

type Result<T> = std::result::Result<T, JobFileError>;

/// Most windows that one row may be in: each of them costs a state and an update.
const WINDOWS_MAX: u128 = 1000;

/// Computes aggregates of the rows of a key by event time. Exactly one of `tumble`, `slide` and `session`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["tumble"]}, {"required": ["slide"]}, {"required": ["session"]}]))]
pub struct WindowTable {
    /// Windows of this length, end to end.
    #[schemars(with = "Option<DurationText>")]
    pub tumble: Option<Spanned<DurationText>>,
    /// Windows of one length that overlap.
    #[schemars(with = "Option<SlideTable>")]
    pub slide: Option<Spanned<SlideTable>>,
    /// Windows of rows with at most this between them.
    #[schemars(with = "Option<DurationText>")]
    pub session: Option<Spanned<DurationText>>,
    /// The key: columns, or `expression AS name`. Without any, all rows have one key, and one subtask does the work.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
    /// What is computed: `function(...) AS name`.
    #[schemars(with = "Vec<String>")]
    pub aggregates: Spanned<Vec<Spanned<String>>>,
    /// How much longer than the watermark a window takes rows; each then gives a new result that replaces the one before.
    #[serde(default = "defaults::in_order")]
    pub allowed_lateness: DurationText,
}

/// Windows that overlap.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlideTable {
    /// How long a window is.
    #[schemars(with = "DurationText")]
    pub size: Spanned<DurationText>,
    /// From the start of one window to the start of the next; at most `size`.
    #[schemars(with = "DurationText")]
    pub every: Spanned<DurationText>,
}

/// A window step as declared; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub struct WindowDecl {
    /// How event time is cut.
    pub shape: WindowShape,
    /// The key.
    pub by: Vec<Spanned<String>>,
    /// What is computed; at least one.
    pub aggregates: Vec<Spanned<String>>,
    /// How much longer a window takes rows.
    pub allowed_lateness: Duration,
    /// When a group gives its results; a window of event time has [`Emit::End`].
    pub emit: Emit,
    /// How long a group with [`Emit::Changes`] remembers a key after its latest row.
    pub ttl: Option<Duration>,
}

/// Checks the table of step `number`.
pub(super) fn check(checker: &Checker, number: usize, table: Spanned<WindowTable>) -> Result<WindowDecl> {
    let span = table.span();
    let table = table.into_inner();
    let shape = match (table.tumble, table.slide, table.session) {
        (Some(size), None, None) => WindowShape::Tumble(length(checker, "tumble", size)?),
        (None, Some(slide), None) => slide_of(checker, slide)?,
        (None, None, Some(gap)) => WindowShape::Session(length(checker, "session", gap)?),
        _ => {
            let error = checker.error(span, format!("step {number}: a window is either tumble, slide or session"));
            return Err(
                error.with_help("tumble = \"1m\", slide = { size = \"1m\", every = \"10s\" } or session = \"30s\"")
            );
        }
    };
    let aggregates_span = table.aggregates.span();
    let aggregates = table.aggregates.into_inner();
    if aggregates.is_empty() {
        let error = checker.error(aggregates_span, format!("step {number}: the window computes nothing"));
        return Err(error.with_help("aggregates = [\"count(*) AS rows\"]"));
    }
    let allowed_lateness = table.allowed_lateness.0;
    Ok(WindowDecl { shape, by: table.by, aggregates, allowed_lateness, emit: Emit::End, ttl: None })
}

fn slide_of(checker: &Checker, slide: Spanned<SlideTable>) -> Result<WindowShape> {
    let SlideTable { size, every } = slide.into_inner();
    let span: Range<usize> = every.span();
    let (size, every) = (length(checker, "size", size)?, length(checker, "every", every)?);
    if every > size {
        let error = checker.error(span, "rows between two windows would be in none");
        return Err(error.with_help("every is at most size"));
    }
    if size.as_micros().div_ceil(every.as_micros()) > WINDOWS_MAX {
        let error = checker.error(span, format!("each row would be in more than {WINDOWS_MAX} windows"));
        return Err(error.with_help("make every longer, or size shorter"));
    }
    Ok(WindowShape::Slide { size, every })
}

/// A length in whole microseconds, more than zero.
fn length(checker: &Checker, what: &str, text: Spanned<DurationText>) -> Result<Duration> {
    let span = text.span();
    let length = checker.positive(what, text)?;
    let fits = i64::try_from(length.as_micros()).is_ok() && length.subsec_nanos() % 1000 == 0;
    if fits {
        return Ok(length);
    }
    Err(checker.error(span, format!("{what} is not a whole number of microseconds")).with_help("for example \"10s\""))
}
