//! Each event by itself, and any number of them in any order.

use std::collections::BTreeMap;

use api::control::FailureReason;
use api::report::{LogPosition, WorkerReport, WorkerState};
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};
use proptest::prelude::*;

use super::{About, Reporting, apply};
use crate::clock::ManualClock;
use crate::run::{CommittableEnd, Decided, Durations, Observer, RunEvent};

const NOW: u64 = 5_000;

fn told(events: &[RunEvent]) -> WorkerReport {
    let mut report = WorkerReport::default();
    for (index, event) in events.iter().enumerate() {
        apply(&mut report, event, NOW + index as u64);
    }
    report
}

fn at(log: u64, attempt: u64, slot: u64) -> LogPosition {
    LogPosition { pipeline_id: PipelineId(7), log: LogIndex(log), attempt: Attempt(attempt), slot: Slot(slot) }
}

fn claimed(attempt: u64) -> RunEvent {
    RunEvent::Claimed { pipeline_id: PipelineId(7), log: LogIndex(0), attempt: Attempt(attempt) }
}

fn handle(attempt: u64, slot: u64) -> String {
    format!("file:///state/0/attempts/{attempt}/{slot}")
}

fn owed(sinks: &[(&str, u64)]) -> BTreeMap<String, u64> {
    sinks.iter().map(|(sink, count)| ((*sink).to_owned(), *count)).collect()
}

fn read(attempt: u64, slot: u64, sinks: &[(&str, u64)]) -> RunEvent {
    RunEvent::LogRead {
        pipeline_id: PipelineId(7),
        log: LogIndex(0),
        attempt: Attempt(attempt),
        slot: Slot(slot),
        newest: Some(Decided { attempt: Attempt(1), epoch: Epoch(4), handle: handle(1, 3), size_bytes: 90 }),
        owed: owed(sinks),
    }
}

fn completed(attempt: u64, epoch: u64, slot: u64, sinks: &[(&str, u64)]) -> RunEvent {
    RunEvent::CheckpointCompleted {
        attempt: Attempt(attempt),
        epoch: Epoch(epoch),
        slot: Slot(slot),
        handle: handle(attempt, slot),
        durations: Durations { total_us: 12_000, ..Durations::default() },
        size_bytes: 100,
        written_bytes: 10,
        committables: sinks.iter().map(|(_, count)| count).sum(),
        owed: owed(sinks),
        rows: 3,
        rows_in: 9,
    }
}

fn retried(sink: &str, epoch: u64, tries: u32) -> RunEvent {
    let (attempt, epoch, sink) = (Attempt(1), Epoch(epoch), sink.to_owned());
    RunEvent::CommitRetried { attempt, epoch, sink, tries, message: "away".into(), retry_in_ms: 10 }
}

fn failed_attempt(counted: bool) -> RunEvent {
    RunEvent::AttemptFailed { attempt: Some(Attempt(1)), message: "unplugged".into(), counted, retry_in_ms: 700 }
}

#[test]
fn a_claim_is_recovery_and_the_newest_that_is_known_of_the_log() {
    let report = told(&[read(2, 9, &[]), claimed(3)]);
    assert_eq!((report.state, report.log), (WorkerState::Recovering, Some(at(0, 3, 0))));
    assert_eq!(told(&[claimed(3), read(2, 9, &[])]).log, Some(at(0, 3, 0)), "what is older tells nothing new");
}

#[test]
fn a_log_that_was_only_read_is_told_without_a_claim() {
    let report = told(&[read(2, 9, &[("out", 2)])]);
    assert_eq!((report.state, report.log), (WorkerState::Starting, Some(at(0, 2, 9))));
    let newest = report.checkpoints.newest.unwrap();
    assert_eq!((newest.attempt, newest.epoch, newest.handle), (Attempt(1), Epoch(4), handle(1, 3)));
    assert_eq!((newest.time_ms, newest.size_bytes), (0, 90), "the log does not tell when");
    assert_eq!((report.pending_commits.len(), report.pending_commits[0].committables), (1, 2));
}

#[test]
fn another_log_begins_with_nothing_known() {
    let next = RunEvent::Claimed { pipeline_id: PipelineId(8), log: LogIndex(1), attempt: Attempt(1) };
    let report = told(&[read(2, 9, &[("out", 2)]), claimed(3), next]);
    let known = report.log.unwrap();
    assert_eq!((known.pipeline_id, known.log, known.attempt), (PipelineId(8), LogIndex(1), Attempt(1)));
    assert_eq!((report.checkpoints.newest, report.pending_commits.len()), (None, 0));
}

