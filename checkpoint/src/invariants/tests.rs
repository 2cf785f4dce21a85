use super::*;
use crate::ids::Subtask;
use crate::manifest::Committable;

const NEXT: DecisionId = DecisionId { attempt: Attempt(2), epoch: Epoch(5) };

fn committable(attempt: u64, epoch: u64, handle: &str) -> Committable {
    Committable {
        sink: "out".to_owned(),
        writer: Subtask(0),
        attempt: Attempt(attempt),
        epoch: Epoch(epoch),
        rows: 1,
        expiry: None,
        handle: handle.to_owned(),
    }
}

fn check(committables: &[Committable]) -> Result<(), Violation> {
    let manifest = Manifest { committables: committables.to_vec(), ..Manifest::empty(1, 1) };
    check_decidable(&manifest, NEXT, Epoch(3))
}

#[test]
fn a_decision_holds_only_its_attempts_committables_since_the_last_decision() {
    assert_eq!(check(&[committable(2, 4, "a"), committable(2, 5, "b"), committable(2, 5, "c")]), Ok(()));
    assert!(matches!(check(&[committable(1, 5, "a")]), Err(Violation::ForeignCommittable { .. })));
    for epoch in [3, 6] {
        assert!(matches!(check(&[committable(2, epoch, "a")]), Err(Violation::CommittableOutOfRange { .. })));
    }
}

#[test]
fn a_decision_holds_each_committable_once_and_in_order() {
    let (older, newer) = (committable(2, 4, "a"), committable(2, 5, "b"));
    assert!(matches!(check(&[newer, older.clone()]), Err(Violation::CommittableOutOfOrder { .. })));
    assert!(matches!(check(&[older.clone(), older]), Err(Violation::CommittableOutOfOrder { .. })));
}

#[test]
fn decisions_increase_by_attempt_and_by_epoch() {
    let id = |attempt, epoch| DecisionId { attempt: Attempt(attempt), epoch: Epoch(epoch) };
    assert_eq!(check_order(id(1, 4), id(2, 5)), Ok(()));
    assert!(check_order(id(1, 5), id(2, 5)).is_err());
    assert!(check_order(id(3, 4), NEXT).is_err());
}
