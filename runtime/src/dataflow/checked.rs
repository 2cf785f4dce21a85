//! Arithmetic that never wraps: DataFusion's does, unless told not to.

use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::operators::aggregate::plain;

/// The expression with errors where whole numbers would wrap around.
pub(crate) fn checked(expr: Arc<dyn PhysicalExpr>, input: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let checked = expr.transform_up(|expr| {
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let copy = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            return Ok(Transformed::yes(Arc::new(copy.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>));
        }
        let Some(negative) = expr.downcast_ref::<NegativeExpr>() else { return Ok(Transformed::no(expr)) };
        let data_type = negative.arg().data_type(input)?;
        if !data_type.is_integer() {
            return Ok(Transformed::no(expr));
        }
        let zero = Arc::new(Literal::new(ScalarValue::new_zero(&data_type)?));
        let difference = BinaryExpr::new(zero, Operator::Minus, negative.arg().clone());
        Ok(Transformed::yes(Arc::new(difference.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(checked.data)
}

/// Refuses constants that overflow, before they are folded by arithmetic that wraps.
#[derive(Debug)]
pub(crate) struct CheckedConstants;

impl OptimizerRule for CheckedConstants {
    fn name(&self) -> &'static str {
        "checked_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                let arithmetic = match expr {
                    Expr::BinaryExpr(binary) => binary.op.is_numerical_operators(),
                    Expr::Negative(_) => true,
                    _ => false,
                };
                if !arithmetic || !expr.column_refs().is_empty() {
                    return Ok(TreeNodeRecursion::Continue);
                }
                evaluate(expr)?;
                Ok(TreeNodeRecursion::Jump)
            })
        })?;
        Ok(Transformed::no(plan))
    }
}

fn evaluate(expr: &Expr) -> Result<()> {
    let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let nothing = Arc::new(Schema::empty());
    let physical = create_physical_expr(expr, &DFSchema::empty(), &props, &context)?;
    let row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(nothing.clone(), vec![], &row)?;
    match checked(physical, &nothing).and_then(|physical| physical.evaluate(&row)) {
        Err(error) => plan_err!("`{expr}` has no value: {}", plain(&error)),
        Ok(_) => Ok(()),
    }
}
