//! SQL expressions of a job file: parsed against the columns at hand, refused where a stream cannot hold them.
//!
//! Errors name the column or function, the step, and what there is instead.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, SchemaError};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{Expr, Operator, Volatility};
use forebay_core::Kind;
use regex::Regex;
use toml::Spanned;

use super::session::RowUdf;
use crate::job_file::{JobFileError, JobText};
use crate::nearest::nearest;

type Result<T> = std::result::Result<T, JobFileError>;

/// Where an expression stands: for parsing it and for saying what is wrong with it.
pub(super) struct Site<'a> {
    pub text: &'a Arc<JobText>,
    pub state: &'a SessionState,
    pub number: usize,
    pub sql: &'a Spanned<String>,
}

// === impl Site ===

impl Site<'_> {
    /// The expression over the columns of `schema`; row functions are still in it.
    pub fn parse(&self, schema: &DFSchema) -> Result<Expr> {
        let sql = self.sql.get_ref();
        if sql.trim() == "*" {
            return Err(self.error("* is not an expression").with_help("`with = [...]` keeps all other columns"));
        }
        let expr = self.state.create_logical_expr(sql, schema).map_err(|error| self.explained(&error, schema))?;
        self.refuse_what_streams_cannot_do(&expr)?;
        Ok(expr)
    }

    /// A call of an aggregate function over the columns of `schema`, with or without a name.
    pub fn parse_aggregate(&self, schema: &DFSchema) -> Result<Expr> {
        let sql = self.sql.get_ref();
        let expr = self.state.create_logical_expr(sql, schema).map_err(|error| self.explained(&error, schema))?;
        if let Expr::AggregateFunction(call) = named(&expr) {
            let sorts = call.params.order_by.iter().map(|sort| &sort.expr);
            let parts = call.params.args.iter().chain(call.params.filter.as_deref()).chain(sorts);
            parts.into_iter().try_for_each(|part| self.refuse_what_streams_cannot_do(part))?;
        }
        Ok(expr)
    }

    /// An error about the whole expression.
    pub fn error(&self, message: impl AsRef<str>) -> JobFileError {
        self.text.error(self.sql.span(), format!("step {}: {}", self.number, message.as_ref()))
    }

    /// An error about `word` inside the expression.
    pub fn error_at(&self, word: &str, message: impl AsRef<str>) -> JobFileError {
        let span = self.text.word_in(&self.sql.span(), word);
        self.text.error(span, format!("step {}: {}", self.number, message.as_ref()))
    }

    /// DataFusion's error in our words where we know it, in its own otherwise.
    pub fn explained(&self, error: &DataFusionError, schema: &DFSchema) -> JobFileError {
        match error.find_root() {
            DataFusionError::SchemaError(inner, _) => match inner.as_ref() {
                SchemaError::FieldNotFound { field, .. } => self.missing_column(&field.name, schema),
                other => self.error(other.to_string()),
            },
            DataFusionError::External(inner) => match inner.downcast_ref::<forebay_core::Error>() {
                Some(error) => self.error(error.chain()).with_kind(error.kind()),
                None => self.error(inner.to_string()),
            },
            DataFusionError::Plan(message) => match message.strip_prefix("Invalid function '") {
                Some(rest) => self.missing_function(rest.split('\'').next().unwrap_or_default()),
                None => self.error(first_line(message)),
            },
            DataFusionError::SQL(parser, _) => {
                self.error(format!("not a SQL expression: {}", first_line(&parser.to_string())))
            }
            other => self.error(first_line(&other.strip_backtrace())),
        }
    }

    fn missing_column(&self, name: &str, schema: &DFSchema) -> JobFileError {
        self.error_at(name, format!("there is no column \"{name}\"")).with_help(columns_help(name, schema))
    }

    fn missing_function(&self, name: &str) -> JobFileError {
        let mut known = self.state.udfs();
        known.extend(self.state.udafs());
        let ours = self.state.scalar_functions().values().filter_map(|udf| Some(RowUdf::of(udf)?.usage()));
        let mut usages: Vec<&str> = ours.collect();
        usages.sort_unstable();
        let error = self.error_at(name, format!("there is no function \"{name}\""));
        match nearest(name, sorted(&known)) {
            Some(near) => error.with_help(format!("did you mean \"{near}\"?")),
            None if usages.is_empty() => error.with_help("DataFusion's scalar functions are accepted"),
            None => error.with_help(format!("accepted: DataFusion's scalar functions and {}", usages.join(", "))),
        }
    }

    fn refuse_what_streams_cannot_do(&self, expr: &Expr) -> Result<()> {
        let mut refused = None;
        let visited = expr.apply(|part| {
            refused = refusal(part);
            Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        visited.map_err(|error| self.error(error.to_string()).with_kind(Kind::Internal))?;
        match refused {
            Some((message, help)) => Err(self.error(message).with_help(help)),
            None => Ok(()),
        }
    }
}

/// Why `part` cannot stand in a row-at-a-time expression, and what to do.
fn refusal(part: &Expr) -> Option<(String, &'static str)> {
    let rows = "an expression sees one row at a time";
    match part {
        Expr::AggregateFunction(call) => Some((format!("{} needs many rows", call.func.name()), rows)),
        Expr::WindowFunction(call) => Some((format!("{} needs many rows", call.fun.name()), rows)),
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => {
            Some(("a query inside an expression is not accepted".to_string(), "look rows up with a join step"))
        }
        Expr::Placeholder(placeholder) => Some((
            format!("the placeholder {} has no value", placeholder.id),
            "write ${NAME} for an environment variable",
        )),
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => Some((
            format!("{}() gives another result at every run", call.func.name()),
            "a row that is read again after a restart must come out the same",
        )),
        _ => broken_pattern(part).map(|why| (why, "patterns have no look-around and no back-references")),
    }
}

/// What is wrong with a regular expression that is written out in `part`; those of rows, or with flags, fail their rows.
fn broken_pattern(part: &Expr) -> Option<String> {
    let pattern = match part {
        Expr::ScalarFunction(call) => match (call.func.name(), &call.args[..]) {
            ("regexp_like" | "regexp_match" | "regexp_count" | "regexp_instr", [_, pattern]) => pattern,
            ("regexp_replace", [_, pattern, _]) => pattern,
            _ => return None,
        },
        Expr::BinaryExpr(compared) => match compared.op {
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                &compared.right
            }
            _ => return None,
        },
        _ => return None,
    };
    let pattern = literal(pattern)?;
    let pattern = pattern.try_as_str()??;
    let error = Regex::new(pattern).err()?.to_string();
    let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    Some(format!("{pattern:?} is no regular expression: {why}"))
}

/// The nearest column and all that there are.
pub(super) fn columns_help(name: &str, schema: &DFSchema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let near = nearest(name, names.iter().copied()).map(|near| format!("did you mean \"{near}\"? "));
    format!("{}columns here: {}", near.unwrap_or_default(), names.join(", "))
}

/// What stands behind the names of `expr`; DataFusion gives `count(*)` one of its own.
pub(super) fn named(expr: &Expr) -> &Expr {
    if let Expr::Alias(alias) = expr { named(&alias.expr) } else { expr }
}

/// The value of a literal argument, if `expr` is one, also negated or cast.
pub(super) fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Alias(alias) => literal(&alias.expr),
        Expr::Negative(inner) => literal(inner)?.arithmetic_negate().ok(),
        Expr::Cast(cast) => literal(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}

fn sorted(names: &std::collections::HashSet<String>) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}
