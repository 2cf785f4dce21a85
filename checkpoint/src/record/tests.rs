use super::*;
use crate::ids::Subtask;
use crate::manifest::{Committable, Expiry};

fn completed() -> Entry {
    let committable = Committable {
        sink: "out".to_owned(),
        writer: Subtask(1),
        attempt: Attempt(3),
        epoch: Epoch(7),
        rows: 10,
        expiry: Some(Expiry { start_ms: 1, timeout_ms: 2, commit_budget_ms: 1 }),
        handle: "{}".to_owned(),
    };
    let manifest = Manifest { committables: vec![committable], ..Manifest::empty(2, 128) };
    let completed = Completed {
        epoch: Epoch(7),
        savepoint: false,
        unaligned: false,
        origin: Origin::Checkpoint,
        manifest: ManifestRef::Inline(Box::new(manifest)),
    };
    Entry { nonce: Nonce(9), record: Record::Completed(completed) }
}

#[test]
fn what_was_encoded_decodes_to_the_same_value_and_the_same_bytes() {
    let bytes = encode(&completed()).unwrap();
    let back: Entry = decode(&bytes).unwrap();
    assert_eq!(back, completed());
    assert_eq!(encode(&back).unwrap(), bytes);
}

#[test]
fn newer_version_is_refused_by_name_even_if_its_content_is_unknown() {
    let newer = br#"{"version":2,"content":{"shape":"of tomorrow"},"more":1}"#;
    assert_eq!(decode::<Entry>(newer), Err(DecodeError::Newer { found: 2 }));
    assert!(matches!(decode::<Entry>(br#"{"version":0,"content":{}}"#), Err(DecodeError::Malformed { .. })));
}

#[test]
fn unknown_field_is_refused_at_every_depth() {
    let text = String::from_utf8(encode(&completed()).unwrap()).unwrap();
    for (at, with) in [
        (r#"{"version":1,"#, r#"{"version":1,"extra":0,"#),
        (r#""content":{"#, r#""content":{"extra":0,"#),
        (r#""completed":{"#, r#""completed":{"extra":0,"#),
        (r#""inline":{"#, r#""inline":{"extra":0,"#),
        (r#""expiry":{"#, r#""expiry":{"extra":0,"#),
    ] {
        let changed = text.replacen(at, with, 1);
        assert_ne!(changed, text, "{at} is not in {text}");
        assert!(matches!(decode::<Entry>(changed.as_bytes()), Err(DecodeError::Malformed { .. })), "{changed}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(&completed()).unwrap();
    for length in 0..bytes.len() {
        assert!(decode::<Entry>(&bytes[..length]).is_err(), "{length} of {} bytes were accepted", bytes.len());
    }
}

/// Most flips leave something that is no record; those inside of numbers and texts would be read as another record.
#[test]
fn every_flipped_bit_is_refused() {
    let bytes = encode(&completed()).unwrap();
    for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        assert!(decode::<Entry>(&damaged).is_err(), "bit {bit} of byte {at} was not missed");
    }
}

#[test]
fn too_large_is_refused_before_it_is_read_and_before_it_is_written() {
    let bytes = vec![b' '; MAX_RECORD_BYTES + 1];
    let length = bytes.len();
    assert_eq!(decode::<Claim>(&bytes), Err(DecodeError::TooLarge { length, limit: MAX_RECORD_BYTES }));
    let reason = "x".repeat(MAX_RECORD_BYTES);
    let entry = Entry { nonce: Nonce(1), record: Record::Released(Released::Failed { reason }) };
    assert!(encode(&entry).is_err());
}

#[test]
fn free_text_is_cut_between_characters() {
    assert_eq!(bounded("short"), "short");
    let long = "ä".repeat(MAX_TEXT_BYTES);
    assert!(bounded(&long).len() <= MAX_TEXT_BYTES);
    assert!(long.starts_with(&bounded(&long)));
}
