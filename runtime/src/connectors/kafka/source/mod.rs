//! Topics as a source: every partition is a split, read by an own connection to its leader (docs/decisions/0203).
//!
//! Positions are in checkpoints alone. What was read is compared with the log wherever one begins, and wherever a
//! broker says something odd: records that are gone stop the pipeline, whoever took them away.

mod aborted;
mod answer;
mod batch;
mod columns;
mod compression;
mod discovery;
mod feed;
mod fetcher;
mod inbox;
mod loss;
mod position;
mod reader;
mod records;
mod report;
mod settings;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pipeline::{Column, Decoder, OnError, RecordPart, Source};
use arrow::datatypes::{Schema, SchemaRef};

use self::columns::Parts;
use self::discovery::{Discovery, Searched};
use self::feed::{Columns, PartitionFeed, Values};
use self::fetcher::Fetcher;
use self::inbox::{Cursor, Inbox, Place};
use self::position::Position;
use self::reader::KafkaReader;
use self::report::Report;
use self::settings::{Limits, Reading};
use self::start::Resolving;
use super::Cluster;
use super::client::{Backoff, Client, Code};
use crate::connectors::formats::buffer::ColumnBuffer;
use crate::connectors::formats::json::JsonDecoder;
use crate::connectors::formats::records::{OnFault, Rows};
use crate::connectors::reader::{Projection, Shape, SplitsReader, project};
use crate::connectors::{Assignment, EventTime, SourceConnector, SourceError, SourceReader, Split, values};
use crate::tasks;

/// A configured Kafka source.
pub struct KafkaSource {
    what: Arc<What>,
    reading: Reading,
    output_schema: SchemaRef,
    shape: Shape,
}

/// What all readers of a source share.
struct What {
    client: Client,
    limits: Limits,
    /// The columns that are read: declared ones, then metadata.
    read: Vec<Column>,
    /// How many of them are declared.
    declared: usize,
    /// Index of the event time.
    required: Option<usize>,
    decoder: Decoder,
    columns: Arc<Columns>,
}

/// A reader's own.
struct Opened {
    what: Arc<What>,
    fetcher: Fetcher,
    /// Bytes that may wait for each partition.
    room: usize,
}

impl KafkaSource {
    /// `pipeline`: its name. `wanted`: the columns to yield, in order.
    ///
    /// # Errors
    /// [`SourceError::Malformed`] naming what the spec asks for that cannot be.
    pub fn new(
        spec: &Source,
        kafka: &api::pipeline::KafkaSource,
        cluster: &Cluster,
        pipeline: &str,
        wanted: &[String],
        event_time: Option<&EventTime>,
    ) -> Result<Self, SourceError> {
        let all = spec.all_columns();
        let names: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
        let Projection { read, shape } = project(&spec.name, &names, wanted, event_time)?;
        let declared = read.iter().filter(|index| **index < spec.columns.len()).count();
        let part = |(place, index): (usize, &usize)| {
            let of = index.checked_sub(spec.columns.len()).and_then(|index| spec.metadata.get(index));
            of.map(|metadata| (place, metadata.from))
        };
        let parts: Parts = read.iter().enumerate().filter_map(part).collect::<Vec<(usize, RecordPart)>>();
        let read: Vec<Column> = read.iter().filter_map(|index| all.get(*index)).cloned().collect();
        let schema = Arc::new(Schema::new(read.iter().map(values::field).collect::<Vec<_>>()));
        let output_schema = schema.project(&shape.output).map_err(|error| SourceError::Malformed {
            source_name: spec.name.clone(),
            position: "columns".to_owned(),
            message: error.to_string(),
        })?;
        let what = What {
            client: cluster.client.clone(),
            limits: Limits::new(&cluster.properties),
            read,
            declared,
            required: shape.event_time,
            decoder: spec.decoder(),
            columns: Arc::new(Columns { source: spec.name.as_str().into(), schema, parts }),
        };
        let reading = Reading::new(kafka, &cluster.transactional_id_prefix, pipeline);
        Ok(Self { what: Arc::new(what), reading, output_schema: Arc::new(output_schema), shape })
    }

    fn name(&self) -> &Arc<str> {
        &self.what.columns.source
    }

