//! One process, step by step.

use api::report::{
    CompletedCheckpoint, FailedCheckpoint, LogPosition, PendingCommit, REPORT_VERSION, Requested, RestoredCheckpoint,
    WorkerReport, WorkerState,
};
use api::token::{Ask, Untrusted, Verifier};
use checkpoint::ids::PipelineId;

use super::kubelet::{Death, Moment, Script};
use super::log::{Decision, Fenced, Log, Store};

/// From the start of a process to its look at the log, to its claim, from there to its commits, from these to its first
/// record, and for each commit.
const READ_MS: u64 = 200;
const CLAIM_MS: u64 = 100;
const RECOVERY_MS: u64 = 100;
const DEPLOY_MS: u64 = 100;
const COMMIT_MS: u64 = 100;
/// Between tries of a commit that does not succeed.
const RETRY_MS: u64 = 1_000;
/// What a process that was told to stop takes for its last checkpoint.
const LAST_MS: u64 = 300;
/// `--grace` as the controller gives it.
const GRACE_MS: u64 = 25_000;

/// How a process ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) code: i32,
    /// None: it was killed.
    pub(super) last_words: Option<WorkerReport>,
}

/// What it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Read,
    Claim,
    Recover,
    Deploy,
    Decide,
    Commit,
    /// Nothing: it is stuck.
    Never,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Run,
    /// Finishes commits and leaves.
    Commit,
    /// The same, and deletes checkpoints.
    Delete,
}

/// A process.
pub(super) struct Worker {
    id: PipelineId,
    purpose: Purpose,
    death: Option<Death>,
    decided: u64,
    next: Next,
    pub(super) next_ms: u64,
    stopping: Option<u64>,
    /// The newest epoch was decided to stop.
    is_last: bool,
    position: Option<LogPosition>,
    control: Option<Control>,
    /// Its manifest is refused: it ends before it listens.
    pub(super) is_mute: bool,
    pub(super) report: WorkerReport,
}

/// Whose requests it takes, and for which Pipeline (`namespace/name`).
pub(super) struct Control {
    pub(super) verifier: Verifier,
    pub(super) pipeline: String,
}

pub(super) struct Start {
    pub(super) id: PipelineId,
    pub(super) purpose: Purpose,
    pub(super) configuration: String,
    pub(super) parallelism: u32,
    pub(super) death: Option<Death>,
    pub(super) control: Option<Control>,
}

impl Worker {
    pub(super) fn start(start: Start, now_ms: u64) -> Self {
        let Start { id, purpose, configuration, parallelism, death, control } = start;
        let is_refusal = |words: &(WorkerState, String)| words.0 == WorkerState::Refused;
        let is_mute = death
            .as_ref()
            .is_some_and(|death| death.at == Moment::Unclaimed && death.words.as_ref().is_some_and(is_refusal));
        let report = WorkerReport {
            report_version: REPORT_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration,
            parallelism: if is_mute { 0 } else { parallelism },
            ..WorkerReport::default()
        };
        let next_ms = now_ms + READ_MS;
        Self {
            id,
            purpose,
            death,
            decided: 0,
            next: Next::Read,
            next_ms,
            stopping: None,
            is_last: false,
            position: None,
            control,
            is_mute,
            report,
        }
    }

    /// SIGTERM.
    pub(super) fn stop(&mut self, now_ms: u64) {
        if self.stopping.is_none() {
            self.stopping = Some(now_ms + GRACE_MS);
            if self.report.state == WorkerState::Running {
                self.report.state = WorkerState::Stopping;
                if self.next == Next::Decide {
                    self.next_ms = now_ms + LAST_MS;
                }
            }
        }
    }

    /// Whoever knows of no controller tells everybody.
    pub(super) fn may_look(&self, token: &str, now_ms: u64) -> bool {
        let knows = |control: &Control| control.verifier.verify_look(token, &control.pipeline, now_ms).is_ok();
        self.control.as_ref().is_none_or(knows)
    }

    /// `POST /checkpoint` with this token; None: it takes no requests.
    pub(super) fn asks(&mut self, token: &str, now_ms: u64) -> Option<Result<(), Untrusted>> {
        let Control { verifier, pipeline } = self.control.as_ref()?;
        let Ask { id, savepoint, .. } = match verifier.verify(token, pipeline, now_ms) {
            Ok(ask) => ask,
            Err(untrusted) => return Some(Err(untrusted)),
        };
        let is_known = |known: &Requested| (&known.id, known.savepoint) == (&id, savepoint);
        if !self.report.requested.as_ref().is_some_and(is_known) {
            self.report.requested = Some(Requested { id, savepoint, taken: None });
            if self.next == Next::Decide {
                self.next_ms = now_ms;
            }
        }
        Some(Ok(()))
    }

