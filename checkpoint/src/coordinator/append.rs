//! Deciding, committing what was decided, and the notes that follow it.

use super::{
    Action, Arc, CommitOutcome, Commits, Completed, Coordinator, DecisionId, End, Goal, Loss, Manifest, Note, Position,
    Record, Released, Reply, Rule, Rules, Stage, deadline,
};
use crate::invariants;
use crate::record::{Origin, Outcome, Settled};

impl<R: Rules> Coordinator<R> {
    /// Sends the decision, if everything before it is committed and no other append is under way.
    pub(super) fn try_decide(&mut self, now: u64) -> Vec<Action> {
        let waits = self.commits.is_some() && self.holds(Rule::CommitBeforeDecide);
        if waits || self.appender.is_busy() || self.ending.is_some() || self.note.is_some() {
            return Vec::new();
        }
        let Some(pending) = &mut self.pending else { return Vec::new() };
        let Stage::Ready { manifest, written } = &pending.stage else { return Vec::new() };
        let (manifest, written) = (manifest.clone(), written.clone());
        let decision = DecisionId { attempt: self.appender.attempt(), epoch: pending.epoch };
        let checked = invariants::check_order(self.decided, decision)
            .and_then(|()| invariants::check_decidable(&manifest, decision, self.decided_here()));
        if let Err(violation) = checked {
            return self.end(End::Broken(violation));
        }
        let Some(pending) = &mut self.pending else { return Vec::new() };
        let completed = Completed {
            epoch: pending.epoch,
            savepoint: pending.savepoint,
            unaligned: false,
            origin: Origin::Checkpoint,
            manifest: written,
        };
        let deadline = deadline(&manifest);
        pending.stage = Stage::Appending { manifest };
        self.append(Record::Completed(completed), deadline, now)
    }

    /// The epoch up to which this attempt's committables are decided.
    fn decided_here(&self) -> crate::ids::Epoch {
        if self.decided.attempt == self.appender.attempt() { self.decided.epoch } else { crate::ids::Epoch(0) }
    }

    pub(super) fn log_step(&mut self, now: u64, reply: Reply) -> Vec<Action> {
        let append = self.appender.step(reply, now);
        let (at, entry) = match self.follow(append) {
            Ok(done) => done,
            Err(actions) => return actions,
        };
        let mut actions = match entry.completed() {
            Some(completed) => self.is_decided(now, at, completed),
            None => self.is_noted(now),
        };
        if let Some(end) = self.ending.take()
            && !self.is_over
        {
            // The record is in the log and the next attempt acts on it: this one begins nothing more.
            actions.retain(|action| !matches!(action, Action::Commit(_) | Action::Log(_)));
            actions.extend(self.end_now(end));
        }
        actions
    }

    fn is_decided(&mut self, now: u64, at: Position, completed: &Completed) -> Vec<Action> {
        let manifest = match self.pending.take().map(|pending| pending.stage) {
            Some(Stage::Appending { manifest }) => manifest,
            Some(Stage::Collecting { .. } | Stage::Writing { .. } | Stage::Ready { .. }) | None => return Vec::new(),
        };
        let decision = DecisionId { attempt: at.attempt, epoch: completed.epoch };
        self.decided = decision;
        self.failures_in_a_row = 0;
        for undecided in &mut self.undecided {
            undecided.decided(completed.epoch);
        }
        self.is_last_decided = self.goal == Goal::Stop || manifest.finished;
        if manifest.finished && self.goal != Goal::Stop {
            self.goal = Goal::Finish;
        }
        self.unsettled_since = None;
        self.savepoint = completed.savepoint.then_some(at);
        let mut actions = vec![Action::Decided { epoch: completed.epoch, at, savepoint: completed.savepoint }];
        actions.extend(self.begin_commits(now, decision, &manifest));
        actions
    }

