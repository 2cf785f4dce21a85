//! Partitions that are added while a pipeline runs: found at an interval, by the subtask that is to read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::position::{Position, split_id};
use crate::connectors::kafka::client::{Client, Error, OffsetAt, TopicId};
use crate::tasks::{self, Task};

/// Partitions that are found and not taken yet; the rest is found later.
const MOST_FOUND: usize = 10_000;

/// Looks until it is dropped.
pub(super) struct Discovery {
    found: Arc<Mutex<Vec<Position>>>,
    _task: Task<()>,
}

/// Whose partitions to look for.
pub(super) struct Searched {
    pub(super) source: Arc<str>,
    pub(super) client: Client,
    pub(super) topics: Vec<String>,
    /// Topics of which something was read: others of the same name are another matter.
    pub(super) ids: BTreeMap<String, TopicId>,
    /// Splits that somebody reads.
    pub(super) known: BTreeSet<String>,
    pub(super) subtask: u32,
    pub(super) parallelism: u32,
    pub(super) interval: Duration,
}

impl Discovery {
    /// Must be called inside a runtime.
    pub(super) fn new(searched: Searched) -> Self {
        let found: Arc<Mutex<Vec<Position>>> = Arc::default();
        let name = format!("{}-partitions", searched.source);
        let task = tasks::spawn(name, look(searched, Arc::clone(&found)));
        Self { found, _task: task }
    }

    /// What was found since the last time.
    pub(super) fn take(&self) -> Vec<Position> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn look(mut searched: Searched, found: Arc<Mutex<Vec<Position>>>) {
    // Ends when its owner drops it.
    loop {
        match searched.look().await {
            Ok(new) => {
                searched.known.extend(new.iter().map(|position| split_id(&position.topic, position.partition)));
                for position in &new {
                    tracing::info!(source = %searched.source, topic = position.topic, partition = position.partition, "a partition was added; it is read from its beginning");
                }
                found.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
            }
            // Whoever reads meets the same trouble, and tells it.
            Err(error) => tracing::debug!(source = %searched.source, "no new partitions were looked for: {error}"),
        }
        searched.client.clock().sleep(searched.interval).await;
    }
}

impl Searched {
    async fn look(&self) -> Result<Vec<Position>, Error> {
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        let metadata = self.client.metadata(&topics).await?;
        let mut new = vec![];
        for topic in metadata.topics.iter().filter(|topic| topic.code.is_none()) {
            // Made anew: the reader of the old one stops the pipeline.
            if self.ids.get(&topic.name).is_some_and(|id| *id != topic.id) {
                continue;
            }
            for partition in &topic.partitions {
                if new.len() < MOST_FOUND && self.is_mine(&topic.name, partition.index) {
                    let begin = self.client.offset(&topic.name, partition.index, OffsetAt::Earliest).await?;
                    new.push(Position {
                        topic: topic.name.clone(),
                        topic_id: topic.id,
                        partition: partition.index,
                        next: begin.offset.unwrap_or(0),
                        leader_epoch: None,
                        until: None,
                    });
                }
            }
        }
        Ok(new)
    }

    /// Nobody reads it yet, and it is this subtask's turn: so that no two take it, nobody may ever look at what others read.
    fn is_mine(&self, topic: &str, partition: i32) -> bool {
        let owner = partition.unsigned_abs() % self.parallelism.max(1);
        owner == self.subtask && !self.known.contains(&split_id(topic, partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, SystemRandom};
    use crate::connectors::kafka::client::{Ports, Settings};

    #[test]
    fn each_new_partition_has_one_owner() {
        let settings = Settings { bootstrap_servers: vec!["a:1".to_owned()], ..Settings::default() };
        let ports = Ports { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) };
        let client = Client::new(&settings, ports).unwrap();
        let searched = |subtask| Searched {
            source: "s".into(),
            client: client.clone(),
            topics: vec![],
            ids: BTreeMap::new(),
            known: BTreeSet::from([split_id("t", 4)]),
            subtask,
            parallelism: 3,
            interval: Duration::ZERO,
        };
        for partition in 0..20 {
            let owners = (0..3).filter(|subtask| searched(*subtask).is_mine("t", partition)).count();
            assert_eq!(owners, usize::from(partition != 4), "{partition}");
        }
    }
}
