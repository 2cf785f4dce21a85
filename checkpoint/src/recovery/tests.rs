use super::*;
use crate::ids::{Nonce, Slot, Subtask};
use crate::record::Entry;

const ME: Attempt = Attempt(3);

fn manifest(committables: u32, finished: bool) -> Manifest {
    let committable = |writer| Committable {
        sink: "out".to_owned(),
        writer: Subtask(writer),
        attempt: Attempt(1),
        epoch: Epoch(4),
        rows: 1,
        expiry: None,
        handle: String::new(),
    };
    Manifest {
        operators: Vec::new(),
        parallelism: 1,
        max_parallelism: 128,
        finished,
        rows_in: 0,
        rows_out: 0,
        snapshots: Vec::new(),
        committables: (0..committables).map(committable).collect(),
    }
}

fn found(slot: u64, record: Record) -> Found {
    let at = Position { attempt: Attempt(1), slot: Slot(slot) };
    Found { at, entry: Arc::new(Entry { nonce: Nonce(1), record }) }
}

fn completed(epoch: u64, origin: Origin, manifest: Manifest) -> Record {
    let manifest = ManifestRef::Inline(Box::new(manifest));
    Record::Completed(Completed { epoch: Epoch(epoch), savepoint: false, unaligned: false, origin, manifest })
}

fn decision(epoch: u64) -> DecisionId {
    DecisionId { attempt: Attempt(1), epoch: Epoch(epoch) }
}

fn settled(outcome: Outcome) -> Record {
    Record::Settled(Settled { decision: decision(4), outcome, by: Attempt(1), reason: None })
}

/// Epoch 4 with two committables in slot 3, epoch 3 in slot 2; `above` stands above them, newest first.
fn history(above: Vec<Record>) -> Vec<Found> {
    let count = above.len() as u64;
    let mut history: Vec<_> = above.into_iter().zip((4..4 + count).rev()).map(|(r, slot)| found(slot, r)).collect();
    history.push(found(3, completed(4, Origin::Checkpoint, manifest(2, false))));
    history.push(found(2, completed(3, Origin::Checkpoint, manifest(0, false))));
    history
}

fn begin(history: Vec<Found>, intent: Intent) -> (Recovery, Vec<Action>) {
    let appender = Appender::of(Shipped, ME, Nonce(50));
    Recovery::begin(Claimed { appender, history }, intent, None)
}

fn classify(recovery: &mut Recovery, classifications: [Classification; 2]) -> Vec<Action> {
    let [first, second] = classifications;
    assert_eq!(recovery.step(0, Event::Classified { index: 1, classification: second }), []);
    recovery.step(0, Event::Classified { index: 0, classification: first })
}

fn appended(actions: &[Action]) -> Record {
    match actions {
        [Action::Log(Request::CreateSlot(_, entry))] => entry.record.clone(),
        other => panic!("one append expected: {other:?}"),
    }
}

fn ending(actions: &[Action]) -> &Ending {
    match actions {
        [Action::Done(ending)] => ending,
        other => panic!("an ending expected: {other:?}"),
    }
}

use Classification::{Committed, Lost, Prepared};

#[test]
fn a_new_log_decides_its_first_epoch_before_anything_runs() {
    let (mut recovery, actions) = begin(Vec::new(), Intent::Run);
    assert_eq!(actions, [Action::ResolveFirst]);
    let first = Arc::new(manifest(0, false));
    let actions = recovery.step(0, Event::Manifest(first.clone()));
    assert_eq!(actions, [Action::WriteManifest { epoch: Epoch(1), manifest: first.clone(), copy_parts: false }]);
    let written = ManifestRef::Inline(Box::new(first.as_ref().clone()));
    let actions = recovery.step(0, Event::ManifestWritten(written));
    assert!(matches!(appended(&actions), Record::Completed(Completed { origin: Origin::First, .. })));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Restore(restored) = ending(&actions) else { panic!("{actions:?}") };
    assert_eq!(restored.decision, DecisionId { attempt: ME, epoch: Epoch(1) });
}

