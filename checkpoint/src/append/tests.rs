use super::*;
use crate::record::Released;

const NOW: u64 = 0;

fn appender() -> Appender {
    Appender::of(Shipped, Attempt(2), Nonce(100))
}

fn record() -> Record {
    Record::Released(Released::Stopped)
}

fn at(slot: u64) -> Position {
    Position { attempt: Attempt(2), slot: Slot(slot) }
}

fn sent(append: &Append) -> Arc<Entry> {
    match append {
        Append::Ask(Request::CreateSlot(_, entry)) => entry.clone(),
        other => panic!("expected a creation, got {other:?}"),
    }
}

fn sealed() -> Reply {
    Reply::Entry(Some(Arc::new(Entry { nonce: Nonce(1), record: Record::Sealed { by: Attempt(3) } })))
}

#[test]
fn each_append_has_its_own_slot_and_nonce() {
    let mut appender = appender();
    let first = sent(&appender.begin(record(), None, NOW));
    assert_eq!(appender.step(Reply::Created, NOW), Append::Done(at(0), first.clone()));
    let second = sent(&appender.begin(record(), None, NOW));
    assert_eq!(appender.step(Reply::Created, NOW), Append::Done(at(1), second.clone()));
    assert_ne!(first.nonce, second.nonce);
}

#[test]
fn unknown_outcome_is_read_and_own_bytes_mean_done() {
    for reply in [Reply::Unknown, Reply::Exists] {
        let mut appender = appender();
        let entry = sent(&appender.begin(record(), None, NOW));
        assert_eq!(appender.step(reply, NOW), Append::Ask(Request::ReadSlot(at(0))));
        assert_eq!(appender.step(Reply::Unknown, NOW), Append::Ask(Request::ReadSlot(at(0))), "a read may fail too");
        assert!(appender.is_busy());
        assert_eq!(appender.step(Reply::Entry(Some(entry.clone())), NOW), Append::Done(at(0), entry));
        assert!(!appender.is_busy());
    }
}

#[test]
fn empty_slot_after_an_unknown_outcome_gets_the_same_bytes_again() {
    let mut appender = appender();
    let entry = sent(&appender.begin(record(), None, NOW));
    let _ = appender.step(Reply::Unknown, NOW);
    assert_eq!(appender.step(Reply::Entry(None), NOW), Append::Ask(Request::CreateSlot(at(0), entry)));
}

#[test]
fn a_seal_in_the_slot_means_fenced() {
    let mut appender = appender();
    let _ = appender.begin(record(), None, NOW);
    let _ = appender.step(Reply::Exists, NOW);
    assert_eq!(appender.step(sealed(), NOW), Append::Fenced { by: Attempt(3) });
}

#[test]
fn foreign_content_in_the_slot_must_crash() {
    let mut appender = appender();
    let entry = sent(&appender.begin(record(), None, NOW));
    let _ = appender.step(Reply::Exists, NOW);
    let foreign = Entry { nonce: Nonce(7), ..entry.as_ref().clone() };
    let step = appender.step(Reply::Entry(Some(Arc::new(foreign))), NOW);
    assert_eq!(step, Append::Broken(Violation::ForeignRecord { at: at(0) }));
}

#[test]
fn past_its_deadline_nothing_is_sent_and_nothing_sent_again() {
    assert_eq!(appender().begin(record(), Some(10), 10), Append::Expired);
    let mut appender = appender();
    let _ = appender.begin(record(), Some(10), 9);
    // The read is always allowed: what was sent in time may be there.
    assert_eq!(appender.step(Reply::Unknown, 11), Append::Ask(Request::ReadSlot(at(0))));
    assert_eq!(appender.step(Reply::Entry(None), 11), Append::Expired);
}

#[test]
fn a_second_append_waits_for_the_outcome_of_the_first() {
    let mut appender = appender();
    let _ = appender.begin(record(), None, NOW);
    let second = appender.begin(record(), None, NOW);
    assert_eq!(second, Append::Broken(Violation::AppendBeforeOutcome { attempt: Attempt(2) }));
}