    /// The next step, whose time has come.
    pub(super) fn step(&mut self, store: &mut Store, script: &Script, now_ms: u64) -> Option<Ended> {
        let took = match self.next {
            Next::Read => Ok(self.read(store, now_ms)),
            Next::Claim => self.claim(store, now_ms),
            Next::Recover => self.recover(store, now_ms),
            Next::Deploy => Ok(self.deploy(now_ms)),
            Next::Decide => self.decide(store, now_ms),
            Next::Commit => self.commit(store, script, now_ms),
            Next::Never => {
                self.next_ms = u64::MAX;
                Ok(None)
            }
        };
        match took {
            Ok(ended) => ended,
            Err(Fenced) => Some(self.end(3, WorkerState::Fenced, Some("Fenced"))),
        }
    }

    /// Whether the script lets it die now.
    fn dies(&mut self, moment: Moment) -> Option<Ended> {
        let death = self.death.clone().filter(|death| death.at == moment)?;
        self.death = None;
        match death.words {
            None if death.code == 0 => {
                self.next = Next::Never;
                None
            }
            None => Some(Ended { code: death.code, last_words: None }),
            Some((state, reason)) => Some(self.end(death.code, state, Some(&reason))),
        }
    }

    fn end(&mut self, code: i32, state: WorkerState, reason: Option<&str>) -> Ended {
        if matches!(state, WorkerState::Stopped | WorkerState::Finished | WorkerState::Settled) {
            self.report.pending_commits.clear();
        }
        self.report.state = state;
        self.report.reason = reason.map(str::to_owned);
        self.report.message = reason.map(|reason| format!("as the script has it: {reason}"));
        Ended { code, last_words: Some(self.report.clone()) }
    }

    /// What the log says before anything is claimed.
    fn read(&mut self, store: &Store, now_ms: u64) -> Option<Ended> {
        if let Some(ended) = self.dies(Moment::Unclaimed) {
            return Some(ended);
        }
        (self.next, self.next_ms) = (Next::Claim, now_ms + CLAIM_MS);
        let log = store.log(self.id)?;
        self.report.log = Some(log.position());
        if let Some(newest) = log.newest() {
            self.report.checkpoints.newest = Some(log.completed(newest, 0, 0));
        }
        self.owes(log, now_ms);
        None
    }

    fn claim(&mut self, store: &mut Store, now_ms: u64) -> Result<Option<Ended>, Fenced> {
        if store.log(self.id).is_some_and(|log| log.is_finished) {
            self.clear(store);
            return Ok(Some(self.end(0, WorkerState::Finished, None)));
        }
        self.position = store.claim(self.id, self.purpose != Purpose::Run)?;
        self.report.log = self.position;
        if self.position.is_none() {
            return Ok(Some(self.end(0, WorkerState::Settled, None)));
        }
        self.report.state = WorkerState::Recovering;
        if let Some(ended) = self.dies(Moment::Claimed) {
            return Ok(Some(ended));
        }
        (self.next, self.next_ms) = (Next::Recover, now_ms + RECOVERY_MS);
        Ok(None)
    }

    fn owes(&mut self, log: &Log, now_ms: u64) {
        let pending = log.owed().map(|owed| PendingCommit {
            sink: "out".to_owned(),
            attempt: owed.attempt,
            epoch: owed.epoch,
            committables: 1,
            since_ms: now_ms,
            tries: 0,
            last_error: None,
        });
        self.report.pending_commits = pending.into_iter().collect();
    }

    /// False: it is to be tried again.
    fn tries(&mut self, store: &mut Store, now_ms: u64) -> Result<bool, Fenced> {
        let Some(position) = self.position else { return Err(Fenced) };
        if store.commit(self.id, position.attempt)? {
            self.report.pending_commits.clear();
            return Ok(true);
        }
        for pending in &mut self.report.pending_commits {
            pending.tries += 1;
            pending.last_error = Some("the target is away".to_owned());
        }
        self.next_ms = now_ms + RETRY_MS;
        Ok(false)
    }

    fn clear(&self, store: &mut Store) {
        if self.purpose == Purpose::Delete {
            store.clear(self.id);
        }
    }

    /// Whether it was told to stop too long ago.
    fn is_out_of_time(&self, now_ms: u64) -> bool {
        self.stopping.is_some_and(|until_ms| now_ms >= until_ms)
    }

    fn recover(&mut self, store: &mut Store, now_ms: u64) -> Result<Option<Ended>, Fenced> {
        if !self.tries(store, now_ms)? {
            let is_over = self.is_out_of_time(now_ms);
            return Ok(is_over.then(|| self.end(4, WorkerState::StoppedUndecided, Some("StoppedUndecided"))));
        }
        if self.purpose != Purpose::Run {
            self.clear(store);
            return Ok(Some(self.end(0, WorkerState::Settled, None)));
        }
        if let Some(ended) = self.dies(Moment::Recovered) {
            return Ok(Some(ended));
        }
        self.restore(store, now_ms)?;
        (self.next, self.next_ms) = (Next::Deploy, now_ms + DEPLOY_MS);
        Ok(None)
    }

