//! Decisions about a transaction, from facts that were read; nothing here asks anybody.

use super::prepared::{PreparedTransaction, Witness};
use crate::connectors::kafka::client::{ActiveProducer, Coordinated, Fetched, Marker};

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Neither committed nor aborted: it can be either.
    Open,
    /// Readers see it.
    Committed,
    /// Proven: no reader will ever see it.
    Aborted,
    /// It has an end, which is not everywhere yet, and where: ask again.
    Ending(String),
    /// It has ended so, and its marker will never come to some partitions by itself, where it holds readers back: which.
    /// (Whoever ends it once more writes it.)
    Torn(Marker, String),
    /// It cannot be told, and why. Not to be guessed.
    Unknown(String),
}

/// What a `read_committed` fetch at one offset of a witness shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Committed,
    Aborted,
    /// Readers have not come so far: this transaction is open, or an earlier one of somebody else is.
    HeldUp,
    /// The offset no longer tells.
    Gone(String),
}

/// What partition and coordinator together say of a transaction that readers have not passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// The coordinator is writing its markers.
    Ending,
    /// It ended on this partition: its marker is in the log.
    Ended,
    /// Open on the partition, and the coordinator is done with it, or knows nothing of it: nobody will ever end it there
    /// by himself. (KAFKA-20734: brokers leave out partitions that have no leader at the time of the end.) With the end
    /// that the coordinator remembers for this very transaction.
    Hanging(Option<Marker>),
}

/// What one witness tells in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Testimony {
    Outcome(Outcome),
    /// Its end is on the way to this partition, in words.
    Ending(String),
    /// Hangs on this partition, in words, and how the coordinator says that it has ended.
    Hanging(String, Option<Marker>),
    /// Does not tell, and why.
    Nothing(String),
}

/// What all witnesses say together. A transaction is committed only where none of them is held back for ever. `told`: what
/// the coordinator has answered just now; that word is enough where no log tells any more, and nowhere else.
pub(super) fn combine(testimonies: Vec<Testimony>, told: Option<Marker>) -> Outcome {
    let (mut outcomes, mut hanging, mut remembered, mut reasons) = (vec![], vec![], vec![], vec![]);
    for testimony in testimonies {
        match testimony {
            Testimony::Outcome(Outcome::Open) => return Outcome::Open,
            Testimony::Ending(reason) => return Outcome::Ending(reason),
            Testimony::Outcome(outcome) => outcomes.push(outcome),
            Testimony::Hanging(reason, end) => {
                hanging.push(reason);
                remembered.extend(end);
            }
            Testimony::Nothing(reason) => reasons.push(reason),
        }
    }
    outcomes.dedup();
    if !hanging.is_empty() {
        return torn(&outcomes, &hanging, remembered.into_iter().chain(told));
    }
    match outcomes.as_slice() {
        [outcome] => outcome.clone(),
        [] if told == Some(Marker::Commit) => Outcome::Committed,
        [] if reasons.is_empty() => Outcome::Unknown("the checkpoint names no place where its records lie".to_owned()),
        [] => Outcome::Unknown(reasons.join("; ")),
        several => Outcome::Unknown(format!("partitions disagree: {several:?}")),
    }
}

/// Of a transaction that hangs somewhere. Its end is only what everybody who knows one agrees on.
fn torn(outcomes: &[Outcome], hanging: &[String], told: impl Iterator<Item = Marker>) -> Outcome {
    let seen = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Committed => Some(Marker::Commit),
        Outcome::Aborted => Some(Marker::Abort),
        Outcome::Open | Outcome::Ending(_) | Outcome::Torn(..) | Outcome::Unknown(_) => None,
    });
    let mut ends: Vec<Marker> = seen.chain(told).collect();
    ends.dedup();
    let places = hanging.join("; ");
    match ends.as_slice() {
        [end] => Outcome::Torn(*end, places),
        [] => Outcome::Unknown(places),
        _ => Outcome::Unknown(format!("partitions and coordinator disagree: {outcomes:?}, and {places}")),
    }
}

