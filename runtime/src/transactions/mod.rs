//! What people ask of a pipeline's transactions: which are open, whether a checkpoint decided them, what would be right
//! to do. Looking touches nothing and claims nothing; [`commit`](Tools::commit) ends only what is decided.

mod abort;
mod commit;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkpoint::ids::{Attempt, PipelineId};
use checkpoint::manifest::Committable;
use checkpoint::record::{Claim, DecisionId, Outcome};
use serde::Serialize;

pub use self::abort::{AbortRefusal, Plan, Wish};
pub use self::commit::{CommitError, Committed};
use self::judge::Facts;
pub use self::judge::{Judged, Standing};
use crate::clock::Clock;
use crate::connectors::{
    Classification, Committer, Earlier, Phase, Search, SinkConnector, SinkError, Stamp, Transaction,
};
use crate::coordinator::inspect::{self, Seen};
use crate::coordinator::{CoordinatorError, Log, Setup, claim};
use crate::store::CheckpointStore;

/// Attempts whose claims are read, newest first: enough to find what they have left.
const MOST_CLAIMS: usize = 1_000;

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Log(#[from] CoordinatorError),
    #[error("{0}")]
    Sink(#[from] SinkError),
}

/// A pipeline as these tools reach it.
pub struct Tools {
    pub setup: Setup,
    pub store: Arc<dyn CheckpointStore>,
    pub clock: Arc<dyn Clock>,
}

/// What the current log holds, as far as these tools need it. Read, not claimed: a run that lives goes on deciding.
pub struct Known {
    pub pipeline: PipelineId,
    seen: Seen,
    /// Newest first.
    claims: Vec<(Attempt, Claim)>,
    /// Of the newest decision.
    pub pieces: Vec<Piece>,
}

/// A decided committable that is a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its place in the manifest.
    pub index: u32,
    pub id: String,
    pub stamp: Stamp,
    pub committable: Arc<Committable>,
}

/// Everything about one id.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// As its coordinator tells; None: it knows no such id (any more).
    pub transaction: Option<Judged>,
    /// What the newest checkpoint decided under this id.
    pub decided: Vec<DescribedPiece>,
}

/// A transaction that a checkpoint decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribedPiece {
    /// `ATTEMPT/EPOCH`.
    pub checkpoint: String,
    pub rows: u64,
    /// Producer, records, partitions and offsets.
    pub what: String,
    /// What its partitions say: `prepared`, `committed`, `lost`, or why they do not.
    pub now: String,
    /// How the log says that the checkpoint's commits ended; None: it does not.
    pub settled: Option<Outcome>,
    pub reason: Option<String>,
    /// The end of its timeout, in milliseconds since 1970: from then on the broker aborts it.
    pub expires_ms: Option<u64>,
}

impl Known {
    pub fn decision(&self) -> Option<DecisionId> {
        self.seen.newest.as_ref().map(|newest| newest.decision)
    }

    /// How the commits of the newest decision ended, as far as the log says.
    pub fn settled(&self) -> Option<Outcome> {
        self.seen.settlement().map(|settled| settled.outcome)
    }

    pub fn newest_attempt(&self) -> Attempt {
        self.seen.highest
    }

    /// See [`Seen::may_be_running`].
    pub fn may_be_running(&self) -> bool {
        self.seen.may_be_running()
    }

    fn facts(&self) -> Facts {
        Facts {
            pipeline: self.pipeline,
            attempts: self.claims.iter().map(|(attempt, _)| *attempt).collect(),
            newest_attempt: self.seen.highest,
            may_be_running: self.seen.may_be_running(),
            decision: self.decision(),
            settled: self.settled(),
            pieces: self.pieces.iter().map(|piece| (piece.id.clone(), piece.stamp)).collect(),
        }
    }
}

impl Tools {
    /// Reads the current log; None: nobody has ever run this pipeline.
    ///
    /// # Errors
    /// The store, or an object that is damaged.
    pub async fn look(&self) -> Result<Option<Known>, Error> {
        let log = claim::newest_log(self.store.as_ref()).await?;
        let log = Log::new(Arc::clone(&self.store), log, Arc::clone(&self.clock));
        let Some(seen) = inspect::look(&log, checkpoint::claim::Depth::Newest).await? else { return Ok(None) };
        let (listing, _) = log.list().await?;
        let mut claims = Vec::new();
        for (attempt, _) in listing.attempts.iter().rev().take(MOST_CLAIMS) {
            claims.push((*attempt, log.claim(*attempt).await?));
        }
        // The highest attempt has a claim, or it would not be in the listing.
        let pipeline = claims.first().map_or(PipelineId(0), |(_, claim)| claim.pipeline);
        let committables = seen.newest.iter().flat_map(|newest| &newest.manifest.committables);
        let piece = |(index, committable): (usize, &Committable)| {
            let committer = self.setup.sinks.get(&committable.sink)?.committer();
            let (id, stamp) = committer.transaction_of(committable)?;
            Some(Piece { index: index as u32, id, stamp, committable: Arc::new(committable.clone()) })
        };
        let pieces = committables.enumerate().filter_map(piece).collect();
        Ok(Some(Known { pipeline, seen, claims, pieces }))
    }

