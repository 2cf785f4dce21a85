//! One event more: a pure fold.

use std::collections::BTreeMap;

use api::report::{
    Checkpoints, CompletedCheckpoint, FailedCheckpoint, LogPosition, MOST_TEXT_BYTES, PendingCommit, Requested,
    RestoredCheckpoint, WorkerReport, WorkerState,
};
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};

use crate::run::{CommittableEnd, RunEvent};

/// Takes an event into a report. `now_ms`: milliseconds since 1970.
///
/// Grows with the pipeline's sinks alone: one entry each, and texts are cut.
pub fn apply(report: &mut WorkerReport, event: &RunEvent, now_ms: u64) {
    match event {
        RunEvent::LogRead { .. }
        | RunEvent::Claimed { .. }
        | RunEvent::Begun { .. }
        | RunEvent::Restored { .. }
        | RunEvent::CheckpointCompleted { .. }
        | RunEvent::CheckpointFailed { .. } => of_log(report, event, now_ms),
        RunEvent::RecoveryEnded { sink, end, .. } => match end {
            CommittableEnd::Committed | CommittableEnd::AlreadyCommitted | CommittableEnd::Aborted => {
                one_less(report, sink);
            }
            // It waits for a person.
            CommittableEnd::Lost => {}
        },
        RunEvent::SinkCommitted { sink, .. } => report.pending_commits.retain(|pending| pending.sink != *sink),
        RunEvent::CommitCompleted { .. } => report.pending_commits.clear(),
        RunEvent::CommitRetried { epoch, sink, tries, message, .. } if *epoch != Epoch(0) => {
            if let Some(pending) = report.pending_commits.iter_mut().find(|pending| pending.sink == *sink) {
                pending.tries = pending.tries.max(*tries);
                pending.last_error = Some(cut(message));
            }
        }
        RunEvent::Running { .. } => {
            report.pending_commits.clear();
            goes_on(report, WorkerState::Running);
        }
        RunEvent::AttemptFailed { message, counted, retry_in_ms, .. } => {
            let attempts = &mut report.attempts;
            attempts.failed = attempts.failed.saturating_add(1);
            attempts.counted = attempts.counted.saturating_add(u32::from(*counted));
            attempts.last_reason = Some(cut(message));
            attempts.last_time_ms = Some(now_ms);
            attempts.next_time_ms = Some(now_ms.saturating_add(*retry_in_ms));
            report.message = Some(cut(message));
            // Before the first claim there was no attempt: what is waited for is a target.
            if report.state != WorkerState::Starting {
                report.state = WorkerState::Restarting;
            }
        }
        RunEvent::CheckpointRequested { id, savepoint } => {
            report.requested = Some(Requested { id: cut(id), savepoint: *savepoint, taken: None });
        }
        RunEvent::CheckpointAnswered { id, savepoint, attempt, epoch, handle } => {
            let taken = RestoredCheckpoint { attempt: *attempt, epoch: *epoch, handle: handle.clone() };
            report.requested = Some(Requested { id: cut(id), savepoint: *savepoint, taken: Some(taken) });
        }
        RunEvent::Stopping { .. } => goes_on(report, WorkerState::Stopping),
        RunEvent::Stopped { .. }
        | RunEvent::StoppedUndecided { .. }
        | RunEvent::Finished { .. }
        | RunEvent::Settled { .. }
        | RunEvent::Failed { .. } => ended(report, event),
        // Leftovers are retried like commits, and are nothing that was decided.
        RunEvent::CommitRetried { .. }
        | RunEvent::Superseded { .. }
        | RunEvent::Recovering { .. }
        | RunEvent::LeftoversAborted { .. }
        | RunEvent::Progress { .. } => {}
    }
}

/// What the log says, or was made to say.
fn of_log(report: &mut WorkerReport, event: &RunEvent, now_ms: u64) {
    match event {
        RunEvent::LogRead { pipeline_id, log, attempt, slot, newest, owed } => {
            knows(report, (*pipeline_id, *log), *attempt, *slot);
            if let Some(newest) = newest {
                let (handle, size) = (newest.handle.clone(), newest.size_bytes);
                known(report, (newest.attempt, newest.epoch), handle, size);
                owes(report, (newest.attempt, newest.epoch), owed, now_ms);
            }
        }
        RunEvent::Claimed { pipeline_id, log, attempt } => {
            knows(report, (*pipeline_id, *log), *attempt, Slot(0));
            goes_on(report, WorkerState::Recovering);
        }
        RunEvent::Begun { attempt, epoch, slot, handle, size_bytes } => {
            wrote(report, *attempt, *slot);
            completed(report, (*attempt, *epoch), handle.clone(), *size_bytes, (now_ms, 0));
        }
        RunEvent::Restored { attempt, decided_by, epoch, slot, handle, size_bytes } => {
            report.pending_commits.clear();
            if decided_by == attempt {
                wrote(report, *attempt, *slot);
                completed(report, (*attempt, *epoch), handle.clone(), *size_bytes, (now_ms, 0));
            } else {
                known(report, (*decided_by, *epoch), handle.clone(), *size_bytes);
            }
            report.checkpoints.restored_from =
                Some(RestoredCheckpoint { attempt: *decided_by, epoch: *epoch, handle: handle.clone() });
        }
        RunEvent::CheckpointCompleted { attempt, epoch, slot, handle, durations, size_bytes, owed, .. } => {
            wrote(report, *attempt, *slot);
            let took_ms = durations.total().as_millis() as u64;
            completed(report, (*attempt, *epoch), handle.clone(), *size_bytes, (now_ms, took_ms));
            report.checkpoints.consecutive_failures = 0;
            owes(report, (*attempt, *epoch), owed, now_ms);
        }
        RunEvent::CheckpointFailed { attempt, epoch, reason, consecutive } => {
            report.checkpoints.consecutive_failures = *consecutive;
            report.checkpoints.failed =
                Some(FailedCheckpoint { attempt: *attempt, epoch: *epoch, time_ms: now_ms, reason: cut(reason) });
        }
        _ => {}
    }
}