    /// That what was read is still there, partition by partition.
    async fn verify(&self, positions: &[Position]) -> Result<(), SourceError> {
        let client = &self.what.client;
        let unread: Vec<_> = positions.iter().filter(|position| !position.is_at_end()).collect();
        let mut topics: Vec<_> = unread.iter().map(|position| position.topic.as_str()).collect();
        topics.dedup();
        if topics.is_empty() {
            return Ok(());
        }
        // A node that has just started may not know every topic yet.
        let known = || async {
            let metadata = client.metadata(&topics).await?;
            match metadata.topics.iter().find(|topic| !topic.code.is_none()) {
                Some(topic) => {
                    let about = format!("topic `{}`", topic.name);
                    Err(super::client::Error::Refused { request: "Metadata", about, code: topic.code })
                }
                None => Ok(metadata),
            }
        };
        let metadata = match client.retried(&Backoff::SHORT, known).await {
            Err(error) if error.code() == Some(Code::UNKNOWN_TOPIC_OR_PARTITION) => {
                let message = format!("{error}: the topic was deleted, and what was not read is gone");
                return Err(SourceError::DataLost { source_name: self.name().to_string(), message });
            }
            answered => answered.map_err(|error| loss::remote(self.name(), "the cluster", &error))?,
        };
        for position in unread {
            let (place, read) = place_of(position);
            let found = metadata.topics.iter().find(|topic| topic.name == position.topic);
            if let Some(message) = found.and_then(|topic| loss::is_another(&place, topic)) {
                return Err(loss::lost(self.name(), &place, &message));
            }
            let is_there = || async {
                match loss::check(client, &place, read).await {
                    Ok(()) => Ok(Ok(())),
                    Err(loss::Doubt::Unanswered(error)) => Err(error),
                    Err(lost @ loss::Doubt::Lost(_)) => Ok(Err(lost)),
                }
            };
            let answered = client.retried(&Backoff::SHORT, is_there).await;
            let checked = answered.map_err(|error| loss::remote(self.name(), &place.to_string(), &error))?;
            checked.map_err(|lost| lost.into_error(self.name(), &place))?;
        }
        Ok(())
    }
}

fn place_of(position: &Position) -> (Place, Cursor) {
    let Position { topic, topic_id, partition, next, leader_epoch, until: _ } = position;
    let place = Place { topic: topic.clone(), id: *topic_id, partition: *partition };
    (place, Cursor { next: *next, leader_epoch: leader_epoch.unwrap_or(-1) })
}

impl Opened {
    /// The reader of one partition; it is fetched from now on, unless it is at its end.
    fn feed(&self, position: Position) -> PartitionFeed {
        let (place, cursor) = place_of(&position);
        let inbox = Arc::new(Inbox::new(place, cursor, position.until, self.room, self.fetcher.room()));
        if !position.is_at_end() {
            self.fetcher.add(Arc::clone(&inbox));
        }
        self.what.feed(position, inbox)
    }
}

impl What {
    fn feed(&self, position: Position, inbox: Arc<Inbox>) -> PartitionFeed {
        let Self { read, declared, required, decoder, columns, .. } = self;
        let buffer = |(index, column)| ColumnBuffer::new(column, *required == Some(index));
        let rows = Rows::new(read.iter().enumerate().map(buffer).collect());
        let values = match decoder {
            Decoder::Json(json) => {
                let on_fault = match json.on_error {
                    OnError::Fail => OnFault::Fail,
                    OnError::Skip => OnFault::Skip,
                };
                Values::Json(JsonDecoder::new(rows.columns.get(..*declared).unwrap_or_default(), on_fault))
            }
            // Tables are refused by the manifest's rules; what is declared is one column of bytes.
            Decoder::Raw | Decoder::Csv(_) | Decoder::Parquet(_) => Values::Raw((*declared > 0).then_some(0)),
        };
        PartitionFeed::new(Arc::clone(columns), position, inbox, values, rows)
    }
}

impl SourceConnector for KafkaSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.output_schema)
    }

    fn resolve(&self, _: u32) -> Result<Vec<Split>, SourceError> {
        let resolving = Resolving { source: self.name(), client: &self.what.client, reading: &self.reading };
        let positions = tasks::block_on(resolving.positions())?;
        Ok(positions.iter().map(Position::split).collect())
    }

    fn is_parallel_in_time(&self) -> bool {
        true
    }

    fn open(&self, assignment: Assignment) -> Result<Box<dyn SourceReader>, SourceError> {
        let Assignment { splits, known, subtask, parallelism } = assignment;
        let mut positions = Vec::with_capacity(splits.len());
        let (mut read, mut resting) = (vec![], vec![]);
        for split in splits {
            let position = Position::decode(self.name(), &split.position)?;
            if self.reading.topics.contains(&position.topic) {
                if !split.finished {
                    positions.push(position.clone());
                }
                read.push((split, position));
            } else {
                resting.push(split);
            }
        }
        tasks::block_on(self.verify(&positions))?;
        let What { client, limits, .. } = &*self.what;
        let opened = Arc::new(Opened {
            what: Arc::clone(&self.what),
            fetcher: Fetcher::new(Arc::clone(self.name()), client.clone(), *limits),
            room: limits.room(positions.len()),
        });
        let ids: BTreeMap<_, _> = read.iter().map(|(_, at)| (at.topic.clone(), at.topic_id)).collect();
        let feeds = read.into_iter().map(|(split, position)| (split, opened.feed(position))).collect();
        let splits = SplitsReader::new(self.name().to_string(), self.shape.clone(), feeds);
        let searched = || Searched {
            source: Arc::clone(self.name()),
            client: client.clone(),
            topics: self.reading.topics.clone(),
            ids,
            known: (*known).clone(),
            subtask: subtask.0,
            parallelism,
            interval: limits.discovery,
        };
        let is_endless = self.reading.is_endless();
        Ok(Box::new(KafkaReader {
            opened,
            splits: splits.of_partitions(is_endless),
            resting,
            discovery: is_endless.then(|| Discovery::new(searched())),
            report: Report::new(self.name(), client.clone(), self.reading.group.clone()),
        }))
    }
}
