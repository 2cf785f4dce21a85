//! Reads a log without touching it: what checkpoints there are, and whether everything they need is as it was written.

use std::sync::Arc;

use checkpoint::claim::{Depth, Found};
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};
use checkpoint::manifest::{Manifest, StatePart};
use checkpoint::paths;
use checkpoint::record::{Claim, Completed, DecisionId, Entry, Origin, Outcome, Position, Record, Released, Settled};
use serde::Serialize;

use super::error::CoordinatorError;
use super::log::Log;
use super::manifests::state_bytes;
use crate::clock::SystemClock;
use crate::store::CheckpointStore;

/// One log of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogSummary {
    pub log: LogIndex,
    pub pipeline_id: PipelineId,
    pub attempts: u64,
    pub newest_attempt: Attempt,
    /// The pipeline is bounded and done.
    pub finished: bool,
    /// Newest first.
    pub checkpoints: Vec<CheckpointSummary>,
    /// What verification found; empty when it was not asked for, too.
    pub faults: Vec<Fault>,
}

/// A decided checkpoint that is still kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointSummary {
    pub handle: String,
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub savepoint: bool,
    /// `checkpoint`, `first`, `restored`, `rewind` or `older`.
    pub origin: &'static str,
    /// The last checkpoint of a bounded pipeline.
    pub finished: bool,
    pub size_bytes: u64,
    pub committables: u64,
    /// Rows that its decision made visible.
    pub rows: u64,
    pub rows_in: u64,
    pub rows_out: u64,
    /// The log says that its commits are done. (Any but the newest is settled by having a successor.)
    pub settled: bool,
}

/// Something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    pub address: String,
    pub reason: String,
}

/// Summarises the current log of `store`; `None`: there is no log. With `verify` every record, manifest and part is
/// read and checked; without it only what the summary needs.
///
/// Damage is not an error: it becomes a [`Fault`] with its address, and the rest is still told.
///
/// # Errors
/// A store that does not answer.
pub async fn inspect(store: Arc<dyn CheckpointStore>, verify: bool) -> Result<Option<LogSummary>, CoordinatorError> {
    let names = store.list("").await?;
    let Some(index) = paths::current_log(names.iter().map(String::as_str)) else { return Ok(None) };
    let log = Log::new(store, index, Arc::new(SystemClock));
    let mut faults = Vec::new();
    let listing = match log.list().await {
        Ok((listing, _)) => listing,
        Err(error) => {
            faults.push(fault(error)?);
            checkpoint::log::Listing::default()
        }
    };
    let mut claimed = None;
    for (attempt, _) in &listing.attempts {
        match log.claim(*attempt).await {
            Ok(claim) => claimed = Some(claim.pipeline),
            Err(error) => faults.push(fault(error)?),
        }
    }
    let mut reader = Reader { log: &log, verify, faults, entries: Vec::new(), checkpoints: Vec::new() };
    for (attempt, slots) in listing.attempts.iter().rev() {
        for slot in slots.iter().rev() {
            reader.record(Position { attempt: *attempt, slot: *slot }).await?;
        }
    }
    reader.settle();
    let finished = reader
        .entries
        .iter()
        .take_while(|(_, entry)| entry.completed().is_none())
        .any(|(_, entry)| entry.record == Record::Released(Released::Finished));
    Ok(Some(LogSummary {
        log: index,
        pipeline_id: claimed.unwrap_or(PipelineId(0)),
        attempts: listing.attempts.len() as u64,
        newest_attempt: listing.highest_attempt().unwrap_or_default(),
        finished,
        checkpoints: reader.checkpoints,
        faults: reader.faults,
    }))
}

/// The newest decision as a reader sees it: nobody is sealed, so a newer one may follow at any time.
#[derive(Clone, Debug)]
pub struct Newest {
    pub at: Position,
    pub decision: DecisionId,
    pub claim: Claim,
    pub manifest: Manifest,
    pub is_settled: bool,
    /// The pipeline is bounded and done.
    pub finished: bool,
}