fn ended(report: &mut WorkerReport, event: &RunEvent) {
    match event {
        RunEvent::Stopped { .. } => end(report, WorkerState::Stopped, None, None),
        RunEvent::StoppedUndecided { message } => {
            end(report, WorkerState::StoppedUndecided, Some("StoppedUndecided"), Some(message));
        }
        RunEvent::Finished { .. } => end(report, WorkerState::Finished, None, None),
        RunEvent::Settled { .. } => end(report, WorkerState::Settled, None, None),
        RunEvent::Failed { reason, message, exit_code } => {
            let (state, name) = match (exit_code, reason) {
                (2, _) => (WorkerState::Refused, "Refused".to_owned()),
                (3, _) => (WorkerState::Fenced, "Fenced".to_owned()),
                (_, reason) => {
                    (WorkerState::Failed, reason.map_or("Failed".to_owned(), |reason| format!("{reason:?}")))
                }
            };
            end(report, state, Some(&name), Some(message));
        }
        _ => {}
    }
}

/// Nothing more comes of this process.
pub(super) fn end(report: &mut WorkerReport, state: WorkerState, reason: Option<&str>, message: Option<&str>) {
    let is_done = matches!(state, WorkerState::Stopped | WorkerState::Finished | WorkerState::Settled);
    if is_done {
        report.pending_commits.clear();
    }
    report.state = state;
    report.attempts.next_time_ms = None;
    (report.reason, report.message) = (reason.map(cut), message.map(cut));
}

/// Whatever it has waited for is over.
fn goes_on(report: &mut WorkerReport, state: WorkerState) {
    report.state = state;
    report.attempts.next_time_ms = None;
    (report.reason, report.message) = (None, None);
}

/// A record of this log, by whomever; what was known of another log says nothing of this one.
fn knows(report: &mut WorkerReport, (pipeline_id, log): (PipelineId, LogIndex), attempt: Attempt, slot: Slot) {
    let position = LogPosition { pipeline_id, log, attempt, slot };
    match &report.log {
        Some(known) if (known.pipeline_id, known.log) == (pipeline_id, log) => {
            if position.is_newer_than(known) {
                report.log = Some(position);
            }
        }
        Some(_) | None => {
            report.log = Some(position);
            report.checkpoints = Checkpoints::default();
            report.pending_commits.clear();
        }
    }
}

/// A record of this worker's own.
fn wrote(report: &mut WorkerReport, attempt: Attempt, slot: Slot) {
    if let Some(LogPosition { pipeline_id, log, .. }) = report.log {
        knows(report, (pipeline_id, log), attempt, slot);
    }
}

/// A checkpoint that the log tells of; when it was taken and how long that took the log does not tell: both are 0.
fn known(report: &mut WorkerReport, id: (Attempt, Epoch), handle: String, size_bytes: u64) {
    let newest = report.checkpoints.newest.as_ref();
    if newest.is_none_or(|newest| (newest.attempt, newest.epoch) != id) {
        completed(report, id, handle, size_bytes, (0, 0));
    }
}

fn completed(
    report: &mut WorkerReport,
    (attempt, epoch): (Attempt, Epoch),
    handle: String,
    size_bytes: u64,
    (time_ms, duration_ms): (u64, u64),
) {
    let newest = CompletedCheckpoint { attempt, epoch, handle, time_ms, duration_ms, size_bytes };
    report.checkpoints.newest = Some(newest);
}

/// A decision owes output of these sinks. What is known of it already (since when, how often it was tried) stays.
fn owes(report: &mut WorkerReport, (attempt, epoch): (Attempt, Epoch), owed: &BTreeMap<String, u64>, now_ms: u64) {
    let before = std::mem::take(&mut report.pending_commits);
    let known = |sink: &str| {
        before.iter().find(|pending| (pending.sink.as_str(), pending.attempt, pending.epoch) == (sink, attempt, epoch))
    };
    report.pending_commits = owed
        .iter()
        .map(|(sink, count)| match known(sink) {
            Some(pending) => PendingCommit { committables: *count, ..pending.clone() },
            None => PendingCommit {
                sink: sink.clone(),
                attempt,
                epoch,
                committables: *count,
                since_ms: now_ms,
                tries: 0,
                last_error: None,
            },
        })
        .collect();
}

fn one_less(report: &mut WorkerReport, sink: &str) {
    for pending in report.pending_commits.iter_mut().filter(|pending| pending.sink == sink) {
        pending.committables = pending.committables.saturating_sub(1);
    }
    report.pending_commits.retain(|pending| pending.committables > 0);
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MOST_TEXT_BYTES)).unwrap_or_default().to_owned()
}