#[test]
fn recovery_classifies_everything_then_commits_then_cleans_up_then_restores() {
    let (mut recovery, actions) = begin(history(Vec::new()), Intent::Run);
    assert!(matches!(actions[..], [Action::Classify { index: 0, .. }, Action::Classify { index: 1, .. }]));
    let actions = classify(&mut recovery, [Prepared, Committed]);
    let [Action::Commit(order)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((order.index, order.permit.decided_by()), (0, (Attempt(1), Epoch(4))));
    let actions = recovery.step(0, Event::Committed { index: 0, outcome: CommitOutcome::Committed });
    assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    let actions = recovery.step(0, Event::LeftoversAborted);
    let Ending::Restore(restored) = ending(&actions) else { panic!("{actions:?}") };
    assert_eq!((restored.decision, restored.settled), (decision(4), false));
}

#[test]
fn a_settled_epoch_is_not_committed_again() {
    for outcome in [Outcome::Committed, Outcome::LossAccepted] {
        let (_, actions) = begin(history(vec![settled(outcome)]), Intent::Run);
        assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    }
}

#[test]
fn a_loss_with_nothing_committed_commits_nothing_and_is_recorded_before_it_is_reported() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Run);
    let actions = classify(&mut recovery, [Prepared, Lost]);
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::Lost, by: ME, .. })));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Lost(loss) = ending(&actions) else { panic!("{actions:?}") };
    assert!(loss.rewind_may_help);
    assert_eq!(loss.committables.len(), 1);
}

#[test]
fn a_loss_beside_something_committed_commits_the_rest_and_stops() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Run);
    let actions = classify(&mut recovery, [Committed, Lost]);
    assert!(matches!(appended(&actions), Record::Settled(_)));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Lost(loss) = ending(&actions) else { panic!("{actions:?}") };
    assert!(!loss.rewind_may_help);
}

#[test]
fn a_recorded_loss_stops_every_later_start_and_a_fenced_one_says_nothing() {
    let (mut recovery, actions) = begin(history(vec![settled(Outcome::Lost)]), Intent::Run);
    assert!(matches!(appended(&actions), Record::Settled(Settled { by: ME, .. })));
    recovery.step(0, Event::Log(Reply::Exists));
    let seal = Entry { nonce: Nonce(9), record: Record::Sealed { by: Attempt(4) } };
    let actions = recovery.step(0, Event::Log(Reply::Entry(Some(Arc::new(seal)))));
    assert_eq!(ending(&actions), &Ending::Fenced { by: Attempt(4) });
}

#[test]
fn an_accepted_loss_commits_what_is_left_is_recorded_and_goes_on() {
    let accept = |decision| Intent::AcceptLoss { decision, reason: "broker was wiped".to_owned() };
    let (mut recovery, _) = begin(history(vec![settled(Outcome::Lost)]), accept(decision(4)));
    let actions = classify(&mut recovery, [Prepared, Lost]);
    assert!(matches!(actions[..], [Action::Commit(_)]));
    let actions = recovery.step(0, Event::Committed { index: 0, outcome: CommitOutcome::Committed });
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::LossAccepted, .. })));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    let (_, actions) = begin(history(Vec::new()), accept(decision(3)));
    let refusal = Refusal::OtherLoss { named: decision(3), newest: decision(4) };
    assert_eq!(ending(&actions), &Ending::Refused(refusal));
}

#[test]
fn a_finished_pipeline_says_so_and_a_decided_end_needs_no_run() {
    let (_, actions) = begin(history(vec![Record::Released(Released::Finished)]), Intent::Run);
    assert_eq!(ending(&actions), &Ending::Finished);
    let history = vec![found(3, completed(4, Origin::Checkpoint, manifest(0, true)))];
    let (mut recovery, _) = begin(history, Intent::Run);
    let actions = recovery.step(0, Event::LeftoversAborted);
    assert_eq!(appended(&actions), Record::Released(Released::Finished));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(ending(&actions), &Ending::Finished);
}

#[test]
fn commit_only_finishes_the_commits_and_leaves() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::CommitOnly);
    classify(&mut recovery, [Prepared, Committed]);
    recovery.step(0, Event::Committed { index: 0, outcome: CommitOutcome::Committed });
    let actions = recovery.step(0, Event::LeftoversAborted);
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::Committed, .. })));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(appended(&actions), Record::Released(Released::Settled));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(ending(&actions), &Ending::Settled);
}

