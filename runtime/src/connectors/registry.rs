//! From the manifest's sources and sinks to connectors. Paths in the spec are absolute already (`resolve_paths`).

use std::sync::Arc;

use api::pipeline::{CheckpointSpec, Encoder, Guarantee, Sink, SinkTarget, Source, SourceInput};
use arrow::datatypes::{Schema, SchemaRef};

use super::discard::Discard;
use super::files::filesystem::LocalFiles;
use super::files::{FilesSink, FilesSource};
use super::generator::Generator;
use super::kafka::{Cluster, Clusters, KafkaSink, KafkaSinkSpec, KafkaSource};
use super::record_schema;
use super::{EventTime, SinkConnector, SinkError, SourceConnector, SourceError, values};
use crate::dataflow::graph::{Graph, Leaf};

/// All columns of a source, for the planner.
pub fn source_schema(spec: &Source) -> SchemaRef {
    Arc::new(Schema::new(spec.all_columns().iter().map(values::field).collect::<Vec<_>>()))
}

/// A source of the pipeline of that name that yields `columns`, in this order (event time is read even when it is not
/// among them).
///
/// # Errors
/// [`SourceError::Malformed`] naming what the spec asks for that cannot be.
pub fn build_source(
    spec: &Source,
    columns: &[String],
    clusters: &Clusters,
    pipeline: &str,
) -> Result<Box<dyn SourceConnector>, SourceError> {
    let event_time = spec.event_time.as_ref().map(|event_time| EventTime {
        column: event_time.column.clone(),
        max_out_of_orderness: event_time.max_out_of_orderness.as_std(),
        idle_timeout: event_time.idle_timeout.map(api::pipeline::Duration::as_std),
    });
    match spec.input() {
        Some(SourceInput::Files(files)) => {
            Ok(Box::new(FilesSource::new(spec, files, &spec.decoder(), columns, event_time.as_ref())?))
        }
        Some(SourceInput::Kafka(kafka)) => {
            let cluster = clusters.get(&kafka.connection).ok_or_else(|| SourceError::Malformed {
                source_name: spec.name.clone(),
                position: "kafka.connection".to_owned(),
                message: format!("there is no connection `{}`", kafka.connection),
            })?;
            Ok(Box::new(KafkaSource::new(spec, kafka, cluster, pipeline, columns, event_time.as_ref())?))
        }
        Some(SourceInput::Generator(generator)) => {
            Ok(Box::new(Generator::new(spec, generator, columns, event_time.as_ref())?))
        }
        None => Err(SourceError::Malformed {
            source_name: spec.name.clone(),
            position: "manifest".to_owned(),
            message: "set one of `files`, `kafka`, `generator`".to_owned(),
        }),
    }
}

/// The first sink (by its number) that cannot write what the graph gives it, and why.
pub fn unfit_sink(sinks: &[Sink], graph: &Graph, checkpoint: &CheckpointSpec) -> Option<(usize, SinkError)> {
    let leaves = graph.stages.iter().flat_map(|stage| &stage.leaves);
    let unfit = |leaf: &Leaf| {
        let Leaf::Sink { name, schema } = leaf else { return None };
        let index = sinks.iter().position(|sink| sink.name == *name)?;
        let sink = sinks.get(index)?;
        let fits = match sink.target() {
            // Needs no connection, so that a manifest is judged without one.
            Some(SinkTarget::Kafka(kafka)) => record_schema::check(sink, kafka, schema),
            Some(SinkTarget::Files(_) | SinkTarget::Discard(_)) | None => {
                build_sink(sink, &Clusters::new(), checkpoint).and_then(|sink| sink.check_schema(schema))
            }
        };
        Some((index, fits.err()?))
    };
    leaves.filter_map(unfit).min_by_key(|(index, _)| *index)
}

/// A sink.
///
/// # Errors
/// [`SinkError::Committable`] never; [`SinkError::Row`] if the spec names no target.
pub fn build_sink(
    spec: &Sink,
    clusters: &Clusters,
    checkpoint: &CheckpointSpec,
) -> Result<Box<dyn SinkConnector>, SinkError> {
    match spec.target() {
        Some(SinkTarget::Files(files)) => {
            Ok(Box::new(FilesSink::new(&spec.name, files.path.as_ref(), Arc::new(LocalFiles))))
        }
        Some(SinkTarget::Kafka(kafka)) => {
            let cluster = clusters.get(&kafka.connection).ok_or_else(|| SinkError::Schema {
                sink: spec.name.clone(),
                message: format!("there is no connection `{}`", kafka.connection),
            })?;
            Ok(Box::new(kafka_sink(spec, kafka, cluster, checkpoint)))
        }
        Some(SinkTarget::Discard(_)) => Ok(Box::new(Discard::new(&spec.name))),
        None => Err(SinkError::Row {
            origin: None,
            sink: spec.name.clone(),
            message: "set one of `files`, `kafka`, `discard`".to_owned(),
        }),
    }
}

fn kafka_sink(
    spec: &Sink,
    kafka: &api::pipeline::KafkaSink,
    cluster: &Cluster,
    checkpoint: &CheckpointSpec,
) -> KafkaSink {
    let spec = KafkaSinkSpec {
        name: spec.name.clone(),
        connection: kafka.connection.clone(),
        topic: kafka.topic.clone(),
        key: kafka.key.clone(),
        raw: spec.encoder() == Encoder::Raw,
        prefix: cluster.transactional_id_prefix.clone(),
        transaction_timeout: kafka.transaction_timeout.map(api::pipeline::Duration::as_std),
        commit_budget: kafka.commit_budget.map(api::pipeline::Duration::as_std),
        longest_undecided: checkpoint.longest_undecided().as_std(),
        tolerable_failures: checkpoint.tolerable_failed_checkpoints,
        properties: cluster.properties.of_sinks(),
        is_transactional: spec.guarantee == Guarantee::ExactlyOnce,
    };
    KafkaSink::new(spec, cluster.settings.clone(), cluster.client.clone())
}
