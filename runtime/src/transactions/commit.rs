//! Committing decided transactions by hand: nobody is fenced, since anyone who has read the decision may do it.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::commit::{ByHandError, Classification, CommitOutcome, CommitPermit, Order, by_hand};
use checkpoint::record::Outcome;

use super::{Error, Known, Tools, judge};
use crate::connectors::{Phase, Retry, SinkError};
use crate::run::CommittableEnd;

/// The pause between two tries of one commit; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A transaction that is visible now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub id: String,
    pub rows: u64,
    pub end: CommittableEnd,
    /// Where its records are.
    pub what: String,
}

/// Why not everything that was asked for is committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing can override this.
    #[error("`{id}` is not committed: {reason}")]
    Refused { id: String, reason: String },
    /// A part of the checkpoint is gone.
    #[error("{0}")]
    Lost(String),
    #[error("not committed within {within:?}: {last}; nothing is lost, try again")]
    Blocked { within: Duration, last: SinkError },
    #[error("{0}")]
    Failed(#[from] Error),
}

impl From<SinkError> for CommitError {
    fn from(error: SinkError) -> Self {
        Self::Failed(error.into())
    }
}

impl Tools {
    /// Commits the decided transactions of these ids, or all; earlier ones of the same writer go first. `tell` hears of
    /// each that is done.
    ///
    /// # Errors
    /// What no checkpoint decided is refused, before anything is committed.
    pub async fn commit(
        &self,
        known: Option<&Known>,
        ids: Option<&[String]>,
        within: Duration,
        tell: &mut (dyn FnMut(&Committed) + Send),
    ) -> Result<Vec<Committed>, CommitError> {
        let wanted = self.wanted(known, ids).await?;
        let (Some(known), false) = (known, wanted.is_empty()) else { return Ok(Vec::new()) };
        if let Some(outcome @ (Outcome::Committed | Outcome::LossAccepted)) = known.settled() {
            return match ids.and_then(|ids| ids.first()) {
                Some(id) => Err(refused(id, &format!("its checkpoint is settled ({})", settled_word(outcome)))),
                None => Ok(Vec::new()),
            };
        }
        let Some((permit, committables)) = decision(known) else { return Ok(Vec::new()) };
        let deadline = self.clock.monotonic().saturating_add(within);
        let mut classified = Vec::with_capacity(committables.len());
        for committable in &committables {
            let committer = self.committer(&committable.sink)?;
            classified.push(self.persist(deadline, within, || committer.classify(committable)).await?);
        }
        let orders = by_hand(&permit, &committables, &classified, &wanted).map_err(|error| lost(known, error))?;
        let mut done = Vec::new();
        for index in &wanted {
            if classified.get(*index as usize) == Some(&Classification::Committed)
                && let Some(committable) = committables.get(*index as usize)
            {
                done.push(self.committed(known, *index, committable, CommittableEnd::AlreadyCommitted)?);
            }
        }
        done.iter().for_each(&mut *tell);
        for Order { permit, index, committable } in orders {
            let committer = self.committer(&committable.sink)?;
            let outcome = self.persist(deadline, within, || committer.commit(&permit, &committable)).await?;
            if outcome == CommitOutcome::Lost {
                return Err(CommitError::Lost(format!(
                    "lost (CommitLost): {}; `onceward run FILE` tells what can be done",
                    committer.describe(&committable)
                )));
            }
            let committed = self.committed(known, index, &committable, outcome.into())?;
            tell(&committed);
            done.push(committed);
        }
        Ok(done)
    }

    fn committer(&self, sink: &str) -> Result<Box<dyn crate::connectors::Committer>, CommitError> {
        let found = self.setup.sinks.get(sink).map(|sink| sink.committer());
        found.ok_or_else(|| refused(sink, "the sink that decided output waits in is not in the manifest"))
    }

    fn committed(
        &self,
        known: &Known,
        index: u32,
        committable: &Arc<checkpoint::manifest::Committable>,
        end: CommittableEnd,
    ) -> Result<Committed, CommitError> {
        let id = known.pieces.iter().find(|piece| piece.index == index).map(|piece| piece.id.clone());
        let what = self.committer(&committable.sink)?.describe(committable);
        Ok(Committed { id: id.unwrap_or_default(), rows: committable.rows, end, what })
    }

    /// Places in the manifest of what is to be committed.
    async fn wanted(&self, known: Option<&Known>, ids: Option<&[String]>) -> Result<Vec<u32>, CommitError> {
        let pieces = known.map(|known| known.pieces.as_slice()).unwrap_or_default();
        let Some(ids) = ids else { return Ok(pieces.iter().map(|piece| piece.index).collect()) };
        let mut wanted = Vec::new();
        for id in ids {
            let found = self.find(known, id).await?;
            // What is open under this id now may be a later one than the one that was decided.
            let open = found.as_ref().filter(|found| found.transaction.phase != Phase::Over);
            let is_meant = |piece: &&super::Piece| {
                piece.id == *id && open.is_none_or(|open| open.transaction.stamp == piece.stamp)
            };
            match pieces.iter().find(is_meant) {
                Some(piece) => wanted.push(piece.index),
                None => return Err(refused(id, &undecided(found.as_ref()))),
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(wanted)
    }

    /// Tries until there is an answer, or until the deadline.
    async fn persist<'a, T>(
        &self,
        deadline: Duration,
        within: Duration,
        mut ask: impl FnMut() -> futures::future::BoxFuture<'a, Result<T, SinkError>>,
    ) -> Result<T, CommitError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.retry() == Retry::Never {
                return Err(error.into());
            }
            if self.clock.monotonic().saturating_add(pause) >= deadline {
                return Err(CommitError::Blocked { within, last: error });
            }
            tracing::warn!(%error, "tried again in {pause:?}");
            self.clock.sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }
}

/// The newest decision: the right to commit it, and all that it decided.
fn decision(known: &Known) -> Option<(CommitPermit, Vec<Arc<checkpoint::manifest::Committable>>)> {
    let newest = known.seen.newest.as_ref()?;
    let found = known.seen.history.iter().find(|found| found.at == newest.at)?;
    let committables = newest.manifest.committables.iter().cloned().map(Arc::new).collect();
    Some((CommitPermit::read(found.at, &found.entry)?, committables))
}

fn lost(known: &Known, error: ByHandError) -> CommitError {
    let checkpoint = known.decision().map(judge::checkpoint_name).unwrap_or_default();
    CommitError::Lost(format!(
        "checkpoint {checkpoint}: {error} (CommitLost): nothing is committed, as going back one checkpoint may lose \
         nothing; `onceward run FILE` tells what can be done"
    ))
}

fn undecided(found: Option<&judge::Judged>) -> String {
    match found {
        None => "no coordinator knows it, and the newest checkpoint did not decide it".to_owned(),
        Some(found) => format!(
            "no checkpoint decided it, so its records may not become visible; what would be right: {}",
            found.advice
        ),
    }
}

fn refused(id: &str, reason: &str) -> CommitError {
    CommitError::Refused { id: id.to_owned(), reason: reason.to_owned() }
}

fn settled_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Committed => "committed",
        Outcome::Lost => "lost",
        Outcome::LossAccepted => "loss accepted",
    }
}