/// Reads a fetch at `offset`, which is the first or the last one of `witness`.
pub(super) fn seen(prepared: &PreparedTransaction, witness: &Witness, offset: i64, fetched: &Fetched) -> Seen {
    if fetched.log_start_offset > offset {
        return Seen::Gone(format!("{witness}: the log begins at offset {} by now", fetched.log_start_offset));
    }
    if fetched.last_stable_offset <= offset {
        return Seen::HeldUp;
    }
    // Named by producer and first offset; that first offset stays as it was, also where the log begins later.
    if fetched.aborted.contains(&(prepared.producer_id, witness.first_offset)) {
        return Seen::Aborted;
    }
    let here = fetched.batches.iter().find(|batch| batch.covers(offset));
    match here {
        Some(batch)
            if batch.producer_id == prepared.producer_id
                && batch.producer_epoch == prepared.producer_epoch
                && batch.is_transactional
                && batch.marker.is_none() =>
        {
            Seen::Committed
        }
        Some(batch) => Seen::Gone(format!(
            "{witness}: at offset {offset} are records of producer {} epoch {} instead (truncated by an unclean election?)",
            batch.producer_id, batch.producer_epoch
        )),
        None => Seen::Gone(format!("{witness}: offset {offset} is not in the log (compacted or truncated)")),
    }
}

/// `active`: of the partition's leader, asked before `coordinated`, so that what the coordinator still holds open was
/// open then, too.
pub(super) fn standing(
    prepared: &PreparedTransaction,
    witness: &Witness,
    active: &[ActiveProducer],
    coordinated: Option<&Coordinated>,
) -> Standing {
    if !active.iter().any(|found| holds_open(prepared, witness, found)) {
        return Standing::Ended;
    }
    match coordinated {
        Some(found) if found.state.starts_with("Prepare") => Standing::Ending,
        Some(found) if found.producer == prepared.producer() => match found.state.as_str() {
            "Ongoing" => Standing::Open,
            "CompleteCommit" => Standing::Hanging(Some(Marker::Commit)),
            "CompleteAbort" => Standing::Hanging(Some(Marker::Abort)),
            _ => Standing::Hanging(None),
        },
        None | Some(_) => Standing::Hanging(None),
    }
}

/// Whether `found` is this transaction, still open.
pub(super) fn holds_open(prepared: &PreparedTransaction, witness: &Witness, found: &ActiveProducer) -> bool {
    found.id == prepared.producer_id && found.open_since == Some(witness.first_offset)
}