impl Newest {
    /// All state in it.
    pub fn size_bytes(&self) -> u64 {
        state_bytes(&self.manifest)
    }
}

/// A log that has been claimed at least once, as a reader sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The newest attempt that was claimed; it may have no record yet.
    pub highest: Attempt,
    pub newest: Option<Newest>,
    /// Newest first, down to the decision that was asked for.
    pub history: Vec<Found>,
}

impl Seen {
    /// Slot of the newest attempt's newest record; 0 if it has none yet.
    pub fn newest_slot(&self) -> Slot {
        self.history.first().filter(|found| found.at.attempt == self.highest).map_or(Slot(0), |found| found.at.slot)
    }

    /// The newest attempt may be at work: it has not left by itself. Whether it lives is nothing that a log tells.
    pub fn may_be_running(&self) -> bool {
        let is_left = |found: &&Found| matches!(found.entry.record, Record::Released(_));
        !self.history.iter().take_while(|found| found.at.attempt == self.highest).any(|found| is_left(&found))
    }

    /// The last word on how the commits of the newest decision ended.
    pub fn settlement(&self) -> Option<&Settled> {
        let decision = self.newest.as_ref()?.decision;
        self.history.iter().find_map(|found| match &found.entry.record {
            Record::Settled(settled) if settled.decision == decision => Some(settled),
            Record::Settled(_) | Record::Completed(_) | Record::Released(_) | Record::Sealed { .. } => None,
        })
    }

    /// A fresh start has handed over to the next log.
    pub fn is_superseded(&self) -> bool {
        let mut above = self.history.iter().take_while(|found| found.entry.completed().is_none());
        above.any(|found| found.entry.record == Record::Released(Released::Superseded))
    }
}

/// Whose log it is; `None`: nobody's yet.
///
/// # Errors
/// The store, or a claim that is damaged.
pub async fn pipeline(log: &Log) -> Result<Option<PipelineId>, CoordinatorError> {
    match log.list().await?.0.highest_attempt() {
        Some(highest) => Ok(Some(log.claim(highest).await?.pipeline)),
        None => Ok(None),
    }
}

/// Reads a log as deep as a claim would, without claiming it; `None`: there is none.
///
/// # Errors
/// The store, or an object that is damaged.
pub async fn look(log: &Log, depth: Depth) -> Result<Option<Seen>, CoordinatorError> {
    let (listing, _) = log.list().await?;
    let Some(highest) = listing.highest_attempt() else { return Ok(None) };
    let mut seen = Seen { highest, newest: None, history: Vec::new() };
    let mut decisions = 0;
    for (attempt, slots) in listing.attempts.iter().rev() {
        for slot in slots.iter().rev() {
            let at = Position { attempt: *attempt, slot: *slot };
            // Deleted since the listing: whoever did that has decided something newer.
            let Some(entry) = log.entry(at).await? else { continue };
            let completed = entry.completed().cloned();
            seen.history.push(Found { at, entry: Arc::new(entry) });
            let Some(completed) = completed else { continue };
            decisions += 1;
            if decisions == 1 {
                seen.newest = Some(newest_of(log, at, &completed, &seen.history).await?);
            }
            let is_deep_enough = match depth {
                Depth::Newest => true,
                Depth::Previous => decisions == 2,
                Depth::DownTo(to) => at <= to,
            };
            if is_deep_enough {
                return Ok(Some(seen));
            }
        }
    }
    Ok(Some(seen))
}

/// Looks for the newest decision of a log without claiming it; `None`: there is none.
///
/// # Errors
/// As [`look`].
pub async fn newest(log: &Log) -> Result<Option<Newest>, CoordinatorError> {
    Ok(look(log, Depth::Newest).await?.and_then(|seen| seen.newest))
}

