//! The last start of a pipeline: its commits are finished, its log is closed, its checkpoints are deleted.

use checkpoint::ids::{Attempt, PipelineId};
use checkpoint::recovery::Intent;

use super::RunError;
use super::begin::{Begin, Stuck, Task};
use super::supervise::Supervisor;
use crate::coordinator::{Ended, Log, delete_state, depth, has_run_since, inspect};

impl Supervisor {
    /// Judges whether the log is this pipeline's to close. Nothing is told of one that is not.
    pub(super) async fn look_back(
        &mut self,
        log: &Log,
        owner: Option<PipelineId>,
        claimed: Attempt,
    ) -> Result<Begin, Stuck> {
        let Some(owner) = owner else { return Ok(Begin::Finished(Ended::NothingToSettle)) };
        if self.identity() != Some(owner) {
            let message = format!("the log {} is of pipeline {owner}: nothing of it is deleted", log.index);
            return Err(RunError::Fenced { message }.into());
        }
        // Bounded by the attempts that were made since.
        let mut claims = Vec::new();
        for (attempt, _) in log.list().await?.0.attempts.into_iter().filter(|(attempt, _)| *attempt > claimed) {
            claims.push((attempt, log.claim(attempt).await?));
        }
        if let Some(by) = has_run_since(claimed, claims.iter().map(|(attempt, claim)| (*attempt, claim))) {
            let message =
                format!("attempt {by} of log {} was begun by somebody else: nothing of it is deleted", log.index);
            return Err(RunError::Fenced { message }.into());
        }
        let floor = self.floor(Some(owner), &Intent::CommitOnly).await;
        let Some(seen) = inspect::look(log, depth(&Intent::CommitOnly)).await? else {
            return Ok(Begin::Finished(Ended::NothingToSettle));
        };
        self.tell_of_log(log, Some(owner), Some(&seen));
        if seen.is_superseded() {
            // Whoever closed it has died in the middle of the rest.
            delete_state(log, seen.highest).await?;
            return Ok(Begin::Finished(Ended::Settled));
        }
        self.check_log(log, &seen, &Intent::CommitOnly, floor).await?;
        if !self.check_world(seen.newest.as_ref()).await? {
            return Ok(Begin::Cut);
        }
        Ok(Begin::In(Task { log: log.index, intent: Intent::Supersede, floor: None, identity: self.identity() }))
    }
}