#[test]
fn a_log_that_is_begun_has_a_checkpoint_and_nothing_restored() {
    let (attempt, epoch, slot) = (Attempt(1), Epoch(1), Slot(0));
    let begun = RunEvent::Begun { attempt, epoch, slot, handle: handle(1, 0), size_bytes: 5 };
    let report = told(&[claimed(1), begun, RunEvent::Running { attempt, tasks: 2 }]);
    let newest = report.checkpoints.newest.unwrap();
    assert_eq!((newest.epoch, newest.handle, newest.time_ms), (Epoch(1), handle(1, 0), NOW + 1));
    assert_eq!((report.checkpoints.restored_from, report.state), (None, WorkerState::Running));
}

#[test]
fn what_was_restored_is_named_by_whoever_decided_it_and_its_commits_are_done() {
    let restored = |attempt, decided_by| RunEvent::Restored {
        attempt: Attempt(attempt),
        decided_by: Attempt(decided_by),
        epoch: Epoch(4),
        slot: Slot(3),
        handle: handle(decided_by, 3),
        size_bytes: 90,
    };
    let report = told(&[claimed(3), read(3, 0, &[("out", 2)]), restored(3, 1)]);
    let from = report.checkpoints.restored_from.unwrap();
    assert_eq!((from.attempt, from.epoch, from.handle), (Attempt(1), Epoch(4), handle(1, 3)));
    assert_eq!((report.log, report.pending_commits.len()), (Some(at(0, 3, 0)), 0));
    // A rewind is decided by whoever restores it.
    let report = told(&[claimed(3), restored(3, 3)]);
    assert_eq!(report.log, Some(at(0, 3, 3)));
    assert_eq!(report.checkpoints.newest.unwrap().time_ms, NOW + 1);
}

#[test]
fn a_checkpoint_has_its_time_and_its_failures_are_counted_until_one_succeeds() {
    let failed = RunEvent::CheckpointFailed {
        attempt: Attempt(1),
        epoch: Epoch(5),
        reason: "not acknowledged".into(),
        consecutive: 2,
    };
    let report = told(&[claimed(1), failed.clone()]);
    assert_eq!(report.checkpoints.consecutive_failures, 2);
    let report = told(&[claimed(1), failed, completed(1, 6, 4, &[])]);
    let newest = report.checkpoints.newest.unwrap();
    assert_eq!((newest.epoch, newest.time_ms, newest.duration_ms, newest.size_bytes), (Epoch(6), NOW + 2, 12, 100));
    assert_eq!((report.log, report.checkpoints.consecutive_failures), (Some(at(0, 1, 4)), 0));
    let failed = report.checkpoints.failed.unwrap();
    assert_eq!((failed.epoch, failed.time_ms, failed.reason.as_str()), (Epoch(5), NOW + 1, "not acknowledged"));
}

#[test]
fn a_sink_is_pending_from_the_decision_until_all_of_it_is_visible() {
    let (attempt, epoch) = (Attempt(1), Epoch(6));
    let decided = [claimed(1), completed(1, 6, 4, &[("a", 2), ("b", 1)])];
    let report = told(&[&decided[..], &[retried("b", 5, 3), retried("b", 6, 2), retried("b", 0, 9)]].concat());
    let pending = &report.pending_commits[1];
    assert_eq!((pending.sink.as_str(), pending.epoch, pending.since_ms, pending.tries), ("b", epoch, NOW + 1, 3));
    assert_eq!(pending.last_error.as_deref(), Some("away"));
    assert_eq!(report.pending_commits[0].tries, 0, "another sink is not to blame");

    let sink_done = RunEvent::SinkCommitted { attempt, epoch, sink: "a".into() };
    let report = told(&[&decided[..], std::slice::from_ref(&sink_done)].concat());
    assert_eq!((report.pending_commits.len(), report.pending_commits[0].sink.as_str()), (1, "b"));
    let done = RunEvent::CommitCompleted { attempt, epoch, committables: 3, rows: 3, duration_us: 1 };
    assert!(told(&[&decided[..], &[done]].concat()).pending_commits.is_empty());
}

