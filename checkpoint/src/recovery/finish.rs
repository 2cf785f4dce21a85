//! Finishing what was decided: classify everything, commit, record a loss.

use super::{
    AbortOutcome, Action, Append, Arc, Classification, CommitOutcome, Commits, DecisionId, Ending, Epoch, Intent, Loss,
    Manifest, Outcome, Record, Recovery, Refusal, Rule, Rules, Settled, Stage, bounded, invariants,
};

impl<R: Rules> Recovery<R> {
    /// The newest decision's manifest is here and verified.
    pub(super) fn loaded(&mut self, now: u64, manifest: &Arc<Manifest>) -> Vec<Action<R>> {
        let Some((_, decision)) = self.newest() else { return self.end(Ending::Refused(Refusal::NothingDecided)) };
        // The second half of the pair: it was checked before it was written.
        if let Err(violation) = invariants::check_decidable(manifest, decision, Epoch(0)) {
            return self.end(Ending::Broken(violation));
        }
        self.manifest = Some(manifest.clone());
        self.commits = Some(Commits::of(decision, manifest.committables.iter().cloned().map(Arc::new)));
        match (self.settled_as(decision), &self.intent) {
            (Some(Outcome::Lost), _) if !self.holds(Rule::SettledOutcome) => self.abort_leftovers(),
            (Some(Outcome::Committed | Outcome::LossAccepted), _) => {
                self.settled = true;
                self.abort_leftovers()
            }
            (Some(Outcome::Lost), Intent::Run | Intent::CommitOnly | Intent::Supersede)
                if self.holds(Rule::StopOnLoss) =>
            {
                // Known already, but it may have been accepted or taken back since: only a record of one's own
                // shows that nobody claimed later.
                let reason = self.settlement(decision).and_then(|settled| settled.reason.clone());
                if self.holds(Rule::RecordLossAgain) {
                    self.record_loss(now, decision, reason)
                } else {
                    self.report_loss()
                }
            }
            (Some(Outcome::Lost) | None, _) => self.finish_commits(now, manifest),
        }
    }

    fn finish_commits(&mut self, now: u64, manifest: &Manifest) -> Vec<Action<R>> {
        if !self.holds(Rule::CommitBeforeAbort) && !self.leftovers_aborted {
            return self.abort_leftovers();
        }
        if self.intent == Intent::Rewind && !self.holds(Rule::RewindAborts) {
            return self.abort_leftovers();
        }
        if manifest.committables.is_empty() {
            return self.commits_ended(now);
        }
        if !self.holds(Rule::ClassifyFirst) && self.intent != Intent::Rewind {
            return self.order_commits();
        }
        self.stage = Stage::Classifying { known: vec![None; manifest.committables.len()] };
        let classify = |(index, committable): (usize, &super::Committable)| Action::Classify {
            index: index as u32,
            committable: Arc::new(committable.clone()),
        };
        manifest.committables.iter().enumerate().map(classify).collect()
    }

    pub(super) fn classified(
        &mut self,
        now: u64,
        mut known: Vec<Option<Classification>>,
        index: u32,
        classification: Classification,
    ) -> Vec<Action<R>> {
        if let Some(slot) = known.get_mut(index as usize) {
            *slot = Some(classification);
        }
        if known.iter().any(Option::is_none) {
            self.stage = Stage::Classifying { known };
            return Vec::new();
        }
        let known: Vec<_> = known.into_iter().flatten().collect();
        if let Some(commits) = &mut self.commits {
            for (index, classification) in known.iter().enumerate() {
                commits.classified(index as u32, *classification);
            }
        }
        self.choose_victims(&known);
        let some_committed = known.contains(&Classification::Committed);
        match self.intent {
            Intent::Rewind if some_committed => self.refuse_rewind(),
            Intent::Rewind => self.abort_next(&known),
            Intent::ForceAbort { ref indices, .. } if is_any(indices, &known, Classification::Committed) => {
                self.refuse_abort()
            }
            Intent::ForceAbort { .. } if !self.holds(Rule::ForceCommitsRest) => self.commits_ended(now),
            // Nothing is committed yet, so nothing more may be: restoring the epoch before may lose nothing.
            Intent::Run | Intent::CommitOnly | Intent::Supersede
                if known.contains(&Classification::Lost) && !some_committed =>
            {
                self.commits_ended(now)
            }
            Intent::Run
            | Intent::CommitOnly
            | Intent::Supersede
            | Intent::AcceptLoss { .. }
            | Intent::ForceAbort { .. }
            | Intent::GoBack { .. } => self.continue_commits(now),
        }
    }

