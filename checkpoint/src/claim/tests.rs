use std::collections::BTreeMap;

use super::*;
use crate::ids::{Epoch, Nonce, PipelineId};
use crate::manifest::Manifest;
use crate::record::{Cause, ManifestRef, Origin};

fn claim(nonce: u128) -> Arc<Claim> {
    Arc::new(Claim { pipeline: PipelineId(1), cause: Cause::Start, nonce: Nonce(nonce), sinks: Vec::new() })
}

fn decision(epoch: u64) -> Record {
    let manifest = Manifest::empty(1, 1);
    Record::Completed(Completed {
        epoch: Epoch(epoch),
        savepoint: false,
        unaligned: false,
        origin: Origin::Checkpoint,
        manifest: ManifestRef::Inline(Box::new(manifest)),
    })
}

/// An honest store.
#[derive(Default)]
struct Log {
    claims: BTreeMap<Attempt, Arc<Claim>>,
    slots: BTreeMap<Position, Arc<Entry>>,
}

fn at(attempt: u64, slot: u64) -> Position {
    Position { attempt: Attempt(attempt), slot: Slot(slot) }
}

impl Log {
    fn with(attempts: &[&[Record]]) -> Self {
        let mut log = Self::default();
        for (attempt, records) in (1..).zip(attempts) {
            log.claims.insert(Attempt(attempt), claim(u128::from(attempt)));
            for (slot, record) in (0..).zip(*records) {
                let entry = Entry { nonce: Nonce(1), record: record.clone() };
                log.slots.insert(at(attempt, slot), Arc::new(entry));
            }
        }
        log
    }

    fn carry_out(&mut self, request: Request) -> Reply {
        match request {
            Request::List => {
                let slots = |a: Attempt| self.slots.keys().filter(|at| at.attempt == a).map(|at| at.slot).collect();
                Reply::Listed(Listing { attempts: self.claims.keys().map(|a| (*a, slots(*a))).collect() })
            }
            Request::ReadClaim(attempt) => Reply::Claim(self.claims.get(&attempt).cloned()),
            Request::ReadSlot(at) => Reply::Entry(self.slots.get(&at).cloned()),
            Request::CreateClaim(attempt, _) if self.claims.contains_key(&attempt) => Reply::Exists,
            Request::CreateClaim(attempt, claim) => {
                self.claims.insert(attempt, claim);
                Reply::Created
            }
            Request::CreateSlot(at, _) if self.slots.contains_key(&at) => Reply::Exists,
            Request::CreateSlot(at, entry) => {
                self.slots.insert(at, entry);
                Reply::Created
            }
        }
    }

    fn claim(&mut self, depth: Depth) -> ClaimStep {
        let (mut claiming, mut request) = Claiming::begin(claim(99), depth);
        for _ in 0..100 {
            match claiming.step(self.carry_out(request)) {
                ClaimStep::Ask(next) => request = next,
                end => return end,
            }
        }
        panic!("no end");
    }

    fn claimed(&mut self, depth: Depth) -> Claimed {
        match self.claim(depth) {
            ClaimStep::Claimed(claimed) => claimed,
            other => panic!("not claimed: {other:?}"),
        }
    }

    fn is_sealed(&self, attempt: u64) -> bool {
        self.slots.iter().rev().find(|(at, _)| at.attempt.0 == attempt).is_some_and(|(_, entry)| entry.is_sealed())
    }
}

fn released() -> Record {
    Record::Released(crate::record::Released::Stopped)
}

#[test]
fn the_first_claim_of_a_log_is_attempt_one() {
    let claimed = Log::default().claimed(Depth::Newest);
    assert_eq!(claimed.attempt(), Attempt(1));
    assert_eq!(claimed.newest(), None);
}

#[test]
fn earlier_attempts_are_sealed_down_to_the_first_with_a_decision() {
    let mut log = Log::with(&[&[decision(1)], &[decision(2), released()], &[], &[released()]]);
    let claimed = log.claimed(Depth::Newest);
    assert_eq!(claimed.attempt(), Attempt(5));
    assert_eq!(claimed.newest().map(|(at, completed)| (at, completed.epoch)), Some((at(2, 0), Epoch(2))));
    assert!([2, 3, 4].into_iter().all(|attempt| log.is_sealed(attempt)), "even the one that never ran");
    assert!(!log.is_sealed(1), "attempt 2 had sealed it before it decided");
}