/// How the transaction ended: by the first marker of its producer after its last record.
pub(super) fn ended(prepared: &PreparedTransaction, witness: &Witness, fetched: &Fetched) -> Option<Outcome> {
    let mut later = fetched.batches.iter().filter(|batch| batch.base_offset > witness.last_offset);
    let marker = later.find_map(|batch| batch.marker.filter(|_| batch.producer_id == prepared.producer_id))?;
    Some(match marker {
        Marker::Commit => Outcome::Committed,
        Marker::Abort => Outcome::Aborted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::kafka::client::{Batch, Producer, TopicId};

    fn prepared() -> (PreparedTransaction, Witness) {
        let witness =
            Witness { topic: "out".to_owned(), topic_id: TopicId(1), partition: 0, first_offset: 10, last_offset: 12 };
        let prepared = PreparedTransaction {
            cluster_id: "c".to_owned(),
            transactional_id: "t".to_owned(),
            producer_id: 7,
            producer_epoch: 3,
            start_ms: 0,
            timeout_ms: 1,
            record_count: 3,
            witnesses: vec![witness.clone()],
        };
        (prepared, witness)
    }

    fn batch(base_offset: i64, last_offset: i64, producer_id: i64, marker: Option<Marker>) -> Batch {
        let (leader_epoch, producer_epoch, is_transactional) = (0, 3, true);
        Batch { base_offset, last_offset, leader_epoch, producer_id, producer_epoch, is_transactional, marker }
    }

    fn fetched(last_stable_offset: i64, aborted: Vec<(i64, i64)>, batches: Vec<Batch>) -> Fetched {
        Fetched { log_start_offset: 0, last_stable_offset, high_watermark: 100, aborted, batches }
    }

    fn see(fetched: &Fetched) -> Seen {
        let (prepared, witness) = prepared();
        seen(&prepared, &witness, 10, fetched)
    }

    #[test]
    fn what_readers_have_passed_is_committed_unless_it_is_named_as_aborted() {
        let ours = || vec![batch(10, 12, 7, None)];
        assert_eq!(see(&fetched(11, vec![], ours())), Seen::Committed);
        assert_eq!(see(&fetched(11, vec![(7, 10)], ours())), Seen::Aborted);
        assert_eq!(see(&fetched(11, vec![(8, 10), (7, 9)], ours())), Seen::Committed, "those are others");
        assert_eq!(see(&fetched(10, vec![], ours())), Seen::HeldUp);
    }

    #[test]
    fn records_of_others_prove_nothing() {
        let gone = |batches: Vec<Batch>| assert!(matches!(see(&fetched(50, vec![], batches)), Seen::Gone(_)));
        gone(vec![]);
        gone(vec![batch(10, 12, 8, None)]);
        gone(vec![Batch { producer_epoch: 4, ..batch(10, 12, 7, None) }]);
        gone(vec![Batch { is_transactional: false, ..batch(10, 12, 7, None) }]);
        gone(vec![batch(10, 10, 7, Some(Marker::Commit))]);
        gone(vec![batch(11, 12, 7, None)]);
        let deleted = Fetched { log_start_offset: 11, ..fetched(50, vec![], vec![batch(11, 12, 7, None)]) };
        assert!(matches!(see(&deleted), Seen::Gone(_)));
    }

    fn stands(active: &[ActiveProducer], state: Option<(&str, i16)>) -> Standing {
        let (prepared, witness) = prepared();
        let coordinated = state.map(|(state, epoch)| Coordinated {
            transactional_id: "t".to_owned(),
            state: state.to_owned(),
            producer: Producer { id: 7, epoch },
            timeout_ms: 1,
            start_ms: None,
            partitions: vec![],
        });
        standing(&prepared, &witness, active, coordinated.as_ref())
    }

    #[test]
    fn open_is_what_partition_and_coordinator_both_hold_open() {
        let open = [ActiveProducer { id: 7, epoch: 3, coordinator_epoch: 0, open_since: Some(10) }];
        assert_eq!(stands(&open, Some(("Ongoing", 3))), Standing::Open);
        for state in ["PrepareCommit", "PrepareAbort", "PrepareEpochFence"] {
            assert_eq!(stands(&open, Some((state, 3))), Standing::Ending, "{state}");
        }
        for (state, end) in [("CompleteCommit", COMMIT), ("CompleteAbort", ABORT), ("Empty", None), ("Dead", None)] {
            assert_eq!(stands(&open, Some((state, 3))), Standing::Hanging(end), "{state}");
            assert_eq!(stands(&open, Some((state, 4))), Standing::Hanging(None), "{state} of another transaction");
        }
        assert_eq!(stands(&open, Some(("Ongoing", 5))), Standing::Hanging(None), "another transaction");
        assert_eq!(stands(&open, None), Standing::Hanging(None));
        let elsewhere = [
            ActiveProducer { id: 7, epoch: 3, coordinator_epoch: 0, open_since: None },
            ActiveProducer { id: 7, epoch: 5, coordinator_epoch: 0, open_since: Some(40) },
            ActiveProducer { id: 8, epoch: 3, coordinator_epoch: 0, open_since: Some(10) },
        ];
        assert_eq!(stands(&elsewhere, Some(("Ongoing", 3))), Standing::Ended);
    }

    #[test]
    fn the_first_marker_of_its_producer_after_its_records_tells_the_end() {
        let (prepared, witness) = prepared();
        let end = |batches| ended(&prepared, &witness, &fetched(0, vec![], batches));
        let (commit, abort) = (Some(Marker::Commit), Some(Marker::Abort));
        assert_eq!(end(vec![batch(13, 13, 8, abort), batch(14, 14, 7, commit)]), Some(Outcome::Committed));
        assert_eq!(end(vec![batch(13, 13, 7, abort), batch(14, 14, 7, commit)]), Some(Outcome::Aborted));
        assert_eq!(end(vec![batch(9, 9, 7, commit), batch(13, 15, 7, None)]), None, "of an earlier one");
    }

    const COMMIT: Option<Marker> = Some(Marker::Commit);
    const ABORT: Option<Marker> = Some(Marker::Abort);

    fn told(outcome: Outcome) -> Testimony {
        Testimony::Outcome(outcome)
    }

    fn hangs(end: Option<Marker>) -> Testimony {
        Testimony::Hanging("out-1 hangs".to_owned(), end)
    }

    fn gone() -> Testimony {
        Testimony::Nothing("gone".to_owned())
    }

    #[test]
    fn a_transaction_is_committed_only_where_no_witness_hangs() {
        let torn = |end| Outcome::Torn(end, "out-1 hangs".to_owned());
        let (committed, aborted) = (|| told(Outcome::Committed), || told(Outcome::Aborted));
        assert_eq!(combine(vec![gone(), committed(), gone(), committed()], None), Outcome::Committed);
        assert_eq!(combine(vec![committed(), hangs(None)], None), torn(Marker::Commit));
        assert_eq!(combine(vec![hangs(None), committed()], COMMIT), torn(Marker::Commit));
        assert_eq!(combine(vec![hangs(None), aborted()], None), torn(Marker::Abort));
        assert!(
            matches!(combine(vec![committed(), aborted()], None), Outcome::Unknown(why) if why.contains("disagree"))
        );
        assert!(matches!(combine(vec![], None), Outcome::Unknown(reason) if reason.contains("no place")));
    }

    #[test]
    fn what_hangs_everywhere_ends_as_its_coordinator_knows_and_never_as_somebody_wishes() {
        let torn = |end| Outcome::Torn(end, "out-1 hangs".to_owned());
        assert_eq!(combine(vec![hangs(COMMIT), gone()], None), torn(Marker::Commit));
        assert_eq!(combine(vec![hangs(ABORT)], None), torn(Marker::Abort));
        assert_eq!(combine(vec![hangs(None)], COMMIT), torn(Marker::Commit));
        assert_eq!(combine(vec![hangs(None), gone()], None), Outcome::Unknown("out-1 hangs".to_owned()));
        let disagree = |testimonies, told| {
            let outcome = combine(testimonies, told);
            assert!(matches!(&outcome, Outcome::Unknown(why) if why.contains("disagree")), "{outcome:?}");
        };
        disagree(vec![hangs(ABORT)], COMMIT);
        disagree(vec![hangs(None), told(Outcome::Aborted)], COMMIT);
        disagree(vec![hangs(COMMIT), told(Outcome::Aborted)], None);
        disagree(vec![told(Outcome::Committed), told(Outcome::Aborted), hangs(None)], None);
    }

    #[test]
    fn an_end_that_is_on_its_way_is_waited_for() {
        let ending = || Testimony::Ending("out-1".to_owned());
        for end in [None, COMMIT] {
            assert_eq!(combine(vec![told(Outcome::Committed), ending()], end), Outcome::Ending("out-1".to_owned()));
            assert_eq!(combine(vec![ending()], end), Outcome::Ending("out-1".to_owned()));
            assert_eq!(combine(vec![told(Outcome::Committed), told(Outcome::Open)], end), Outcome::Open);
        }
    }

    #[test]
    fn the_coordinator_is_believed_only_where_no_log_tells() {
        assert_eq!(combine(vec![gone(), gone()], COMMIT), Outcome::Committed);
        assert_eq!(combine(vec![], COMMIT), Outcome::Committed);
        assert_eq!(combine(vec![told(Outcome::Committed), gone()], COMMIT), Outcome::Committed);
        assert_eq!(combine(vec![told(Outcome::Aborted)], COMMIT), Outcome::Aborted);
        assert_eq!(combine(vec![gone()], ABORT), Outcome::Unknown("gone".to_owned()));
        assert_eq!(combine(vec![gone()], None), Outcome::Unknown("gone".to_owned()));
    }
}
