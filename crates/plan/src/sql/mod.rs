//! A SQL query as steps: what the Python package makes frames of.
//!
//! Only what maps to steps is taken: `SELECT` with `WHERE`, `GROUP BY` and `HAVING` over one table or query, `WITH`, `UNION ALL`
//! and `LIMIT`. Everything else is refused by the name of its clause, so that a query never means something else than it
//! says. Expressions are passed on as text; whether columns and functions exist is found out when the job is planned.
//!
//! Nothing here knows schemas, and nothing is optimised.

mod grouping;
mod select;

use std::collections::{BTreeMap, BTreeSet};

use datafusion::execution::FunctionRegistry;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, LimitClause, Query, SetExpr, SetOperator, SetQuantifier, Statement, TableAlias, TableFactor,
    TableWithJoins, Value, With,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::{Error, Kind, Result};
use serde::Serialize;

use crate::logical::session;

/// One step; it reads others by their places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlStep {
    /// Places of the steps that it reads, all before it.
    pub from: Vec<usize>,
    /// What it does.
    pub action: SqlAction,
}

/// What a step does; the texts are those of a job file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlAction {
    /// The rows of the frame of this name.
    Table(String),
    /// Keeps rows.
    Filter(String),
    /// Replaces all columns.
    Select(Vec<SqlColumn>),
    /// Adds or replaces columns.
    With(Vec<SqlColumn>),
    /// Aggregates all rows of a key.
    Group(SqlGroup),
    /// Aggregates the rows of a key by event time.
    Window {
        /// How long windows are, and from start to start; equal for windows end to end.
        shape: SqlWindow,
        /// Of each of them.
        group: SqlGroup,
    },
    /// So many rows go on.
    Limit(u64),
    /// The rows of all that it reads.
    Union,
}

/// A column and the expression that makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// The expression.
    pub sql: String,
}

/// A key and what is computed of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlGroup {
    /// Columns, or `expression AS name`.
    pub by: Vec<String>,
    /// `function(...) AS name`; at least one.
    pub aggregates: Vec<String>,
}

/// How event time is cut; durations as a job file has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SqlWindow {
    /// End to end.
    Tumble(String),
    /// One of the second length starts so often as the first says.
    Hop(String, String),
    /// Of rows with at most this between them.
    Session(String),
}

/// The steps of `query` over the frames `tables`; the last one is the result.
///
/// # Errors
/// `Invalid`, naming the clause that cannot be a step, or what the parser says.
pub fn steps(query: &str, tables: &[String]) -> Result<Vec<SqlStep>> {
    let parsed = Parser::parse_sql(&GenericDialect {}, query);
    let parsed = parsed.map_err(|source| Error::new(Kind::Invalid, "read SQL").source(source))?;
    let [Statement::Query(query)] = parsed.as_slice() else {
        return Err(refused("anything but one query", "write one SELECT"));
    };
    let session = session::open(&[]).map_err(|source| Error::new(Kind::Internal, "open session").source(source))?;
    let mut builder = Builder {
        tables,
        named: BTreeMap::new(),
        steps: Vec::new(),
        aggregates: session.udafs().into_iter().collect(),
    };
    builder.query(query)?;
    Ok(builder.steps)
}

/// The error for a clause that cannot be a step.
fn refused(clause: &str, help: &str) -> Error {
    Error::new(Kind::Invalid, format!("run SQL with {clause}")).source(help.to_string())
}

/// Refuses the first clause that is there.
fn refuse_any(clauses: &[(bool, &str, &str)]) -> Result<()> {
    match clauses.iter().find(|(is_there, ..)| *is_there) {
        Some((_, clause, help)) => Err(refused(clause, help)),
        None => Ok(()),
    }
}

struct Builder<'a> {
    tables: &'a [String],
    /// Queries that `WITH` named.
    named: BTreeMap<String, usize>,
    steps: Vec<SqlStep>,
    /// Names of aggregate functions.
    aggregates: BTreeSet<String>,
}

/// What stands behind `FROM`: its step, and the name that columns may be qualified with.
struct From {
    step: usize,
    name: Option<String>,
}

const NOT_THERE: &str = "no step does this";

// === impl Builder ===

