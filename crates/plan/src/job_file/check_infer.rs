//! Checks of what an inference step says about its rows and its other answers: which keys go together.

use std::collections::BTreeMap;

use toml::Spanned;

use super::check::Checker;
use super::check_step::{Models, declared, limit};
use super::tables::{FallbackTable, InferTable};
use super::{FallbackDecl, JobFileError};
use crate::spec::Order;

type Result<T> = std::result::Result<T, JobFileError>;

/// Refuses keys that say nothing without another.
pub(super) fn together(checker: &Checker, table: &InferTable) -> Result<()> {
    let needs = [
        ("key", table.key.as_ref().map(Spanned::span), table.order == Order::PerKey, "order = \"per_key\""),
        ("batch_cost", table.batch_cost.as_ref().map(Spanned::span), table.cost.is_some(), "cost = \"COLUMN\""),
        ("buckets", table.buckets.as_ref().map(Spanned::span), table.length.is_some(), "length = \"COLUMN\""),
        (
            "fallback_column",
            table.fallback_column.as_ref().map(Spanned::span),
            !table.fallback.is_empty(),
            "a fallback",
        ),
        ("fallback_after", table.fallback_after.as_ref().map(Spanned::span), !table.fallback.is_empty(), "a fallback"),
    ];
    for (key, span, has, needed) in needs {
        if let Some(span) = span.filter(|_| !has) {
            return Err(checker.error(span, format!("{key} says nothing without {needed}")));
        }
    }
    let has_key = table.key.as_ref().is_some_and(|key| !key.get_ref().is_empty());
    if table.order == Order::PerKey && !has_key {
        let error = checker.error(table.model.span(), "order = \"per_key\" needs a key");
        return Err(error.with_help("key = [\"COLUMN\"]"));
    }
    Ok(())
}

/// The greatest length of each bucket.
pub(super) fn buckets(checker: &Checker, table: &InferTable) -> Result<Vec<u64>> {
    let Some(buckets) = &table.buckets else { return Ok(Vec::new()) };
    let lengths: Vec<u64> = buckets.get_ref().iter().map(|length| length.get()).collect();
    if lengths.is_empty() || !lengths.is_sorted_by(|left, right| left < right) {
        let error = checker.error(buckets.span(), "buckets are lengths in ascending order");
        return Err(error.with_help("for example buckets = [64, 256, 1024]"));
    }
    Ok(lengths)
}

/// The step's other answers.
pub(super) fn ladder(
    checker: &Checker,
    rungs: Vec<Spanned<FallbackTable>>,
    (first, subtasks): (&str, u16),
    models: &Models,
) -> Result<Vec<FallbackDecl>> {
    let mut seen = BTreeMap::from([(first.to_string(), ())]);
    let mut ladder = Vec::with_capacity(rungs.len());
    for rung in rungs {
        let span = rung.span();
        ladder.push(match rung.into_inner() {
            FallbackTable { model: Some(model), constant: None, sql: None } => {
                let limit = limit(None, declared(checker, &model, models)?, subtasks);
                if seen.insert(model.get_ref().clone(), ()).is_some() {
                    let message = format!("\"{}\" was asked before", model.get_ref());
                    return Err(checker.error(model.span(), message).with_help("a fallback is another model"));
                }
                FallbackDecl::Model { model, limit }
            }
            FallbackTable { model: None, constant: Some(values), sql: None } if !values.is_empty() => {
                FallbackDecl::Constant(values)
            }
            FallbackTable { model: None, constant: None, sql: Some(values) } if !values.is_empty() => {
                FallbackDecl::Sql(values)
            }
            _ => {
                let error = checker.error(span, "a fallback is exactly one of model, constant and sql");
                return Err(error.with_help("for example { constant = { OUTPUT = \"unknown\" } }"));
            }
        });
    }
    Ok(ladder)
}
