//! A checkpoint log as a list of attempts and decisions, with the law that matters: who is not the newest attempt decides
//! nothing.

use api::report::{CompletedCheckpoint, LogPosition};
use checkpoint::ids::{Attempt, Epoch, LogIndex, PipelineId, Slot};

/// A decided epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub attempt: Attempt,
    pub epoch: Epoch,
    pub slot: Slot,
    /// The unit of input that it processed; None: it is of the beginning, or of a restored attempt, and has no output.
    pub unit: Option<u64>,
    pub is_committed: bool,
    pub at_ms: u64,
}

/// One log.
#[derive(Clone, Debug)]
pub struct Log {
    pub id: PipelineId,
    pub index: LogIndex,
    pub attempts: u64,
    pub decisions: Vec<Decision>,
    /// All input is read, and everything is visible: nobody has anything to do.
    pub is_finished: bool,
    /// The state of its checkpoints is deleted.
    pub is_cleared: bool,
    /// The newest attempt's records.
    slots: u64,
    /// Its epochs that have failed since the newest decision: their numbers are used up.
    failed: u64,
}

/// A place with logs, one after another.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub logs: Vec<Log>,
    /// Nothing can be committed for now.
    pub is_blocked: bool,
    /// No manifest can be written for now.
    pub is_failing: bool,
    /// Units that were committed, in order, each with its log.
    pub visible: Vec<(PipelineId, u64)>,
}

/// Somebody else has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenced;

impl Store {
    pub(super) fn log(&self, id: PipelineId) -> Option<&Log> {
        self.logs.last().filter(|log| log.id == id)
    }

    /// A claim; whatever the log owed before it is owed still.
    pub(super) fn claim(&mut self, id: PipelineId, is_commit_only: bool) -> Result<Option<LogPosition>, Fenced> {
        if self.logs.iter().rev().skip(1).any(|log| log.id == id) {
            return Err(Fenced);
        }
        if self.logs.last().is_none_or(|log| log.id != id) {
            if is_commit_only {
                return Ok(None);
            }
            let index = LogIndex(self.logs.len() as u64);
            self.settle_last();
            self.logs.push(Log {
                id,
                index,
                attempts: 0,
                decisions: vec![],
                is_finished: false,
                is_cleared: false,
                slots: 0,
                failed: 0,
            });
        }
        let Some(log) = self.logs.last_mut() else { return Err(Fenced) };
        log.attempts += 1;
        (log.slots, log.failed) = (0, 0);
        Ok(Some(log.position()))
    }

    /// Everything that the log of before had decided.
    fn settle_last(&mut self) {
        let Some(log) = self.logs.last_mut() else { return };
        for decision in log.decisions.iter_mut().filter(|decision| !decision.is_committed) {
            decision.is_committed = true;
            self.visible.extend(decision.unit.map(|unit| (log.id, unit)));
        }
    }

    fn current(&mut self, id: PipelineId, attempt: Attempt) -> Result<&mut Log, Fenced> {
        let log = self.logs.last_mut().filter(|log| log.id == id && log.attempts == attempt.0);
        log.ok_or(Fenced)
    }

    /// One more epoch, which is not decided.
    pub(super) fn fail(&mut self, id: PipelineId, attempt: Attempt) -> Result<Epoch, Fenced> {
        let log = self.current(id, attempt)?;
        let epoch = log.next_epoch();
        log.failed += 1;
        Ok(epoch)
    }

    /// One more epoch; `has_output`: it processes the next unit.
    pub(super) fn decide(
        &mut self,
        id: PipelineId,
        attempt: Attempt,
        has_output: bool,
        at_ms: u64,
    ) -> Result<Decision, Fenced> {
        let log = self.current(id, attempt)?;
        let epoch = log.next_epoch();
        let units = log.decisions.iter().filter(|decision| decision.unit.is_some()).count() as u64;
        let unit = has_output.then_some(units + 1);
        let is_committed = unit.is_none();
        let decision = Decision { attempt, epoch, slot: Slot(log.slots), unit, is_committed, at_ms };
        log.decisions.push(decision.clone());
        log.slots += 1;
        log.failed = 0;
        Ok(decision)
    }

    pub(super) fn finish(&mut self, id: PipelineId, attempt: Attempt) -> Result<(), Fenced> {
        self.current(id, attempt)?.is_finished = true;
        Ok(())
    }

    /// Deletes the state of checkpoints.
    pub(super) fn clear(&mut self, id: PipelineId) {
        if let Some(log) = self.logs.last_mut().filter(|log| log.id == id) {
            log.is_cleared = true;
        }
    }

    /// Makes everything visible that is decided; false: the target is not to be reached.
    pub(super) fn commit(&mut self, id: PipelineId, attempt: Attempt) -> Result<bool, Fenced> {
        self.current(id, attempt)?;
        if self.is_blocked {
            return Ok(false);
        }
        self.settle_last();
        Ok(true)
    }
}

impl Log {
    pub fn position(&self) -> LogPosition {
        // Of its newest record; a claim has none yet.
        let slot = Slot(self.slots.saturating_sub(1));
        LogPosition { pipeline_id: self.id, log: self.index, attempt: Attempt(self.attempts), slot }
    }

    fn next_epoch(&self) -> Epoch {
        Epoch(self.newest().map_or(0, |newest| newest.epoch.0) + self.failed + 1)
    }

    pub fn newest(&self) -> Option<&Decision> {
        self.decisions.last()
    }

    pub fn units(&self) -> u64 {
        self.decisions.iter().filter(|decision| decision.unit.is_some()).count() as u64
    }

    pub fn owed(&self) -> Option<&Decision> {
        self.decisions.iter().find(|decision| !decision.is_committed)
    }

    /// What `restoreFrom` takes.
    pub fn handle(&self, decision: &Decision) -> String {
        format!("store/{}/{}/attempts/{}/{}", self.id, self.index.0, decision.attempt.0, decision.slot.0)
    }

    pub(super) fn completed(&self, decision: &Decision, time_ms: u64, duration_ms: u64) -> CompletedCheckpoint {
        CompletedCheckpoint {
            attempt: decision.attempt,
            epoch: decision.epoch,
            handle: self.handle(decision),
            time_ms,
            duration_ms,
            size_bytes: 100 * decision.epoch.0,
        }
    }
}
