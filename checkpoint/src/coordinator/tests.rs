use super::*;
use crate::ids::{Nonce, Slot, Subtask};
use crate::manifest::Expiry;
use crate::record::{Entry, Outcome};

const ME: Attempt = Attempt(2);
const INTERVAL: u64 = 100;
const TIMEOUT: u64 = 50;

/// A coordinator of two tasks and what it has asked for.
struct Run {
    coordinator: Coordinator,
    now: u64,
}

fn settings() -> Settings {
    Settings {
        tasks: 2,
        interval_ms: INTERVAL,
        timeout_ms: TIMEOUT,
        tolerable_failures: 1,
        ends_on_failure: false,
        parallelism: 2,
        max_parallelism: 128,
        operators: Vec::new(),
    }
}

fn run_with(settings: Settings, settled: bool) -> Run {
    let manifest = Arc::new(Manifest::empty(2, 128));
    let restored = Restored {
        appender: Appender::of(Shipped, ME, Nonce(7)),
        at: Position { attempt: Attempt(1), slot: Slot(4) },
        decision: DecisionId { attempt: Attempt(1), epoch: Epoch(4) },
        manifest,
        settled,
    };
    Run { coordinator: Coordinator::begin(Arc::new(settings), restored, 0), now: 0 }
}

fn run() -> Run {
    run_with(settings(), true)
}

fn committable(writer: u32, epoch: u64) -> Arc<Committable> {
    Arc::new(Committable {
        sink: "out".to_owned(),
        writer: Subtask(writer),
        attempt: ME,
        epoch: Epoch(epoch),
        rows: 1,
        expiry: None,
        handle: String::new(),
    })
}

impl Run {
    fn step(&mut self, event: Event) -> Vec<Action> {
        self.coordinator.step(self.now, event)
    }

    fn tick_at(&mut self, now: u64) -> Vec<Action> {
        self.now = now;
        self.step(Event::Tick)
    }

    fn acknowledge(&mut self, epoch: u64, task: u32, committables: &[Arc<Committable>], finished: bool) -> Vec<Action> {
        let committables = committables.to_vec();
        self.step(Event::Acknowledged(Acknowledged {
            epoch: Epoch(epoch),
            task,
            snapshots: Vec::new(),
            committables,
            finished,
        }))
    }

    /// Both tasks acknowledge, the first with a committable for each of `epochs`; the manifest is written.
    fn collect(&mut self, epoch: u64, epochs: &[u64]) -> Vec<Action> {
        let committables: Vec<_> = epochs.iter().map(|epoch| committable(0, *epoch)).collect();
        assert_eq!(self.acknowledge(epoch, 0, &committables, false), []);
        let actions = self.acknowledge(epoch, 1, &[], false);
        self.written(&actions)
    }

    fn written(&mut self, actions: &[Action]) -> Vec<Action> {
        let [Action::WriteManifest { epoch, manifest }] = actions else { panic!("no manifest in {actions:?}") };
        let written = ManifestRef::Inline(Box::new(manifest.as_ref().clone()));
        self.step(Event::ManifestWritten { epoch: *epoch, manifest: written })
    }

    fn reply(&mut self, reply: Reply) -> Vec<Action> {
        self.step(Event::Log(reply))
    }

    fn commit(&mut self, epoch: u64, index: u32, outcome: CommitOutcome) -> Vec<Action> {
        let decision = DecisionId { attempt: ME, epoch: Epoch(epoch) };
        self.step(Event::Committed { decision, index, outcome })
    }
}

fn appended(actions: &[Action]) -> Arc<Entry> {
    let entry = actions.iter().find_map(|action| match action {
        Action::Log(Request::CreateSlot(_, entry)) => Some(entry.clone()),
        _ => None,
    });
    entry.unwrap_or_else(|| panic!("nothing is appended in {actions:?}"))
}

fn decided(entry: &Entry) -> Vec<u64> {
    match entry.completed().map(|completed| &completed.manifest) {
        Some(ManifestRef::Inline(manifest)) => manifest.committables.iter().map(|c| c.epoch.0).collect(),
        other => panic!("no inline decision: {other:?}"),
    }
}

fn orders(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Commit(_))).count()
}

