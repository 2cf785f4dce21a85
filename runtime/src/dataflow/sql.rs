//! SQL text to a logical plan over [`Table`]s. TUMBLE, HOP and SESSION in FROM become tables of their own.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Statement, TableAlias, TableFactor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::functions::Provider;
use super::refusals::{self, Refusal};
use super::tables::{Part, Relation, Role, Table, WINDOW_COLUMNS, WindowTable, roles};
use super::{nearest, optimize};
use crate::operators::aggregate::TIMESTAMP;
use crate::operators::windows::WindowKind;

/// Windows that one row may be part of (HOP): bounds how often a row is repeated.
const MAX_WINDOWS_PER_ROW: i64 = 1_000;
/// Panes that one HOP window may consist of: bounds the work of firing it.
const MAX_PANES_PER_WINDOW: i64 = 10_000;

/// Plans one query. Windows that it uses are added to `provider` under names that no manifest can have.
pub(crate) fn plan_query(provider: &mut Provider, sql: &str) -> Result<LogicalPlan, Refusal> {
    let mut statements =
        Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| Refusal::syntax(&error.to_string()))?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(Refusal::new("write exactly one SELECT"));
    };
    let Statement::Query(mut query) = statement else {
        return Err(Refusal::new("only SELECT can be a transform"));
    };
    Rewriter { provider }.query(&mut query, &[])?;
    plan_ast(provider, *query)
}

fn parser_options() -> ParserOptions {
    ParserOptions { map_string_types_to_utf8view: false, collect_spans: true, ..ParserOptions::default() }
}

fn plan_ast(provider: &Provider, query: Query) -> Result<LogicalPlan, Refusal> {
    let planner = SqlToRel::new_with_options(provider, parser_options());
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query))).map_err(|error| refusal(&error))?;
    refusals::check(&plan)?;
    optimize::normalize(plan).and_then(optimize::analyze).map_err(|error| refusal(&error))
}

pub(crate) fn refusal(error: &DataFusionError) -> Refusal {
    refusals::of_planner(error)
}

struct Rewriter<'a> {
    provider: &'a mut Provider,
}

