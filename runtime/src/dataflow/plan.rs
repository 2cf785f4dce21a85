//! Logical plans to a graph of operators: each relation once, shared by all that read it, reading only what sinks need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use checkpoint::ids::OperatorId;
use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Distinct, Expr, LogicalPlan, TableScan};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::expressions::{Column as PhysicalColumn, Literal};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::checked::checked;
use super::factories::{Final, Partial};
use super::optimize::prune;
use super::refusals::{Refusal, of_planner};
use super::tables::{Part, Relation, Role, Table, WindowTable, bare_column, roles, scanned, table_of};
use crate::operators::aggregate::{Aggregate, GroupColumn, TIMESTAMP};
use crate::operators::chain::Factory;
use crate::operators::groups::Call;
use crate::operators::project::{Filter, Project};
use crate::operators::window_columns::WindowColumns;
use crate::operators::windows::WindowKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) usize);

pub(crate) enum NodeKind {
    Source { name: String, columns: Vec<String> },
    Operator { input: NodeId, factory: Arc<dyn Factory> },
    Exchange { name: String, input: NodeId, keys: Vec<usize> },
    Union { name: String, inputs: Vec<NodeId> },
}

pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) schema: SchemaRef,
}

type Result<T> = std::result::Result<T, Refusal>;

/// Columns that are read, by source or transform.
pub(crate) type Needs = BTreeMap<String, BTreeSet<String>>;

/// Adds what `plan` reads to `needs`.
pub(crate) fn collect_needs(plan: &LogicalPlan, needs: &mut Needs) -> Result<()> {
    if let LogicalPlan::TableScan(scan) = plan {
        let Some(table) = table_of(scan) else { return Err(Refusal::new("unknown table")) };
        match &table.relation {
            Relation::Source(name) | Relation::Transform(name) => {
                let names = scanned(scan).into_iter().filter_map(|index| table.schema.fields().get(index));
                needs.entry(name.clone()).or_default().extend(names.map(|field| field.name().clone()));
            }
            Relation::Window(window) => collect_needs(&window_input(window, scan)?.0, needs)?,
        }
    }
    plan.inputs().into_iter().try_for_each(|input| collect_needs(input, needs))
}

/// The pruned input of a scanned window and the indices, in the full input, of the columns that are left.
fn window_input(window: &WindowTable, scan: &TableScan) -> Result<(LogicalPlan, Vec<usize>)> {
    let mut needed: BTreeSet<usize> =
        scanned(scan).into_iter().filter_map(|index| window.columns.get(index).copied()).collect();
    needed.insert(window.time);
    let needed: Vec<usize> = needed.into_iter().collect();
    Ok((prune(&window.input, &needed).map_err(|error| of_planner(&error))?, needed))
}

/// Does the plan (or a window that it reads) keep state of its own?
pub(crate) fn has_state(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => true,
        LogicalPlan::TableScan(scan) => match table_of(scan).map(|table| &table.relation) {
            Some(Relation::Window(window)) => has_state(&window.input),
            Some(Relation::Source(_) | Relation::Transform(_)) | None => false,
        },
        _ => plan.inputs().into_iter().any(has_state),
    }
}

/// Compiles the plans of one pipeline into nodes; inputs come before their readers.
#[derive(Default)]
pub(crate) struct Compiler {
    pub(crate) nodes: Vec<Node>,
    /// Sources and transforms that have a node.
    pub(crate) relations: BTreeMap<String, NodeId>,
    transform: String,
    windows: usize,
    unions: usize,
}

impl Compiler {
    pub(crate) fn source(&mut self, name: &str, schema: SchemaRef) {
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        let id = self.add(NodeKind::Source { name: name.to_owned(), columns }, schema);
        self.relations.insert(name.to_owned(), id);
    }

    /// Compiles a transform, whose inputs have nodes already.
    pub(crate) fn transform(&mut self, name: &str, plan: &LogicalPlan) -> Result<()> {
        name.clone_into(&mut self.transform);
        (self.windows, self.unions) = (0, 0);
        let id = self.compile(plan, false)?;
        self.relations.insert(name.to_owned(), id);
        Ok(())
    }

    fn add(&mut self, kind: NodeKind, schema: SchemaRef) -> NodeId {
        self.nodes.push(Node { kind, schema });
        NodeId(self.nodes.len() - 1)
    }

    fn operator(&mut self, input: NodeId, factory: Arc<dyn Factory>, schema: SchemaRef) -> NodeId {
        self.add(NodeKind::Operator { input, factory }, schema)
    }

    fn schema(&self, id: NodeId) -> SchemaRef {
        self.nodes.get(id.0).map_or_else(|| Arc::new(Schema::empty()), |node| node.schema.clone())
    }