    fn begin_commits(&mut self, now: u64, decision: DecisionId, manifest: &Manifest) -> Vec<Action> {
        let mut commits = Commits::of(decision, manifest.committables.iter().cloned().map(Arc::new));
        let mut actions: Vec<_> = commits.orders().into_iter().map(Action::Commit).collect();
        let is_empty = commits.all_confirmed();
        self.commits = Some(commits);
        if is_empty {
            actions.extend(self.commits_done(now, decision, true));
        }
        actions
    }

    pub(super) fn committed(
        &mut self,
        now: u64,
        decision: DecisionId,
        index: u32,
        outcome: CommitOutcome,
    ) -> Vec<Action> {
        let tolerates_loss = !self.holds(Rule::StopOnLoss);
        let Some(commits) = self.commits.as_mut().filter(|commits| commits.decision() == decision) else {
            return Vec::new();
        };
        let outcome = if tolerates_loss { CommitOutcome::Committed } else { outcome };
        commits.ended(index, outcome);
        if !commits.lost().is_empty() {
            return self.is_lost(now);
        }
        if commits.all_confirmed() {
            return self.commits_done(now, decision, false);
        }
        commits.orders().into_iter().map(Action::Commit).collect()
    }

    /// Stops at once. The world hears of it only after it stands in one's own sequence: a fenced attempt may find lost
    /// what a rewind has rightly aborted.
    fn is_lost(&mut self, now: u64) -> Vec<Action> {
        let Some(commits) = &self.commits else { return Vec::new() };
        let loss = Loss {
            decision: commits.decision(),
            committables: commits.lost(),
            rewind_may_help: !commits.any_confirmed(),
            reason: commits.loss_in_words(),
        };
        if !self.holds(Rule::LossAfterAppend) {
            return self.end(End::Lost(loss));
        }
        if self.appender.is_busy() || self.note.is_some() {
            return Vec::new();
        }
        let settled = Settled {
            decision: loss.decision,
            outcome: Outcome::Lost,
            by: self.appender.attempt(),
            reason: loss.reason.clone(),
        };
        self.pending = None;
        self.note = Some(Note::Lost(loss));
        self.append(Record::Settled(settled), None, now)
    }

    fn commits_done(&mut self, now: u64, decision: DecisionId, is_empty: bool) -> Vec<Action> {
        self.commits = None;
        self.unsettled_since = (!is_empty).then_some(now);
        let mut actions = vec![Action::CommitsDone { decision }, Action::Retain];
        if self.is_last_decided || self.savepoint.is_some() {
            actions.extend(self.settle(now));
        } else {
            actions.extend(self.try_decide(now));
        }
        actions
    }

    /// Writes down that `decided` is committed, or goes on to what follows it.
    pub(super) fn settle(&mut self, now: u64) -> Vec<Action> {
        if self.unsettled_since.is_none() {
            return self.is_settled(now);
        }
        let settled =
            Settled { decision: self.decided, outcome: Outcome::Committed, by: self.appender.attempt(), reason: None };
        self.note = Some(Note::Settled);
        self.append(Record::Settled(settled), None, now)
    }

    fn is_settled(&mut self, now: u64) -> Vec<Action> {
        self.unsettled_since = None;
        let mut actions: Vec<_> = self.savepoint.take().map(|at| Action::SavepointReady { at }).into_iter().collect();
        if self.is_last_decided {
            let released = if self.goal == Goal::Finish { Released::Finished } else { Released::Stopped };
            self.note = Some(Note::Released(released.clone()));
            actions.extend(self.append(Record::Released(released), None, now));
        } else {
            actions.extend(self.try_decide(now));
        }
        actions
    }

    fn is_noted(&mut self, now: u64) -> Vec<Action> {
        match self.note.take() {
            Some(Note::Settled) if self.ending.is_some() => Vec::new(),
            Some(Note::Settled) => self.is_settled(now),
            Some(Note::Lost(loss)) => {
                // Whatever else was about to end the attempt, the loss is what people must hear of.
                self.ending = None;
                self.end_now(End::Lost(loss))
            }
            Some(Note::Released(Released::Finished)) => self.end_now(End::Finished),
            Some(Note::Released(_)) => self.end_now(End::Stopped),
            None => Vec::new(),
        }
    }
}
