//! Properties over generated values: encodings, names, and machines under a store that answers anything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::sync::Arc;

use checkpoint::claim::{ClaimStep, Claiming, Depth};
use checkpoint::ids::{Attempt, Epoch, LogIndex, Nonce, OperatorId, PipelineId, Slot, Subtask};
use checkpoint::log::{Listing, Reply, Request};
use checkpoint::manifest::{Committable, Expiry, Manifest, OperatorSnapshot, StatePart};
use checkpoint::paths::{self, ObjectName};
use checkpoint::record::{
    Cause, Claim, Completed, DecisionId, Entry, ManifestRef, Origin, Outcome, Position, Record, Released, Settled,
    decode, encode,
};
use checkpoint::retention;
use checkpoint::undecided::Undecided;
use proptest::collection::vec;
use proptest::prelude::*;

prop_compose! {
    fn committables()(sink in ".{0,12}", writer: u32, attempt: u64, epoch: u64, rows: u64,
                      expiry in proptest::option::of((any::<u64>(), any::<u64>(), any::<u64>())), handle in ".{0,40}")
                     -> Committable {
        let expiry = expiry.map(|(start_ms, timeout_ms, commit_budget_ms)| Expiry { start_ms, timeout_ms, commit_budget_ms });
        Committable { sink, writer: Subtask(writer), attempt: Attempt(attempt), epoch: Epoch(epoch), rows, expiry, handle }
    }
}

prop_compose! {
    fn manifests()(parallelism: u32, finished: bool, bodies in vec(".{0,20}", 0..3), committables in vec(committables(), 0..3))
                  -> Manifest {
        let snapshots = bodies.into_iter().map(|body| OperatorSnapshot {
            operator: OperatorId(body.clone()),
            subtask: Subtask(parallelism),
            parts: vec![StatePart::Inline { body }],
        });
        Manifest {
            operators: Vec::new(), parallelism, max_parallelism: 128, finished, rows_in: 1, rows_out: 2,
            snapshots: snapshots.collect(), committables,
        }
    }
}

fn records() -> impl Strategy<Value = Record> {
    let decision = (any::<u64>(), any::<u64>()).prop_map(|(a, e)| DecisionId { attempt: Attempt(a), epoch: Epoch(e) });
    let completed = (any::<u64>(), any::<bool>(), manifests()).prop_map(|(epoch, savepoint, manifest)| {
        let manifest = ManifestRef::Inline(Box::new(manifest));
        let origin = Origin::Checkpoint;
        Record::Completed(Completed { epoch: Epoch(epoch), savepoint, unaligned: false, origin, manifest })
    });
    let settled = (decision, proptest::option::of(".{0,30}")).prop_map(|(decision, reason)| {
        Record::Settled(Settled { decision, outcome: Outcome::Lost, by: Attempt(1), reason })
    });
    let released = ".{0,30}".prop_map(|reason| Record::Released(Released::Failed { reason }));
    prop_oneof![completed, settled, released, any::<u64>().prop_map(|by| Record::Sealed { by: Attempt(by) })]
}

