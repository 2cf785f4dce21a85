//! What a worker tells of itself: served as JSON at `/state`, and left as the container's termination message. It says what
//! the log said when the worker read or wrote it; nothing is decided by it.

mod version;

use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};
use serde::{Deserialize, Serialize};

pub use self::version::{OLDEST_REPORT_VERSION, Unread, Words};

/// Version of these words. A reader goes on with what it knows of a newer one; what it cannot understand is [`Unread`].
pub const REPORT_VERSION: u32 = 1;
/// Kubernetes cuts a termination message at 4,096 bytes; texts are cut so that a whole report stays below.
pub const MOST_TEXT_BYTES: usize = 512;
/// So short they are never cut further: a whole report of such texts has room, whatever they are escaped to.
const SHORTEST_TEXT_BYTES: usize = 64;
const MOST_BYTES: usize = 4_096;
/// Sinks that are named one by one.
const MOST_PENDING: usize = 16;

/// A worker and the log as it knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerReport {
    pub report_version: u32,
    /// Of the binary.
    pub version: String,
    /// Of the configuration that it runs: the controller's hash.
    pub configuration: String,
    pub state: WorkerState,
    /// Why, for a worker that has ended or waits.
    pub reason: Option<String>,
    pub message: Option<String>,
    /// None before anything was claimed or read.
    pub log: Option<LogPosition>,
    pub parallelism: u32,
    pub attempts: Attempts,
    pub checkpoints: Checkpoints,
    /// Decided output that is not known to be visible, by sink.
    pub pending_commits: Vec<PendingCommit>,
    /// The newest checkpoint that the controller has asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Requested>,
}

/// A checkpoint that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// As the one who asked named it.
    pub id: String,
    /// Whether it is to be kept for ever.
    #[serde(default)]
    pub savepoint: bool,
    /// Once it is decided; of a savepoint, once its commits are done, too.
    #[serde(default)]
    pub taken: Option<RestoredCheckpoint>,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// Nothing is claimed yet.
    #[default]
    Starting,
    /// Commits of the newest checkpoint are being finished, state is restored.
    Recovering,
    Running,
    /// The last attempt has failed; the next one waits for its delay.
    Restarting,
    /// A last checkpoint is on its way.
    Stopping,
    /// Ended: everything up to the last checkpoint is committed.
    Stopped,
    /// Ended before the last checkpoint was settled.
    StoppedUndecided,
    /// Ended: every source has come to its end.
    Finished,
    /// Ended: only commits were to be finished, and they are.
    Settled,
    /// Ended: the same would happen again.
    Failed,
    /// Ended: the manifest or an option cannot be run.
    Refused,
    /// Ended: another worker has taken over.
    Fenced,
}

impl WorkerState {
    /// Whether nothing more will come of this process.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Starting | Self::Recovering | Self::Running | Self::Restarting | Self::Stopping)
    }
}

/// The newest record of the log that the worker knows of. Compared within one pipeline id only: a higher log, then a higher
/// attempt, then a higher slot knows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPosition {
    pub pipeline_id: PipelineId,
    pub log: LogIndex,
    pub attempt: Attempt,
    pub slot: Slot,
}

impl LogPosition {
    /// Whether `self` knows more than `other`, or of another pipeline.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let place = |position: &Self| (position.log, position.attempt, position.slot);
        self.pipeline_id == other.pipeline_id && place(self) > place(other)
    }
}

/// Attempts of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attempts {
    /// How many have failed, and how many of those count against the restart policy.
    pub failed: u32,
    pub counted: u32,
    pub last_reason: Option<String>,
    pub last_time_ms: Option<u64>,
    /// When the next one begins.
    pub next_time_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoints {
    pub newest: Option<CompletedCheckpoint>,
    pub failed: Option<FailedCheckpoint>,
    pub consecutive_failures: u32,
    pub restored_from: Option<RestoredCheckpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompletedCheckpoint {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub handle: String,
    #[serde(default)]
    pub time_ms: u64,
    #[serde(default)]
    pub duration_ms: u64,
    #[serde(default)]
    pub size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailedCheckpoint {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub time_ms: u64,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredCheckpoint {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub handle: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingCommit {
    /// Empty: of all sinks together.
    pub sink: String,
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub committables: u64,
    pub since_ms: u64,
    pub tries: u32,
    pub last_error: Option<String>,
}

impl WorkerReport {
    /// Texts and lists cut to what a termination message can hold: error texts first, then sinks become one entry, then
    /// checkpoints are left out.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.version, SHORTEST_TEXT_BYTES);
        cut(&mut self.configuration, SHORTEST_TEXT_BYTES);
        if self.pending_commits.len() > MOST_PENDING {
            self.merge_pending();
        }
        let mut most = MOST_TEXT_BYTES;
        while most >= SHORTEST_TEXT_BYTES {
            self.cut_texts(most);
            if self.fits() {
                return self;
            }
            most /= 2;
        }
        self.merge_pending();
        if !self.fits() {
            self.requested = None;
        }
        if !self.fits() {
            self.checkpoints.restored_from = None;
        }
        if !self.fits() {
            self.checkpoints.newest = None;
        }
        self
    }

    fn fits(&self) -> bool {
        serde_json::to_string(self).is_ok_and(|text| text.len() < MOST_BYTES)
    }

    fn cut_texts(&mut self, most: usize) {
        let errors = self.pending_commits.iter_mut().filter_map(|pending| pending.last_error.as_mut());
        let failed = self.checkpoints.failed.as_mut().map(|failed| &mut failed.reason);
        let others = [&mut self.reason, &mut self.message, &mut self.attempts.last_reason].into_iter().flatten();
        others.chain(failed).chain(errors).for_each(|text| cut(text, most));
    }

    /// All sinks together.
    fn merge_pending(&mut self) {
        let merged = self.pending_commits.drain(..).reduce(|all, one| PendingCommit {
            sink: String::new(),
            committables: all.committables.saturating_add(one.committables),
            since_ms: all.since_ms.min(one.since_ms),
            tries: all.tries.max(one.tries),
            last_error: all.last_error.or(one.last_error),
            ..all
        });
        self.pending_commits.extend(merged);
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_a_termination_message_however_long_its_texts() {
        let long = || Some("ä".repeat(10_000));
        let pending = PendingCommit {
            sink: "s".repeat(63),
            attempt: Attempt(u64::MAX),
            epoch: Epoch(u64::MAX),
            committables: u64::MAX,
            since_ms: u64::MAX,
            tries: u32::MAX,
            last_error: long(),
        };
        let report = WorkerReport {
            reason: long(),
            message: long(),
            attempts: Attempts { last_reason: long(), ..Attempts::default() },
            pending_commits: vec![pending; 12],
            ..WorkerReport::default()
        };
        let text = serde_json::to_string(&report.bounded()).unwrap_or_default();
        assert!(!text.is_empty() && text.len() < 4_096, "{}", text.len());
    }

    #[test]
    fn positions_are_compared_within_one_pipeline() {
        let at = |id, log, attempt, slot| LogPosition {
            pipeline_id: PipelineId(id),
            log: LogIndex(log),
            attempt: Attempt(attempt),
            slot: Slot(slot),
        };
        assert!(at(1, 0, 2, 0).is_newer_than(&at(1, 0, 1, 9)));
        assert!(at(1, 1, 1, 0).is_newer_than(&at(1, 0, 7, 9)));
        assert!(!at(1, 0, 1, 3).is_newer_than(&at(1, 0, 1, 3)));
        assert!(!at(2, 0, 9, 0).is_newer_than(&at(1, 0, 1, 0)));
    }
}
