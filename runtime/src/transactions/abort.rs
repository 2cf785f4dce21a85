//! What an abort comes to: decided by what is known before anybody is fenced. The abort itself is a recovery: it claims,
//! seals, commits what is decided, and aborts what nobody can decide any more.

use checkpoint::record::Outcome;

use super::{Judged, Known, Standing, judge};
use crate::connectors::Phase;
use crate::run::ForceAbort;

/// What a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Take over from a run that may be alive.
    pub fence: bool,
    /// Why decided output is to be aborted, if it is.
    pub force: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing of what was named is open.
    Nothing,
    /// Claim, finish the commits, abort everything that nobody decided.
    Undecided,
    /// Claim, commit the rest of the checkpoint, abort these.
    Force(ForceAbort),
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbortRefusal {
    #[error(
        "`{id}` is not aborted: checkpoint {checkpoint} decided it, and everything of it must become visible \
         (`onceward commit FILE`); `--force --reason TEXT` aborts it all the same: its records are lost for ever"
    )]
    Decided { id: String, checkpoint: String },
    #[error("`{id}` is not aborted: checkpoint {checkpoint}, which decided it, is settled")]
    Settled { id: String, checkpoint: String },
    #[error("`{id}` is not aborted: it is of no attempt that this pipeline's log knows")]
    Unknown { id: String },
    #[error(
        "attempt {attempt} has not left by itself: it may be at work, and aborts leftovers then; `--fence` takes over \
         from it (if it lives it ends with exit code 3, and is not started again)"
    )]
    MayBeRunning { attempt: checkpoint::ids::Attempt },
}

