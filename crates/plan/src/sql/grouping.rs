//! `GROUP BY`: keys and aggregates in one step, what is computed of them in those behind.
//!
//! Keys and aggregates in the items and in `HAVING` are replaced by columns of the step's result; a column that is left over
//! belongs to neither and is refused.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Interval, SelectItem, Value, Visit, VisitMut,
    Visitor, VisitorMut,
};
use forebay_core::{Error, Result};

use super::{SqlAction, SqlGroup, SqlWindow, column, quoted, refused};

/// Begins names that only pass between steps.
const PREFIX: &str = "_forebay_";

/// Columns that a window gives beside keys and aggregates.
const TIMES: [&str; 3] = ["window_start", "window_end", "window_time"];

/// What a group step is made of.
pub(super) struct Grouping<'a> {
    functions: &'a BTreeSet<String>,
    keys: Vec<(Expr, String)>,
    aggregates: Vec<(Expr, String)>,
    window: Option<SqlWindow>,
    /// Whether names that items give may be used, too.
    sees_names: bool,
}

// === impl Grouping ===

impl<'a> Grouping<'a> {
    /// Groups by `keys`, which may be names that `items` give.
    pub fn of(keys: &[Expr], items: &[SelectItem], functions: &'a BTreeSet<String>) -> Result<Self> {
        let mut grouping =
            Self { functions, keys: Vec::new(), aggregates: Vec::new(), window: None, sees_names: false };
        for key in keys {
            match window(key)? {
                Some(_) if grouping.window.is_some() => {
                    return Err(refused("two windows in GROUP BY", "leave one out"));
                }
                Some(window) => grouping.window = Some(window),
                None => grouping.key(key, items)?,
            }
        }
        Ok(grouping)
    }