#[test]
fn everything_above_the_newest_decision_is_known() {
    let mut log = Log::with(&[&[decision(1), released()], &[released()]]);
    let places: Vec<_> = log.claimed(Depth::Newest).history.iter().map(|found| found.at).collect();
    assert_eq!(places, [at(2, 1), at(2, 0), at(1, 2), at(1, 1), at(1, 0)]);
}

#[test]
fn a_rewind_reads_on_to_the_decision_before() {
    let mut log = Log::with(&[&[decision(1), decision(2)], &[decision(3)]]);
    let claimed = log.claimed(Depth::Previous);
    assert_eq!(claimed.decisions().map(|(at, _)| at).collect::<Vec<_>>(), [at(2, 0), at(1, 1)]);
}

#[test]
fn what_was_decided_below_the_newest_decision_after_the_claims_listing_is_known() {
    // Attempt 2 has claimed and not sealed 1 yet, when 3 claims and lists.
    let mut log = Log::with(&[&[decision(1), decision(2)], &[]]);
    let (mut claiming, mut request) = Claiming::begin(claim(99), Depth::Previous);
    while !matches!(request, Request::CreateSlot(..)) {
        let ClaimStep::Ask(next) = claiming.step(log.carry_out(request)) else { panic!("a question") };
        request = next;
    }
    // Only then 1 decides once more, 2 seals it, goes on from there and decides.
    let seal = Record::Sealed { by: Attempt(2) };
    for (at, record) in [(at(1, 2), decision(3)), (at(1, 3), seal), (at(2, 0), decision(4))] {
        log.slots.insert(at, Arc::new(Entry { nonce: Nonce(1), record }));
    }
    let claimed = loop {
        match claiming.step(log.carry_out(request)) {
            ClaimStep::Ask(next) => request = next,
            ClaimStep::Claimed(claimed) => break claimed,
            other => panic!("not claimed: {other:?}"),
        }
    };
    assert_eq!(claimed.decisions().map(|(at, _)| at).collect::<Vec<_>>(), [at(2, 0), at(1, 2)]);
}

#[test]
fn a_rival_that_was_faster_wins_and_nothing_is_sealed() {
    let mut log = Log::with(&[&[decision(1)]]);
    let (mut claiming, request) = Claiming::begin(claim(99), Depth::Newest);
    let ClaimStep::Ask(create) = claiming.step(log.carry_out(request)) else { panic!("a creation") };
    log.claims.insert(Attempt(2), claim(98));
    let ClaimStep::Ask(read) = claiming.step(log.carry_out(create)) else { panic!("a read") };
    assert_eq!(claiming.step(log.carry_out(read)), ClaimStep::Outrun { by: Attempt(2) });
    assert!(!log.is_sealed(1));
}

#[test]
fn ones_own_claim_is_known_by_its_nonce_after_a_lost_reply() {
    let mut log = Log::with(&[&[decision(1)]]);
    let (mut claiming, request) = Claiming::begin(claim(99), Depth::Newest);
    let ClaimStep::Ask(create) = claiming.step(log.carry_out(request)) else { panic!("a creation") };
    log.carry_out(create);
    assert_eq!(claiming.step(Reply::Unknown), ClaimStep::Ask(Request::ReadClaim(Attempt(2))));
    assert_eq!(claiming.step(Reply::Claim(Some(claim(99)))), ClaimStep::Ask(Request::List));
}

#[test]
fn a_record_that_only_damage_can_have_removed_is_refused() {
    let mut log = Log::with(&[&[decision(1), decision(2), released()]]);
    log.slots.remove(&at(1, 1));
    assert_eq!(log.claim(Depth::Newest), ClaimStep::Refused(ClaimError::Missing { at: at(1, 1) }));
    let mut log = Log::with(&[&[decision(1), decision(2), decision(3)]]);
    log.slots.remove(&at(1, 0));
    assert!(matches!(log.claim(Depth::Previous), ClaimStep::Claimed(_)), "retention may take what is below the second");
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let (mut claiming, _) = Claiming::begin(claim(99), Depth::Newest);
    assert_eq!(claiming.step(Reply::Created), ClaimStep::Refused(ClaimError::UnexpectedReply));
}