async fn newest_of(
    log: &Log,
    at: Position,
    completed: &Completed,
    above: &[Found],
) -> Result<Newest, CoordinatorError> {
    let decision = DecisionId { attempt: at.attempt, epoch: completed.epoch };
    let is_released = |found: &Found| found.entry.record == Record::Released(Released::Finished);
    Ok(Newest {
        at,
        decision,
        claim: log.claim(at.attempt).await?,
        manifest: log.read_manifest(&completed.manifest).await?,
        is_settled: above.iter().any(|found| settles(&found.entry, decision)),
        finished: above.iter().any(is_released),
    })
}

/// Does this record say that the commits of `decision` are done?
pub fn settles(entry: &Entry, decision: DecisionId) -> bool {
    match &entry.record {
        Record::Settled(settled) => settled.decision == decision && settled.outcome != Outcome::Lost,
        Record::Completed(_) | Record::Released(_) | Record::Sealed { .. } => false,
    }
}

struct Reader<'a> {
    log: &'a Log,
    verify: bool,
    faults: Vec<Fault>,
    /// Newest first.
    entries: Vec<(Position, Entry)>,
    checkpoints: Vec<CheckpointSummary>,
}

impl Reader<'_> {
    async fn record(&mut self, at: Position) -> Result<(), CoordinatorError> {
        let entry = match self.log.entry(at).await {
            Ok(Some(entry)) => entry,
            // Deleted by a running pipeline since the listing.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.faults.push(fault(error)?);
                return Ok(());
            }
        };
        if let Some(completed) = entry.completed() {
            match self.log.read_manifest(&completed.manifest).await {
                Ok(manifest) => {
                    self.checkpoints.push(self.summary(at, completed, &manifest));
                    if self.verify {
                        self.parts(&manifest).await?;
                    }
                }
                Err(error) => self.faults.push(fault(error)?),
            }
        }
        self.entries.push((at, entry));
        Ok(())
    }

    async fn parts(&mut self, manifest: &Manifest) -> Result<(), CoordinatorError> {
        for part in manifest.snapshots.iter().flat_map(|snapshot| &snapshot.parts) {
            if let StatePart::Stored { name, length, hash } = part
                && let Err(error) = self.log.read_verified(name, *length, hash).await
            {
                let found = fault(error)?;
                if !self.faults.contains(&found) {
                    self.faults.push(found);
                }
            }
        }
        Ok(())
    }

    fn summary(&self, at: Position, completed: &Completed, manifest: &Manifest) -> CheckpointSummary {
        CheckpointSummary {
            handle: self.log.handle(at),
            attempt: at.attempt,
            epoch: completed.epoch,
            savepoint: completed.savepoint,
            origin: match completed.origin {
                Origin::Checkpoint => "checkpoint",
                Origin::First => "first",
                Origin::Restored { .. } => "restored",
                Origin::Rewind { .. } => "rewind",
                Origin::Older { .. } => "older",
            },
            finished: manifest.finished,
            size_bytes: state_bytes(manifest),
            committables: manifest.committables.len() as u64,
            rows: manifest.committables.iter().map(|committable| committable.rows).sum(),
            rows_in: manifest.rows_in,
            rows_out: manifest.rows_out,
            settled: manifest.committables.is_empty(),
        }
    }

    /// A successor is decided only after all commits of the one before.
    fn settle(&mut self) {
        for (index, checkpoint) in self.checkpoints.iter_mut().enumerate() {
            let decision = DecisionId { attempt: checkpoint.attempt, epoch: checkpoint.epoch };
            checkpoint.settled |= index > 0 || self.entries.iter().any(|(_, entry)| settles(entry, decision));
        }
    }
}

/// Damage is told, a silent store is an error.
fn fault(error: CoordinatorError) -> Result<Fault, CoordinatorError> {
    match error {
        CoordinatorError::Corrupt { address, reason } => Ok(Fault { address, reason }),
        other => Err(other),
    }
}
