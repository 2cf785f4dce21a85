//! Tells a consumer group how far checkpoints are, for tools that show lag. Nothing here goes by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::ids::Epoch;
use tokio::sync::watch;

use crate::connectors::kafka::client::Client;
use crate::tasks::{self, Task};

/// Epochs that are taken and not decided yet; older ones are told with newer ones.
const MOST_TAKEN: usize = 64;
/// After a try that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Topic, partition, next offset.
pub(super) type Offsets = Vec<(String, i32, i64)>;

/// Reports until it is dropped, one request at a time: whatever was decided meanwhile is told by the next.
pub(super) struct Report {
    taken: VecDeque<(Epoch, Offsets)>,
    decided: watch::Sender<Arc<Offsets>>,
    _task: Task<()>,
}

impl Report {
    /// Must be called inside a runtime.
    pub(super) fn new(source: &Arc<str>, client: Client, group: String) -> Self {
        let (decided, told) = watch::channel(Arc::default());
        let task = tasks::spawn(format!("{source}-offsets"), report(Arc::clone(source), client, group, told));
        Self { taken: VecDeque::new(), decided, _task: task }
    }

    /// An epoch's snapshot stands here.
    pub(super) fn taken(&mut self, epoch: Epoch, offsets: Offsets) {
        if self.taken.len() >= MOST_TAKEN {
            self.taken.pop_front();
        }
        self.taken.push_back((epoch, offsets));
    }

    /// This epoch, and all before it, will not be read again.
    pub(super) fn decided(&mut self, epoch: Epoch) {
        let mut newest = None;
        while self.taken.front().is_some_and(|(taken, _)| *taken <= epoch) {
            newest = self.taken.pop_front();
        }
        if let Some((_, offsets)) = newest.filter(|(_, offsets)| !offsets.is_empty()) {
            self.decided.send_replace(Arc::new(offsets));
        }
    }
}

async fn report(source: Arc<str>, client: Client, group: String, mut told: watch::Receiver<Arc<Offsets>>) {
    let mut is_told = true;
    while told.changed().await.is_ok() {
        let offsets = Arc::clone(&told.borrow_and_update());
        let places: Vec<_> =
            offsets.iter().map(|(topic, partition, next)| (topic.as_str(), *partition, *next)).collect();
        match client.report_offsets(&group, &places).await {
            Ok(()) => is_told = true,
            Err(error) => {
                // Once for each outage.
                if std::mem::take(&mut is_told) {
                    tracing::warn!(source = %source, "group `{group}` is not told how far checkpoints are: {error}");
                }
                client.clock().sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_decided_snapshot_is_told() {
        let (decided, told) = watch::channel(Arc::default());
        let task = tasks::spawn("none", async {});
        let mut report = Report { taken: VecDeque::new(), decided, _task: task };
        for epoch in 1..=100_u64 {
            report.taken(Epoch(epoch), vec![("t".to_owned(), 0, epoch as i64)]);
        }
        assert_eq!(report.taken.len(), MOST_TAKEN);
        report.decided(Epoch(70));
        assert_eq!(told.borrow()[0].2, 70);
        report.decided(Epoch(70));
        assert_eq!(report.taken.front().unwrap().0, Epoch(71));
        report.decided(Epoch(200));
        assert_eq!((told.borrow()[0].2, report.taken.len()), (100, 0));
    }
}