impl Rewriter<'_> {
    /// Rewrites a query inside which `scope` can be read.
    fn query(&mut self, query: &mut Query, scope: &[Cte]) -> Result<(), Refusal> {
        refusals::check_query(query)?;
        let mut scope = scope.to_vec();
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                self.query(&mut cte.query, &scope)?;
                scope.push(cte.clone());
            }
        }
        self.set(&mut query.body, &scope)
    }

    fn set(&mut self, body: &mut SetExpr, scope: &[Cte]) -> Result<(), Refusal> {
        match body {
            SetExpr::Select(select) => self.select(select, scope),
            SetExpr::Query(query) => self.query(query, scope),
            SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier: SetQuantifier::All, right } => {
                self.set(left, scope)?;
                self.set(right, scope)
            }
            SetExpr::SetOperation { op: SetOperator::Union, .. } => Err(Refusal::new(
                "UNION removes duplicates, which needs to remember every row for ever; write UNION ALL, or SELECT \
                 DISTINCT over a window",
            )),
            SetExpr::SetOperation { op, .. } => {
                Err(Refusal::new(format!("{op} needs to remember every row for ever; it is not supported")))
            }
            _ => Err(Refusal::new("only SELECT can be a transform")),
        }
    }

    fn select(&mut self, select: &mut Select, scope: &[Cte]) -> Result<(), Refusal> {
        refusals::check_select(select)?;
        for table in &mut select.from {
            self.table(&mut table.relation, scope)?;
        }
        Ok(())
    }

    fn table(&mut self, factor: &mut TableFactor, scope: &[Cte]) -> Result<(), Refusal> {
        match factor {
            TableFactor::Table { name, args: args @ Some(_), alias, .. } => {
                let function = name.to_string().to_ascii_uppercase();
                let given: Vec<FunctionArg> = args.take().map(|args| args.args).unwrap_or_default();
                let (table, default_alias) = self.window(&function, &given, scope)?;
                *name = ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', table))]);
                if alias.is_none() {
                    *alias = default_alias.map(|name| TableAlias { explicit: true, name, columns: vec![], at: None });
                }
                Ok(())
            }
            TableFactor::Table { .. } => Ok(()),
            TableFactor::Derived { subquery, lateral: false, .. } => self.query(subquery, scope),
            TableFactor::NestedJoin { table_with_joins, .. } if table_with_joins.joins.is_empty() => {
                self.table(&mut table_with_joins.relation, scope)
            }
            other => Err(Refusal::new(format!(
                "`{other}` in FROM is not supported; read a source, a transform, a subquery, or TUMBLE, HOP or SESSION \
                 over one"
            ))),
        }
    }

    /// Registers the table that a window function stands for; returns its name and how to call it if nobody does.
    fn window(
        &mut self,
        function: &str,
        args: &[FunctionArg],
        scope: &[Cte],
    ) -> Result<(String, Option<Ident>), Refusal> {
        let usage = match function {
            "TUMBLE" => "TUMBLE(table, time column, INTERVAL 'size')",
            "HOP" => "HOP(table, time column, INTERVAL 'slide', INTERVAL 'size')",
            "SESSION" => "SESSION(table, time column, INTERVAL 'gap')",
            other => {
                let hint = nearest(other, ["TUMBLE", "HOP", "SESSION"].into_iter());
                return Err(Refusal::new(format!("there is no table function {other}{hint}")));
            }
        };
        let malformed = || Refusal::new(format!("write {usage}"));
        let args = args.iter().map(plain_argument).collect::<Option<Vec<&Expr>>>().ok_or_else(malformed)?;
        let (Some((table, rest)), true) = (args.split_first(), args.len() == 3 + usize::from(function == "HOP")) else {
            return Err(malformed());
        };
        let Some((time, lengths)) = rest.split_first() else { return Err(malformed()) };
        let lengths = lengths.iter().map(|length| self.length(length)).collect::<Result<Vec<i64>, _>>()?;
        let kind = window_kind(function, &lengths)?.ok_or_else(malformed)?;
        let (input, alias) = self.input(table, scope, usage)?;
        let time = time_column(time).ok_or_else(malformed)?;
        let table = window_table(input, &time, kind)?;
        let name = format!("__window_{}", self.provider.window_count());
        self.provider.add(&name, table);
        Ok((name, alias))
    }

    fn input(&mut self, table: &Expr, scope: &[Cte], usage: &str) -> Result<(LogicalPlan, Option<Ident>), Refusal> {
        let (mut query, alias) = match table {
            Expr::Identifier(name) => (select_all(&name.to_string())?, Some(name.clone())),
            Expr::CompoundIdentifier(parts) => {
                let name: Vec<String> = parts.iter().map(ToString::to_string).collect();
                (select_all(&name.join("."))?, parts.last().cloned())
            }
            Expr::Subquery(query) => {
                let mut query = (**query).clone();
                self.query(&mut query, scope)?;
                (query, None)
            }
            _ => return Err(Refusal::new(format!("write {usage}; the table is a name or a subquery in parentheses"))),
        };
        if !scope.is_empty() {
            let mut outer = select_all("(SELECT 1)")?;
            if let Some(with) = &mut outer.with {
                with.cte_tables = scope
                    .iter()
                    .cloned()
                    .chain(query.with.take().map(|with| with.cte_tables).unwrap_or_default())
                    .collect();
            }
            query.with = outer.with;
        } else if alias.is_some() {
            query.with = None;
        }
        Ok((plan_ast(self.provider, query)?, alias))
    }

    fn length(&self, expr: &Expr) -> Result<i64, Refusal> {
        let planner = SqlToRel::new_with_options(&*self.provider, parser_options());
        let planned = planner.sql_to_expr(expr.clone(), &DFSchema::empty(), &mut PlannerContext::new());
        let micros = match planned.map_err(|error| refusal(&error))? {
            PlanExpr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => {
                if value.months != 0 {
                    return Err(Refusal::new(format!("{expr} has no fixed length; write it in days, hours or less")));
                }
                let nanos = i128::from(value.days) * 86_400_000_000_000 + i128::from(value.nanoseconds);
                (nanos % 1_000 == 0).then_some(nanos / 1_000)
            }
            _ => None,
        };
        match micros.map(i64::try_from) {
            Some(Ok(micros)) if micros > 0 => Ok(micros),
            _ => Err(Refusal::new(format!(
                "`{expr}` is not a length; write a positive constant like INTERVAL '1 minute' (at least a microsecond)"
            ))),
        }
    }
}

