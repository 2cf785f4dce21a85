//! From what a coordinator tells of a transaction and what stands in the log to what would be right to do. Pure.

use std::collections::BTreeSet;

use checkpoint::ids::{Attempt, PipelineId};
use checkpoint::record::{DecisionId, Outcome};
use serde::Serialize;

use crate::connectors::{Phase, Stamp, Transaction};

/// What the log says.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub pipeline: PipelineId,
    /// That have a claim.
    pub attempts: BTreeSet<Attempt>,
    pub newest_attempt: Attempt,
    /// It has not left by itself.
    pub may_be_running: bool,
    /// The newest.
    pub decision: Option<DecisionId>,
    /// How its commits ended.
    pub settled: Option<Outcome>,
    /// The transactions that it decided.
    pub pieces: Vec<(String, Stamp)>,
}

/// What the log says of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// A checkpoint decided it, and its commits are not known to be done: it must be committed.
    Decided,
    /// A checkpoint decided it, and the log says that its commits have ended.
    Settled,
    /// Of an attempt of this pipeline, and no checkpoint decided it.
    Undecided,
    /// Of no attempt that this log knows.
    Unknown,
}

/// A transaction with everything that is known of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    #[serde(flatten)]
    pub transaction: Transaction,
    pub age_ms: Option<u64>,
    /// Until the target aborts it by itself; 0 once that is due.
    pub left_ms: Option<u64>,
    pub standing: Standing,
    /// `ATTEMPT/EPOCH` of the checkpoint that decided it.
    pub checkpoint: Option<String>,
    /// What would be right to do; `FILE` stands for the manifest.
    pub advice: String,
}

/// Judges one transaction at `now_ms` (milliseconds since 1970). Without facts there is no log.
pub(super) fn judge(facts: Option<&Facts>, transaction: Transaction, now_ms: u64) -> Judged {
    let standing = facts.map_or(Standing::Unknown, |facts| standing(facts, &transaction));
    let is_decided = matches!(standing, Standing::Decided | Standing::Settled);
    let decision = facts.and_then(|facts| facts.decision).filter(|_| is_decided);
    let age_ms = transaction.start_ms.map(|start| now_ms.saturating_sub(start));
    let end_ms = transaction.start_ms.map(|start| start.saturating_add(transaction.timeout_ms));
    Judged {
        advice: advice(facts, standing, &transaction),
        age_ms,
        left_ms: end_ms.map(|end| end.saturating_sub(now_ms)),
        standing,
        checkpoint: decision.map(checkpoint_name),
        transaction,
    }
}

/// `ATTEMPT/EPOCH`.
pub(super) fn checkpoint_name(decision: DecisionId) -> String {
    format!("{}/{}", decision.attempt, decision.epoch)
}

fn standing(facts: &Facts, transaction: &Transaction) -> Standing {
    let is_ours =
        |owner: &crate::connectors::Owner| owner.pipeline == facts.pipeline && facts.attempts.contains(&owner.attempt);
    if !transaction.owner.as_ref().is_some_and(is_ours) {
        return Standing::Unknown;
    }
    // An id names many transactions after each other: only producer and epoch tell which one was decided.
    let is_decided = facts.pieces.iter().any(|(id, of)| *id == transaction.id && *of == transaction.stamp);
    match (is_decided, facts.settled) {
        (false, _) => Standing::Undecided,
        (true, None | Some(Outcome::Lost)) => Standing::Decided,
        (true, Some(Outcome::Committed | Outcome::LossAccepted)) => Standing::Settled,
    }
}