    /// A forced abort: what it names is not ordered. If anything else is lost, it is no forced abort any more: nobody has
    /// accepted that, and it is treated as any start treats it.
    fn choose_victims(&mut self, known: &[Classification]) {
        let Intent::ForceAbort { indices, .. } = &self.intent else { return };
        let is_named = |index: usize| indices.contains(&(index as u32));
        if known.iter().enumerate().any(|(index, known)| *known == Classification::Lost && !is_named(index)) {
            self.intent = Intent::CommitOnly;
            return;
        }
        let open = |(index, known): (usize, &Classification)| {
            (*known == Classification::Prepared && is_named(index)).then_some(index as u32)
        };
        self.to_abort = known.iter().enumerate().filter_map(open).collect();
        for index in &self.to_abort {
            if let Some(commits) = &mut self.commits {
                commits.classified(*index, Classification::Lost);
            }
        }
    }

    /// Something that a forced abort does not name is lost: what it names stays decided.
    fn spare_victims(&mut self) {
        self.intent = Intent::CommitOnly;
        for index in std::mem::take(&mut self.to_abort) {
            if let Some(commits) = &mut self.commits {
                commits.classified(index, Classification::Prepared);
            }
        }
    }

    fn order_commits(&mut self) -> Vec<Action<R>> {
        self.stage = Stage::Committing;
        let orders = self.commits.as_mut().map(Commits::orders).unwrap_or_default();
        orders.into_iter().map(Action::Commit).collect()
    }

    fn continue_commits(&mut self, now: u64) -> Vec<Action<R>> {
        if self.commits.as_ref().is_none_or(Commits::all_ended) {
            self.commits_ended(now)
        } else {
            self.order_commits()
        }
    }

    pub(super) fn committed(&mut self, now: u64, index: u32, outcome: CommitOutcome) -> Vec<Action<R>> {
        if outcome == CommitOutcome::Lost && matches!(self.intent, Intent::ForceAbort { .. }) {
            self.spare_victims();
        }
        let keeps_on =
            matches!(self.intent, Intent::AcceptLoss { .. } | Intent::ForceAbort { .. } | Intent::GoBack { .. });
        let Some(commits) = &mut self.commits else { return Vec::new() };
        commits.ended(index, outcome);
        if commits.lost().is_empty() || commits.any_confirmed() || keeps_on {
            return self.continue_commits(now);
        }
        // Lost since it was classified, and nothing is visible so far: order nothing more.
        if commits.is_any_ordered() {
            self.stage = Stage::Committing;
            return Vec::new();
        }
        self.commits_ended(now)
    }

    /// Nothing more will be committed in this recovery.
    fn commits_ended(&mut self, now: u64) -> Vec<Action<R>> {
        if let Some(victim) = self.to_abort.first().copied()
            && self.holds(Rule::ForceAbortsFirst)
        {
            return self.abort(victim);
        }
        let Some(commits) = &self.commits else { return Vec::new() };
        if self.intent == Intent::Rewind || commits.lost().is_empty() || !self.holds(Rule::StopOnLoss) {
            return self.abort_leftovers();
        }
        let (outcome, reason, go_on) = match &self.intent {
            Intent::AcceptLoss { reason, .. } | Intent::ForceAbort { reason, .. } => {
                (Outcome::LossAccepted, Some(bounded(reason)), true)
            }
            Intent::GoBack { .. } => (Outcome::Lost, commits.loss_in_words(), true),
            Intent::Run | Intent::CommitOnly | Intent::Supersede | Intent::Rewind => {
                (Outcome::Lost, commits.loss_in_words(), false)
            }
        };
        if !go_on && !self.holds(Rule::LossAfterAppend) {
            return self.report_loss();
        }
        let settled = Settled { decision: commits.decision(), outcome, by: self.me(), reason };
        self.stage = Stage::RecordingLoss { go_on };
        self.append(now, Record::Settled(settled))
    }

    fn record_loss(&mut self, now: u64, decision: DecisionId, reason: Option<String>) -> Vec<Action<R>> {
        let settled = Settled { decision, outcome: Outcome::Lost, by: self.me(), reason };
        self.stage = Stage::RecordingLoss { go_on: false };
        self.append(now, Record::Settled(settled))
    }

