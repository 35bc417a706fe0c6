//! The `deduplicate` and `top` tables of a step, and what can be said about them without facts.

use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use super::units::DurationText;
use crate::spec::{DeduplicateKeep, DeduplicateOrder};

type Result<T> = std::result::Result<T, JobFileError>;

/// Most rows of a key that a top step gives: each change looks at all of them.
const ROWS_MAX: u32 = 10_000;

/// Keeps one row of each key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeduplicateTable {
    /// The key: columns, or `expression AS name`.
    #[schemars(with = "Vec<String>")]
    pub by: Spanned<Vec<Spanned<String>>>,
    /// Which row is kept.
    #[serde(default)]
    pub keep: DeduplicateKeep,
    /// What first and last go by.
    #[serde(default)]
    pub order: DeduplicateOrder,
    /// How long a key is remembered, in event time; default for good.
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Spanned<DurationText>>,
}

/// Keeps the first rows of each key in an order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopTable {
    /// How many rows of each key.
    #[schemars(with = "NonZeroU32")]
    pub rows: Spanned<NonZeroU32>,
    /// The key: columns, or `expression AS name`. Without any, all rows have one key, and one subtask does the work.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
    /// What rows are ordered by: columns, or `expression AS name`, each with or without `DESC`.
    #[schemars(with = "Vec<String>")]
    pub order: Spanned<Vec<Spanned<String>>>,
    /// New column with the rank, from 1.
    #[schemars(with = "Option<String>")]
    pub rank: Option<Spanned<String>>,
    /// How long a key is remembered after its latest row, in event time; default for good.
    #[schemars(with = "Option<DurationText>")]
    pub ttl: Option<Spanned<DurationText>>,
}

/// A deduplicate step as declared; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub struct DeduplicateDecl {
    /// The key; at least one.
    pub by: Vec<Spanned<String>>,
    /// Which row is kept.
    pub keep: DeduplicateKeep,
    /// By what.
    pub order: DeduplicateOrder,
    /// How long a key is remembered.
    pub ttl: Option<Duration>,
}

/// A top step as declared; SQL is not parsed yet.
#[derive(Debug, Clone)]
pub struct TopDecl {
    /// How many rows of each key.
    pub rows: usize,
    /// The key.
    pub by: Vec<Spanned<String>>,
    /// What rows are ordered by, without `DESC`; at least one.
    pub order: Vec<Spanned<String>>,
    /// Of each of these whether the greatest comes first.
    pub descending: Vec<bool>,
    /// New column with the rank.
    pub rank: Option<Spanned<String>>,
    /// How long a key is remembered.
    pub ttl: Option<Duration>,
}

/// Checks the `deduplicate` of step `number`.
pub(super) fn deduplicate(checker: &Checker, number: usize, table: DeduplicateTable) -> Result<DeduplicateDecl> {
    let (span, by) = (table.by.span(), table.by.into_inner());
    if by.is_empty() {
        let error = checker.error(span, format!("step {number}: deduplicate has no key"));
        return Err(error.with_help("by = [\"COLUMN\"]: of the rows that are equal in it one is kept"));
    }
    let ttl = table.ttl.map(|ttl| checker.positive("ttl", ttl)).transpose()?;
    Ok(DeduplicateDecl { by, keep: table.keep, order: table.order, ttl })
}

/// Checks the `top` of step `number`.
pub(super) fn top(checker: &Checker, number: usize, table: TopTable) -> Result<TopDecl> {
    let (span, order) = (table.order.span(), table.order.into_inner());
    if order.is_empty() {
        let error = checker.error(span, format!("step {number}: top has no order"));
        return Err(error.with_help("order = [\"COLUMN DESC\"]"));
    }
    if table.rows.get_ref().get() > ROWS_MAX {
        let error = checker.error(table.rows.span(), format!("step {number}: rows is more than {ROWS_MAX}"));
        return Err(error.with_help("each change looks at all of them"));
    }
    let (order, descending) = order.into_iter().map(direction).unzip();
    Ok(TopDecl {
        rows: table.rows.get_ref().get() as usize,
        by: table.by,
        order,
        descending,
        rank: table.rank,
        ttl: table.ttl.map(|ttl| checker.positive("ttl", ttl)).transpose()?,
    })
}

/// What stands before `ASC` or `DESC`, and whether it is `DESC`.
fn direction(sql: Spanned<String>) -> (Spanned<String>, bool) {
    let text = sql.get_ref().trim_end();
    let (rest, word) = text.rsplit_once(char::is_whitespace).unwrap_or((text, ""));
    let (kept, descending) = match word.to_ascii_uppercase().as_str() {
        "DESC" => (rest, true),
        "ASC" => (rest, false),
        _ => (text, false),
    };
    (Spanned::new(sql.span(), kept.to_string()), descending)
}