    /// Every open transaction of this pipeline, of sinks and targets that it had before too; sorted by id.
    ///
    /// # Errors
    /// A cluster that does not answer or refuses.
    pub async fn list(&self, known: &Known) -> Result<Vec<Judged>, Error> {
        let before = known.seen.highest.next();
        let earlier = Earlier::of(known.pipeline, before, known.claims.iter().map(|(at, claim)| (*at, claim)));
        let found = self.search(Some(known), &Search::Earlier(earlier)).await?;
        Ok(self.judge(Some(known), found.into_iter().filter(|found| found.phase != Phase::Over)))
    }

    /// Every open transaction of the clusters that this pipeline writes to whose id begins so; sorted by id.
    ///
    /// # Errors
    /// A cluster that does not answer or refuses.
    pub async fn list_prefix(&self, known: Option<&Known>, prefix: &str) -> Result<Vec<Judged>, Error> {
        let found = self.search(known, &Search::Prefix(prefix.to_owned())).await?;
        Ok(self.judge(known, found.into_iter().filter(|found| found.phase != Phase::Over)))
    }

    /// Whatever is known of an id.
    ///
    /// # Errors
    /// A cluster that does not answer or refuses.
    pub async fn find(&self, known: Option<&Known>, id: &str) -> Result<Option<Judged>, Error> {
        let found = self.search(known, &Search::Id(id.to_owned())).await?;
        Ok(self.judge(known, found).into_iter().next())
    }

    /// As [`Tools::find`], with what the log and the partitions tell.
    ///
    /// # Errors
    /// A cluster that does not answer or refuses.
    pub async fn describe(&self, known: Option<&Known>, id: &str) -> Result<Described, Error> {
        let transaction = self.find(known, id).await?;
        let mut decided = Vec::new();
        for (known, piece) in known.iter().flat_map(|known| known.pieces.iter().map(move |piece| (known, piece))) {
            if piece.id != id {
                continue;
            }
            let Some(sink) = self.setup.sinks.get(&piece.committable.sink) else { continue };
            let committer = sink.committer();
            let settlement = known.seen.settlement();
            let checkpoint = known.decision().map(judge::checkpoint_name).unwrap_or_default();
            decided.push(DescribedPiece {
                checkpoint,
                rows: piece.committable.rows,
                what: committer.describe(&piece.committable),
                now: match committer.classify(&piece.committable).await {
                    Ok(classification) => standing_now(classification).to_owned(),
                    Err(error) => error.to_string(),
                },
                settled: settlement.map(|settled| settled.outcome),
                reason: settlement.and_then(|settled| settled.reason.clone()),
                expires_ms: piece.committable.expiry.map(|expiry| expiry.start_ms.saturating_add(expiry.timeout_ms)),
            });
        }
        Ok(Described { transaction, decided })
    }

    fn judge(&self, known: Option<&Known>, found: impl IntoIterator<Item = Transaction>) -> Vec<Judged> {
        let (facts, now) = (known.map(Known::facts), self.clock.wall_ms());
        found.into_iter().map(|found| judge::judge(facts.as_ref(), found, now)).collect()
    }

    /// Asks every target once; one transaction may be found by several sinks of a cluster.
    async fn search(&self, known: Option<&Known>, search: &Search) -> Result<Vec<Transaction>, Error> {
        let mut found = BTreeMap::new();
        for committer in self.committers(known) {
            for transaction in committer.transactions(search).await? {
                found.insert((transaction.id.clone(), transaction.cluster.clone()), transaction);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Of the manifest's sinks, and of those that only claims remember.
    fn committers(&self, known: Option<&Known>) -> Vec<Box<dyn Committer>> {
        let mut committers: Vec<_> = self.setup.sinks.values().map(|sink| sink.committer()).collect();
        let mut seen: BTreeSet<(String, String)> =
            self.setup.sinks.iter().map(|(name, sink)| (name.clone(), sink.target())).collect();
        for sink in known.iter().flat_map(|known| &known.claims).flat_map(|(_, claim)| &claim.sinks) {
            if seen.insert((sink.name.clone(), sink.target.clone()))
                && let Some(former) = (self.setup.former_sink)(sink)
            {
                committers.push(SinkConnector::committer(former.as_ref()));
            }
        }
        committers
    }
}

fn standing_now(classification: Classification) -> &'static str {
    match classification {
        Classification::Prepared => "prepared",
        Classification::Committed => "committed",
        Classification::Lost => "lost",
    }
}