impl Builder<'_> {
    fn push(&mut self, from: Vec<usize>, action: SqlAction) -> usize {
        self.steps.push(SqlStep { from, action });
        self.steps.len() - 1
    }

    fn query(&mut self, query: &Query) -> Result<usize> {
        refuse_any(&[
            (query.order_by.is_some(), "ORDER BY", "top(..) keeps the first rows of an order; sort what was written"),
            (query.fetch.is_some(), "FETCH", "write LIMIT"),
            (!query.locks.is_empty() || query.for_clause.is_some(), "FOR", NOT_THERE),
            (query.settings.is_some(), "SETTINGS", NOT_THERE),
            (query.format_clause.is_some(), "FORMAT", NOT_THERE),
            (!query.pipe_operators.is_empty(), "|>", NOT_THERE),
        ])?;
        let outer = self.named.clone();
        query.with.iter().try_for_each(|with| self.with(with))?;
        let step = self.set(&query.body)?;
        self.named = outer;
        match &query.limit_clause {
            None => Ok(step),
            Some(clause) => {
                let rows = limit(clause)?;
                Ok(self.push(vec![step], SqlAction::Limit(rows)))
            }
        }
    }

    fn with(&mut self, with: &With) -> Result<()> {
        refuse_any(&[(with.recursive, "WITH RECURSIVE", NOT_THERE)])?;
        for table in &with.cte_tables {
            let name = alias(&table.alias)?;
            let step = self.query(&table.query)?;
            self.named.insert(name, step);
        }
        Ok(())
    }

    fn set(&mut self, body: &SetExpr) -> Result<usize> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: SetQuantifier::All, left, right } => {
                let from = vec![self.set(left)?, self.set(right)?];
                Ok(self.push(from, SqlAction::Union))
            }
            SetExpr::SetOperation { op: SetOperator::Union, .. } => {
                Err(refused("UNION without ALL", "write UNION ALL; deduplicate(..) keeps one row of each key"))
            }
            SetExpr::SetOperation { op, .. } => Err(refused(&op.to_string(), "join(..) two frames, or filter one")),
            SetExpr::Values(_) => Err(refused("VALUES", "read them from a file")),
            _ => Err(refused("anything but SELECT", NOT_THERE)),
        }
    }

    /// The step behind `FROM`.
    fn from(&mut self, from: &[TableWithJoins]) -> Result<From> {
        let [TableWithJoins { relation, joins }] = from else {
            let what = if from.is_empty() { "no FROM" } else { "several tables in FROM" };
            return Err(refused(what, "name one frame; join(..) pairs two"));
        };
        refuse_any(&[(!joins.is_empty(), "JOIN", "df.join(..) pairs two frames, and says for how long rows wait")])?;
        match relation {
            TableFactor::Table {
                name,
                alias: given,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                let named = name.0.last().and_then(|part| part.as_ident()).filter(|_| name.0.len() == 1);
                let named = named.ok_or_else(|| self.unknown(&name.to_string()))?;
                let step = self.table(&named.value)?;
                let given = given.as_ref().map(alias).transpose()?;
                Ok(From { step, name: Some(given.unwrap_or_else(|| named.value.clone())) })
            }
            TableFactor::Derived { lateral: false, subquery, alias: given, sample: None } => {
                let step = self.query(subquery)?;
                Ok(From { step, name: given.as_ref().map(alias).transpose()? })
            }
            TableFactor::Table { sample: Some(_), .. } => Err(refused("TABLESAMPLE", "write df.sample(..)")),
            other => Err(refused(&format!("{other} in FROM"), "name a frame, or a query in parentheses")),
        }
    }

    fn table(&mut self, name: &str) -> Result<usize> {
        if let Some(step) = self.named.get(name) {
            return Ok(*step);
        }
        if !self.tables.iter().any(|table| table == name) {
            return Err(self.unknown(name));
        }
        let action = SqlAction::Table(name.to_string());
        let known = self.steps.iter().position(|step| step.action == action);
        Ok(known.unwrap_or_else(|| self.push(Vec::new(), action)))
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> =
            self.tables.iter().map(String::as_str).chain(self.named.keys().map(String::as_str)).collect();
        Error::new(Kind::Invalid, format!("find the frame \"{name}\"")).with("there_are", known.join(", "))
    }
}

fn alias(alias: &TableAlias) -> Result<String> {
    refuse_any(&[(!alias.columns.is_empty(), "names of columns behind that of a table", "name them in SELECT")])?;
    Ok(alias.name.value.clone())
}

fn limit(clause: &LimitClause) -> Result<u64> {
    let LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by } = clause else {
        return Err(refused("OFFSET", "which rows are first is a matter of their arrival; write LIMIT alone"));
    };
    refuse_any(&[(!limit_by.is_empty(), "LIMIT BY", "top(.., by=..) keeps the first rows of each key")])?;
    let number = if let Expr::Value(value) = limit
        && let Value::Number(number, _) = &value.value
    {
        number.parse().ok().filter(|rows| *rows > 0)
    } else {
        None
    };
    number.ok_or_else(|| refused(&format!("LIMIT {limit}"), "write a whole number above 0"))
}

/// The column `name`, quoted, so that two ways of writing it are one.
fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::with_quote('"', name))
}

/// `name` as SQL.
fn quoted(name: &str) -> String {
    column(name).to_string()
}
