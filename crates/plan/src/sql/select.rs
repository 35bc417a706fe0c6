//! One `SELECT`: its clauses in the order in which they run.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, Ident, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use forebay_core::{Error, Result};

use super::grouping::{Grouping, has_aggregate};
use super::{Builder, NOT_THERE, SqlAction, SqlColumn, column, quoted, refuse_any, refused};

// === impl Builder ===

impl Builder<'_> {
    pub(super) fn select(&mut self, select: &Select) -> Result<usize> {
        refuse_unknown(select)?;
        let from = self.from(&select.from)?;
        let mut select = select.clone();
        select.from.clear();
        plain(&mut select, from.name.as_deref())?;
        let mut step = from.step;
        if let Some(predicate) = &select.selection {
            step = self.push(vec![step], SqlAction::Filter(predicate.to_string()));
        }
        let GroupByExpr::Expressions(keys, modifiers) = &select.group_by else {
            return Err(refused("GROUP BY ALL", "name the columns"));
        };
        refuse_any(&[(!modifiers.is_empty(), "ROLLUP, CUBE or TOTALS", "group once for each")])?;
        let (mut items, mut having) = (select.projection.clone(), select.having.clone());
        let aggregates = |expr: &Expr| has_aggregate(expr, &self.aggregates);
        let grouped = !keys.is_empty() || items.iter().filter_map(expression).any(aggregates) || having.is_some();
        if grouped {
            let mut grouping = Grouping::of(keys, &items, &self.aggregates)?;
            items.iter().for_each(|item| grouping.name(item));
            items.iter_mut().try_for_each(|item| grouping.item(item))?;
            having.iter_mut().try_for_each(|having| grouping.having(having))?;
            let action = grouping.action()?;
            step = self.push(vec![step], action);
        }
        if let Some(having) = having {
            step = self.push(vec![step], SqlAction::Filter(having.to_string()));
        }
        self.project(step, &items, from.name.as_deref())
    }

    fn project(&mut self, step: usize, items: &[SelectItem], table: Option<&str>) -> Result<usize> {
        let mut columns = Vec::new();
        let mut keeps = false;
        for (place, item) in items.iter().enumerate() {
            if is_wildcard(item, table)? {
                refuse_any(&[(place > 0, "* behind columns", "write it first: SELECT *, ...")])?;
                keeps = true;
            } else {
                columns.push(named(item)?);
            }
        }
        let twice =
            |(place, column): &(usize, &SqlColumn)| columns[..*place].iter().any(|each| each.name == column.name);
        if let Some((_, twice)) = columns.iter().enumerate().find(twice) {
            let what = format!("two columns called {}", quoted(&twice.name));
            return Err(refused(&what, "name one of them with AS"));
        }
        Ok(match (keeps, columns.is_empty()) {
            (true, true) => step,
            (true, false) => self.push(vec![step], SqlAction::With(columns)),
            (false, _) => self.push(vec![step], SqlAction::Select(columns)),
        })
    }
}

/// The expression of an item; none of `*`.
fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn is_wildcard(item: &SelectItem, table: Option<&str>) -> Result<bool> {
    let options = match item {
        SelectItem::Wildcard(options) => options,
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
            if Some(name.to_string().trim_matches('"')) == table =>
        {
            options
        }
        SelectItem::QualifiedWildcard(..) => return Err(refused(&item.to_string(), "write *")),
        _ => return Ok(false),
    };
    let plain = WildcardAdditionalOptions { wildcard_token: options.wildcard_token.clone(), ..Default::default() };
    refuse_any(&[(*options != plain, "EXCLUDE, EXCEPT, REPLACE or RENAME behind *", "name the columns")])?;
    Ok(true)
}

/// An item as a column; only a column has a name of its own.
fn named(item: &SelectItem) -> Result<SqlColumn> {
    match item {
        SelectItem::UnnamedExpr(expr @ Expr::Identifier(name)) => {
            Ok(SqlColumn { name: name.value.clone(), sql: expr.to_string() })
        }
        SelectItem::ExprWithAlias { expr, alias } => Ok(SqlColumn { name: alias.value.clone(), sql: expr.to_string() }),
        SelectItem::UnnamedExpr(expr) => {
            Err(refused(&format!("{expr} without a name"), &format!("write {expr} AS NAME")))
        }
        other => Err(refused(&other.to_string(), NOT_THERE)),
    }
}

fn refuse_unknown(select: &Select) -> Result<()> {
    refuse_any(&[
        (select.distinct.is_some(), "DISTINCT", "deduplicate(..) keeps one row of each key"),
        (select.top.is_some(), "TOP", "write LIMIT, or df.top(..)"),
        (select.into.is_some(), "INTO", "write_parquet(..) writes rows"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW", "explode(..) makes rows of lists"),
        (select.prewhere.is_some(), "PREWHERE", "write WHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY", NOT_THERE),
        (!select.cluster_by.is_empty(), "CLUSTER BY", NOT_THERE),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY", NOT_THERE),
        (!select.sort_by.is_empty(), "SORT BY", "top(..) keeps the first rows of an order"),
        (!select.named_window.is_empty(), "WINDOW", "GROUP BY tumble(INTERVAL '1 minute') cuts event time"),
        (select.qualify.is_some(), "QUALIFY", "top(.., by=..) keeps the first rows of each key"),
        (select.value_table_mode.is_some(), "AS STRUCT or AS VALUE", "name the columns"),
        (select.exclude.is_some(), "EXCLUDE", "name the columns, or df.exclude(..)"),
        (select.select_modifiers.is_some() || !select.optimizer_hints.is_empty(), "hints", NOT_THERE),
        (select.flavor != SelectFlavor::Standard, "FROM before SELECT", "write SELECT ... FROM"),
    ])
}

/// Takes the name of the table off columns and quotes them; refuses queries and window functions inside expressions.
fn plain(select: &mut Select, table: Option<&str>) -> Result<()> {
    match VisitMut::visit(select, &mut Plain { table }) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Plain<'a> {
    table: Option<&'a str>,
}

impl VisitorMut for Plain<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        let help = "a join(..) looks rows up in a table";
        ControlFlow::Break(Box::new(refused("a query inside an expression", help)))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(Ident { value, .. }) => *expr = column(value),
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] if Some(table.value.as_str()) == self.table => *expr = column(&name.value),
                _ => {
                    let help = format!("write {}['FIELD'] for a field of a struct", quoted(&parts[0].value));
                    return ControlFlow::Break(Box::new(refused(&expr.to_string(), &help)));
                }
            },
            // What the parser takes for the name of whoever runs the query.
            Expr::Function(call) if call.name.to_string().eq_ignore_ascii_case("user") => {
                if let FunctionArguments::None = call.args {
                    *expr = column(&call.name.to_string());
                }
            }
            Expr::Function(call) if call.over.is_some() => {
                let help = "top(..) ranks rows, GROUP BY tumble(INTERVAL '1 minute') cuts event time";
                return ControlFlow::Break(Box::new(refused("OVER", help)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