impl Known {
    /// `found`: what was named, with what is known of it.
    ///
    /// # Errors
    /// See [`AbortRefusal`].
    pub fn plan_abort(&self, found: &[(String, Option<Judged>)], wish: &Wish) -> Result<Plan, AbortRefusal> {
        let checkpoint = || self.decision().map(judge::checkpoint_name).unwrap_or_default();
        let (mut indices, mut is_any_open) = (Vec::new(), false);
        for (id, found) in found {
            let open = found.as_ref().filter(|found| found.transaction.phase != Phase::Over);
            // Nothing is open under the id of a forced abort that died before it was written down.
            let piece = self
                .pieces
                .iter()
                .find(|piece| piece.id == *id && open.is_none_or(|open| open.transaction.stamp == piece.stamp));
            match (piece, self.settled(), open.map(|open| open.standing)) {
                (Some(_), Some(Outcome::Committed | Outcome::LossAccepted), _) => {
                    return Err(AbortRefusal::Settled { id: id.clone(), checkpoint: checkpoint() });
                }
                (Some(piece), None | Some(Outcome::Lost), _) if wish.force.is_some() => indices.push(piece.index),
                (Some(_), None | Some(Outcome::Lost), _) => {
                    return Err(AbortRefusal::Decided { id: id.clone(), checkpoint: checkpoint() });
                }
                (None, _, Some(Standing::Unknown)) => return Err(AbortRefusal::Unknown { id: id.clone() }),
                (None, _, Some(Standing::Decided | Standing::Settled | Standing::Undecided)) => is_any_open = true,
                (None, _, None) => {}
            }
        }
        let force = self.decision().zip(wish.force.clone()).filter(|_| !indices.is_empty());
        match force {
            Some((decision, reason)) => Ok(Plan::Force(ForceAbort { decision, indices, reason })),
            None if !is_any_open => Ok(Plan::Nothing),
            None if self.may_be_running() && !wish.fence => {
                Err(AbortRefusal::MayBeRunning { attempt: self.newest_attempt() })
            }
            None => Ok(Plan::Undecided),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use checkpoint::claim::Found;
    use checkpoint::ids::{Attempt, Epoch, Nonce, Slot, Subtask};
    use checkpoint::manifest::{Committable, Manifest};
    use checkpoint::record::{Cause, Claim, DecisionId, Entry, Position, Record, Released, Settled};

    use super::super::judge::tests::{PIPELINE, facts, transaction};
    use super::super::{Piece, judge::judge};
    use super::*;
    use crate::coordinator::inspect::{Newest, Seen};

    const DECISION: DecisionId = DecisionId { attempt: Attempt(2), epoch: Epoch(9) };

    /// Attempt 2 has decided its transaction in slot 1; attempt 3 came after it.
    fn known(settled: Option<Outcome>, is_released: bool) -> Known {
        let claim = Claim { pipeline: PIPELINE, cause: Cause::Start, nonce: Nonce(1), sinks: Vec::new() };
        let record = |slot, record| Found {
            at: Position { attempt: Attempt(3), slot: Slot(slot) },
            entry: Arc::new(Entry { nonce: Nonce(slot.into()), record }),
        };
        let mut history = Vec::new();
        if is_released {
            history.push(record(1, Record::Released(Released::Stopped)));
        }
        history.extend(settled.map(|outcome| {
            record(0, Record::Settled(Settled { decision: DECISION, outcome, by: Attempt(3), reason: None }))
        }));
        let newest = Newest {
            at: Position { attempt: Attempt(2), slot: Slot(4) },
            decision: DECISION,
            claim: claim.clone(),
            manifest: Manifest::empty(1, 1),
            is_settled: settled.is_some_and(|outcome| outcome != Outcome::Lost),
            finished: false,
        };
        let decided = transaction(2, 1, 4);
        let committable = Committable {
            sink: "out".into(),
            writer: Subtask(0),
            attempt: Attempt(2),
            epoch: Epoch(9),
            rows: 5,
            expiry: None,
            handle: String::new(),
        };
        Known {
            pipeline: PIPELINE,
            seen: Seen { highest: Attempt(3), newest: Some(newest), history },
            claims: (1..=3).rev().map(|attempt| (Attempt(attempt), claim.clone())).collect(),
            pieces: vec![Piece { index: 0, id: decided.id, stamp: decided.stamp, committable: Arc::new(committable) }],
        }
    }

    fn found(attempt: u64, slot: u32, producer_epoch: i16) -> (String, Option<Judged>) {
        let transaction = transaction(attempt, slot, producer_epoch);
        (transaction.id.clone(), Some(judge(Some(&facts(3, false)), transaction, 0)))
    }

    fn forced() -> Wish {
        Wish { fence: false, force: Some("why".into()) }
    }

    #[test]
    fn what_was_decided_is_aborted_by_force_alone_and_only_while_it_is_not_settled() {
        let decided = [found(2, 1, 4)];
        let refusal = known(None, true).plan_abort(&decided, &Wish { fence: true, force: None }).unwrap_err();
        assert!(matches!(&refusal, AbortRefusal::Decided { checkpoint, .. } if checkpoint == "2/9"), "{refusal}");
        let plan = Plan::Force(ForceAbort { decision: DECISION, indices: vec![0], reason: "why".into() });
        assert_eq!(known(None, true).plan_abort(&decided, &forced()), Ok(plan.clone()));
        // One that died after its abort: nothing is open, and a run may have recorded the loss.
        let gone = [(decided[0].0.clone(), None)];
        for settled in [None, Some(Outcome::Lost)] {
            assert_eq!(known(settled, false).plan_abort(&gone, &forced()), Ok(plan.clone()));
        }
        for settled in [Outcome::Committed, Outcome::LossAccepted] {
            let refusal = known(Some(settled), true).plan_abort(&decided, &forced()).unwrap_err();
            assert!(matches!(refusal, AbortRefusal::Settled { .. }), "{refusal}");
        }
    }

    #[test]
    fn what_nobody_decided_is_aborted_and_a_run_that_may_live_is_fenced_only_if_asked() {
        let undecided = [found(2, 1, 5), found(1, 0, 1)];
        assert_eq!(known(None, true).plan_abort(&undecided, &Wish::default()), Ok(Plan::Undecided));
        let refusal = known(None, false).plan_abort(&undecided, &Wish::default()).unwrap_err();
        assert_eq!(refusal, AbortRefusal::MayBeRunning { attempt: Attempt(3) });
        let fence = Wish { fence: true, force: None };
        assert_eq!(known(None, false).plan_abort(&undecided, &fence), Ok(Plan::Undecided));
        // Force is for what is decided: it fences nobody for anything else.
        assert!(known(None, false).plan_abort(&undecided, &forced()).is_err());
    }

    #[test]
    fn what_is_not_known_is_refused_and_what_is_not_open_needs_nothing() {
        let refusal = known(None, true).plan_abort(&[found(9, 0, 1)], &forced()).unwrap_err();
        assert!(matches!(refusal, AbortRefusal::Unknown { .. }), "{refusal}");
        let nothing = [("onceward/x".to_owned(), None)];
        assert_eq!(known(None, false).plan_abort(&nothing, &Wish::default()), Ok(Plan::Nothing));
        assert_eq!(known(None, false).plan_abort(&[], &Wish::default()), Ok(Plan::Nothing));
    }
}
