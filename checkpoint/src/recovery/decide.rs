//! After the commits: restore, or first decide what to restore (the first epoch, a rewind, an older checkpoint).

use super::{
    Action, Append, Arc, Completed, DecisionId, Ending, Epoch, Intent, Manifest, ManifestRef, Origin, Outcome,
    Position, Record, Recovery, Refusal, Released, Reply, Restored, Rule, Rules, Settled, Stage, id,
};

impl<R: Rules> Recovery<R> {
    /// Earlier attempts have nothing open any more.
    pub(super) fn leftovers_gone(&mut self, now: u64) -> Vec<Action<R>> {
        let first_time = !std::mem::replace(&mut self.leftovers_aborted, true);
        if first_time && !self.settled && !self.holds(Rule::CommitBeforeAbort) {
            // The planted mistake: leftovers were aborted before the commits.
            if let Some(manifest) = self.manifest.clone() {
                return self.loaded(now, &manifest);
            }
        }
        let (Some((_, newest)), Some(manifest)) = (self.newest(), self.manifest.clone()) else {
            return self.end(Ending::Refused(Refusal::NothingDecided));
        };
        match self.intent.clone() {
            Intent::Run | Intent::AcceptLoss { .. } if manifest.finished => self.release(now, Released::Finished),
            Intent::Run | Intent::AcceptLoss { .. } => self.restore_newest(manifest),
            Intent::CommitOnly | Intent::Supersede | Intent::ForceAbort { .. } if self.settled => self.take_leave(now),
            Intent::CommitOnly | Intent::Supersede | Intent::ForceAbort { .. } => {
                let settled = Settled { decision: newest, outcome: Outcome::Committed, by: self.me(), reason: None };
                self.stage = Stage::Settling;
                self.append(now, Record::Settled(settled))
            }
            Intent::Rewind => self.load_base(1),
            Intent::GoBack { to } => {
                let nth = self.decisions().position(|(at, _)| at == to);
                self.load_base(nth.unwrap_or(usize::MAX))
            }
        }
    }

    fn take_leave(&mut self, now: u64) -> Vec<Action<R>> {
        let is_last = self.intent == Intent::Supersede;
        self.release(now, if is_last { Released::Superseded } else { Released::Settled })
    }

    pub(super) fn release(&mut self, now: u64, released: Released) -> Vec<Action<R>> {
        self.stage = Stage::Releasing { finished: released == Released::Finished };
        self.append(now, Record::Released(released))
    }

    fn restore_newest(&mut self, manifest: Arc<Manifest>) -> Vec<Action<R>> {
        let Some((at, decision)) = self.newest() else {
            return self.end(Ending::Refused(Refusal::NothingDecided));
        };
        let settled = self.settled || manifest.committables.is_empty();
        self.restore(at, decision, manifest, settled)
    }

    fn restore(
        &mut self,
        at: Position,
        decision: DecisionId,
        manifest: Arc<Manifest>,
        settled: bool,
    ) -> Vec<Action<R>> {
        match self.appender.take() {
            Some(appender) => {
                self.end(Ending::Restore(Box::new(Restored { appender, at, decision, manifest, settled })))
            }
            None => Vec::new(),
        }
    }

    fn load_base(&mut self, nth: usize) -> Vec<Action<R>> {
        let base = self.decisions().nth(nth).map(|(_, completed)| completed.clone());
        match base {
            Some(completed) => match &completed.manifest {
                ManifestRef::Inline(manifest) => self.base_loaded(&completed, manifest),
                ManifestRef::Stored { .. } => {
                    let action = Action::LoadManifest(completed.manifest.clone());
                    self.stage = Stage::LoadingBase { completed };
                    vec![action]
                }
            },
            None => self.end(Ending::Refused(Refusal::NothingDecided)),
        }
    }

    pub(super) fn base_loaded(&mut self, completed: &Completed, manifest: &Manifest) -> Vec<Action<R>> {
        let found = self.decisions().find(|(_, other)| *other == completed).map(|(at, c)| (at, id(at, c)));
        let (Some((at, base)), Some((_, newest))) = (found, self.newest()) else {
            return self.end(Ending::Refused(Refusal::NothingDecided));
        };
        // Its own committables ended long ago; nothing of them is decided again.
        let manifest = Manifest { committables: Vec::new(), ..manifest.clone() };
        match self.intent {
            Intent::Rewind if !self.holds(Rule::RewindDecides) => self.restore(at, base, Arc::new(manifest), true),
            Intent::Rewind => self.write_manifest(Origin::Rewind { taken_back: newest, base }, manifest, false),
            Intent::GoBack { .. }
            | Intent::Run
            | Intent::CommitOnly
            | Intent::Supersede
            | Intent::AcceptLoss { .. }
            | Intent::ForceAbort { .. } => self.write_manifest(Origin::Older { base }, manifest, true),
        }
    }

    pub(super) fn write_manifest(&mut self, origin: Origin, manifest: Manifest, copy_parts: bool) -> Vec<Action<R>> {
        let manifest = Arc::new(manifest);
        self.stage = Stage::WritingManifest { origin, manifest: manifest.clone() };
        vec![Action::WriteManifest { epoch: self.next_epoch(), manifest, copy_parts }]
    }

    fn next_epoch(&self) -> Epoch {
        self.newest().map_or(Epoch(0), |(_, decision)| decision.epoch).next()
    }

    pub(super) fn decide(
        &mut self,
        now: u64,
        origin: Origin,
        manifest: Arc<Manifest>,
        written: ManifestRef,
    ) -> Vec<Action<R>> {
        let epoch = self.next_epoch();
        self.stage = Stage::Deciding { manifest };
        let completed = Completed { epoch, savepoint: false, unaligned: false, origin, manifest: written };
        self.append(now, Record::Completed(completed))
    }

    /// An append of recovery's own: a loss, a decision, the end.
    pub(super) fn log_step(&mut self, now: u64, reply: Reply) -> Vec<Action<R>> {
        let (at, entry) = match self.appender.as_mut().map(|appender| appender.step(reply, now)) {
            Some(Append::Ask(request)) => return vec![Action::Log(request)],
            Some(Append::Done(at, entry)) => (at, entry),
            Some(Append::Fenced { by }) => return self.end(Ending::Fenced { by }),
            Some(Append::Broken(violation)) => return self.end(Ending::Broken(violation)),
            Some(Append::Expired) | None => return self.end(Ending::Fenced { by: self.me() }),
        };
        match (std::mem::replace(&mut self.stage, Stage::Ended), entry.completed()) {
            (Stage::RecordingLoss { go_on: true }, _) => {
                self.settled = true;
                self.abort_leftovers()
            }
            (Stage::RecordingLoss { go_on: false }, _) => self.report_loss(),
            (Stage::Deciding { manifest }, Some(completed)) => self.restore(at, id(at, completed), manifest, true),
            (Stage::Settling, _) => self.take_leave(now),
            (Stage::Releasing { finished: true }, _) => self.end(Ending::Finished),
            (Stage::Releasing { finished: false }, _) => self.end(Ending::Settled),
            (_, _) => Vec::new(),
        }
    }
}
