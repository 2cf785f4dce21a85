//! What a query can read: sources, earlier transforms, and windows over either; with the role that event time plays in
//! each column.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan, TableSource};

use crate::operators::windows::WindowKind;

/// Columns that a window adds.
pub(crate) const WINDOW_COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Start,
    End,
    Time,
}

impl Part {
    pub(crate) const ALL: [Self; 3] = [Self::Start, Self::End, Self::Time];
}

/// What a column says about event time. A relation has one watermark; the values of a time column trail it by up to
/// the column's lag: after watermark `w` no value below `w - lag` comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    Time {
        lag: i64,
    },
    /// `lag` is that of the column that the windows were made of.
    Window {
        part: Part,
        kind: WindowKind,
        lag: i64,
    },
}

impl Role {
    /// Lag of the column, if it can be the event time of another window.
    pub(crate) fn lag(self) -> Option<i64> {
        match self {
            // A session can begin arbitrarily long before the watermark.
            Self::Plain | Self::Window { part: Part::Start, kind: WindowKind::Session { .. }, .. } => None,
            Self::Time { lag } | Self::Window { part: Part::Time, lag, .. } => Some(lag),
            // The end is one more than the last moment inside, so it never trails as far.
            Self::Window { part: Part::End, lag, .. } => Some(lag.saturating_sub(1)),
            Self::Window { part: Part::Start, kind, lag } => Some(lag.saturating_add(kind.size() - 1)),
        }
    }
}

/// Where a table's rows come from.
#[derive(Debug)]
pub(crate) enum Relation {
    Source(String),
    Transform(String),
    Window(WindowTable),
}

/// `TUMBLE(input, time, ...)` and its kin. The table has `columns` of the input (indices), then [`WINDOW_COLUMNS`].
#[derive(Debug)]
pub(crate) struct WindowTable {
    pub(crate) input: Arc<LogicalPlan>,
    pub(crate) columns: Vec<usize>,
    /// Index of the time column in the input.
    pub(crate) time: usize,
    pub(crate) kind: WindowKind,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    pub(crate) roles: Vec<Role>,
    pub(crate) relation: Relation,
}

impl TableSource for Table {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// The table behind a scan; all scans that we plan have one.
pub(crate) fn table_of(scan: &TableScan) -> Option<&Table> {
    scan.source.as_ref().downcast_ref::<Table>()
}

/// Columns of the table that the scan yields, as indices into the table's schema.
pub(crate) fn scanned(scan: &TableScan) -> Vec<usize> {
    scan.projection.clone().unwrap_or_else(|| (0..scan.source.schema().fields().len()).collect())
}

/// A bare column, whatever it is called afterwards.
pub(crate) fn bare_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => bare_column(&alias.expr),
        _ => None,
    }
}

fn role_of(expr: &Expr, input: &LogicalPlan, roles: &[Role]) -> Role {
    let column = bare_column(expr).and_then(|column| input.schema().maybe_index_of_column(column));
    column.and_then(|index| roles.get(index).copied()).unwrap_or(Role::Plain)
}

/// Roles of the plan's output columns.
pub(crate) fn roles(plan: &LogicalPlan) -> Vec<Role> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = table_of(scan) else { return Vec::new() };
            scanned(scan).iter().map(|index| table.roles.get(*index).copied().unwrap_or(Role::Plain)).collect()
        }
        LogicalPlan::Projection(projection) => {
            let input = roles(&projection.input);
            projection.expr.iter().map(|expr| role_of(expr, &projection.input, &input)).collect()
        }
        LogicalPlan::Filter(filter) => roles(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => roles(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => roles(input),
        LogicalPlan::Aggregate(aggregate) => {
            let input = roles(&aggregate.input);
            let mut found: Vec<Role> = aggregate
                .group_expr
                .iter()
                .map(|expr| match role_of(expr, &aggregate.input, &input) {
                    role @ Role::Window { .. } => role,
                    // Time as a key has lost its order.
                    Role::Plain | Role::Time { .. } => Role::Plain,
                })
                .collect();
            found.resize(aggregate.schema.fields().len(), Role::Plain);
            found
        }
        LogicalPlan::Union(union) => {
            let mut inputs = union.inputs.iter().map(|input| roles(input));
            let first = inputs.next().unwrap_or_default();
            inputs.fold(first, |left, right| left.iter().zip(&right).map(|(a, b)| join(*a, *b)).collect())
        }
        _ => vec![Role::Plain; plan.schema().fields().len()],
    }
}

fn join(left: Role, right: Role) -> Role {
    if left == right {
        return left;
    }
    match (left.lag(), right.lag()) {
        (Some(a), Some(b)) => Role::Time { lag: a.max(b) },
        _ => Role::Plain,
    }
}
