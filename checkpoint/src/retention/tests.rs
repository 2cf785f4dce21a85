use super::*;
use crate::ids::{Epoch, LogIndex, Nonce, Slot};

fn at(attempt: u64, slot: u64) -> Position {
    Position { attempt: Attempt(attempt), slot: Slot(slot) }
}

fn decision(attempt: u64, slot: u64, objects: &[&str]) -> Decision {
    let objects = objects.iter().map(|name| (*name).to_owned()).collect();
    Decision { at: at(attempt, slot), savepoint: false, objects }
}

/// Attempt 1 decided in slots 0 to 3 and was sealed in 4; attempt 2 decided in slots 0 and 1.
fn log() -> (Listing, Vec<Decision>) {
    let slots = |count| (0..count).map(Slot).collect();
    let listing = Listing { attempts: vec![(Attempt(1), slots(5)), (Attempt(2), slots(2))] };
    let decisions = vec![
        decision(1, 0, &["a"]),
        decision(1, 1, &["a", "b"]),
        decision(1, 2, &["b", "c"]),
        decision(1, 3, &["c"]),
        decision(2, 0, &["c", "d"]),
        decision(2, 1, &["d"]),
    ];
    (listing, decisions)
}

#[test]
fn the_two_newest_stay_even_if_fewer_are_asked_for() {
    let (listing, decisions) = log();
    for retain in 0..=2 {
        let plan = plan(Attempt(2), &listing, &decisions, retain);
        assert_eq!(plan.records, [at(1, 0), at(1, 1), at(1, 2), at(1, 3)], "the seal in slot 4 stays");
        assert_eq!(plan.objects, ["a", "b"], "c and d are referenced by what stays");
    }
}

#[test]
fn at_the_end_parts_go_but_those_of_savepoints_and_of_later_attempts() {
    let part = |attempt, name: &str| format!("{}{name}", paths::parts(LogIndex(0), Attempt(attempt)));
    let (shared, own, later) = (part(1, "shared"), part(1, "own"), part(3, "later"));
    let manifest = paths::manifest(LogIndex(0), Attempt(1), Epoch(1), Nonce(7));
    let decisions = [
        Decision { savepoint: true, ..decision(1, 0, &[&shared]) },
        decision(1, 1, &[&manifest, &shared, &own]),
        decision(3, 0, &[&later, &part(2, "taken over")]),
        decision(2, 0, &[&part(2, "taken over"), &part(2, "newest")]),
    ];
    assert_eq!(farewell(Attempt(2), &decisions), [own, part(2, "newest")]);
}

#[test]
fn nothing_goes_while_there_are_no_more_than_the_retained() {
    let (listing, decisions) = log();
    assert_eq!(plan(Attempt(2), &listing, &decisions, 6), Plan::default());
    assert_eq!(plan(Attempt(2), &listing, &decisions, 5).records, [at(1, 0)]);
}

#[test]
fn a_savepoint_stays_with_its_objects_and_does_not_count() {
    let (listing, mut decisions) = log();
    decisions[0].savepoint = true;
    let plan = plan(Attempt(2), &listing, &decisions, 2);
    assert_eq!(plan.records, [at(1, 1), at(1, 2), at(1, 3)]);
    assert_eq!(plan.objects, ["b"]);
}

#[test]
fn the_highest_record_of_an_attempt_stays_whatever_it_is() {
    let (mut listing, decisions) = log();
    listing.attempts[0].1.pop();
    let plan = plan(Attempt(2), &listing, &decisions, 2);
    assert!(!plan.records.contains(&at(1, 3)));
    assert!(!plan.objects.contains(&"c".to_owned()));
}

#[test]
fn a_fenced_attempt_touches_nothing_of_its_successor() {
    let (listing, decisions) = log();
    let plan = plan(Attempt(1), &listing, &decisions, 2);
    assert_eq!(plan.records, [at(1, 0), at(1, 1)]);
}

#[test]
fn orphans_are_unreferenced_objects_of_earlier_attempts_only() {
    let (_, decisions) = log();
    let names = [(Attempt(1), "a"), (Attempt(1), "x"), (Attempt(2), "y"), (Attempt(3), "z")];
    assert_eq!(orphans(Attempt(2), names, &decisions), ["x"]);
}