#[test]
fn a_rewind_aborts_everything_of_the_epoch_then_decides_the_one_before_anew() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Rewind);
    let actions = classify(&mut recovery, [Prepared, Lost]);
    assert!(matches!(actions[..], [Action::Abort { index: 0, .. }]));
    let actions = recovery.step(0, Event::Aborted { index: 0, outcome: AbortOutcome::Aborted });
    assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    let actions = recovery.step(0, Event::LeftoversAborted);
    let [Action::WriteManifest { epoch: Epoch(5), manifest, .. }] = &actions[..] else { panic!("{actions:?}") };
    let written = ManifestRef::Inline(Box::new(manifest.as_ref().clone()));
    let actions = recovery.step(0, Event::ManifestWritten(written));
    let Record::Completed(decided) = appended(&actions) else { panic!("{actions:?}") };
    assert_eq!(decided.origin, Origin::Rewind { taken_back: decision(4), base: decision(3) });
}

#[test]
fn a_rewind_is_refused_once_anything_is_visible() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Rewind);
    let refused = Ending::Refused(Refusal::RewindOfCommitted { decision: decision(4) });
    assert_eq!(ending(&classify(&mut recovery, [Prepared, Committed])), &refused);
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Rewind);
    classify(&mut recovery, [Prepared, Prepared]);
    let actions = recovery.step(0, Event::Aborted { index: 0, outcome: AbortOutcome::Committed });
    assert_eq!(ending(&actions), &refused, "the second is not touched");
    let (_, actions) = begin(history(vec![settled(Outcome::Committed)]), Intent::Rewind);
    assert_eq!(ending(&actions), &refused);
}

#[test]
fn a_rewind_that_aborted_a_part_of_what_becomes_visible_is_a_loss() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Rewind);
    classify(&mut recovery, [Prepared, Prepared]);
    let actions = recovery.step(0, Event::Aborted { index: 0, outcome: AbortOutcome::Aborted });
    assert!(matches!(actions[..], [Action::Abort { index: 1, .. }]));
    // A fenced attempt was quicker.
    let actions = recovery.step(0, Event::Aborted { index: 1, outcome: AbortOutcome::Committed });
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::Lost, by: ME, .. })));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Lost(loss) = ending(&actions) else { panic!("{actions:?}") };
    assert_eq!((loss.committables.len(), loss.rewind_may_help), (1, false));
}

#[test]
fn a_rewind_cannot_be_rewound_to_the_epoch_that_it_aborted() {
    let rewind = Origin::Rewind { taken_back: decision(4), base: decision(3) };
    let above = || vec![completed(5, rewind.clone(), manifest(0, false))];
    let (_, actions) = begin(history(above()), Intent::Rewind);
    assert_eq!(ending(&actions), &Ending::Refused(Refusal::RewindOfRewind { decision: decision(5) }));
    let to = Position { attempt: Attempt(1), slot: Slot(3) };
    let (_, actions) = begin(history(above()), Intent::GoBack { to });
    assert_eq!(ending(&actions), &Ending::Refused(Refusal::OutputGone { decision: decision(4) }));
}

#[test]
fn going_back_finishes_the_commits_copies_the_parts_and_decides_anew() {
    let to = Position { attempt: Attempt(1), slot: Slot(2) };
    let (mut recovery, _) = begin(history(Vec::new()), Intent::GoBack { to });
    classify(&mut recovery, [Committed, Prepared]);
    recovery.step(0, Event::Committed { index: 1, outcome: CommitOutcome::Committed });
    let actions = recovery.step(0, Event::LeftoversAborted);
    let [Action::WriteManifest { epoch: Epoch(5), manifest, copy_parts: true }] = &actions[..] else {
        panic!("{actions:?}")
    };
    let written = ManifestRef::Inline(Box::new(manifest.as_ref().clone()));
    let actions = recovery.step(0, Event::ManifestWritten(written));
    let Record::Completed(decided) = appended(&actions) else { panic!("{actions:?}") };
    assert_eq!(decided.origin, Origin::Older { base: decision(3) });
    let nowhere = Position { attempt: Attempt(1), slot: Slot(9) };
    let (_, actions) = begin(history(Vec::new()), Intent::GoBack { to: nowhere });
    assert_eq!(ending(&actions), &Ending::Refused(Refusal::NoSuchCheckpoint { at: nowhere }));
}

#[test]
fn a_log_that_ends_before_the_known_floor_is_refused() {
    let floor = Some(decision(5));
    for (history, newest) in [(history(Vec::new()), Some(decision(4))), (Vec::new(), None)] {
        let appender = Appender::of(Shipped, ME, Nonce(50));
        let (_, actions) = Recovery::begin(Claimed { appender, history }, Intent::Run, floor);
        let refusal = Refusal::BelowFloor { floor: decision(5), newest };
        assert_eq!(ending(&actions), &Ending::Refused(refusal));
    }
}

