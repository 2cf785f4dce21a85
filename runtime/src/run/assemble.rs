//! From a manifest to everything that an attempt runs: graph, connectors, and what the coordinator knows of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::pipeline::{
    CheckpointSpec, DiscardSink, FilesSink, Guarantee, KafkaSink, Pipeline, PipelineSpec, Sink, Source, SourceInput,
};
use checkpoint::ids::OperatorId;
use checkpoint::manifest::OperatorPlan;
use checkpoint::record::SinkClaim;
use serde_json::Value;

use super::RunError;
use crate::connectors::connection;
use crate::connectors::kafka::{Clusters, clusters};
use crate::connectors::registry::{build_sink, build_source, unfit_sink};
use crate::connectors::{SinkConnector, SourceConnector};
use crate::coordinator::{FormerSink, Setup};
use crate::dataflow::graph::{Graph, StageInput};
use crate::dataflow::{self, Definition};
use crate::metrics::Names;
use crate::page;
use crate::secrets::Secrets;
use crate::store::Place;
use crate::worker::{Plan, source_operator};

/// A manifest made ready to run; nothing has been opened or written but its secrets read.
pub struct Assembled {
    pub plan: Arc<Plan>,
    pub setup: Setup,
    pub names: Names,
    /// Graph and manifest, for people.
    pub overview: Value,
    /// Where the checkpoint log lives.
    pub store: Place,
}

/// Plans `pipeline` (paths resolved, validated), reads the secrets that it names and makes its connectors.
///
/// # Errors
/// [`RunError::Refused`] with the manifest's field and the reason.
pub fn assemble(pipeline: &Pipeline, secrets: &Secrets) -> Result<Assembled, RunError> {
    let spec = &pipeline.spec;
    let graph = dataflow::plan(&Definition::of(spec)).map_err(|error| {
        let line = error.position.map_or_else(String::new, |(line, column)| format!(" (line {line}, column {column})"));
        RunError::Refused { message: format!("{error}{line}") }
    })?;
    if let Some((_, error)) = unfit_sink(&spec.sinks, &graph, &spec.checkpoint) {
        return Err(refused(&error));
    }
    let connections = connection::resolve(spec, secrets).map_err(|error| refused(&error))?;
    let clusters = clusters(&connections).map_err(|error| refused(&error))?;
    let store = Place::of(&spec.checkpoint.storage, secrets).map_err(|error| refused(&error))?;
    let sources = build_sources(pipeline, &graph, &clusters)?;
    let mut sinks: BTreeMap<String, Arc<dyn SinkConnector>> = BTreeMap::new();
    for sink in &spec.sinks {
        let built = build_sink(sink, &clusters, &spec.checkpoint).map_err(|error| refused(&error))?;
        sinks.insert(sink.name.clone(), Arc::from(built));
    }
    let operators = operators(spec, &graph);
    let names = names(pipeline, &graph, &operators);
    let setup = Setup {
        sources: sources.clone(),
        sinks: sinks.clone(),
        operators,
        parallelism: spec.parallelism,
        max_parallelism: spec.max_parallelism,
        interval: spec.checkpoint.interval.as_std().max(Duration::from_millis(1)),
        timeout: spec.checkpoint.timeout.as_std(),
        tolerable_failures: spec.checkpoint.tolerable_failed_checkpoints,
        retain: spec.checkpoint.retain,
        restart: spec.restart_policy.strategy(),
        drop_state_of: spec.drop_state_of.iter().cloned().collect(),
        former_sink: former_sink(clusters, spec.checkpoint.clone()),
    };
    let overview = page::overview(pipeline, &graph, &names.guarantee);
    let plan = Plan { graph: Arc::new(graph), sources, sinks, max_parallelism: spec.max_parallelism };
    Ok(Assembled { plan: Arc::new(plan), setup, names, overview, store })
}