    fn project(&mut self, input: NodeId, expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> NodeId {
        let project = Project { transform: self.transform.clone(), expressions, schema: schema.clone() };
        self.operator(input, Arc::new(project), schema)
    }

    /// Columns of a node by index, under the names of `schema`; nothing to do if they are all, in order.
    fn select(&mut self, input: NodeId, indices: &[usize], schema: SchemaRef) -> NodeId {
        let from = self.schema(input);
        let same_names =
            from.fields().iter().map(|field| field.name()).eq(schema.fields().iter().map(|field| field.name()));
        if same_names && indices.iter().copied().eq(0..from.fields().len()) {
            return input;
        }
        let column = |index: &usize| {
            let name = from.fields().get(*index).map_or("", |field| field.name().as_str());
            Arc::new(PhysicalColumn::new(name, *index)) as Arc<dyn PhysicalExpr>
        };
        self.project(input, indices.iter().map(column).collect(), schema)
    }

    /// `fuse`: the window columns of the scanned window stand for the event time itself, for the aggregation above.
    fn compile(&mut self, plan: &LogicalPlan, fuse: bool) -> Result<NodeId> {
        let schema = arrow_schema(plan.schema());
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, schema, fuse),
            LogicalPlan::SubqueryAlias(alias) => self.compile(&alias.input, fuse),
            LogicalPlan::Filter(filter) => {
                let input = self.compile(&filter.input, fuse)?;
                let predicate = physical(&filter.predicate, filter.input.schema())?;
                let filter = Filter { transform: self.transform.clone(), predicate };
                Ok(self.operator(input, Arc::new(filter), schema))
            }
            LogicalPlan::Projection(projection) => {
                let input = self.compile(&projection.input, fuse)?;
                let columns = projection.expr.iter().map(|expr| physical(expr, projection.input.schema()));
                Ok(self.project(input, columns.collect::<Result<_>>()?, schema))
            }
            LogicalPlan::Union(union) => {
                let mut inputs = Vec::with_capacity(union.inputs.len());
                for input in &union.inputs {
                    let id = self.compile(input, false)?;
                    let all: Vec<usize> = (0..schema.fields().len()).collect();
                    inputs.push(self.select(id, &all, schema.clone()));
                }
                self.unions += 1;
                let name = numbered(&self.transform, "union", self.unions);
                Ok(self.add(NodeKind::Union { name, inputs }, schema))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let columns: Vec<Expr> =
                    input.schema().iter().map(|(qualifier, field)| Expr::from((qualifier, field))).collect();
                let aggregate = LogicalAggregate::try_new(input.clone(), columns, vec![]);
                self.aggregate(&aggregate.map_err(|error| of_planner(&error))?)
            }
            other => Err(Refusal::new(format!("{} is not supported on a stream", other.display()))),
        }
    }

    fn scan(&mut self, scan: &TableScan, schema: SchemaRef, fuse: bool) -> Result<NodeId> {
        let Some(table) = table_of(scan) else { return Err(Refusal::new("unknown table")) };
        match &table.relation {
            Relation::Source(name) | Relation::Transform(name) => {
                let input =
                    *self.relations.get(name).ok_or_else(|| Refusal::new(format!("`{name}` is not planned")))?;
                let from = self.schema(input);
                let names = schema.fields().iter().map(|field| from.index_of(field.name()));
                let indices = names.collect::<std::result::Result<Vec<_>, _>>();
                let indices = indices.map_err(|error| Refusal::new(error.to_string()))?;
                Ok(self.select(input, &indices, schema))
            }
            Relation::Window(window) => self.window(table, window, scan, schema, fuse),
        }
    }

    fn window(
        &mut self,
        table: &Table,
        window: &WindowTable,
        scan: &TableScan,
        schema: SchemaRef,
        fuse: bool,
    ) -> Result<NodeId> {
        let (plan, kept) = window_input(window, scan)?;
        let mut input = self.compile(&plan, false)?;
        let place = |column: usize| kept.iter().position(|kept| *kept == column);
        let time = place(window.time).ok_or_else(|| Refusal::new("the time column is gone"))?;
        let first_added = kept.len();
        if !fuse {
            if matches!(window.kind, WindowKind::Session { .. }) {
                return Err(Refusal::new(
                    "SESSION needs GROUP BY window_start, window_end directly over it: a row alone does not know its \
                     session; filter by window_start or window_end with HAVING",
                ));
            }
            let mut fields: Vec<Field> =
                self.schema(input).fields().iter().map(|field| field.as_ref().clone()).collect();
            fields.extend(super::tables::WINDOW_COLUMNS.map(|name| Field::new(name, TIMESTAMP, true)));
            let with_windows = Arc::new(Schema::new(fields));
            let transform = self.transform.clone();
            let columns = WindowColumns { transform, window: window.kind, time, schema: with_windows.clone() };
            input = self.operator(input, Arc::new(Arc::new(columns)), with_windows);
        }
        let indices = scanned(scan).into_iter().map(|index| match table.roles.get(index) {
            Some(Role::Window { part, .. }) if index >= window.columns.len() => {
                let offset = Part::ALL.iter().position(|other| other == part).unwrap_or(0);
                Ok(if fuse { time } else { first_added + offset })
            }
            Some(_) | None => window
                .columns
                .get(index)
                .and_then(|column| place(*column))
                .ok_or_else(|| Refusal::new("a column of the window's input is gone")),
        });
        let indices = indices.collect::<Result<Vec<_>>>()?;
        Ok(self.select(input, &indices, schema))
    }

    fn aggregate(&mut self, logical: &LogicalAggregate) -> Result<NodeId> {
        let input_roles = roles(&logical.input);
        let grouping = Grouping::new(logical, &input_roles)?;
        let fuse = fusable(&logical.input) && !reads_window(&grouping.key_expressions, logical, &input_roles);
        let (window, time) = if fuse { (grouping.kind, grouping.any) } else { grouping.attached()? };
        let input = self.compile(&logical.input, fuse)?;
        let input_schema = logical.input.schema();
        self.windows += 1;
        let id = OperatorId(numbered(&self.transform, "window", self.windows));
        let keys =
            grouping.key_expressions.iter().map(|expr| physical(expr, input_schema)).collect::<Result<Vec<_>>>()?;
        let arrow_input = self.schema(input);
        let mut key_fields = Vec::new();
        for (key, expr) in keys.iter().zip(&grouping.key_expressions) {
            let data_type = key.data_type(&arrow_input).map_err(|error| of_planner(&error))?;
            let name = bare_column(expr).map_or_else(|| expr.schema_name().to_string(), |column| column.name.clone());
            key_fields.push(Field::new(name, data_type, true));
        }
        let mut bucket = vec![Field::new("window_start", TIMESTAMP, true)];
        match window {
            WindowKind::Hop { .. } => bucket.push(Field::new("since", TIMESTAMP, true)),
            WindowKind::Session { .. } => bucket.push(Field::new("last", TIMESTAMP, true)),
            WindowKind::Tumble { .. } | WindowKind::Attached { .. } => {}
        }
        let mut fields: Vec<Field> = bucket.into_iter().chain(key_fields.clone()).collect();
        let mut calls = Vec::with_capacity(logical.aggr_expr.len());
        for (number, expr) in logical.aggr_expr.iter().enumerate() {
            let (call, states) = lower_call(expr, input_schema, &arrow_input)?;
            let named = states.iter().enumerate();
            fields.extend(named.map(|(part, field)| field.clone().with_name(format!("state_{number}_{part}"))));
            calls.push(call);
        }
        let output = arrow_schema(&logical.schema);
        let partial: SchemaRef = Arc::new(Schema::new(fields));
        let spec = Arc::new(Aggregate {
            id: id.clone(),
            window,
            lag: grouping.lag,
            time,
            keys,
            key_fields,
            calls,
            group_columns: grouping.columns,
            partial: partial.clone(),
            output: output.clone(),
        });
        let before = self.operator(input, Arc::new(Partial(spec.clone())), partial.clone());
        let exchange = NodeKind::Exchange { name: id.0, input: before, keys: spec.partial_keys() };
        let exchange = self.add(exchange, partial);
        Ok(self.operator(exchange, Arc::new(Final(spec)), output))
    }
}

