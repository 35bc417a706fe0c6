//! Errors that point at a place in the job file.
//!
//! The command line renders them with the source line; everything else converts them to [`Error`]. The wording of TOML
//! and serde is kept where it is clear and completed with the nearest accepted name where it is a slip.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use forebay_core::{Error, Kind};

use crate::nearest::nearest;

/// A job file's name and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobText {
    /// Name shown to people.
    pub file: String,
    /// The whole text.
    pub text: String,
    /// How the user gave it.
    pub given: Given,
}

/// How a job was given, and so how its errors say where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// As this text: by line and column.
    File,
    /// As values that were written out as this text: by the keys that lead there.
    Values,
}

/// What is wrong with a job file, and where.
#[derive(Debug, Clone)]
pub struct JobFileError {
    /// What is wrong, lower case, without a full stop.
    pub message: String,
    /// What is accepted or what to do, if there is something to say.
    pub help: Option<String>,
    /// Bytes of [`JobText::text`] that the error is about.
    pub span: Range<usize>,
    /// Line of the start of `span`, from 1.
    pub line: usize,
    /// Column of the start of `span` in characters, from 1.
    pub column: usize,
    /// The file.
    pub source: Arc<JobText>,
    /// `Invalid`, except where the planner itself is wrong.
    pub kind: Kind,
}

// === impl JobText ===

impl JobText {
    /// An `Invalid` error about `span`.
    pub fn error(self: &Arc<Self>, span: Range<usize>, message: impl Into<String>) -> JobFileError {
        let end = span.end.min(self.text.len());
        let start = span.start.min(end);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |place| place + 1);
        JobFileError {
            message: message.into(),
            help: None,
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            source: Arc::clone(self),
            kind: Kind::Invalid,
        }
    }

    /// The part of `span` that is the word `word`, or all of `span` where it does not occur (after a substitution).
    pub(crate) fn word_in(&self, span: &Range<usize>, word: &str) -> Range<usize> {
        let Some(text) = self.text.get(span.clone()).filter(|_| !word.is_empty()) else { return span.clone() };
        let part = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let found = text.match_indices(word).map(|(start, _)| start).find(|start| {
            let after = &text[start + word.len()..];
            !part(text[..*start].chars().next_back()) && !part(after.chars().next())
        });
        found.map_or(span.clone(), |start| span.start + start..span.start + start + word.len())
    }
}

// === impl JobFileError ===

impl JobFileError {
    /// Sets the help.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The keys that lead to the place, or the name of the whole where none do.
    fn key(&self) -> String {
        let keys = super::json::place(&self.source.text, &self.span);
        if keys.is_empty() { self.source.file.clone() } else { keys }
    }

    /// Sets the kind.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for JobFileError {
    /// `job.toml:3:1: unknown key "formt" (did you mean "format"?)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.given {
            Given::File => write!(f, "{}:{}:{}: {}", self.source.file, self.line, self.column, self.message)?,
            Given::Values => write!(f, "{}: {}", self.key(), self.message)?,
        }
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl std::error::Error for JobFileError {}

impl From<JobFileError> for Error {
    fn from(error: JobFileError) -> Self {
        let attempted = Error::new(error.kind, "read job file");
        let at = match error.source.given {
            Given::File => {
                let file = attempted.with("file", &error.source.file);
                file.with("line", error.line).with("column", error.column)
            }
            Given::Values => attempted.with("key", error.key()),
        };
        at.source(error)
    }
}

/// The error of the TOML parser or of serde, said in the words of this page.
pub(crate) fn of_toml(source: &Arc<JobText>, error: &toml::de::Error) -> JobFileError {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    let at = |text: String| source.error(span.clone(), text);
    match Unknown::read(message) {
        Some(unknown) => at(format!("unknown {} \"{}\"", unknown.what, unknown.given)).with_help(unknown.help()),
        None => match message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            Some(key) => at(format!("missing key \"{key}\"")),
            None => at(plain(message)),
        },
    }
}

/// A message of the parser as one line, with counts in words.
fn plain(message: &str) -> String {
    let line = message.trim_end().replace('\n', ": ");
    line.replace("a nonzero u16", "a whole number from 1 to 65535").replace("a nonzero u32", "a whole number from 1")
}

/// serde's "unknown field `a`, expected one of `b`, `c`", taken apart.
struct Unknown<'a> {
    what: &'static str,
    given: &'a str,
    accepted: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (what, rest) = match message.strip_prefix("unknown field `") {
            Some(rest) => ("key", rest),
            None => ("value", message.strip_prefix("unknown variant `")?),
        };
        let (given, rest) = rest.split_once('`')?;
        Some(Self { what, given, accepted: rest.split('`').skip(1).step_by(2).collect() })
    }

    fn help(&self) -> String {
        let accepted = format!("accepted: {}", self.accepted.join(", "));
        match nearest(self.given, self.accepted.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"? {accepted}"),
            None => accepted,
        }
    }
}
