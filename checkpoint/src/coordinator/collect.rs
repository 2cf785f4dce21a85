//! From a barrier to a decidable manifest: acknowledgements in time and late, refusals, timeouts.

use super::{
    Acknowledged, Action, Arc, CheckpointFailure, Committable, Coordinator, End, Epoch, Goal, Manifest, ManifestRef,
    Rule, Rules, Stage, Wanted,
};

impl<R: Rules> Coordinator<R> {
    /// Late ones of failed checkpoints count too, for what they pre-committed.
    pub(super) fn acknowledged(&mut self, acknowledged: Acknowledged) -> Vec<Action> {
        let me = self.appender.attempt();
        let Some(undecided) = self.undecided.get_mut(acknowledged.task as usize) else { return Vec::new() };
        let own = acknowledged.committables.iter().filter(|committable| committable.attempt == me);
        undecided.merge(own.cloned(), self.decided.epoch);
        let Some(pending) = &mut self.pending else { return Vec::new() };
        let Stage::Collecting { acknowledged: all } = &mut pending.stage else { return Vec::new() };
        if pending.epoch != acknowledged.epoch {
            return Vec::new();
        }
        if let Some(slot) = all.get_mut(acknowledged.task as usize) {
            *slot = Some(Acknowledged { committables: Vec::new(), ..acknowledged });
        }
        if all.iter().any(Option::is_none) {
            return Vec::new();
        }
        let (epoch, all) = (pending.epoch, std::mem::take(all).into_iter().flatten().collect());
        let manifest = Arc::new(self.build_manifest(epoch, all));
        if let Some(pending) = &mut self.pending {
            pending.stage = Stage::Writing { manifest: manifest.clone() };
        }
        vec![Action::WriteManifest { epoch, manifest }]
    }

    fn build_manifest(&self, epoch: Epoch, all: Vec<Acknowledged>) -> Manifest {
        let carried = |committable: &&Arc<Committable>| {
            committable.epoch == epoch || (committable.epoch < epoch && self.holds(Rule::CarryUndecided))
        };
        let committables = self.undecided.iter().flat_map(|undecided| undecided.list().iter().filter(carried));
        Manifest {
            operators: self.settings.operators.clone(),
            parallelism: self.settings.parallelism,
            max_parallelism: self.settings.max_parallelism,
            finished: all.iter().all(|acknowledged| acknowledged.finished),
            // Counts for people, which no decision depends on: the driver knows them and fills them in.
            rows_in: 0,
            rows_out: 0,
            committables: committables.map(|committable| committable.as_ref().clone()).collect(),
            snapshots: all.into_iter().flat_map(|acknowledged| acknowledged.snapshots).collect(),
        }
    }

    pub(super) fn manifest_written(&mut self, now: u64, epoch: Epoch, written: ManifestRef) -> Vec<Action> {
        let Some(pending) = &mut self.pending else { return Vec::new() };
        let Stage::Writing { manifest } = &pending.stage else { return Vec::new() };
        if pending.epoch != epoch {
            return Vec::new();
        }
        pending.stage = Stage::Ready { manifest: manifest.clone(), written };
        self.try_decide(now)
    }

    /// Nothing is rolled back and nothing recorded; the undecided committables wait for the next decision.
    pub(super) fn fails(&mut self, epoch: Epoch, failure: CheckpointFailure) -> Vec<Action> {
        let in_flight = self.pending.as_ref().is_some_and(|pending| {
            pending.epoch == epoch && matches!(pending.stage, Stage::Collecting { .. } | Stage::Writing { .. })
        });
        if !in_flight {
            return Vec::new();
        }
        if self.pending.take().is_some_and(|failed| failed.savepoint) {
            self.wanted = Wanted::Savepoint;
        }
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let in_a_row = self.failures_in_a_row;
        let mut actions = vec![Action::CheckpointFailed { epoch, failure, in_a_row }];
        // The last checkpoint is retried until it is decided.
        let is_too_many = self.goal == Goal::Run && in_a_row > self.settings.tolerable_failures;
        if is_too_many || self.settings.ends_on_failure {
            actions.extend(self.end(End::CheckpointsFailed));
        }
        actions
    }
}
