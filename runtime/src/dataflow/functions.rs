//! What DataFusion's planner may ask of us: tables and functions, nothing else of a database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::nearest;
use super::tables::Table;
use crate::operators::exact::{ExactAverage, ExactSum};

/// Functions and tables in reach of a query.
pub(crate) struct Provider {
    tables: BTreeMap<String, Arc<Table>>,
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let mut scalars = HashMap::new();
        for function in SessionStateDefaults::default_scalar_functions() {
            for alias in function.aliases() {
                scalars.insert(alias.clone(), function.clone());
            }
            scalars.insert(function.name().to_owned(), function);
        }
        let mut aggregates = HashMap::new();
        for function in SessionStateDefaults::default_aggregate_functions() {
            for alias in function.aliases() {
                aggregates.insert(alias.clone(), function.clone());
            }
            aggregates.insert(function.name().to_owned(), function);
        }
        aggregates.insert("sum".to_owned(), ExactSum::udaf());
        for name in ["avg", "mean"] {
            aggregates.insert(name.to_owned(), ExactAverage::udaf());
        }
        let windows = SessionStateDefaults::default_window_functions();
        Self {
            tables: BTreeMap::new(),
            scalars,
            aggregates,
            windows: windows.into_iter().map(|function| (function.name().to_owned(), function)).collect(),
            planners: SessionStateDefaults::default_expr_planners(),
            options: ConfigOptions::default(),
        }
    }

    pub(crate) fn add(&mut self, name: &str, table: Table) {
        self.tables.insert(name.to_owned(), Arc::new(table));
    }

    /// How many windows have been named so far.
    pub(crate) fn window_count(&self) -> usize {
        self.tables.keys().filter(|name| name.starts_with("__window_")).count()
    }

    /// Sources and transforms.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str).filter(|name| !name.starts_with("__"))
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }
}

impl ContextProvider for Provider {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.tables.get(name.table()).cloned();
        table.map(|table| table as Arc<dyn TableSource>).ok_or_else(|| {
            let hint = nearest(name.table(), self.names());
            plan_datafusion_err!("`{}` is not a source or an earlier transform{hint}", name.table())
        })
    }

    fn create_cte_work_table(&self, _name: &str, _schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Err(plan_datafusion_err!("WITH RECURSIVE never ends on a stream; it is not supported"))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scalars.keys().cloned().collect();
        names.sort();
        names
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.aggregates.keys().cloned().collect();
        names.sort();
        names
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
