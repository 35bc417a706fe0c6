//! Checks of `join`: with a table or with a stream, and which keys go together.

use toml::Spanned;

use super::check::Checker;
use super::tables::{JoinTable, LookupTable};
use super::{Action, JobFileError, JoinDecl, StreamJoinDecl};
use crate::spec::{JoinHow, StreamJoinHow, StreamJoinKind, TableSpec};

type Result<T> = std::result::Result<T, JobFileError>;

/// The action of a join.
pub(super) fn join(checker: &Checker, number: usize, table: Spanned<JoinTable>) -> Result<Action> {
    let span = table.span();
    let mut table = table.into_inner();
    match (table.table.take(), table.stream.take()) {
        (Some(lookup), None) => Ok(Action::Join(with_table(checker, lookup, table, span)?)),
        (None, Some(stream)) => Ok(Action::StreamJoin(with_stream(checker, stream, table, span)?)),
        (lookup, _) => {
            let has = if lookup.is_some() { "both table and stream" } else { "neither table nor stream" };
            let error = checker.error(span, format!("step {number}: join has {has}"));
            Err(error.with_help(
                "table = { format, path } joins a small table, stream = \"UID\" the rows of a source or step",
            ))
        }
    }
}

fn with_table(
    checker: &Checker,
    lookup: LookupTable,
    table: JoinTable,
    span: std::ops::Range<usize>,
) -> Result<JoinDecl> {
    if table.on.is_empty() {
        return Err(checker
            .error(span, "join has no columns to join on")
            .with_help("on = { COLUMN = \"TABLE_COLUMN\" }"));
    }
    let only_streams = [
        ("within", table.within.map(|_| span.clone())),
        ("window", table.window.as_ref().map(Spanned::span)),
        ("as_of", table.as_of.as_ref().map(Spanned::span)),
        ("ttl", table.ttl.as_ref().map(Spanned::span)),
        ("prefix", table.prefix.as_ref().map(Spanned::span)),
    ];
    if let Some((key, at)) = only_streams.into_iter().find_map(|(key, at)| at.map(|at| (key, at))) {
        let error = checker.error(at, format!("{key} says nothing in a join with a table"));
        return Err(error.with_help("it belongs to joins with a stream; remove it"));
    }
    let how = match table.how {
        None => JoinHow::Left,
        Some(how) => match how.get_ref() {
            StreamJoinHow::Left => JoinHow::Left,
            StreamJoinHow::Inner => JoinHow::Inner,
            other => {
                let error = checker.error(how.span(), format!("a join with a table cannot be \"{other}\""));
                return Err(error.with_help("accepted: left, inner"));
            }
        },
    };
    let path = checker.filled("path", lookup.path)?;
    Ok(JoinDecl { table: TableSpec { format: lookup.format, path }, on: table.on, how })
}

fn with_stream(
    checker: &Checker,
    stream: Spanned<String>,
    table: JoinTable,
    span: std::ops::Range<usize>,
) -> Result<StreamJoinDecl> {
    if table.on.is_empty() {
        return Err(checker
            .error(span, "join has no columns to join on")
            .with_help("on = { COLUMN = \"COLUMN_OF_THE_STREAM\" }"));
    }
    let how_span = table.how.as_ref().map_or(stream.span(), Spanned::span);
    let (on, how) = (table.on, table.how.map(Spanned::into_inner).unwrap_or_default());
    let prefix = table.prefix.map(|prefix| checker.filled("prefix", prefix)).transpose()?.unwrap_or_default();
    let as_of = table.as_of.filter(|as_of| *as_of.get_ref());
    let kind = match (table.within, table.window, as_of, table.ttl) {
        (Some(within), None, None, None) => StreamJoinKind::Interval { before: within.before.0, after: within.after.0 },
        (None, Some(window), None, None) => StreamJoinKind::Window(checker.positive("window", window)?),
        (None, None, Some(_), None) => StreamJoinKind::AsOf,
        (None, None, None, ttl) => {
            StreamJoinKind::Regular { ttl: ttl.map(|ttl| checker.positive("ttl", ttl)).transpose()? }
        }
        _ => {
            let error = checker.error(span, "join has more than one of within, window, as_of and ttl");
            return Err(error.with_help("each says in its own way which rows meet; keep one"));
        }
    };
    if kind == StreamJoinKind::AsOf && !matches!(how, StreamJoinHow::Inner | StreamJoinHow::Left) {
        let error = checker.error(how_span, format!("a join as of a row's time cannot be \"{how}\""));
        return Err(error.with_help("accepted: inner, left"));
    }
    Ok(StreamJoinDecl { stream, on, how, kind, prefix })
}
