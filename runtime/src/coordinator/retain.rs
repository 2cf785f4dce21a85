//! Deletes what no kept checkpoint needs. New before old: it runs only after a newer decision's commits are done.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::ids::{Attempt, Slot};
use checkpoint::log::Listing;
use checkpoint::paths::{self, ObjectName};
use checkpoint::record::Position;
use checkpoint::retention::{self, Decision};

use super::error::CoordinatorError;
use super::log::Log;
use super::manifests::objects;
use crate::crashpoint;

/// What is known of the log's content, so that it is listed and read once per attempt, not once per checkpoint.
#[derive(Debug, Default)]
pub(super) struct Retention {
    is_loaded: bool,
    records: BTreeMap<Attempt, BTreeSet<Slot>>,
    decisions: Vec<Decision>,
    /// Records that cannot be read: kept, since nobody can say what they hold.
    damaged: BTreeSet<Position>,
}

impl Retention {
    /// A decision of this attempt.
    pub(super) fn decided(&mut self, decision: Decision) {
        if self.is_loaded {
            let own = self.records.entry(decision.at.attempt).or_default();
            // Slots between decisions hold notes of this attempt.
            let from = own.last().map_or(Slot(0), |last| last.next());
            own.extend((from.0..=decision.at.slot.0).map(Slot));
        }
        self.decisions.retain(|known| known.at != decision.at);
        self.decisions.push(decision);
    }

    /// Deletes what `retain` newest checkpoints do not need; returns how many objects.
    ///
    /// # Errors
    /// The store. What was not deleted is tried again next time.
    pub(super) async fn run(&mut self, log: &Log, me: Attempt, retain: u32) -> Result<u64, CoordinatorError> {
        if !self.is_loaded {
            self.load(log, me).await?;
        }
        let attempts = self.records.iter().map(|(attempt, slots)| (*attempt, slots.iter().copied().collect()));
        let listing = Listing { attempts: attempts.collect() };
        let plan = retention::plan(me, &listing, &self.decisions, retain);
        let mut deleted = 0;
        for at in &plan.records {
            if self.damaged.contains(at) {
                continue;
            }
            begin_deletion(deleted)?;
            log.store.delete(&paths::record(log.index, *at)).await?;
            deleted += 1;
            self.forget(*at);
        }
        for name in &plan.objects {
            begin_deletion(deleted)?;
            log.store.delete(name).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Deletes the state of all checkpoints but savepoints, for a pipeline that does not go on; returns how many objects.
    /// The log stays, so that this can be done again wherever it was cut off.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) async fn clear(&mut self, log: &Log, me: Attempt) -> Result<u64, CoordinatorError> {
        let mut deleted = self.run(log, me, 0).await?;
        if let Some(at) = self.damaged.first() {
            let name = paths::record(log.index, *at);
            return Err(log.corrupt(&name, "it cannot be read, and may be a savepoint: no state is deleted"));
        }
        for name in retention::farewell(me, &self.decisions) {
            begin_deletion(deleted)?;
            log.store.delete(&name).await?;
            deleted += 1;
        }
        Ok(deleted)
    }

    fn forget(&mut self, at: Position) {
        if let Some(slots) = self.records.get_mut(&at.attempt) {
            slots.remove(&at.slot);
        }
        self.decisions.retain(|known| known.at != at);
    }

    /// Reads every record that is still there, and clears what attempts before this one left behind.
    async fn load(&mut self, log: &Log, me: Attempt) -> Result<(), CoordinatorError> {
        let (listing, names) = log.list().await?;
        for (attempt, slots) in &listing.attempts {
            for slot in slots {
                let at = Position { attempt: *attempt, slot: *slot };
                if self.decisions.iter().any(|known| known.at == at) {
                    continue;
                }
                match read(log, at).await {
                    Ok(decision) => self.decisions.extend(decision),
                    Err(error @ CoordinatorError::Corrupt { .. }) => {
                        tracing::warn!(%error, "an older record cannot be read; it is kept");
                        self.damaged.insert(at);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.records.insert(*attempt, slots.iter().copied().collect());
        }
        // What a record that cannot be read may refer to looks like an orphan.
        if self.damaged.is_empty() {
            self.clear_orphans(log, me, &names).await?;
        }
        for (attempt, _) in listing.attempts.iter().filter(|(attempt, _)| *attempt < me) {
            log.store.remove_litter(&paths::attempt(log.index, *attempt)).await?;
        }
        self.is_loaded = true;
        Ok(())
    }

    async fn clear_orphans(&self, log: &Log, me: Attempt, names: &[String]) -> Result<(), CoordinatorError> {
        let objects = names.iter().filter_map(|name| match paths::parse(name) {
            Ok(Some(ObjectName::Manifest(_, attempt, ..) | ObjectName::Part(_, attempt))) => {
                Some((attempt, name.as_str()))
            }
            Ok(_) | Err(_) => None,
        });
        for orphan in retention::orphans(me, objects, &self.decisions) {
            log.store.delete(orphan).await?;
        }
        Ok(())
    }
}

/// The decision that a record holds, if it holds one and is still there: another clean-up may have been here.
async fn read(log: &Log, at: Position) -> Result<Option<Decision>, CoordinatorError> {
    let Some(entry) = log.entry(at).await? else { return Ok(None) };
    let Some(completed) = entry.completed() else { return Ok(None) };
    let manifest = log.read_manifest(&completed.manifest).await?;
    let objects = objects(&completed.manifest, &manifest);
    Ok(Some(Decision { at, savepoint: completed.savepoint, objects }))
}

fn begin_deletion(deleted: u64) -> Result<(), CoordinatorError> {
    crashpoint::hit(if deleted == 0 { "coordinator.before_retention" } else { "coordinator.retention_begun" })?;
    Ok(())
}
