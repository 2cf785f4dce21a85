//! The few of DataFusion's rules that are safe for us: types, constants, unused columns. Nothing that moves filters
//! below a window, invents joins, or reads a clock.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};

use super::checked::CheckedConstants;
use crate::operators::aggregate::TIMESTAMP;

/// Adds the casts that expressions need, then simplifies.
pub(crate) fn analyze(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = Analyzer::new().execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
    simplify(plan)
}

fn simplify(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Constants meet only where projections are merged, which the last rule does: the first one sees them before they
    // are folded.
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(CheckedConstants),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let context = OptimizerContext::new().without_query_execution_start_time().with_skip_failing_rules(false);
    optimizer.optimize(plan, &context, |_, _| {})
}

fn column_at(plan: &LogicalPlan, index: usize) -> Expr {
    let (qualifier, field) = plan.schema().qualified_field(index);
    Expr::Column(Column::new(qualifier.cloned(), field.name()))
}

/// The plan with these of its columns only, read from inputs that yield no more than needed.
pub(crate) fn prune(plan: &LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
    let expressions: Vec<Expr> = columns.iter().map(|index| column_at(plan, *index)).collect();
    simplify(LogicalPlanBuilder::from(plan.clone()).project(expressions)?.build()?)
}

/// Types that an expression may have, as one of the column types that the rest of the product knows.
fn column_type(found: &DataType) -> Option<DataType> {
    Some(match found {
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(TimeUnit::Microsecond, None) => return None,
        DataType::Date64 | DataType::Timestamp(_, _) => TIMESTAMP,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => column_type(value).unwrap_or_else(|| (**value).clone()),
        _ => return None,
    })
}

/// Casts the result's columns to column types, and refuses those that have none.
pub(crate) fn normalize(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fields = plan.schema().fields().clone();
    let mut names = std::collections::BTreeSet::new();
    let mut expressions = Vec::with_capacity(fields.len());
    let mut changed = false;
    for (index, field) in fields.iter().enumerate() {
        if !names.insert(field.name()) {
            return plan_err!("two columns are called `{}`; name one of them with AS", field.name());
        }
        let column = column_at(&plan, index);
        if matches!(
            field.data_type(),
            DataType::Interval(_)
                | DataType::Duration(_)
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Struct(_)
                | DataType::Map(_, _)
                | DataType::Union(_, _)
        ) {
            return plan_err!(
                "column `{}` has type {}, which is not a column type; CAST it",
                field.name(),
                field.data_type()
            );
        }
        match column_type(field.data_type()) {
            Some(wanted) => {
                changed = true;
                expressions.push(cast(column, wanted).alias(field.name()));
            }
            None => expressions.push(column),
        }
    }
    if changed { LogicalPlanBuilder::from(plan).project(expressions)?.build() } else { Ok(plan) }
}
