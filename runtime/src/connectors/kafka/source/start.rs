//! Where a new pipeline begins and ends, partition by partition: told once, and from then on by checkpoints alone.

use std::collections::HashMap;
use std::future::Future;

use api::pipeline::StartPosition;

use super::inbox::Place;
use super::loss::remote;
use super::position::Position;
use super::settings::{End, Reading};
use crate::connectors::kafka::client::{Backoff, Client, Code, Error, Isolation, OffsetAt, Topic};
use crate::connectors::{Retry, SourceError};

/// Asks for the positions of one source.
pub(super) struct Resolving<'a> {
    pub(super) source: &'a str,
    pub(super) client: &'a Client,
    pub(super) reading: &'a Reading,
}

impl Resolving<'_> {
    /// # Errors
    /// A topic or partition that is not there, or a broker that does not answer.
    pub(super) async fn positions(&self) -> Result<Vec<Position>, SourceError> {
        let places = self.places(self.topics().await?)?;
        let committed = self.committed(&places).await?;
        let mut positions = Vec::with_capacity(places.len());
        for place in places {
            let next = self.begin(&place, &committed).await?;
            let until = self.end(&place).await?;
            let Place { topic, id, partition } = place;
            positions.push(Position { topic, topic_id: id, partition, next, leader_epoch: None, until });
        }
        Ok(positions)
    }

    async fn topics(&self) -> Result<Vec<Topic>, SourceError> {
        let names = self.reading.topic_names();
        let metadata = self.asked("the cluster", || self.client.metadata(&names)).await?;
        let mut topics = vec![];
        for name in names {
            let found = metadata.topics.iter().find(|topic| topic.name == name);
            match found.map_or(Code::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.code) {
                Code::NONE => topics.extend(found.cloned()),
                Code::UNKNOWN_TOPIC_OR_PARTITION => {
                    return Err(
                        self.wrong(format!("topic `{name}`"), "there is no such topic; create it, or correct topics")
                    );
                }
                code => {
                    let error = Error::Refused { request: "Metadata", about: format!("topic `{name}`"), code };
                    return Err(remote(self.source, &format!("topic `{name}`"), &error));
                }
            }
        }
        Ok(topics)
    }

    /// Partitions to be read, in order.
    fn places(&self, topics: Vec<Topic>) -> Result<Vec<Place>, SourceError> {
        let all = topics.into_iter().flat_map(|topic| {
            let Topic { name, id, partitions, .. } = topic;
            partitions.into_iter().map(move |found| Place { topic: name.clone(), id, partition: found.index })
        });
        let End::Offsets(offsets) = &self.reading.end else { return Ok(all.collect()) };
        let all: Vec<_> = all.collect();
        let is_of = |place: &Place, topic: &str, partition| place.topic == topic && place.partition == partition;
        for wanted in offsets {
            if !all.iter().any(|place| is_of(place, &wanted.topic, wanted.partition)) {
                let position = format!("topic `{}` partition {}", wanted.topic, wanted.partition);
                return Err(self.wrong(position, "there is no such partition; correct untilOffsets"));
            }
        }
        let is_wanted = |place: &Place| offsets.iter().any(|wanted| is_of(place, &wanted.topic, wanted.partition));
        Ok(all.into_iter().filter(is_wanted).collect())
    }

    async fn committed(&self, places: &[Place]) -> Result<HashMap<(String, i32), i64>, SourceError> {
        if self.reading.start != StartPosition::CommittedOffsets {
            return Ok(HashMap::new());
        }
        let of = |topic: &str| {
            places.iter().filter(|place| place.topic == topic).map(|place| place.partition).collect::<Vec<_>>()
        };
        let wanted: Vec<_> = self.reading.topic_names().into_iter().map(|topic| (topic, of(topic))).collect();
        let group = &self.reading.group;
        let offsets = self.asked(&format!("group `{group}`"), || self.client.group_offsets(group, &wanted)).await?;
        Ok(offsets.into_iter().map(|found| ((found.topic, found.partition), found.offset)).collect())
    }

    async fn begin(&self, place: &Place, committed: &HashMap<(String, i32), i64>) -> Result<i64, SourceError> {
        let at = match &self.reading.start {
            StartPosition::Earliest => OffsetAt::Earliest,
            StartPosition::Latest => OffsetAt::Latest(Isolation::Committed),
            StartPosition::CommittedOffsets => match committed.get(&(place.topic.clone(), place.partition)) {
                Some(offset) => return Ok(*offset),
                None => OffsetAt::Earliest,
            },
            StartPosition::Moment(moment) => OffsetAt::Time(moment.millis()),
        };
        match self.offset(place, at).await? {
            Some(offset) => Ok(offset),
            // No record is that late: all that are there now, also in open transactions, are earlier.
            None => Ok(self.offset(place, OffsetAt::Latest(Isolation::Uncommitted)).await?.unwrap_or(0)),
        }
    }

    async fn end(&self, place: &Place) -> Result<Option<i64>, SourceError> {
        let at = match &self.reading.end {
            End::Never => return Ok(None),
            End::Offsets(offsets) => {
                let found = |wanted: &&api::pipeline::PartitionOffset| {
                    wanted.topic == place.topic && wanted.partition == place.partition
                };
                return Ok(offsets.iter().find(found).map(|wanted| wanted.offset));
            }
            End::Latest => OffsetAt::Latest(Isolation::Committed),
            End::Time(time_ms) => OffsetAt::Time(*time_ms),
        };
        let end = match self.offset(place, at).await? {
            Some(offset) => Some(offset),
            None => self.offset(place, OffsetAt::Latest(Isolation::Committed)).await?,
        };
        Ok(Some(end.unwrap_or(0)))
    }

    async fn offset(&self, place: &Place, at: OffsetAt) -> Result<Option<i64>, SourceError> {
        let (topic, partition) = (place.topic.as_str(), place.partition);
        let found = self.asked(&place.to_string(), || self.client.offset(topic, partition, at)).await?;
        Ok(found.offset)
    }

    async fn asked<T, F>(&self, target: &str, ask: impl FnMut() -> F) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answered = self.client.retried(&Backoff::SHORT, ask).await;
        answered.map_err(|error| remote(self.source, target, &error))
    }

    fn wrong(&self, target: String, message: &str) -> SourceError {
        SourceError::Remote {
            source_name: self.source.to_owned(),
            target,
            message: message.to_owned(),
            retry: Retry::Never,
        }
    }
}