    fn deploy(&mut self, now_ms: u64) -> Option<Ended> {
        let is_stopping = self.stopping.is_some();
        self.report.state = if is_stopping { WorkerState::Stopping } else { WorkerState::Running };
        let pause_ms = if is_stopping { LAST_MS } else { super::kubelet::INTERVAL_MS };
        (self.next, self.next_ms) = (Next::Decide, now_ms + pause_ms);
        None
    }

    /// An attempt begins with a decision of its own: of the beginning, or of what it has restored.
    fn restore(&mut self, store: &mut Store, now_ms: u64) -> Result<(), Fenced> {
        let Some(position) = self.position else { return Err(Fenced) };
        let from = store.log(self.id).and_then(|log| Some((log.newest()?.clone(), log.clone())));
        if let Some((newest, log)) = from {
            let handle = log.handle(&newest);
            self.report.checkpoints.restored_from =
                Some(RestoredCheckpoint { attempt: newest.attempt, epoch: newest.epoch, handle });
            return Ok(());
        }
        let decision = store.decide(self.id, position.attempt, false, now_ms)?;
        self.tells(store, &decision, 0);
        Ok(())
    }

    fn tells(&mut self, store: &Store, decision: &Decision, duration_ms: u64) {
        if let Some(log) = store.log(self.id) {
            self.report.log = Some(log.position());
            self.report.checkpoints.newest = Some(log.completed(decision, decision.at_ms, duration_ms));
        }
    }

    fn decide(&mut self, store: &mut Store, now_ms: u64) -> Result<Option<Ended>, Fenced> {
        let Some(position) = self.position else { return Err(Fenced) };
        if store.is_failing {
            self.fail(store, position, now_ms)?;
            return Ok(None);
        }
        let decision = store.decide(self.id, position.attempt, true, now_ms)?;
        self.decided += 1;
        self.is_last = self.stopping.is_some();
        self.tells(store, &decision, COMMIT_MS);
        self.report.checkpoints.consecutive_failures = 0;
        self.answers(false);
        if let Some(log) = store.log(self.id) {
            self.owes(log, now_ms);
        }
        if let Some(ended) = self.dies(Moment::Decided(self.decided)) {
            return Ok(Some(ended));
        }
        (self.next, self.next_ms) = (Next::Commit, now_ms + COMMIT_MS);
        Ok(None)
    }

    /// Nothing is decided; the next one is taken when its time comes.
    fn fail(&mut self, store: &mut Store, position: LogPosition, now_ms: u64) -> Result<(), Fenced> {
        let epoch = store.fail(self.id, position.attempt)?;
        let reason = "the manifest could not be written".to_owned();
        self.report.checkpoints.failed =
            Some(FailedCheckpoint { attempt: position.attempt, epoch, time_ms: now_ms, reason });
        self.report.checkpoints.consecutive_failures += 1;
        self.next_ms = now_ms + super::kubelet::INTERVAL_MS;
        Ok(())
    }

    /// What was asked for is answered once it is decided, a savepoint once it is committed.
    fn answers(&mut self, is_committed: bool) {
        let newest = self.report.checkpoints.newest.clone();
        let open = self.report.requested.as_mut().filter(|open| open.taken.is_none() && open.savepoint == is_committed);
        if let (Some(open), Some(newest)) = (open, newest) {
            let CompletedCheckpoint { attempt, epoch, handle, .. } = newest;
            open.taken = Some(RestoredCheckpoint { attempt, epoch, handle });
        }
    }

    fn commit(&mut self, store: &mut Store, script: &Script, now_ms: u64) -> Result<Option<Ended>, Fenced> {
        if !self.tries(store, now_ms)? {
            let is_over = self.is_out_of_time(now_ms);
            return Ok(is_over.then(|| self.end(4, WorkerState::StoppedUndecided, Some("StoppedUndecided"))));
        }
        if let Some(ended) = self.dies(Moment::Committed(self.decided)) {
            return Ok(Some(ended));
        }
        self.answers(true);
        let units = store.log(self.id).map_or(0, Log::units);
        if units >= script.units {
            if let Some(position) = self.position {
                store.finish(self.id, position.attempt)?;
            }
            return Ok(Some(self.end(0, WorkerState::Finished, None)));
        }
        if self.is_last {
            return Ok(Some(self.end(0, WorkerState::Stopped, None)));
        }
        // Of one that was on its way as it was told to stop the last one comes yet.
        let pause_ms = if self.stopping.is_some() { LAST_MS } else { super::kubelet::INTERVAL_MS - COMMIT_MS };
        (self.next, self.next_ms) = (Next::Decide, now_ms + pause_ms);
        Ok(None)
    }
}
