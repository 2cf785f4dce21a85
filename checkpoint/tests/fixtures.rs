//! Records and manifests of format version 1, as they were first written: they must decode for ever, to these values and
//! from exactly these bytes. `UPDATE=1` writes missing files and never changes one that exists.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;

use checkpoint::ids::{Attempt, Epoch, Nonce, OperatorId, PipelineId, Subtask};
use checkpoint::manifest::{Committable, ContentHash, Expiry, Manifest, OperatorPlan, OperatorSnapshot, StatePart};
use checkpoint::record::{
    Cause, Claim, Completed, DecisionId, Entry, ManifestRef, Origin, Outcome, Record, Released, Settled, SinkClaim,
    Stored, decode, encode,
};

fn check<T: Stored + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1").join(name);
    let encoded = encode(value).unwrap();
    if !path.exists() && std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &encoded).unwrap();
    }
    let stored = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&decode::<T>(&stored).unwrap(), value, "{name} reads as another value");
    assert_eq!(String::from_utf8(encoded).unwrap(), String::from_utf8(stored).unwrap(), "{name} is written otherwise");
}

fn manifest() -> Manifest {
    Manifest {
        operators: vec![OperatorPlan {
            operator: OperatorId("per_customer/window".to_owned()),
            fingerprint: "f1".to_owned(),
        }],
        parallelism: 2,
        max_parallelism: 128,
        finished: true,
        rows_in: 1000,
        rows_out: 10,
        snapshots: vec![OperatorSnapshot {
            operator: OperatorId("per_customer/window".to_owned()),
            subtask: Subtask(1),
            parts: vec![
                StatePart::Inline { body: "AAEC".to_owned() },
                StatePart::Stored {
                    name: "attempts/3/parts/per_customer-1-7-0".to_owned(),
                    length: 4097,
                    hash: ContentHash("ab".repeat(32)),
                },
            ],
        }],
        committables: vec![Committable {
            sink: "out".to_owned(),
            writer: Subtask(1),
            attempt: Attempt(3),
            epoch: Epoch(7),
            rows: 10,
            expiry: Some(Expiry { start_ms: 1_000, timeout_ms: 900_000, commit_budget_ms: 225_000 }),
            handle: r#"{"hidden":".a.pending","final":"a"}"#.to_owned(),
        }],
    }
}

fn entry(record: Record) -> Entry {
    Entry { nonce: Nonce(0x0123_4567_89ab_cdef), record }
}

fn completed(savepoint: bool, origin: Origin, manifest: ManifestRef) -> Entry {
    entry(Record::Completed(Completed { epoch: Epoch(7), savepoint, unaligned: savepoint, origin, manifest }))
}

const ONE: DecisionId = DecisionId { attempt: Attempt(2), epoch: Epoch(6) };
const TWO: DecisionId = DecisionId { attempt: Attempt(2), epoch: Epoch(5) };

#[test]
fn claims_of_version_one_decode_for_ever() {
    let sink = SinkClaim {
        name: "out".to_owned(),
        kind: "files".to_owned(),
        target: "/data/out".to_owned(),
        prefix: Some("onceward".to_owned()),
        writers: 2,
        slots: 9,
    };
    let causes = [
        ("start", Cause::Start),
        ("failure", Cause::Failure { reason: "disk full".to_owned() }),
        ("commit-blocked", Cause::CommitBlocked),
        ("stopped", Cause::Stopped),
        ("spec-change", Cause::SpecChange),
        ("commit-only", Cause::CommitOnly),
        ("forced", Cause::Forced),
    ];
    for (name, cause) in causes {
        let sinks = vec![sink.clone()];
        check(&format!("claim-{name}.json"), &Claim { pipeline: PipelineId(1), cause, nonce: Nonce(2), sinks });
    }
}

#[test]
fn records_of_version_one_decode_for_ever() {
    let inline = || ManifestRef::Inline(Box::new(manifest()));
    let stored = ManifestRef::Stored {
        name: "attempts/3/manifest-7-x".to_owned(),
        length: 70_000,
        hash: ContentHash("cd".repeat(32)),
    };
    check("completed-inline.json", &completed(false, Origin::Checkpoint, inline()));
    check("completed-stored.json", &completed(true, Origin::First, stored));
    let handle = "file:///other/0/attempts/1/2".to_owned();
    check("completed-restored.json", &completed(false, Origin::Restored { handle }, inline()));
    let rewind = Origin::Rewind { taken_back: ONE, base: TWO };
    check("completed-rewind.json", &completed(false, rewind, inline()));
    check("completed-older.json", &completed(false, Origin::Older { base: TWO }, inline()));
    let outcomes = [("committed", Outcome::Committed), ("lost", Outcome::Lost), ("accepted", Outcome::LossAccepted)];
    for (name, outcome) in outcomes {
        let reason = (outcome == Outcome::LossAccepted).then(|| "broker was wiped".to_owned());
        let settled = Settled { decision: ONE, outcome, by: Attempt(3), reason };
        check(&format!("settled-{name}.json"), &entry(Record::Settled(settled)));
    }
    let released = [
        ("finished", Released::Finished),
        ("stopped", Released::Stopped),
        ("settled", Released::Settled),
        ("superseded", Released::Superseded),
        ("failed", Released::Failed { reason: "no space left".to_owned() }),
    ];
    for (name, released) in released {
        check(&format!("released-{name}.json"), &entry(Record::Released(released)));
    }
    check("sealed.json", &entry(Record::Sealed { by: Attempt(4) }));
}

#[test]
fn manifests_of_version_one_decode_for_ever() {
    check("manifest.json", &manifest());
}