#[test]
fn recovery_counts_down_and_a_loss_stays() {
    let ended =
        |end| RunEvent::RecoveryEnded { attempt: Attempt(3), sink: "out".into(), rows: 1, end, what: "a file".into() };
    let owes = read(3, 0, &[("out", 3)]);
    let report = told(&[owes.clone(), ended(CommittableEnd::Committed), ended(CommittableEnd::Lost)]);
    assert_eq!(report.pending_commits[0].committables, 2);
    let all = [CommittableEnd::Committed, CommittableEnd::AlreadyCommitted, CommittableEnd::Aborted].map(ended);
    assert!(told(&[&[owes], &all[..]].concat()).pending_commits.is_empty());
}

#[test]
fn what_is_owed_since_an_earlier_attempt_is_owed_since_then() {
    let owes = read(1, 3, &[("out", 3)]);
    let report = told(&[owes, retried("out", 4, 7), failed_attempt(true), claimed(2), read(2, 0, &[("out", 2)])]);
    let pending = &report.pending_commits[0];
    assert_eq!((pending.since_ms, pending.tries, pending.committables), (NOW, 7, 2));
}

#[test]
fn a_failed_attempt_is_counted_and_its_pause_is_known_until_the_next() {
    let report = told(&[claimed(1), failed_attempt(true), failed_attempt(false)]);
    let attempts = &report.attempts;
    assert_eq!((report.state, attempts.failed, attempts.counted), (WorkerState::Restarting, 2, 1));
    assert_eq!((attempts.last_time_ms, attempts.next_time_ms), (Some(NOW + 2), Some(NOW + 702)));
    assert_eq!(report.message.as_deref(), Some("unplugged"));
    let report = told(&[claimed(1), failed_attempt(true), claimed(2)]);
    assert_eq!((report.state, report.message, report.attempts.next_time_ms), (WorkerState::Recovering, None, None));
    assert_eq!(report.attempts.last_reason.as_deref(), Some("unplugged"), "it has happened");
    assert_eq!(told(&[failed_attempt(true)]).state, WorkerState::Starting, "a target is waited for");
}

#[test]
fn every_end_has_its_state_and_what_is_not_committed_is_still_told() {
    let owes = completed(1, 6, 4, &[("out", 1)]);
    let failed = |reason, exit_code| RunEvent::Failed { reason, message: "so it is".into(), exit_code };
    let ends = [
        (RunEvent::Stopping { attempt: Attempt(1) }, WorkerState::Stopping, None, 1),
        (RunEvent::Stopped { handle: None }, WorkerState::Stopped, None, 0),
        (RunEvent::Finished { rows_in: 1, rows_out: 1, already: false }, WorkerState::Finished, None, 0),
        (RunEvent::Settled { nothing_to_do: true }, WorkerState::Settled, None, 0),
        (
            RunEvent::StoppedUndecided { message: "so it is".into() },
            WorkerState::StoppedUndecided,
            Some("StoppedUndecided"),
            1,
        ),
        (failed(Some(FailureReason::CommitLost), 1), WorkerState::Failed, Some("CommitLost"), 1),
        (failed(None, 2), WorkerState::Refused, Some("Refused"), 1),
        (failed(None, 3), WorkerState::Fenced, Some("Fenced"), 1),
    ];
    for (event, state, reason, pending) in ends {
        let report = told(&[claimed(1), owes.clone(), event.clone()]);
        assert_eq!((report.state, report.reason.as_deref()), (state, reason), "{event:?}");
        assert_eq!(report.message.as_deref(), reason.map(|_| "so it is"), "{event:?}");
        assert_eq!(report.pending_commits.len(), pending, "{event:?}");
        assert_eq!(report.state.is_end(), state != WorkerState::Stopping, "{event:?}");
    }
}

#[test]
fn events_that_say_nothing_of_the_state_change_nothing() {
    let quiet = [
        RunEvent::Progress { attempt: Attempt(1), rows_in: 1, rows_written: 1, rows_in_per_second: 1 },
        RunEvent::Recovering { attempt: Attempt(1), committables: 2 },
        RunEvent::LeftoversAborted { attempt: Attempt(1), sink: "out".into(), count: 2 },
        RunEvent::Superseded { pipeline_id: PipelineId(7), log: LogIndex(0), rows_out: 1, outputs: Vec::new() },
    ];
    let before = [claimed(1), completed(1, 6, 4, &[("out", 1)])];
    assert_eq!(told(&[&before[..], &quiet].concat()), told(&before));
}

/// Hands nothing on.
struct Nobody;

impl Observer for Nobody {
    fn event(&self, _: RunEvent) {}
}