    pub(super) fn report_loss(&mut self) -> Vec<Action<R>> {
        let Some(commits) = &self.commits else { return Vec::new() };
        let recorded = self.settlement(commits.decision()).filter(|settled| settled.outcome == Outcome::Lost);
        let loss = Loss {
            decision: commits.decision(),
            committables: commits.lost(),
            rewind_may_help: !commits.any_confirmed() && !commits.lost().is_empty(),
            reason: recorded.and_then(|settled| settled.reason.clone()),
        };
        self.end(Ending::Lost(loss))
    }

    fn refuse_rewind(&mut self) -> Vec<Action<R>> {
        match self.newest() {
            Some((_, decision)) => self.end(Ending::Refused(Refusal::RewindOfCommitted { decision })),
            None => self.end(Ending::Refused(Refusal::NothingDecided)),
        }
    }

    fn refuse_abort(&mut self) -> Vec<Action<R>> {
        match self.newest() {
            Some((_, decision)) => self.end(Ending::Refused(Refusal::AbortOfCommitted { decision })),
            None => self.end(Ending::Refused(Refusal::NothingDecided)),
        }
    }

    /// One at a time, so that the first one found committed stops the rewind before the others are touched.
    fn abort_next(&mut self, known: &[Classification]) -> Vec<Action<R>> {
        match known.iter().position(|c| *c == Classification::Prepared) {
            Some(index) => self.abort(index as u32),
            None => self.abort_leftovers(),
        }
    }

    fn abort(&mut self, index: u32) -> Vec<Action<R>> {
        let committable = self.commits.as_ref().and_then(|commits| commits.committable(index)).cloned();
        match committable {
            Some(committable) => {
                self.stage = Stage::Aborting { index };
                vec![Action::Abort { index, committable }]
            }
            None => self.abort_leftovers(),
        }
    }

    pub(super) fn aborted(&mut self, now: u64, index: u32, outcome: AbortOutcome) -> Vec<Action<R>> {
        let Some(commits) = &mut self.commits else { return Vec::new() };
        if matches!(self.intent, Intent::ForceAbort { .. }) {
            // Somebody who was entitled to may have committed it meanwhile: then it is visible, and no loss.
            if outcome == AbortOutcome::Committed {
                commits.ended(index, CommitOutcome::AlreadyCommitted);
            }
            self.to_abort.retain(|victim| *victim != index);
            return self.commits_ended(now);
        }
        if outcome == AbortOutcome::Committed {
            commits.ended(index, CommitOutcome::AlreadyCommitted);
            if commits.lost().is_empty() {
                return self.refuse_rewind();
            }
            // A fenced attempt has committed this part after another was aborted. That is a loss beside something
            // visible, and is treated as any start treats it: commit the rest, record it, stop.
            self.intent = Intent::Run;
            return self.continue_commits(now);
        }
        commits.ended(index, CommitOutcome::Lost);
        match self.commits.as_ref().and_then(Commits::first_open) {
            Some(next) => self.abort(next),
            None => self.abort_leftovers(),
        }
    }

    /// Everything decided is committed (or recorded as lost): what earlier attempts left open is nobody's now.
    pub(super) fn abort_leftovers(&mut self) -> Vec<Action<R>> {
        if self.leftovers_aborted {
            return self.leftovers_gone(0);
        }
        self.stage = Stage::AbortingLeftovers;
        vec![Action::AbortLeftovers { before: self.me() }]
    }

    pub(super) fn append(&mut self, now: u64, record: Record) -> Vec<Action<R>> {
        match self.appender.as_mut().map(|appender| appender.begin(record, None, now)) {
            Some(Append::Ask(request)) => vec![Action::Log(request)],
            Some(Append::Broken(violation)) => self.end(Ending::Broken(violation)),
            Some(Append::Fenced { by }) => self.end(Ending::Fenced { by }),
            Some(Append::Done(..) | Append::Expired) | None => self.end(Ending::Fenced { by: self.me() }),
        }
    }
}

/// Whether one of `indices` is classified so.
fn is_any(indices: &[u32], known: &[Classification], classification: Classification) -> bool {
    indices.iter().any(|index| known.get(*index as usize) == Some(&classification))
}
