//! What cannot run on an endless stream, said at plan time with the reason and what to write instead.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};
use datafusion::sql::sqlparser::ast::{Distinct as AstDistinct, Query, Select};

use super::nearest;
use crate::operators::aggregate::plain;

/// A query that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) position: Option<(u64, u64)>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), position: None }
    }

    /// From the SQL parser, whose messages end in `at Line: 1, Column: 2`.
    pub(crate) fn syntax(message: &str) -> Self {
        let message = message.trim_start_matches("sql parser error: ");
        let Some((text, place)) = message.rsplit_once(" at Line: ") else { return Self::new(message) };
        let position =
            place.split_once(", Column: ").and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
        Self { message: text.to_owned(), position }
    }
}

/// A planner's error in our words where we know better.
pub(crate) fn of_planner(error: &DataFusionError) -> Refusal {
    let position =
        error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| (span.start.line, span.start.column));
    let message = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let known: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).collect();
                format!("there is no column `{}`{}", field.name, nearest(&field.name, known.into_iter()))
            }
            SchemaError::AmbiguousReference { .. }
            | SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => schema.to_string(),
        },
        DataFusionError::SQL(parser, _) => return Refusal::syntax(&parser.to_string()),
        other => plain(other),
    };
    Refusal { message: message.replace('\n', " "), position }
}

pub(crate) fn check_query(query: &Query) -> Result<(), Refusal> {
    if query.with.as_ref().is_some_and(|with| with.recursive) {
        return Err(Refusal::new("WITH RECURSIVE never ends on a stream; it is not supported"));
    }
    if query.order_by.is_some() {
        return Err(Refusal::new(
            "ORDER BY needs the end of the input, which a stream does not have; remove it and sort where the result is read",
        ));
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return Err(Refusal::new(
            "LIMIT would depend on the order in which rows happen to arrive; remove it, or filter with WHERE",
        ));
    }
    Ok(())
}

pub(crate) fn check_select(select: &Select) -> Result<(), Refusal> {
    let joins = select.from.iter().any(|table| !table.joins.is_empty());
    if joins || select.from.len() > 1 {
        return Err(Refusal::new(
            "joins are not supported yet; to bring two inputs together, give both the same columns, UNION ALL them and \
             GROUP BY the key in a window",
        ));
    }
    if select.from.is_empty() {
        return Err(Refusal::new("SELECT without FROM has no input; name a source or a transform in FROM"));
    }
    if matches!(select.distinct, Some(AstDistinct::On(_))) {
        return Err(Refusal::new("DISTINCT ON depends on the order of arrival; use MIN or MAX in a window"));
    }
    if select.top.is_some() {
        return Err(Refusal::new("TOP would depend on the order of arrival; remove it, or filter with WHERE"));
    }
    if select.qualify.is_some() {
        return Err(Refusal::new(
            "QUALIFY needs window functions (OVER), which are not supported; use GROUP BY in a window",
        ));
    }
    Ok(())
}

/// Checks a logical plan before it is analyzed.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut refused = None;
    let walked = plan.apply_with_subqueries(|node| {
        refused = check_node(node);
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.map_err(|error| of_planner(&error))?;
    refused.map_or(Ok(()), Err)
}

fn check_node(node: &LogicalPlan) -> Option<Refusal> {
    match node {
        LogicalPlan::Window(_) => {
            return Some(Refusal::new(
                "OVER (window functions) keeps every row for ever; use GROUP BY window_start, window_end over TUMBLE, HOP \
                 or SESSION",
            ));
        }
        LogicalPlan::Distinct(Distinct::On(_)) => {
            return Some(Refusal::new("DISTINCT ON depends on the order of arrival; use MIN or MAX in a window"));
        }
        LogicalPlan::Unnest(_) => return Some(Refusal::new("UNNEST is not supported yet")),
        _ => {}
    }
    let mut refused = None;
    let walked = node.apply_expressions(|expr| {
        expr.apply(|expr| {
            refused = check_expr(expr);
            Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    });
    refused.or_else(|| walked.err().map(|error| of_planner(&error)))
}

fn check_expr(expr: &Expr) -> Option<Refusal> {
    match expr {
        Expr::ScalarFunction(function) => {
            let volatility = function.func.signature().volatility;
            (volatility != Volatility::Immutable).then(|| {
                let name = function.func.name();
                Refusal::new(format!(
                    "{name}() gives another value after a restart, so the result would not be the same twice; use the \
                     event time column or another column of the input"
                ))
            })
        }
        Expr::WindowFunction(_) => Some(Refusal::new(
            "OVER (window functions) keeps every row for ever; use GROUP BY window_start, window_end over TUMBLE, HOP or \
             SESSION",
        )),
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => Some(Refusal::new(
            "a subquery in an expression is a join, which is not supported yet; UNION ALL both inputs and GROUP BY in a \
             window",
        )),
        Expr::GroupingSet(_) => Some(Refusal::new(
            "ROLLUP, CUBE and GROUPING SETS are not supported; write one transform for each grouping",
        )),
        Expr::Placeholder(_) => Some(Refusal::new("placeholders have no value here; write the constant")),
        Expr::ScalarVariable(_, _) => Some(Refusal::new("variables have no value here; write the constant")),
        Expr::AggregateFunction(function) => check_aggregate(function),
        _ => None,
    }
}

fn check_aggregate(function: &AggregateFunction) -> Option<Refusal> {
    let name = function.func.name();
    let instead = match name {
        "first_value" | "last_value" | "nth_value" | "any_value" => "MIN or MAX",
        "array_agg" | "string_agg" => {
            "MIN and MAX, or a transform without GROUP BY, and collect the rows where the result is read"
        }
        "approx_median" => "median",
        "approx_percentile_cont" | "approx_percentile_cont_with_weight" => "percentile_cont",
        _ => "",
    };
    if !instead.is_empty() {
        return Some(Refusal::new(format!(
            "{name} depends on the order of arrival, so its value could differ after a restart; use {instead}"
        )));
    }
    if name == "grouping" {
        return Some(Refusal::new("GROUPING needs ROLLUP or CUBE, which are not supported"));
    }
    // Percentiles name their column in WITHIN GROUP (ORDER BY); their result does not depend on order.
    let ordered_set = function.func.inner().supports_within_group_clause();
    (!function.params.order_by.is_empty() && !ordered_set).then(|| {
        Refusal::new(format!(
            "ORDER BY inside {name} is not supported, since rows come in any order; sort where the result is read"
        ))
    })
}
