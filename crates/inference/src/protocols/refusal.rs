//! What a refused call means: one word for who must act, and what the server said of when to come back.
//!
//! A [`Refusal`] travels as the source of a [`forebay_core::Error`], so that the limiter and the retry, far above the
//! protocol, can still ask for its class. It never holds a credential: what servers say is cleaned before it comes here.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use forebay_core::{Error, Kind};
use forebay_gate::limiter::Class;
use forebay_gate::pace::Left;

/// Bytes of a server's own words that are kept for people.
const WORDS_BYTES_MAX: usize = 400;

/// Who must act on a refused call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// A rate limit or quota over time is spent: come back later.
    Throttled,
    /// The server is full now.
    Overloaded,
    /// The server is not there or broke down.
    Down,
    /// No answer in time.
    Timeout,
    /// Too much for one call or for the server's memory; fewer rows may do.
    TooLarge,
    /// These rows are refused and would be again.
    BadRow,
    /// The settings are wrong: address, model name, credential. No row would ever pass.
    Settings,
}

/// Rate limits as providers tell them with every answer. They are told late and coarsely: advice, not a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Requests allowed in the provider's period, nearly always a minute.
    pub requests: Option<u64>,
    /// Tokens allowed in the same period.
    pub tokens: Option<u64>,
    /// Requests left.
    pub requests_left: Option<u64>,
    /// Tokens left.
    pub tokens_left: Option<u64>,
    /// Until all requests are allowed again.
    pub requests_reset: Option<Duration>,
    /// Until all tokens are allowed again.
    pub tokens_reset: Option<Duration>,
}

/// A server's no, or its silence, as the gate needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who must act.
    pub meaning: Meaning,
    /// How it came, for people: `status 429`, `grpc UNAVAILABLE`, `connect`.
    pub how: String,
    /// Earliest next try of these rows, where the server said so. Never a reason to stop other rows.
    pub retry_after: Option<Duration>,
    /// False where the server forbids another try (a negative gRPC push-back).
    pub retry_allowed: bool,
    /// Rate limits told with the refusal.
    pub rate_limits: RateLimits,
    /// The server's own error code, if its body has one.
    pub code: Option<String>,
    /// The server's own words, cut short, without credentials.
    pub words: String,
}

// === impl RateLimits ===

impl RateLimits {
    /// What is left of the requests, where both that and its reset are told.
    pub fn requests(&self) -> Option<Left> {
        left(self.requests, self.requests_left, self.requests_reset)
    }

    /// What is left of the tokens, where both that and its reset are told.
    pub fn tokens(&self) -> Option<Left> {
        left(self.tokens, self.tokens_left, self.tokens_reset)
    }
}

fn left(all: Option<u64>, left: Option<u64>, reset: Option<Duration>) -> Option<Left> {
    Some(Left { left: left? as f64, all: all.map(|all| all as f64), reset: reset? })
}

// === impl Meaning ===

impl Meaning {
    /// The kind of error that says the same.
    pub fn kind(self) -> Kind {
        match self {
            Meaning::Throttled | Meaning::Overloaded => Kind::Overload,
            Meaning::Down => Kind::Unavailable,
            Meaning::Timeout => Kind::Timeout,
            Meaning::TooLarge => Kind::Exhausted,
            Meaning::BadRow => Kind::Data,
            Meaning::Settings => Kind::Invalid,
        }
    }

    /// What the limiter makes of it. Bad rows and wrong settings say nothing about load.
    pub fn class(self) -> Class {
        match self {
            Meaning::Throttled => Class::Throttled,
            Meaning::Overloaded => Class::Overloaded,
            Meaning::Down => Class::Down,
            Meaning::Timeout => Class::Timeout,
            Meaning::TooLarge => Class::TooLarge,
            Meaning::BadRow | Meaning::Settings => Class::Answered,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Meaning::Throttled => "rate limit reached",
            Meaning::Overloaded => "server is full",
            Meaning::Down => "server is down",
            Meaning::Timeout => "no answer in time",
            Meaning::TooLarge => "too large",
            Meaning::BadRow => "rows refused",
            Meaning::Settings => "settings refused",
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal that came `how`, saying `words`.
    pub fn new(meaning: Meaning, how: impl Into<String>, words: &str) -> Self {
        Self {
            meaning,
            how: how.into(),
            retry_after: None,
            retry_allowed: true,
            rate_limits: RateLimits::default(),
            code: None,
            words: cut(words),
        }
    }

    /// The refusal under `error`, if one is its source or the source of its source.
    pub fn of(error: &Error) -> Option<&Refusal> {
        let mut next = StdError::source(error);
        while let Some(source) = next {
            if let Some(refusal) = source.downcast_ref() {
                return Some(refusal);
            }
            next = source.source();
        }
        None
    }

    /// The same without `secret`, should a server have repeated it.
    pub(super) fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() && self.words.contains(secret) {
            self.words = self.words.replace(secret, "***");
        }
        self.code = self.code.filter(|code| secret.is_empty() || !code.contains(secret));
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.meaning.name(), self.how)?;
        if let Some(code) = &self.code {
            write!(f, ", code={code}")?;
        }
        if let Some(pause) = self.retry_after {
            write!(f, ", retry_after={pause:?}")?;
        }
        f.write_str(")")?;
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", self.words) }
    }
}

impl StdError for Refusal {}

/// `words` on one line, at most `WORDS_BYTES_MAX` of it.
pub(super) fn cut(words: &str) -> String {
    let mut short = String::new();
    for word in words.split_whitespace() {
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
        if short.len() > WORDS_BYTES_MAX {
            let end = (0..=WORDS_BYTES_MAX).rev().find(|end| short.is_char_boundary(*end)).unwrap_or(0);
            short.truncate(end);
            short.push('…');
            break;
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_under_errors_of_errors() {
        let refusal = Refusal::new(Meaning::Throttled, "status 429", "slow  down\nplease");
        let inner = Error::new(Kind::Overload, "call model").source(refusal.clone());
        let outer = Error::new(Kind::Overload, "answer rows").source(inner);
        assert_eq!(Refusal::of(&outer), Some(&refusal));
        assert_eq!(outer.chain(), "answer rows: call model: rate limit reached (status 429): slow down please");
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let text = cut(&"é".repeat(5_000));
        assert!(text.len() <= WORDS_BYTES_MAX + '…'.len_utf8() && text.ends_with('…'));
    }
}