/// Connectors of the sources that the graph reads, with the columns it reads.
fn build_sources(
    pipeline: &Pipeline,
    graph: &Graph,
    clusters: &Clusters,
) -> Result<BTreeMap<String, Arc<dyn SourceConnector>>, RunError> {
    let (spec, name) = (&pipeline.spec, pipeline.metadata.name.as_deref().unwrap_or_default());
    let mut sources: BTreeMap<String, Arc<dyn SourceConnector>> = BTreeMap::new();
    for stage in &graph.stages {
        let StageInput::Source { name: of, columns } = &stage.input else { continue };
        let Some(source) = spec.sources.iter().find(|source| source.name == *of) else { continue };
        let built = build_source(source, columns, clusters, name).map_err(|error| refused(&error))?;
        sources.insert(of.clone(), Arc::from(built));
    }
    Ok(sources)
}

/// Everything with state, each once, sources first.
fn operators(spec: &PipelineSpec, graph: &Graph) -> Vec<OperatorPlan> {
    let mut operators: BTreeMap<OperatorId, String> = BTreeMap::new();
    for stage in &graph.stages {
        if let StageInput::Source { name, .. } = &stage.input
            && let Some(source) = spec.sources.iter().find(|source| source.name == *name)
        {
            operators.insert(source_operator(name), source_fingerprint(source));
        }
        for operator in stage.chain.stateful_operators() {
            operators.insert(operator.id, operator.fingerprint);
        }
    }
    operators.into_iter().map(|(operator, fingerprint)| OperatorPlan { operator, fingerprint }).collect()
}

/// What a source's positions depend on: where it reads, and the event time that its watermarks are made of.
fn source_fingerprint(source: &Source) -> String {
    let input = match source.input() {
        Some(SourceInput::Files(files)) => format!("files {}", files.path),
        // Topics may be added and bounds moved: positions are those of partitions.
        Some(SourceInput::Kafka(kafka)) => format!("kafka {}", kafka.connection),
        Some(SourceInput::Generator(generator)) => {
            let rows = generator.rows.map_or_else(|| "unbounded".to_owned(), |rows| rows.to_string());
            format!("generator rows {rows} seed {}", generator.seed)
        }
        None => "nothing".to_owned(),
    };
    match &source.event_time {
        Some(event_time) => format!("{input}, event time {}", event_time.column),
        None => input,
    }
}

fn names(pipeline: &Pipeline, graph: &Graph, operators: &[OperatorPlan]) -> Names {
    let spec = &pipeline.spec;
    let source = |input: &StageInput| match input {
        StageInput::Source { name, .. } => Some(name.clone()),
        StageInput::Edges(_) => None,
    };
    Names {
        pipeline: pipeline.metadata.name.clone().unwrap_or_default(),
        sources: graph.stages.iter().filter_map(|stage| source(&stage.input)).collect(),
        operators: operators.iter().map(|operator| operator.operator.0.clone()).collect(),
        stages: graph.stages.iter().map(|stage| (stage.name.clone(), spec.parallelism)).collect(),
        sinks: spec.sinks.iter().map(|sink| sink.name.clone()).collect(),
        guarantee: Guarantee::weakest(&spec.sinks).to_owned(),
    }
}

/// Makes a sink that only a claim remembers: enough of it to abort what was left there. A cluster that the manifest does
/// not name any more is out of reach.
fn former_sink(clusters: Clusters, checkpoint: CheckpointSpec) -> FormerSink {
    Arc::new(move |claim: &SinkClaim| {
        let mut spec = Sink {
            name: claim.name.clone(),
            input: String::new(),
            files: None,
            kafka: None,
            discard: None,
            format: None,
            guarantee: Guarantee::ExactlyOnce,
        };
        match claim.kind.as_str() {
            "files" => spec.files = Some(FilesSink { path: claim.target.clone() }),
            "discard" => spec.discard = Some(DiscardSink {}),
            "kafka" => {
                let (connection, topic) = claim.target.split_once('/')?;
                spec.kafka = Some(KafkaSink {
                    connection: connection.to_owned(),
                    topic: topic.to_owned(),
                    key: Vec::new(),
                    transaction_timeout: None,
                    commit_budget: None,
                });
            }
            _ => return None,
        }
        build_sink(&spec, &clusters, &checkpoint).ok().map(Arc::from)
    })
}

fn refused(error: &dyn std::error::Error) -> RunError {
    RunError::Refused { message: error.to_string() }
}