fn numbered(transform: &str, role: &str, number: usize) -> String {
    if number == 1 { format!("{transform}/{role}") } else { format!("{transform}/{role}-{number}") }
}

/// All columns nullable: whether a value is null is looked up in the array, never in the schema.
pub(crate) fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn physical(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expr, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .and_then(|physical| checked(physical, schema.as_arrow()))
        .map_err(|error| of_planner(&error))
}

fn lower_call(expr: &Expr, input: &DFSchema, arrow_input: &Schema) -> Result<(Call, Vec<Field>)> {
    let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
    let lowered = LoweredAggregateBuilder::new(expr, input, arrow_input, &props, &context).build();
    let lowered = lowered.map_err(|error| of_planner(&error))?;
    let states = lowered.aggregate.state_fields().map_err(|error| of_planner(&error))?;
    let states: Vec<Field> = states.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let checked = |expr| checked(expr, arrow_input).map_err(|error| of_planner(&error));
    let mut arguments = lowered.aggregate.expressions();
    if lowered.aggregate.fun().name() == "count" && !lowered.aggregate.is_distinct() {
        // COUNT(*) is COUNT(1) here.
        arguments.retain(|argument| argument.downcast_ref::<Literal>().is_none_or(|literal| literal.value().is_null()));
    }
    let call = Call {
        arguments: arguments.into_iter().map(checked).collect::<Result<_>>()?,
        states: states.len(),
        filter: lowered.filter.map(checked).transpose()?,
        function: lowered.aggregate,
    };
    Ok((call, states))
}