    fn key(&mut self, key: &Expr, items: &[SelectItem]) -> Result<()> {
        if let Expr::Value(_) = key {
            return Err(refused(&format!("GROUP BY {key}"), "name the columns"));
        }
        if let Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) = key {
            return Err(refused(&key.to_string(), "group once for each"));
        }
        let aliased = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((expr.clone(), alias.value.clone())),
            _ => None,
        };
        let given: Vec<(Expr, String)> = items.iter().filter_map(aliased).collect();
        let found = given.into_iter().find(|(expr, name)| expr == key || column(name) == *key);
        let made = match (key, found) {
            (_, Some((expr, name))) if !matches!(expr, Expr::Identifier(_)) => (expr, name),
            (Expr::Identifier(name), _) => (key.clone(), name.value.clone()),
            _ => (key.clone(), format!("{PREFIX}key_{}", self.keys.len() + 1)),
        };
        if has_aggregate(&made.0, self.functions) {
            return Err(refused("an aggregate in GROUP BY", "group by columns, or by expressions over them"));
        }
        self.keys.push(made);
        Ok(())
    }

    /// Gives an aggregate that is a whole item the name of the item.
    pub fn name(&mut self, item: &SelectItem) {
        if let SelectItem::ExprWithAlias { expr, alias } = item
            && is_aggregate(expr, self.functions)
            && self.is_free(&alias.value)
        {
            self.aggregates.push((expr.clone(), alias.value.clone()));
        }
    }

    /// Replaces what stands in `HAVING`, which may also use the names of items.
    pub fn having(&mut self, having: &mut Expr) -> Result<()> {
        self.sees_names = true;
        self.rewrite(having)
    }

    /// Replaces what stands in an item.
    pub fn item(&mut self, item: &mut SelectItem) -> Result<()> {
        match item {
            SelectItem::ExprWithAlias { expr, .. } => self.rewrite(expr),
            SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_)) => {
                Err(refused(&format!("{expr} without a name"), &format!("write {expr} AS NAME")))
            }
            SelectItem::UnnamedExpr(expr) => self.rewrite(expr),
            _ => Err(refused("* beside GROUP BY", "name the columns")),
        }
    }

    /// Replaces keys and aggregates in `expr` by columns.
    fn rewrite(&mut self, expr: &mut Expr) -> Result<()> {
        match VisitMut::visit(expr, self) {
            ControlFlow::Break(error) => Err(*error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// The step.
    pub fn action(self) -> Result<SqlAction> {
        if self.aggregates.is_empty() {
            return Err(refused("GROUP BY without an aggregate", "deduplicate(..) keeps one row of each key"));
        }
        let text = |(expr, name): &(Expr, String)| {
            if *expr == column(name) { quoted(name) } else { format!("{expr} AS {}", quoted(name)) }
        };
        let group = SqlGroup {
            by: self.keys.iter().map(text).collect(),
            aggregates: self.aggregates.iter().map(text).collect(),
        };
        Ok(match self.window {
            Some(shape) => SqlAction::Window { shape, group },
            None => SqlAction::Group(group),
        })
    }

    fn is_free(&self, name: &str) -> bool {
        let times = if self.window.is_some() { &TIMES[..] } else { &[] };
        !times.contains(&name) && self.keys.iter().chain(&self.aggregates).all(|(_, other)| other != name)
    }

    fn aggregate(&mut self, call: &Expr) -> String {
        if let Some((_, name)) = self.aggregates.iter().find(|(known, _)| known == call) {
            return name.clone();
        }
        let name = format!("{PREFIX}aggregate_{}", self.aggregates.len() + 1);
        self.aggregates.push((call.clone(), name.clone()));
        name
    }
}

impl VisitorMut for Grouping<'_> {
    type Break = Box<Error>;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Some((_, name)) = self.keys.iter().find(|(key, _)| key == expr) {
            *expr = column(name);
        } else if is_aggregate(expr, self.functions) {
            *expr = column(&self.aggregate(expr));
        } else if let Expr::Identifier(name) = expr {
            let is_time = self.window.is_some() && TIMES.contains(&name.value.as_str());
            let is_named =
                self.sees_names && self.keys.iter().chain(&self.aggregates).any(|(_, given)| *given == name.value);
            if !is_time && !is_named {
                let clause = format!("the column {name} beside GROUP BY");
                let help = "group by it, or aggregate it";
                return ControlFlow::Break(Box::new(refused(&clause, help)));
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether `expr` is one call of an aggregate function.
fn is_aggregate(expr: &Expr, functions: &BTreeSet<String>) -> bool {
    matches!(expr, Expr::Function(call) if functions.contains(&call.name.to_string().to_lowercase()))
}

/// Whether an aggregate function is called somewhere in `expr`.
pub(super) fn has_aggregate(expr: &Expr, functions: &BTreeSet<String>) -> bool {
    struct Finds<'a>(&'a BTreeSet<String>);
    impl Visitor for Finds<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_aggregate(expr, self.0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    expr.visit(&mut Finds(functions)).is_break()
}

/// The window that a key stands for, if it is one.
fn window(key: &Expr) -> Result<Option<SqlWindow>> {
    let Expr::Function(call) = key else { return Ok(None) };
    let name = call.name.to_string().to_lowercase();
    if !["tumble", "hop", "session"].contains(&name.as_str()) {
        return Ok(None);
    }
    let lengths: Vec<String> = arguments(call).into_iter().map(length).collect::<Option<_>>().unwrap_or_default();
    match (name.as_str(), lengths.as_slice()) {
        ("tumble", [size]) => Ok(Some(SqlWindow::Tumble(size.clone()))),
        ("hop", [every, size]) => Ok(Some(SqlWindow::Hop(every.clone(), size.clone()))),
        ("session", [gap]) => Ok(Some(SqlWindow::Session(gap.clone()))),
        _ => {
            let help = "tumble(INTERVAL '1 minute'), hop(INTERVAL '10 seconds', INTERVAL '1 minute') or \
                        session(INTERVAL '30 seconds'); event time is what watermark(..) says";
            Err(refused(&key.to_string(), help))
        }
    }
}

fn arguments(call: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return Vec::new() };
    let plain = |argument: &'_ FunctionArg| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
    if !list.args.iter().all(plain) {
        return Vec::new();
    }
    let expr = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(expr).collect()
}

/// An interval as a job file says a duration: `INTERVAL '1 minute'`, `INTERVAL '1' MINUTE`, `INTERVAL 1 MINUTE`.
fn length(expr: &Expr) -> Option<String> {
    let Expr::Interval(Interval { value, leading_field, last_field: None, .. }) = expr else { return None };
    let Expr::Value(value) = value.as_ref() else { return None };
    let number = match &value.value {
        Value::SingleQuotedString(text) | Value::Number(text, _) => text.clone(),
        _ => return None,
    };
    let unit = leading_field.as_ref().map(|unit| format!(" {unit}").to_lowercase()).unwrap_or_default();
    Some(format!("{number}{unit}"))
}
