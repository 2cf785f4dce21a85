//! From manifest and SQL to a graph of stages.
mod checked;
mod definition;
mod explain;
mod factories;
mod functions;
pub mod graph;
pub mod key_groups;
mod optimize;
mod plan;
mod refusals;
mod sql;
mod stages;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

use self::functions::Provider;
use self::plan::{Compiler, Needs};
use self::refusals::Refusal;
use self::tables::{Relation, Role, Table};

pub(crate) use self::explain::exchange;
pub use self::explain::explain;

/// What the planner needs to know of a pipeline: names, SQL and schemas, no connectors.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Key groups; a row's group is `key_groups::group` of its key columns.
    pub max_parallelism: u32,
    pub sources: Vec<SourceTable>,
    /// In manifest order; each may read sources and earlier transforms.
    pub transforms: Vec<Query>,
    pub sinks: Vec<SinkInput>,
}

/// A source as a table: all its columns (the graph says which ones are read) and the event time column's name.
#[derive(Clone, Debug)]
pub struct SourceTable {
    pub name: String,
    pub schema: SchemaRef,
    pub event_time: Option<String>,
}

/// A named transform.
#[derive(Clone, Debug)]
pub struct Query {
    pub name: String,
    pub sql: String,
}

/// A sink reads a source or a transform, all columns of it.
#[derive(Clone, Debug)]
pub struct SinkInput {
    pub name: String,
    pub input: String,
}

/// A pipeline that cannot be run as written. `message` names the reason and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transform `{transform}`: {message}")]
pub struct PlanError {
    /// Transform (or sink) that is refused.
    pub transform: String,
    pub message: String,
    /// Line and column inside the SQL text, from 1, when known.
    pub position: Option<(u64, u64)>,
}

/// Plans the graph of all sinks of `definition`; what no sink reads is checked, but not in it.
///
/// # Errors
/// [`PlanError`] for the first transform or sink that is refused.
pub fn plan(definition: &Definition) -> Result<graph::Graph, PlanError> {
    let mut provider = Provider::new();
    for source in &definition.sources {
        provider.add(&source.name, source_table(source)?);
    }
    let mut plans: Vec<(&str, LogicalPlan)> = Vec::new();
    for transform in &definition.transforms {
        let plan =
            sql::plan_query(&mut provider, &transform.sql).map_err(|refusal| refused(&transform.name, refusal))?;
        let table = Table {
            schema: plan::arrow_schema(plan.schema()),
            roles: tables::roles(&plan),
            relation: Relation::Transform(transform.name.clone()),
        };
        plans.push((&transform.name, plan));
        provider.add(&transform.name, table);
    }
    let needs = prune_to_needs(definition, &provider, &mut plans)?;
    let mut compiler = Compiler::default();
    for source in &definition.sources {
        if let Some(columns) = needs.get(&source.name) {
            compiler.source(&source.name, source_schema(source, columns));
        }
    }
    for (name, plan) in &plans {
        if needs.contains_key(*name) {
            compiler.transform(name, plan).map_err(|refusal| refused(name, refusal))?;
        }
    }
    let mut sinks = Vec::with_capacity(definition.sinks.len());
    for sink in &definition.sinks {
        let node = compiler.relations.get(&sink.input).copied();
        sinks.push((sink.name.clone(), node.ok_or_else(|| unknown_input(sink, &provider))?));
    }
    Ok(stages::cut(&compiler.nodes, &sinks, definition.max_parallelism))
}

fn refused(transform: &str, refusal: Refusal) -> PlanError {
    PlanError { transform: transform.to_owned(), message: refusal.message, position: refusal.position }
}

fn unknown_input(sink: &SinkInput, provider: &Provider) -> PlanError {
    let hint = nearest(&sink.input, provider.names());
    let message = format!("input `{}` is not a source or a transform{hint}", sink.input);
    PlanError { transform: sink.name.clone(), message, position: None }
}

fn source_table(source: &SourceTable) -> Result<Table, PlanError> {
    let names = || source.schema.fields().iter().map(|field| field.name().as_str());
    if let Some(time) = &source.event_time
        && !names().any(|name| name == time)
    {
        let message = format!("eventTime names no column `{time}`{}", nearest(time, names()));
        return Err(PlanError { transform: source.name.clone(), message, position: None });
    }
    let role = |name: &str| match &source.event_time {
        Some(time) if time == name => Role::Time { lag: 0 },
        Some(_) | None => Role::Plain,
    };
    let all: BTreeSet<String> = names().map(str::to_owned).collect();
    Ok(Table {
        schema: source_schema(source, &all),
        roles: names().map(role).collect(),
        relation: Relation::Source(source.name.clone()),
    })
}

/// These columns of the source, in its order; at least one, so that rows can be counted.
fn source_schema(source: &SourceTable, columns: &BTreeSet<String>) -> SchemaRef {
    let nullable = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
    let chosen = source.schema.fields().iter().filter(|field| columns.contains(field.name()));
    let mut fields: Vec<Field> = chosen.map(nullable).collect();
    if fields.is_empty() {
        fields.extend(source.schema.fields().first().map(nullable));
    }
    Arc::new(Schema::new(fields))
}

/// What is read of each relation that leads to a sink. Transforms are pruned to it, but those with state keep its whole
/// layout: otherwise a change of a reader would make the state unusable.
fn prune_to_needs(
    definition: &Definition,
    provider: &Provider,
    plans: &mut [(&str, LogicalPlan)],
) -> Result<Needs, PlanError> {
    let mut needs = Needs::new();
    for sink in &definition.sinks {
        let table = provider.table(&sink.input).ok_or_else(|| unknown_input(sink, provider))?;
        let names = table.schema.fields().iter().map(|field| field.name().clone());
        needs.entry(sink.input.clone()).or_default().extend(names);
    }
    for (name, plan) in plans.iter_mut().rev() {
        let Some(columns) = needs.get(*name) else { continue };
        let fields = plan.schema().fields();
        let wanted: Vec<usize> = (0..fields.len())
            .filter(|index| fields.get(*index).is_some_and(|field| columns.contains(field.name())))
            .collect();
        if wanted.len() < fields.len() && !wanted.is_empty() && !plan::has_state(plan) {
            let pruned = optimize::prune(plan, &wanted).map_err(|error| refused(name, sql::refusal(&error)))?;
            *plan = pruned;
        }
        plan::collect_needs(plan, &mut needs).map_err(|refusal| refused(name, refusal))?;
    }
    Ok(needs)
}

/// A hint at the nearest known name, and the known names when there are few.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let score = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|best| score(best) > 0.75);
    match best {
        Some(best) if best.eq_ignore_ascii_case(name) => {
            format!("; names are folded to lower case, so write \"{best}\" in double quotes")
        }
        Some(best) => format!("; did you mean `{best}`?"),
        None if known.is_empty() || known.len() > 12 => String::new(),
        None => format!("; known are {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests;