#[test]
fn a_stored_manifest_is_loaded_before_anything_is_touched() {
    let stored = ManifestRef::Stored {
        name: "attempts/1/manifest-4-x".to_owned(),
        length: 1,
        hash: crate::manifest::ContentHash("00".to_owned()),
    };
    let record = Record::Completed(Completed {
        epoch: Epoch(4),
        savepoint: false,
        unaligned: false,
        origin: Origin::Checkpoint,
        manifest: stored.clone(),
    });
    let (mut recovery, actions) = begin(vec![found(3, record)], Intent::Run);
    assert_eq!(actions, [Action::LoadManifest(stored)]);
    let actions = recovery.step(0, Event::Manifest(Arc::new(manifest(2, false))));
    assert_eq!(actions.len(), 2);
}

#[test]
fn a_decision_with_a_foreign_committable_is_broken() {
    let mut foreign = manifest(1, false);
    foreign.committables[0].attempt = Attempt(2);
    let (_, actions) = begin(vec![found(3, completed(4, Origin::Checkpoint, foreign))], Intent::Run);
    assert!(matches!(ending(&actions), Ending::Broken(Violation::ForeignCommittable { .. })));
}

#[test]
fn a_log_that_is_handed_over_says_so_and_nobody_runs_in_it_again() {
    let (mut recovery, _) = begin(history(vec![settled(Outcome::Committed)]), Intent::Supersede);
    let actions = recovery.step(0, Event::LeftoversAborted);
    assert_eq!(appended(&actions), Record::Released(Released::Superseded));
    for above in [vec![], vec![Record::Released(Released::Finished)]] {
        let (_, actions) = begin(above.into_iter().map(|record| found(2, record)).collect(), Intent::Supersede);
        assert_eq!(appended(&actions), Record::Released(Released::Superseded), "nothing was decided");
    }
    let (_, actions) = begin(history(vec![Record::Released(Released::Finished)]), Intent::Supersede);
    assert_eq!(appended(&actions), Record::Released(Released::Superseded), "a finished one");
    for intent in [Intent::Run, Intent::Rewind, Intent::GoBack { to: found(2, settled(Outcome::Lost)).at }] {
        let above = || history(vec![Record::Released(Released::Superseded)]);
        let (_, actions) = begin(above(), intent.clone());
        assert_eq!(actions, [Action::Done(Ending::Refused(Refusal::Superseded))]);
        assert_eq!(foresee(above(), intent, None), Some(Refusal::Superseded));
    }
}

#[test]
fn what_a_claim_would_refuse_is_foreseen_without_one() {
    let floor = |epoch| Some(decision(epoch));
    let below = Refusal::BelowFloor { floor: decision(5), newest: Some(decision(4)) };
    assert_eq!(foresee(history(vec![]), Intent::Run, floor(5)), Some(below));
    assert_eq!(foresee(history(vec![]), Intent::Run, floor(4)), None);
    let typo = Intent::AcceptLoss { decision: decision(9), reason: "typo".to_owned() };
    let other = Refusal::OtherLoss { named: decision(9), newest: decision(4) };
    assert_eq!(foresee(history(vec![]), typo.clone(), None), Some(other));
    assert_eq!(foresee(vec![], typo, None), Some(Refusal::NothingDecided));
    let visible = Refusal::RewindOfCommitted { decision: decision(4) };
    assert_eq!(foresee(history(vec![settled(Outcome::Committed)]), Intent::Rewind, None), Some(visible));
    assert_eq!(foresee(history(vec![]), Intent::Rewind, None), None);
}

fn force(indices: &[u32]) -> Intent {
    Intent::ForceAbort { decision: decision(4), indices: indices.to_vec(), reason: "it holds readers up".to_owned() }
}