#[test]
fn a_checkpoint_goes_from_barrier_to_visible() {
    let mut run = run();
    assert_eq!(run.tick_at(INTERVAL - 1), []);
    assert_eq!(run.coordinator.wakes_at(), Some(INTERVAL));
    assert_eq!(run.tick_at(INTERVAL), [Action::Begin { epoch: Epoch(5), savepoint: false }]);
    let entry = appended(&run.collect(5, &[5]));
    assert_eq!(decided(&entry), [5]);
    let actions = run.reply(Reply::Created);
    assert!(matches!(actions[..], [Action::Decided { epoch: Epoch(5), .. }, Action::Commit(_)]), "{actions:?}");
    let decision = DecisionId { attempt: ME, epoch: Epoch(5) };
    assert_eq!(run.commit(5, 0, CommitOutcome::Committed), [Action::CommitsDone { decision }, Action::Retain]);
    assert_eq!(run.commit(5, 0, CommitOutcome::Committed), [], "a repeated answer changes nothing");
}

#[test]
fn a_failed_epochs_committables_are_decided_by_the_next() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.acknowledge(5, 0, &[committable(0, 5)], false);
    let failed = run.tick_at(INTERVAL + TIMEOUT);
    assert_eq!(
        failed,
        [Action::CheckpointFailed { epoch: Epoch(5), failure: CheckpointFailure::Timeout, in_a_row: 1 }]
    );
    run.tick_at(2 * INTERVAL);
    // The other task's late acknowledgement of the failed epoch, and one that repeats what is known.
    assert_eq!(run.acknowledge(5, 1, &[committable(1, 5)], false), []);
    run.acknowledge(6, 0, &[committable(0, 5), committable(0, 6)], false);
    let actions = run.acknowledge(6, 1, &[], false);
    let entry = appended(&run.written(&actions));
    assert_eq!(decided(&entry), [5, 6, 5], "two of the first task, one of the second");
}

#[test]
fn committables_decided_before_are_not_decided_again() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.collect(5, &[5]);
    run.reply(Reply::Created);
    run.commit(5, 0, CommitOutcome::Committed);
    run.tick_at(2 * INTERVAL);
    // The task has not heard yet that 5 was decided.
    let entry = appended(&run.collect(6, &[5, 6]));
    assert_eq!(decided(&entry), [6]);
}

#[test]
fn the_next_decision_waits_for_the_commits_and_is_no_timeout() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.collect(5, &[5]);
    assert_eq!(orders(&run.reply(Reply::Created)), 1);
    run.tick_at(2 * INTERVAL);
    assert_eq!(run.collect(6, &[6]), [], "acknowledged, and waits");
    assert_eq!(run.tick_at(2 * INTERVAL + 10 * TIMEOUT), [], "no timeout and no further barrier");
    let entry = appended(&run.commit(5, 0, CommitOutcome::AlreadyCommitted));
    assert_eq!(decided(&entry), [6]);
}

#[test]
fn stuck_commits_end_the_attempt_when_the_budget_of_the_next_runs_out() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.collect(5, &[5]);
    run.reply(Reply::Created);
    run.tick_at(2 * INTERVAL);
    let expiry = Some(Expiry { start_ms: INTERVAL, timeout_ms: 1000, commit_budget_ms: 400 });
    let expiring = Arc::new(Committable { expiry, ..committable(0, 6).as_ref().clone() });
    run.acknowledge(6, 0, &[expiring], false);
    let actions = run.acknowledge(6, 1, &[], false);
    assert_eq!(run.written(&actions), []);
    assert_eq!(run.coordinator.wakes_at(), Some(INTERVAL + 600));
    assert_eq!(run.tick_at(INTERVAL + 599), []);
    assert_eq!(run.tick_at(INTERVAL + 600), [Action::End(End::CommitBlocked)]);
}

#[test]
fn a_decision_that_an_own_append_keeps_waiting_is_no_stuck_commit() {
    let mut run = run_with(settings(), false);
    run.tick_at(INTERVAL);
    let settled = appended(&run.tick_at(INTERVAL + 1));
    run.reply(Reply::Unknown);
    let expiry = Some(Expiry { start_ms: INTERVAL, timeout_ms: 1000, commit_budget_ms: 400 });
    let expiring = Arc::new(Committable { expiry, ..committable(0, 5).as_ref().clone() });
    run.acknowledge(5, 0, &[expiring], false);
    let actions = run.acknowledge(5, 1, &[], false);
    assert_eq!(run.written(&actions), []);
    assert_eq!(run.tick_at(INTERVAL + 600), [], "the append's outcome first");
    assert_eq!(run.reply(Reply::Entry(Some(settled))), [Action::End(End::BudgetExhausted)]);
}

