//! From the manifest to what the planner needs.

use api::pipeline::PipelineSpec;

use super::{Definition, Query, SinkInput, SourceTable};
use crate::connectors::registry::source_schema;

impl Definition {
    /// Names, queries and schemas of a manifest; nothing is opened.
    pub fn of(spec: &PipelineSpec) -> Self {
        let source = |source: &api::pipeline::Source| SourceTable {
            name: source.name.clone(),
            schema: source_schema(source),
            event_time: source.event_time.as_ref().map(|event_time| event_time.column.clone()),
        };
        let query = |query: &api::pipeline::Transform| Query { name: query.name.clone(), sql: query.sql.clone() };
        let sink = |sink: &api::pipeline::Sink| SinkInput { name: sink.name.clone(), input: sink.input.clone() };
        Self {
            max_parallelism: spec.max_parallelism,
            sources: spec.sources.iter().map(source).collect(),
            transforms: spec.transforms.iter().map(query).collect(),
            sinks: spec.sinks.iter().map(sink).collect(),
        }
    }
}
