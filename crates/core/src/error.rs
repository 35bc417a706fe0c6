//! The one public error: a kind that says who must act, what was attempted, context pairs, and the source.
//!
//! Crates may keep private error enums; they convert to [`Error`] at their edge. `Display` never repeats the source;
//! [`Error::chain`] prints the whole story and is what logs and the command line use.

use std::error::Error as StdError;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act on an error, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The pipeline, settings or arguments are wrong; never retried, the user fixes it.
    Invalid,
    /// This row or object is bad; dead letter, the job goes on.
    Data,
    /// Something outside is down; retried within deadline and retry budget.
    Unavailable,
    /// Something outside says slow down; the limit shrinks, then retried.
    Overload,
    /// No answer in time; retried only if the call is idempotent.
    Timeout,
    /// Local memory, disk or GPU is full; the request batch is halved and tried again.
    Exhausted,
    /// Another attempt owns this; quiet exit.
    Fenced,
    /// The user stopped it; quiet exit.
    Cancelled,
    /// Stored state cannot be read; never guessed around.
    Corrupt,
    /// Our bug; the region restarts and the report asks for an issue.
    Internal,
}

impl Kind {
    /// True where trying the same thing again can help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::Overload | Kind::Timeout | Kind::Exhausted)
    }

    /// The kind's name in lower case, as metrics, dead letters and Python show it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Data => "data",
            Kind::Unavailable => "unavailable",
            Kind::Overload => "overload",
            Kind::Timeout => "timeout",
            Kind::Exhausted => "exhausted",
            Kind::Fenced => "fenced",
            Kind::Cancelled => "cancelled",
            Kind::Corrupt => "corrupt",
            Kind::Internal => "internal",
        }
    }
}

/// What went wrong: kind, attempt, context and source.
///
/// ```
/// use forebay_core::{Error, Kind};
/// let error = Error::new(Kind::Unavailable, "read split").with("split", 3).with("topic", "orders");
/// assert_eq!(error.to_string(), "read split (split=3, topic=orders)");
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    attempted: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

// === impl Error ===

impl Error {
    /// An error of `kind`; `attempted` is the verb of what was tried, lower case, without a full stop.
    pub fn new(kind: Kind, attempted: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, attempted: attempted.into(), context: Vec::new(), source: None }) }
    }

    /// Adds a context pair, shown in the order added.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner.context.push((key, value.to_string()));
        self
    }

    /// Sets the source, shown by [`Error::chain`] and never by `Display`.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Who must act.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// What was attempted, without context.
    pub fn attempted(&self) -> &str {
        &self.inner.attempted
    }

    /// The context pairs, in the order added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.inner.context
    }

    /// The error and all its sources, joined by `: `.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = StdError::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.attempted)?;
        for (position, (key, value)) in self.inner.context.iter().enumerate() {
            let lead = if position == 0 { " (" } else { ", " };
            write!(f, "{lead}{key}={value}")?;
        }
        if self.inner.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.inner.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_never_repeats_the_source_and_chain_does() {
        let inner = Error::new(Kind::Unavailable, "connect to broker").source(std::io::Error::other("refused"));
        let outer = Error::new(Kind::Unavailable, "read split").with("split", 3).source(inner);
        assert_eq!(outer.to_string(), "read split (split=3)");
        assert_eq!(outer.chain(), "read split (split=3): connect to broker: refused");
    }
}