#[test]
fn failures_in_a_row_end_the_attempt_and_a_success_forgives_them() {
    let mut run = run();
    for (epoch, begin) in [(5, INTERVAL), (7, 3 * INTERVAL)] {
        run.tick_at(begin);
        run.step(Event::Declined { epoch: Epoch(epoch), task: 1 });
        run.tick_at(begin + INTERVAL);
        run.collect(epoch + 1, &[]);
        run.reply(Reply::Created);
    }
    run.tick_at(5 * INTERVAL);
    assert_eq!(run.step(Event::Declined { epoch: Epoch(8), task: 1 }), [], "a refusal of another epoch");
    run.step(Event::Declined { epoch: Epoch(9), task: 1 });
    run.tick_at(6 * INTERVAL);
    let failure = CheckpointFailure::ManifestNotWritten;
    run.acknowledge(10, 0, &[], false);
    run.acknowledge(10, 1, &[], false);
    let failed = run.step(Event::ManifestFailed { epoch: Epoch(10) });
    let end = Action::End(End::CheckpointsFailed);
    assert_eq!(failed, [Action::CheckpointFailed { epoch: Epoch(10), failure, in_a_row: 2 }, end]);
    assert_eq!(run.tick_at(9 * INTERVAL), [], "nothing after the end");
}

#[test]
fn a_target_with_locks_survives_no_failed_checkpoint() {
    let mut run = run_with(Settings { ends_on_failure: true, ..settings() }, true);
    run.tick_at(INTERVAL);
    let failed = run.tick_at(INTERVAL + TIMEOUT);
    assert_eq!(failed.last(), Some(&Action::End(End::CheckpointsFailed)));
}

#[test]
fn while_an_append_is_unknown_the_attempt_neither_fails_nor_times_out() {
    let mut run = run();
    run.tick_at(INTERVAL);
    let entry = appended(&run.collect(5, &[5]));
    run.reply(Reply::Unknown);
    assert_eq!(run.tick_at(INTERVAL + 10 * TIMEOUT), []);
    assert_eq!(run.step(Event::Failed { reason: "task".to_owned() }), []);
    let actions = run.reply(Reply::Entry(Some(entry)));
    assert_eq!(orders(&actions), 0, "the next attempt commits");
    assert_eq!(actions.last(), Some(&Action::End(End::Failed { reason: "task".to_owned() })));
}

#[test]
fn a_sealed_slot_ends_the_attempt_as_fenced() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.collect(5, &[5]);
    run.reply(Reply::Exists);
    let seal = Entry { nonce: Nonce(1), record: Record::Sealed { by: Attempt(3) } };
    assert_eq!(run.reply(Reply::Entry(Some(Arc::new(seal)))), [Action::End(End::Fenced { by: Attempt(3) })]);
}

#[test]
fn an_idle_interval_after_the_commits_settles() {
    let mut run = run_with(settings(), false);
    // A checkpoint is in flight and nothing is decided meanwhile.
    run.tick_at(INTERVAL);
    let entry = appended(&run.tick_at(INTERVAL + 1));
    let Record::Settled(settled) = &entry.record else { panic!("{entry:?}") };
    assert_eq!(settled.decision, DecisionId { attempt: Attempt(1), epoch: Epoch(4) });
    assert_eq!((settled.outcome, settled.by), (Outcome::Committed, ME));
    run.reply(Reply::Created);
    assert_eq!(run.tick_at(INTERVAL + 2), [], "once");
}

#[test]
fn a_stop_takes_a_last_checkpoint_commits_it_and_leaves() {
    let mut run = run();
    run.now = 1;
    assert_eq!(run.step(Event::Stop), []);
    assert_eq!(run.coordinator.wakes_at(), Some(0), "at once");
    assert_eq!(run.tick_at(1), [Action::Begin { epoch: Epoch(5), savepoint: false }]);
    run.collect(5, &[5]);
    run.reply(Reply::Created);
    let settled = appended(&run.commit(5, 0, CommitOutcome::Committed));
    assert!(matches!(settled.record, Record::Settled(_)));
    let released = appended(&run.reply(Reply::Created));
    assert_eq!(released.record, Record::Released(Released::Stopped));
    assert_eq!(run.reply(Reply::Created), [Action::End(End::Stopped)]);
}