fn advice(facts: Option<&Facts>, standing: Standing, transaction: &Transaction) -> String {
    match transaction.phase {
        Phase::Ending => return "nothing: its end is being written".to_owned(),
        Phase::Over => return "nothing: it is over".to_owned(),
        Phase::Open => {}
    }
    let newest = facts.map(|facts| facts.newest_attempt).unwrap_or_default();
    let may_be_running = facts.is_some_and(|facts| facts.may_be_running);
    let is_of_newest = transaction.owner.as_ref().is_some_and(|owner| owner.attempt == newest);
    match standing {
        Standing::Unknown => {
            "not this pipeline's to end: find out whose it is (`kafka-transactions.sh describe`)".to_owned()
        }
        Standing::Settled => "look closer: the log says that its checkpoint is settled, and it is open \
                              (`kafka-transactions.sh find-hanging`)"
            .to_owned(),
        Standing::Decided if facts.is_some_and(|facts| facts.settled == Some(Outcome::Lost)) => {
            "other output of its checkpoint is lost: `onceward run FILE` tells what can be done".to_owned()
        }
        Standing::Decided if may_be_running => format!(
            "leave it to attempt {newest} if that is at work; else commit it before its time is over: \
             `onceward run FILE`, or `onceward commit FILE`"
        ),
        Standing::Decided => {
            "commit it before its time is over: `onceward run FILE`, or `onceward commit FILE`".to_owned()
        }
        Standing::Undecided if may_be_running && is_of_newest => format!(
            "leave it to attempt {newest} if that is at work; else the next run aborts it, or \
             `onceward transactions abort FILE ID --fence`"
        ),
        Standing::Undecided if may_be_running => format!(
            "attempt {newest} aborts it within a minute if it is at work; else the next run does, or \
             `onceward transactions abort FILE ID --fence`"
        ),
        Standing::Undecided => "abort it: `onceward transactions abort FILE ID`, or run the pipeline again".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use checkpoint::ids::{Epoch, Subtask};

    use super::*;
    use crate::connectors::Owner;

    pub(in crate::transactions) const PIPELINE: PipelineId = PipelineId(7);

    pub(in crate::transactions) fn transaction(attempt: u64, slot: u32, producer_epoch: i16) -> Transaction {
        let owner = Owner {
            prefix: "onceward".into(),
            pipeline: PIPELINE,
            attempt: Attempt(attempt),
            sink: "out".into(),
            writer: Subtask(0),
            slot,
        };
        Transaction {
            id: format!("onceward/{PIPELINE}/{attempt}/out/0/{slot}"),
            cluster: "c".into(),
            stamp: Stamp { producer_id: 1, producer_epoch },
            state: "Ongoing".into(),
            phase: Phase::Open,
            start_ms: Some(10_000),
            timeout_ms: 60_000,
            partitions: vec!["out-0".into()],
            owner: Some(owner),
        }
    }

    /// Attempt 2 has decided its transaction in slot 1, producer epoch 4.
    pub(in crate::transactions) fn facts(newest: u64, may_be_running: bool) -> Facts {
        let decided = transaction(2, 1, 4);
        Facts {
            pipeline: PIPELINE,
            attempts: (1..=newest).map(Attempt).collect(),
            newest_attempt: Attempt(newest),
            may_be_running,
            decision: Some(DecisionId { attempt: Attempt(2), epoch: Epoch(9) }),
            settled: None,
            pieces: vec![(decided.id, decided.stamp)],
        }
    }

    fn of(facts: &Facts, transaction: Transaction) -> (Standing, String) {
        let judged = judge(Some(facts), transaction, 30_000);
        (judged.standing, judged.advice)
    }

    #[test]
    fn only_the_very_transaction_of_an_id_that_was_decided_is() {
        let facts = facts(3, false);
        let judged = judge(Some(&facts), transaction(2, 1, 4), 30_000);
        assert_eq!((judged.standing, judged.checkpoint.as_deref()), (Standing::Decided, Some("2/9")));
        assert_eq!((judged.age_ms, judged.left_ms), (Some(20_000), Some(40_000)));
        assert!(judged.advice.contains("`onceward commit FILE`"), "{}", judged.advice);
        for other in [transaction(2, 1, 5), transaction(2, 2, 4), transaction(1, 1, 4)] {
            let judged = judge(Some(&facts), other, 30_000);
            assert_eq!((judged.standing, judged.checkpoint), (Standing::Undecided, None));
            assert!(judged.advice.contains("transactions abort FILE ID"), "{}", judged.advice);
        }
    }

    #[test]
    fn what_no_claim_names_is_nobodys_to_end() {
        let facts = facts(3, false);
        let mut foreign = transaction(2, 1, 4);
        foreign.owner.as_mut().unwrap().pipeline = PipelineId(8);
        let nobodys = Transaction { owner: None, ..transaction(2, 1, 4) };
        for unknown in [foreign, nobodys, transaction(4, 1, 1)] {
            assert_eq!(of(&facts, unknown).0, Standing::Unknown);
        }
        assert_eq!(judge(None, transaction(2, 1, 4), 0).standing, Standing::Unknown);
    }

    #[test]
    fn what_the_newest_attempt_writes_is_left_to_it_while_it_may_live() {
        let (standing, advice) = of(&facts(3, true), transaction(3, 0, 1));
        assert_eq!(standing, Standing::Undecided);
        assert!(advice.starts_with("leave it to attempt 3") && advice.contains("--fence"), "{advice}");
        let (_, advice) = of(&facts(3, true), transaction(1, 0, 1));
        assert!(advice.starts_with("attempt 3 aborts it"), "{advice}");
        let (_, advice) = of(&facts(3, true), transaction(2, 1, 4));
        assert!(advice.starts_with("leave it to attempt 3") && advice.contains("commit"), "{advice}");
    }

    #[test]
    fn a_settled_one_that_is_open_and_one_beside_a_loss_are_for_a_closer_look() {
        let with = |settled| Facts { settled: Some(settled), ..facts(3, false) };
        for outcome in [Outcome::Committed, Outcome::LossAccepted] {
            let (standing, advice) = of(&with(outcome), transaction(2, 1, 4));
            assert!(standing == Standing::Settled && advice.contains("find-hanging"), "{advice}");
        }
        let (standing, advice) = of(&with(Outcome::Lost), transaction(2, 1, 4));
        assert!(standing == Standing::Decided && advice.contains("is lost"), "{advice}");
    }

    #[test]
    fn nothing_is_to_be_done_about_what_is_ending_or_over() {
        for phase in [Phase::Ending, Phase::Over] {
            let advice = of(&facts(3, false), Transaction { phase, ..transaction(1, 0, 1) }).1;
            assert!(advice.starts_with("nothing"), "{advice}");
        }
        let late = judge(Some(&facts(3, false)), transaction(1, 0, 1), 900_000);
        assert_eq!(late.left_ms, Some(0));
    }
}