/// The group columns of an aggregation, told apart.
struct Grouping {
    kind: WindowKind,
    lag: i64,
    /// Input column of a window column: any, and that of the window start.
    any: usize,
    start: Option<usize>,
    columns: Vec<GroupColumn>,
    key_expressions: Vec<Expr>,
}

const NO_WINDOW: &str = "GROUP BY without a window never has a final result on a stream; read FROM TUMBLE(table, time \
                         column, INTERVAL '1 minute') (or HOP, SESSION) and GROUP BY window_start, window_end too";

impl Grouping {
    fn new(logical: &LogicalAggregate, input_roles: &[Role]) -> Result<Self> {
        let (mut columns, mut key_expressions) = (Vec::new(), Vec::new());
        let (mut found, mut start): (Option<(WindowKind, i64, usize)>, Option<usize>) = (None, None);
        for expr in &logical.group_expr {
            let index = bare_column(expr).and_then(|column| logical.input.schema().maybe_index_of_column(column));
            let role = index.and_then(|index| Some((index, *input_roles.get(index)?)));
            let Some((index, Role::Window { part, kind, lag })) = role else {
                columns.push(GroupColumn::Key(key_expressions.len()));
                key_expressions.push(expr.clone());
                continue;
            };
            match found {
                Some((other, other_lag, _)) if (other, other_lag) != (kind, lag) => {
                    return Err(Refusal::new("GROUP BY names columns of two different windows; group by one window"));
                }
                Some(_) => {}
                None => found = Some((kind, lag, index)),
            }
            columns.push(match part {
                Part::Start => {
                    start = Some(index);
                    GroupColumn::WindowStart
                }
                Part::End => GroupColumn::WindowEnd,
                Part::Time => GroupColumn::WindowTime,
            });
        }
        let Some((kind, lag, any)) = found else {
            let windowed = input_roles.iter().any(|role| matches!(role, Role::Window { .. }));
            let distinct = logical.aggr_expr.is_empty();
            return Err(Refusal::new(match (windowed, distinct) {
                (_, true) => {
                    "DISTINCT without a window needs to remember every row for ever; select window_start and \
                              window_end of a TUMBLE or HOP too"
                }
                (true, false) => {
                    "GROUP BY does not name the window, so its result would never be final; add \
                                  window_start, window_end to GROUP BY"
                }
                (false, false) => NO_WINDOW,
            }));
        };
        Ok(Self { kind, lag, any, start, columns, key_expressions })
    }

    /// Window and time column where the rows carry their window as columns.
    fn attached(&self) -> Result<(WindowKind, usize)> {
        if matches!(self.kind, WindowKind::Session { .. }) {
            return Err(Refusal::new(
                "the columns of a SESSION cannot be grouped by again; group by TUMBLE(table, window_time, size) over it, \
                 and filter it with HAVING",
            ));
        }
        let start = self.start.ok_or_else(|| Refusal::new("add window_start to GROUP BY"))?;
        Ok((WindowKind::Attached { size: self.kind.size() }, start))
    }
}

fn mentions_window(exprs: &[Expr], input: &LogicalPlan, input_roles: &[Role]) -> bool {
    exprs.iter().flat_map(Expr::column_refs).any(|column| {
        let index = input.schema().maybe_index_of_column(column);
        let role = index.and_then(|index| input_roles.get(index));
        matches!(role, Some(Role::Window { .. }))
    })
}

fn reads_window(keys: &[Expr], logical: &LogicalAggregate, input_roles: &[Role]) -> bool {
    mentions_window(keys, &logical.input, input_roles)
        || mentions_window(&logical.aggr_expr, &logical.input, input_roles)
}

/// Is there nothing between here and the window but what leaves its columns alone? Then rows need not carry them.
fn fusable(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => {
            table_of(scan).is_some_and(|table| matches!(table.relation, Relation::Window(_)))
        }
        LogicalPlan::SubqueryAlias(alias) => fusable(&alias.input),
        LogicalPlan::Filter(filter) => {
            let predicate = std::slice::from_ref(&filter.predicate);
            fusable(&filter.input) && !mentions_window(predicate, &filter.input, &roles(&filter.input))
        }
        LogicalPlan::Projection(projection) => {
            let computed: Vec<Expr> =
                projection.expr.iter().filter(|expr| bare_column(expr).is_none()).cloned().collect();
            fusable(&projection.input) && !mentions_window(&computed, &projection.input, &roles(&projection.input))
        }
        _ => false,
    }
}