#[test]
fn the_last_checkpoint_of_a_bounded_pipeline_is_retried_until_it_is_decided() {
    let mut run = run();
    run.step(Event::Ended { task: 0 });
    assert!(!run.coordinator.is_stopping());
    run.step(Event::Ended { task: 1 });
    for failed in 0..5 {
        let epoch = Epoch(5 + failed);
        let now = failed * INTERVAL;
        assert_eq!(run.tick_at(now), [Action::Begin { epoch, savepoint: false }]);
        assert_eq!(run.step(Event::Declined { epoch, task: 0 }).len(), 1, "no end");
    }
    run.tick_at(5 * INTERVAL);
    run.acknowledge(10, 0, &[], true);
    let actions = run.acknowledge(10, 1, &[], true);
    run.written(&actions);
    let released = appended(&run.reply(Reply::Created));
    assert_eq!(released.record, Record::Released(Released::Finished), "nothing to commit, nothing to settle");
    assert_eq!(run.reply(Reply::Created), [Action::End(End::Finished)]);
}

#[test]
fn a_loss_stops_at_once_and_is_reported_after_it_is_recorded() {
    let mut run = run();
    run.tick_at(INTERVAL);
    run.acknowledge(5, 0, &[committable(0, 5)], false);
    let actions = run.acknowledge(5, 1, &[committable(1, 5)], false);
    run.written(&actions);
    assert_eq!(orders(&run.reply(Reply::Created)), 2);
    run.commit(5, 1, CommitOutcome::Committed);
    let actions = run.commit(5, 0, CommitOutcome::Lost);
    assert_eq!(actions.len(), 1, "no report yet: {actions:?}");
    let Record::Settled(settled) = &appended(&actions).record else { panic!("{actions:?}") };
    assert_eq!(settled.outcome, Outcome::Lost);
    let actions = run.reply(Reply::Created);
    let [Action::End(End::Lost(loss))] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(loss.committables, [committable(0, 5)]);
    assert!(!loss.rewind_may_help);
}

/// Once: the ones after it keep to the interval.
#[test]
fn a_checkpoint_that_is_asked_for_begins_at_once_or_behind_the_one_in_flight() {
    let mut run = run();
    run.step(Event::Checkpoint);
    assert_eq!(run.coordinator.wakes_at(), Some(0));
    assert_eq!(run.tick_at(1), [Action::Begin { epoch: Epoch(5), savepoint: false }]);
    run.step(Event::Checkpoint);
    assert_eq!(run.tick_at(2), [], "one is in flight");
    run.collect(5, &[5]);
    run.reply(Reply::Created);
    assert_eq!(run.tick_at(3), [Action::Begin { epoch: Epoch(6), savepoint: false }]);
    run.collect(6, &[6]);
    run.commit(5, 0, CommitOutcome::Committed);
    assert_eq!(run.tick_at(4), [], "nobody has asked again");
}

#[test]
fn a_savepoint_is_handed_out_only_when_it_is_settled() {
    let mut run = run();
    run.step(Event::Savepoint);
    assert_eq!(run.tick_at(1), [Action::Begin { epoch: Epoch(5), savepoint: true }]);
    let entry = appended(&run.collect(5, &[5]));
    assert!(entry.completed().is_some_and(|completed| completed.savepoint));
    run.reply(Reply::Created);
    let actions = run.commit(5, 0, CommitOutcome::Committed);
    assert!(matches!(appended(&actions).record, Record::Settled(_)));
    let at = Position { attempt: ME, slot: Slot(0) };
    assert_eq!(run.reply(Reply::Created), [Action::SavepointReady { at }]);
}

#[test]
fn committables_of_another_attempt_are_ignored() {
    let mut run = run();
    run.tick_at(INTERVAL);
    let foreign = Arc::new(Committable { attempt: Attempt(1), ..committable(0, 5).as_ref().clone() });
    run.acknowledge(5, 0, &[foreign], false);
    let actions = run.acknowledge(5, 1, &[], false);
    assert_eq!(decided(&appended(&run.written(&actions))), [0; 0]);
}