#[test]
fn an_end_without_an_event_can_be_told_too() {
    let about = About { version: "1".into(), configuration: "c".into() };
    let reporting = Reporting::new(about, std::sync::Arc::new(ManualClock::default()), std::sync::Arc::new(Nobody));
    reporting.is_to_run(3);
    reporting.event(claimed(1));
    reporting.ended(WorkerState::Failed, "Panic", "a bug");
    let report = reporting.report().unwrap();
    assert_eq!((report.state, report.reason.as_deref(), report.message.as_deref()), told_end());
    assert_eq!((report.version.as_str(), report.configuration.as_str(), report.parallelism), ("1", "c", 3));
}

fn told_end() -> (WorkerState, Option<&'static str>, Option<&'static str>) {
    (WorkerState::Failed, Some("Panic"), Some("a bug"))
}

/// Texts that grow when they are escaped, or that nobody has cut.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![Just("a"), Just("\u{0}"), Just("ä"), Just("\"\\\n"), Just("🦀")];
    (piece, 0_usize..3_000).prop_map(|(piece, times)| piece.repeat(times))
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..4, Just(u64::MAX)]
}

fn sinks() -> impl Strategy<Value = BTreeMap<String, u64>> {
    prop::collection::btree_map("[a-z]{1,63}", 1..=u64::MAX, 0..40)
}

fn event() -> impl Strategy<Value = RunEvent> {
    let numbers = (number(), number(), number());
    (0_u8..14, numbers, (text(), text()), sinks(), any::<bool>()).prop_map(
        |(kind, (a, b, c), (long, handle), owed, flag)| {
            let (attempt, epoch, slot) = (Attempt(a), Epoch(b), Slot(c));
            let (pipeline_id, log) = (PipelineId(u128::MAX - u128::from(b)), LogIndex(c));
            let decided = Decided { attempt, epoch, handle: handle.clone(), size_bytes: c };
            let sink = owed.keys().next().cloned().unwrap_or_default();
            match kind {
                0 => RunEvent::LogRead { pipeline_id, log, attempt, slot, newest: Some(decided), owed },
                1 => RunEvent::Claimed { pipeline_id, log, attempt },
                2 => RunEvent::Restored { attempt, decided_by: Attempt(b), epoch, slot, handle, size_bytes: c },
                3 => RunEvent::Begun { attempt, epoch, slot, handle, size_bytes: c },
                4 => match completed(a, b, c, &[]) {
                    RunEvent::CheckpointCompleted { attempt, epoch, slot, durations, .. } => {
                        let (size_bytes, written_bytes, committables, rows, rows_in) = (c, c, c, c, c);
                        RunEvent::CheckpointCompleted {
                            attempt,
                            epoch,
                            slot,
                            handle,
                            durations,
                            size_bytes,
                            written_bytes,
                            committables,
                            owed,
                            rows,
                            rows_in,
                        }
                    }
                    other => other,
                },
                5 => RunEvent::CheckpointFailed { attempt, epoch, reason: long, consecutive: a as u32 },
                6 => RunEvent::CommitRetried { attempt, epoch, sink, tries: 9, message: long, retry_in_ms: c },
                7 => RunEvent::AttemptFailed { attempt: Some(attempt), message: long, counted: flag, retry_in_ms: c },
                8 => RunEvent::Failed { reason: None, message: long, exit_code: (a % 4) as u8 },
                9 => RunEvent::StoppedUndecided { message: long },
                10 => RunEvent::Running { attempt, tasks: 1 },
                11 => RunEvent::SinkCommitted { attempt, epoch, sink },
                12 => RunEvent::RecoveryEnded {
                    attempt,
                    sink,
                    rows: a,
                    end: if flag { CommittableEnd::Lost } else { CommittableEnd::Committed },
                    what: long,
                },
                _ => RunEvent::Stopped { handle: Some(handle) },
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_told_in_whatever_order_fits_a_termination_message(events in prop::collection::vec(event(), 0..30)) {
        let mut report = WorkerReport { version: "v".repeat(300), ..WorkerReport::default() };
        for event in &events {
            apply(&mut report, event, u64::MAX);
            prop_assert!(report.pending_commits.len() <= 40);
        }
        let bounded = report.clone().bounded();
        let text = serde_json::to_string(&bounded).unwrap();
        prop_assert!(text.len() < 4_096, "{}", text.len());
        prop_assert_eq!((bounded.state, bounded.log), (report.state, report.log));
        let back: WorkerReport = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back, bounded);
    }
}