#[test]
fn a_forced_abort_commits_the_rest_then_aborts_then_records_the_loss_and_leaves() {
    let (mut recovery, _) = begin(history(Vec::new()), force(&[1]));
    let actions = classify(&mut recovery, [Prepared, Prepared]);
    let [Action::Commit(order)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(order.index, 0);
    let actions = recovery.step(0, Event::Committed { index: 0, outcome: CommitOutcome::Committed });
    assert!(matches!(actions[..], [Action::Abort { index: 1, .. }]), "{actions:?}");
    let actions = recovery.step(0, Event::Aborted { index: 1, outcome: AbortOutcome::Aborted });
    let Record::Settled(settled) = appended(&actions) else { panic!("{actions:?}") };
    assert_eq!((settled.outcome, settled.reason.as_deref()), (Outcome::LossAccepted, Some("it holds readers up")));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    let actions = recovery.step(0, Event::LeftoversAborted);
    assert_eq!(appended(&actions), Record::Released(Released::Settled));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    assert_eq!(ending(&actions), &Ending::Settled);
}

#[test]
fn a_forced_abort_that_died_after_its_abort_is_a_loss_to_any_run_and_finished_by_another_one() {
    let (mut recovery, _) = begin(history(Vec::new()), Intent::Run);
    let actions = classify(&mut recovery, [Committed, Lost]);
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::Lost, .. })));
    for above in [Vec::new(), vec![settled(Outcome::Lost)]] {
        let (mut recovery, _) = begin(history(above), force(&[1]));
        let actions = classify(&mut recovery, [Committed, Lost]);
        assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::LossAccepted, .. })));
    }
}

#[test]
fn a_forced_abort_of_what_is_visible_or_settled_or_not_the_newest_is_refused_before_anything_is_touched() {
    let (mut recovery, _) = begin(history(Vec::new()), force(&[0, 1]));
    let actions = classify(&mut recovery, [Prepared, Committed]);
    let refused = Ending::Refused(Refusal::AbortOfCommitted { decision: decision(4) });
    assert_eq!(ending(&actions), &refused);
    let (_, actions) = begin(history(vec![settled(Outcome::Committed)]), force(&[0]));
    assert_eq!(ending(&actions), &refused);
    let older = Intent::ForceAbort { decision: decision(3), indices: vec![0], reason: String::new() };
    let (_, actions) = begin(history(Vec::new()), older);
    let refused = Refusal::NotNewest { named: decision(3), newest: decision(4) };
    assert_eq!(ending(&actions), &Ending::Refused(refused));
}

#[test]
fn a_forced_abort_accepts_no_other_loss_than_its_own() {
    let is_loss = |actions: &[Action]| {
        let Record::Settled(settled) = appended(actions) else { panic!("{actions:?}") };
        assert_eq!(settled.outcome, Outcome::Lost);
        let said = settled.reason.unwrap();
        assert!(said.contains("1 rows of sink `out` (writer 0, epoch 4)"), "{said}");
    };
    let (mut recovery, _) = begin(history(Vec::new()), force(&[1]));
    is_loss(&classify(&mut recovery, [Lost, Prepared]));
    // Lost since it was classified: what was to be aborted stays decided, as nothing is visible.
    let (mut recovery, _) = begin(history(Vec::new()), force(&[1]));
    classify(&mut recovery, [Prepared, Prepared]);
    let actions = recovery.step(0, Event::Committed { index: 0, outcome: CommitOutcome::Lost });
    is_loss(&actions);
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Lost(loss) = ending(&actions) else { panic!("{actions:?}") };
    assert!(loss.rewind_may_help && loss.committables.len() == 1, "{loss:?}");
}

#[test]
fn what_is_committed_while_it_is_being_aborted_is_no_loss() {
    let (mut recovery, _) = begin(history(Vec::new()), force(&[0]));
    classify(&mut recovery, [Prepared, Committed]);
    let actions = recovery.step(0, Event::Aborted { index: 0, outcome: AbortOutcome::Committed });
    assert_eq!(actions, [Action::AbortLeftovers { before: ME }]);
    let actions = recovery.step(0, Event::LeftoversAborted);
    assert!(matches!(appended(&actions), Record::Settled(Settled { outcome: Outcome::Committed, .. })));
}

#[test]
fn a_recorded_loss_is_told_again_in_the_words_of_its_record() {
    let mut lost = settled(Outcome::Lost);
    if let Record::Settled(settled) = &mut lost {
        settled.reason = Some("7 rows".to_owned());
    }
    let (mut recovery, actions) = begin(history(vec![lost]), Intent::Run);
    let Record::Settled(again) = appended(&actions) else { panic!("{actions:?}") };
    assert_eq!(again.reason.as_deref(), Some("7 rows"));
    let actions = recovery.step(0, Event::Log(Reply::Created));
    let Ending::Lost(loss) = ending(&actions) else { panic!("{actions:?}") };
    assert_eq!(loss.reason.as_deref(), Some("7 rows"));
}
