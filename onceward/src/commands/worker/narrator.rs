//! A worker's log: what becomes of attempts; checkpoints only for those who ask.

use runtime::run::{Observer, RunEvent};

/// Writes each event once, by its weight.
pub(super) struct Narrator;

impl Observer for Narrator {
    fn event(&self, event: RunEvent) {
        // Numbers, strings and enums: this cannot fail.
        let what = serde_json::to_string(&event).unwrap_or_default();
        match event {
            RunEvent::Failed { .. } => tracing::error!(what, "failed"),
            RunEvent::AttemptFailed { .. } => tracing::warn!(what, "the attempt failed"),
            RunEvent::CheckpointFailed { .. } => tracing::warn!(what, "a checkpoint failed"),
            RunEvent::CommitRetried { .. } => tracing::warn!(what, "a commit failed"),
            RunEvent::StoppedUndecided { .. } => tracing::warn!(what, "stopped before the last checkpoint"),
            RunEvent::Claimed { .. }
            | RunEvent::Superseded { .. }
            | RunEvent::Recovering { .. }
            | RunEvent::LeftoversAborted { .. }
            | RunEvent::Begun { .. }
            | RunEvent::Restored { .. }
            | RunEvent::Running { .. }
            | RunEvent::CheckpointRequested { .. }
            | RunEvent::CheckpointAnswered { .. }
            | RunEvent::Stopping { .. }
            | RunEvent::Stopped { .. }
            | RunEvent::Settled { .. }
            | RunEvent::Finished { .. } => tracing::info!(what, "the run goes on"),
            RunEvent::LogRead { .. }
            | RunEvent::RecoveryEnded { .. }
            | RunEvent::CheckpointCompleted { .. }
            | RunEvent::SinkCommitted { .. }
            | RunEvent::CommitCompleted { .. }
            | RunEvent::Progress { .. } => tracing::debug!(what, "the run goes on"),
        }
    }
}
