use super::*;
use crate::ids::Subtask;

fn committable(sink: &str, writer: u32, epoch: u64) -> Arc<Committable> {
    Arc::new(Committable {
        sink: sink.to_owned(),
        writer: Subtask(writer),
        attempt: Attempt(1),
        epoch: Epoch(epoch),
        rows: 1,
        expiry: None,
        handle: String::new(),
    })
}

fn commits() -> Commits {
    let decision = DecisionId { attempt: Attempt(1), epoch: Epoch(2) };
    Commits::of(
        decision,
        [committable("a", 0, 1), committable("a", 0, 2), committable("a", 1, 2), committable("b", 0, 2)],
    )
}

fn ordered(commits: &mut Commits) -> Vec<u32> {
    commits.orders().iter().map(|order| order.index).collect()
}

#[test]
fn within_a_writer_commits_follow_the_order_of_pre_commits() {
    let mut commits = commits();
    assert_eq!(ordered(&mut commits), [0, 2, 3], "writers and sinks go side by side");
    assert_eq!(ordered(&mut commits), [0; 0], "each is ordered once");
    commits.ended(0, CommitOutcome::Committed);
    assert_eq!(ordered(&mut commits), [1]);
    for index in 1..4 {
        assert!(!commits.all_confirmed());
        commits.ended(index, CommitOutcome::AlreadyCommitted);
    }
    assert!(commits.all_confirmed());
}

#[test]
fn what_is_lost_is_never_ordered_and_never_confirmed() {
    let mut commits = commits();
    commits.classified(0, Classification::Lost);
    commits.classified(2, Classification::Committed);
    assert_eq!(ordered(&mut commits), [1, 3]);
    commits.ended(1, CommitOutcome::Committed);
    commits.ended(3, CommitOutcome::Committed);
    assert!(commits.all_ended() && !commits.all_confirmed());
    assert_eq!(commits.lost(), [committable("a", 0, 1)]);
}

#[test]
fn a_permit_names_its_decision() {
    let order = commits().orders().remove(0);
    assert_eq!(order.permit.decided_by(), (Attempt(1), Epoch(2)));
}

fn permit() -> CommitPermit {
    CommitPermit::of(DecisionId { attempt: Attempt(1), epoch: Epoch(2) })
}

#[test]
fn by_hand_the_earlier_ones_of_a_writer_go_first_and_others_are_left_alone() {
    use Classification::{Committed, Lost, Prepared};
    let items = [committable("a", 0, 1), committable("a", 0, 2), committable("a", 1, 2), committable("b", 0, 2)];
    let indices = |known: &[Classification], wanted: &[u32]| {
        by_hand(&permit(), &items, known, wanted)
            .map(|orders| orders.iter().map(|order| order.index).collect::<Vec<_>>())
    };
    assert_eq!(indices(&[Prepared; 4], &[1]), Ok(vec![0, 1]));
    assert_eq!(indices(&[Prepared; 4], &[0, 3]), Ok(vec![0, 3]));
    assert_eq!(indices(&[Committed, Prepared, Prepared, Prepared], &[0, 1, 2, 3]), Ok(vec![1, 2, 3]));
    assert_eq!(indices(&[Committed, Lost, Prepared, Prepared], &[1, 2]), Ok(vec![2]));
    assert_eq!(indices(&[Prepared, Lost, Prepared, Prepared], &[0]), Err(ByHandError::NothingVisible));
    assert_eq!(indices(&[Prepared; 3], &[0]), Err(ByHandError::Unclassified));
    assert_eq!(indices(&[Prepared; 4], &[9]), Ok(vec![]));
}

#[test]
fn only_a_decision_gives_a_permit() {
    let at = Position { attempt: Attempt(1), slot: crate::ids::Slot(3) };
    let entry = |record| Entry { nonce: crate::ids::Nonce(1), record };
    let settled = crate::record::Record::Released(crate::record::Released::Settled);
    assert_eq!(CommitPermit::read(at, &entry(settled)), None);
    let completed = crate::record::Completed {
        epoch: Epoch(2),
        savepoint: false,
        unaligned: false,
        origin: crate::record::Origin::Checkpoint,
        manifest: crate::record::ManifestRef::Inline(Box::new(crate::manifest::Manifest::empty(1, 1))),
    };
    assert_eq!(CommitPermit::read(at, &entry(crate::record::Record::Completed(completed))), Some(permit()));
}