fn plain_argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        FunctionArg::Unnamed(_) | FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => None,
    }
}

/// `ts`, `orders.ts`, or `DESCRIPTOR(ts)`; folded to lower case as SQL does, unless quoted.
fn time_column(expr: &Expr) -> Option<String> {
    let ident = match expr {
        Expr::Identifier(ident) => ident.clone(),
        Expr::CompoundIdentifier(parts) => parts.last()?.clone(),
        Expr::Function(function) => {
            let text = function.to_string();
            let (name, rest) = text.split_once('(')?;
            if !name.eq_ignore_ascii_case("descriptor") {
                return None;
            }
            Ident::new(rest.strip_suffix(')')?.trim())
        }
        _ => return None,
    };
    Some(if ident.quote_style.is_some() { ident.value } else { ident.value.to_lowercase() })
}

fn window_kind(function: &str, lengths: &[i64]) -> Result<Option<WindowKind>, Refusal> {
    Ok(match (function, lengths) {
        ("TUMBLE", [size]) => Some(WindowKind::Tumble { size: *size }),
        ("SESSION", [gap]) => Some(WindowKind::Session { gap: *gap }),
        ("HOP", [slide, size]) => {
            let kind = WindowKind::Hop { slide: *slide, size: *size };
            if size / slide > MAX_WINDOWS_PER_ROW {
                return Err(Refusal::new(format!(
                    "each row would be in {} windows (at most {MAX_WINDOWS_PER_ROW}); make the slide longer",
                    size / slide
                )));
            }
            if size / kind.pane() > MAX_PANES_PER_WINDOW {
                return Err(Refusal::new(
                    "slide and size have too small a common divisor; let the slide divide the size",
                ));
            }
            Some(kind)
        }
        _ => None,
    })
}

fn select_all(name: &str) -> Result<Query, Refusal> {
    let sql = format!("WITH x AS (SELECT 1) SELECT * FROM {name}");
    let parsed = Parser::parse_sql(&GenericDialect {}, &sql).map_err(|error| Refusal::syntax(&error.to_string()))?;
    match parsed.into_iter().next() {
        Some(Statement::Query(query)) => Ok(*query),
        _ => Err(Refusal::new(format!("`{name}` is not the name of a table"))),
    }
}

fn window_table(input: LogicalPlan, time: &str, kind: WindowKind) -> Result<Table, Refusal> {
    let input_roles = roles(&input);
    let fields = input.schema().fields();
    let names = || fields.iter().map(|field| field.name().as_str());
    let usable: Vec<String> = names()
        .zip(&input_roles)
        .filter(|(_, role)| role.lag().is_some())
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let Some(index) = names().position(|name| name == time) else {
        return Err(Refusal::new(format!("there is no column `{time}` to make windows of{}", nearest(time, names()))));
    };
    let Some(lag) = input_roles.get(index).and_then(|role| role.lag()) else {
        return Err(Refusal::new(if usable.is_empty() {
            format!(
                "`{time}` is not an event time: windows need one, so set `eventTime` of the source, and pass the column on \
                 unchanged"
            )
        } else {
            format!(
                "`{time}` is not the event time, so no watermark says when a window of it is complete; use {}",
                usable.join(" or ")
            )
        }));
    };
    let columns: Vec<usize> = (0..fields.len())
        .filter(|column| fields.get(*column).is_none_or(|field| !WINDOW_COLUMNS.contains(&field.name().as_str())))
        .collect();
    let mut table_fields: Vec<Field> = columns
        .iter()
        .filter_map(|column| fields.get(*column))
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    let mut table_roles: Vec<Role> =
        columns.iter().map(|column| input_roles.get(*column).copied().unwrap_or(Role::Plain)).collect();
    table_fields.extend(WINDOW_COLUMNS.map(|name| Field::new(name, TIMESTAMP, true)));
    table_roles.extend(Part::ALL.map(|part| Role::Window { part, kind, lag }));
    Ok(Table {
        schema: Arc::new(Schema::new(table_fields)),
        roles: table_roles,
        relation: Relation::Window(WindowTable { input: Arc::new(input), columns, time: index, kind }),
    })
}