proptest! {
    #[test]
    fn any_record_reads_back_as_itself_from_the_same_bytes(nonce: u128, record in records()) {
        let entry = Entry { nonce: Nonce(nonce), record };
        let bytes = encode(&entry).unwrap();
        let back: Entry = decode(&bytes).unwrap();
        prop_assert_eq!(&back, &entry);
        prop_assert_eq!(encode(&back).unwrap(), bytes);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode::<Entry>(&bytes);
        let _ = decode::<Claim>(&bytes);
        let _ = decode::<Manifest>(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_reads_as_something_else(record in records(), at: prop::sample::Index, bit in 0..8u8) {
        let entry = Entry { nonce: Nonce(1), record };
        let mut bytes = encode(&entry).unwrap();
        let index = at.index(bytes.len() - 1);
        bytes[index] ^= 1 << bit;
        if let Ok(back) = decode::<Entry>(&bytes) {
            // Text inside of a record has no redundancy: what matters is that equality notices.
            prop_assert_ne!(back, entry);
        }
    }

    #[test]
    fn a_name_that_parses_is_spelled_the_only_way(name in "[0-9]{0,2}/attempts/[0-9]{1,3}/(claim|[0-9]{1,3}|parts/[a-z/0-9-]{0,8}|manifest-[0-9]{1,2}-[0-9a-f]{30,32})") {
        let spelled = match paths::parse(&name) {
            Ok(Some(ObjectName::Claim(log, attempt))) => paths::claim(log, attempt),
            Ok(Some(ObjectName::Record(log, at))) => paths::record(log, at),
            Ok(Some(ObjectName::Manifest(log, attempt, epoch, nonce))) => paths::manifest(log, attempt, epoch, nonce),
            Ok(Some(ObjectName::Part(..)) | None) | Err(_) => name.clone(),
        };
        prop_assert_eq!(spelled, name);
    }

    #[test]
    fn no_name_makes_the_parser_panic(name in ".{0,60}") {
        let _ = paths::parse(&name);
        let _ = paths::parse_handle(&name);
        let _ = Listing::from_names(LogIndex(0), [name.as_str()]);
    }

    /// Whatever order acknowledgements come in, the undecided set is the same.
    #[test]
    fn undecided_output_depends_on_what_was_acknowledged_not_on_the_order(order in Just((1..=6u64).collect::<Vec<_>>()).prop_shuffle(), decided in 0..6u64) {
        let committable = |epoch| Arc::new(Committable {
            sink: String::new(), writer: Subtask(0), attempt: Attempt(1), epoch: Epoch(epoch), rows: 1, expiry: None,
            handle: String::new(),
        });
        let mut undecided = Undecided::default();
        for epoch in order {
            undecided.merge((1..=epoch).map(committable), Epoch(decided));
        }
        let epochs: Vec<_> = undecided.list().iter().map(|c| c.epoch.0).collect();
        prop_assert_eq!(epochs, (decided + 1..=6).collect::<Vec<_>>());
    }

    /// However the log looks, retention keeps the two newest decisions, savepoints, and each attempt's highest record.
    #[test]
    fn retention_never_takes_what_recovery_needs(log in vec(vec((any::<bool>(), any::<bool>()), 0..6), 1..4), retain in 0..4u32) {
        let mut listing = Listing::default();
        let mut decisions = Vec::new();
        for (attempt, records) in (1..).map(Attempt).zip(&log) {
            let slots: Vec<_> = (0..records.len() as u64).map(Slot).collect();
            for (slot, (is_decision, savepoint)) in slots.iter().zip(records) {
                if *is_decision {
                    let at = Position { attempt, slot: *slot };
                    decisions.push(retention::Decision { at, savepoint: *savepoint, objects: vec![format!("{at:?}")] });
                }
            }
            listing.attempts.push((attempt, slots));
        }
        let plan = retention::plan(Attempt(log.len() as u64), &listing, &decisions, retain);
        let newest = decisions.iter().rev().filter(|d| !d.savepoint).take(2);
        for kept in newest.chain(decisions.iter().filter(|d| d.savepoint)) {
            prop_assert!(!plan.records.contains(&kept.at));
            prop_assert!(kept.objects.iter().all(|object| !plan.objects.contains(object)));
        }
        for (attempt, slots) in &listing.attempts {
            if let Some(slot) = slots.last() {
                let highest = Position { attempt: *attempt, slot: *slot };
                prop_assert!(!plan.records.contains(&highest));
            }
        }
    }

    /// Replies get lost and puts are dropped, in any order: a lone claimant still ends with everything sealed, and sees
    /// the newest decision.
    #[test]
    fn a_lone_claimant_gets_through_any_lost_replies(faults in vec(0..3u8, 0..60), decisions in 0..4u64) {
        let mut store = Store::with(decisions);
        let claim = Claim { pipeline: PipelineId(1), cause: Cause::Start, nonce: Nonce(99), sinks: Vec::new() };
        let (mut claiming, mut request) = Claiming::begin(Arc::new(claim), Depth::Newest);
        let mut faults = faults.into_iter();
        let claimed = loop {
            let fault = faults.next().unwrap_or(0);
            match claiming.step(store.carry_out(request, fault)) {
                ClaimStep::Ask(next) => request = next,
                ClaimStep::Claimed(claimed) => break claimed,
                other => panic!("{other:?}"),
            }
        };
        prop_assert_eq!(claimed.attempt(), Attempt(2));
        let newest = claimed.newest().map(|(_, completed)| completed.epoch.0).unwrap_or_default();
        prop_assert_eq!(newest, decisions);
        prop_assert!(store.slots.values().last().is_some_and(|entry| entry.is_sealed()));
    }
}

/// Attempt 1 with some decisions.
struct Store {
    claims: BTreeMap<Attempt, Arc<Claim>>,
    slots: BTreeMap<Position, Arc<Entry>>,
}

impl Store {
    fn with(decisions: u64) -> Self {
        let claim = Claim { pipeline: PipelineId(1), cause: Cause::Start, nonce: Nonce(1), sinks: Vec::new() };
        let decision = |slot: u64| {
            let manifest = Manifest::empty(1, 1);
            let completed = Completed {
                epoch: Epoch(slot + 1),
                savepoint: false,
                unaligned: false,
                origin: Origin::Checkpoint,
                manifest: ManifestRef::Inline(Box::new(manifest)),
            };
            let at = Position { attempt: Attempt(1), slot: Slot(slot) };
            (at, Arc::new(Entry { nonce: Nonce(2), record: Record::Completed(completed) }))
        };
        Self { claims: BTreeMap::from([(Attempt(1), Arc::new(claim))]), slots: (0..decisions).map(decision).collect() }
    }

    /// 1: the reply is lost; 2: the request is.
    fn carry_out(&mut self, request: Request, fault: u8) -> Reply {
        if fault == 2 {
            return Reply::Unknown;
        }
        let reply = match request {
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
        };
        if fault == 1 { Reply::Unknown } else { reply }
    }
}
