//! The partitions of one subtask as a reader: those that it was given, and those that are added meanwhile.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::Epoch;

use super::Opened;
use super::discovery::Discovery;
use super::feed::PartitionFeed;
use super::report::{Offsets, Report};
use crate::connectors::reader::SplitsReader;
use crate::connectors::{Lag, Next, SourceCounters, SourceError, SourceReader, Split, Stretch};

pub(super) struct KafkaReader {
    pub(super) opened: Arc<Opened>,
    pub(super) splits: SplitsReader<PartitionFeed>,
    /// Splits of topics that the manifest does not name any more: kept as they are, in case that it names them again.
    pub(super) resting: Vec<Split>,
    /// None: reading ends, so that nothing is added.
    pub(super) discovery: Option<Discovery>,
    pub(super) report: Report,
}

impl SourceReader for KafkaReader {
    fn next(&mut self, now: Duration) -> Result<Next, SourceError> {
        for position in self.discovery.as_ref().map(Discovery::take).unwrap_or_default() {
            let split = position.split();
            let feed = self.opened.feed(position);
            self.splits.add(split, feed);
        }
        self.splits.next(now)
    }

    fn last_batch(&self) -> String {
        self.splits.last_batch()
    }

    fn stretches(&mut self) -> Vec<Stretch> {
        self.splits.stretches()
    }

    fn snapshot(&self) -> Vec<Split> {
        let mut splits = self.splits.snapshot();
        splits.extend(self.resting.iter().cloned());
        splits
    }

    fn taken(&mut self, epoch: Epoch) {
        let offset = |feed: &PartitionFeed| {
            let position = feed.at();
            (position.topic.clone(), position.partition, position.next)
        };
        let offsets: Offsets = self.splits.feeds().map(offset).collect();
        self.report.taken(epoch, offsets);
    }

    fn decided(&mut self, epoch: Epoch) {
        self.report.decided(epoch);
    }

    fn counters(&self) -> SourceCounters {
        self.splits.counters()
    }

    fn lag(&self) -> Vec<Lag> {
        self.splits.feeds().filter_map(PartitionFeed::lag).collect()
    }
}
