//! What is said of a Pipeline. Everything comes from the observation; of the status that is there already only counters and
//! the floor are gone on with.

mod conditions;
mod due;
mod knowledge;
pub mod restarts;

use api::pipeline::{
    ActionStatus, Actions, CheckpointStatus, Completed, Failed, Guarantee, PendingCommitStatus, Phase, Pipeline,
    PipelineStatus, Restored, Workers,
};
use api::report::{PendingCommit, WorkerState};

pub(crate) use self::conditions::ms_of_rfc3339;
pub use self::conditions::rfc3339;
pub use self::due::{FIGURES_MS, is_due};
pub use self::knowledge::Knowledge;

use self::conditions::conditions;
use crate::build::Configuration;
use crate::decide::{Aim, Goal, Life, Stop, Worker};
use crate::names::{self, Purpose};
use crate::observe::{Observed, Settings};
use crate::requests::{self, Kind};

/// Commits take a moment after every checkpoint, and some a second try; they are news when they take longer.
const QUIET_COMMIT_MS: u64 = 10_000;

/// What a status is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub observed: &'a Observed,
    pub settings: &'a Settings,
    pub configuration: &'a Configuration,
    pub workers: &'a [Worker<'a>],
    pub knowledge: &'a Knowledge,
    pub aim: &'a Aim,
    /// Why no pod can be made of this manifest.
    pub refused: Option<&'a str>,
}

/// The status.
pub fn report(facts: &Facts<'_>) -> PipelineStatus {
    let Facts { observed, settings, configuration, workers, knowledge, aim, .. } = *facts;
    let pipeline = &observed.pipeline;
    let before = pipeline.status.clone().unwrap_or_default();
    let goal = &aim.goal;
    let current = match goal {
        Goal::Have(serial) => workers.iter().find(|worker| worker.serial == *serial),
        Goal::Wait { .. } | Goal::Replace { .. } | Goal::Stopping(_) | Goal::Rest(_) | Goal::LetGo { .. } => None,
    };
    let runs = |worker: &&Worker<'_>| worker.purpose == Purpose::Run && worker.state() == Some(WorkerState::Running);
    let running = current.filter(runs).filter(|worker| worker.life == Life::Running);
    let ready = u32::from(running.is_some());
    let updated = running.filter(|worker| worker.configuration == configuration.hash);
    // What a pod was made for is news at once.
    let by_pod = aim.then.is_some() && workers.last().is_some_and(|last| last.purpose.only_settles());
    let is_shown = |one: &&PendingCommit| by_pod || is_news(one, observed.now_ms);
    let pending: Vec<_> = knowledge.pending.iter().filter(is_shown).map(pending).collect();
    // One that cannot be understood still has its readiness to say that it runs.
    let is_mute = |worker: &Worker<'_>| worker.unread.is_some() && worker.is_ready && worker.life == Life::Running;
    let is_running = running.is_some() || current.is_some_and(is_mute);
    let phase = phase(observed, aim, is_running, knowledge);
    let mut restarts = knowledge.restarts.clone();
    restarts.next_time = match goal {
        Goal::Wait { until_ms } => Some(rfc3339(*until_ms)),
        Goal::Have(_) | Goal::Replace { .. } | Goal::Stopping(_) | Goal::Rest(_) | Goal::LetGo { .. } => None,
    };
    let mut status = PipelineStatus {
        observed_generation: pipeline.metadata.generation,
        phase: Some(phase),
        parallelism: running.and_then(|worker| worker.report.as_ref()).map_or(0, |report| report.parallelism),
        selector: names::selector(pipeline),
        guarantee: Guarantee::weakest(&pipeline.spec.sinks).to_owned(),
        workers: Workers {
            desired: u32::from(aim.then.is_none()),
            ready,
            updated: u32::from(updated.is_some()),
            serial: workers.iter().map(|worker| worker.serial).max().unwrap_or(0).max(before.workers.serial),
        },
        conditions: vec![],
        checkpoints: checkpoints(knowledge),
        pending_committables: pending.iter().map(|one| one.committables).sum(),
        pending_commits: pending,
        restarts,
        log: knowledge.log_status(),
        actions: actions(pipeline, running, settings),
    };
    status.conditions = conditions(facts, current, &status, &before);
    status
}

fn phase(observed: &Observed, aim: &Aim, is_running: bool, knowledge: &Knowledge) -> Phase {
    let pipeline = &observed.pipeline;
    if pipeline.metadata.deletion_timestamp.is_some() {
        return Phase::Deleting;
    }
    match &aim.then {
        Some(Stop::Suspended) if matches!(aim.goal, Goal::Rest(_)) => Phase::Suspended,
        Some(Stop::Suspended) => Phase::Suspending,
        Some(Stop::Finished) => Phase::Finished,
        Some(Stop::Failed { .. }) => Phase::Failed,
        Some(Stop::Refused { .. }) => Phase::Pending,
        None if is_running => Phase::Running,
        // Once it has run, everything but running is a restart.
        None if knowledge.checkpoints.newest.is_some() || knowledge.restarts.total > 0 => Phase::Restarting,
        None => Phase::Starting,
    }
}

/// What was asked for and is obeyed: a restart at once, as every worker is compared with it; a checkpoint when its worker
/// says so, or when it cannot be asked for one.
fn actions(pipeline: &Pipeline, running: Option<&Worker<'_>>, settings: &Settings) -> Actions {
    let told = running.and_then(|worker| worker.report.as_ref()?.requested.as_ref());
    let answer = |kind: Kind| {
        let answered = || kind.answer(pipeline).cloned();
        let Some(open) = kind.open(pipeline) else { return answered() };
        if settings.controller_key.is_none() {
            let message = Some(requests::NO_KEY.to_owned());
            return Some(ActionStatus { requested_at: open.to_owned(), taken: None, message });
        }
        let told = told.filter(|told| told.id == open && told.savepoint == (kind == Kind::Savepoint));
        let Some(taken) = told.and_then(|told| told.taken.as_ref()) else { return answered() };
        let taken = Restored { attempt: taken.attempt.0, epoch: taken.epoch.0, handle: taken.handle.clone() };
        Some(ActionStatus { requested_at: open.to_owned(), taken: Some(taken), message: None })
    };
    Actions {
        restart_requested_at: requests::restart(pipeline).map(str::to_owned),
        checkpoint: answer(Kind::Checkpoint),
        savepoint: answer(Kind::Savepoint),
    }
}

fn is_news(pending: &PendingCommit, now_ms: u64) -> bool {
    now_ms.saturating_sub(pending.since_ms) >= QUIET_COMMIT_MS
}

fn pending(pending: &PendingCommit) -> PendingCommitStatus {
    PendingCommitStatus {
        sink: pending.sink.clone(),
        attempt: pending.attempt.0,
        epoch: pending.epoch.0,
        committables: pending.committables,
        since_time: rfc3339(pending.since_ms),
        attempts: pending.tries,
        last_error: pending.last_error.clone(),
    }
}

fn checkpoints(knowledge: &Knowledge) -> CheckpointStatus {
    let known = &knowledge.checkpoints;
    CheckpointStatus {
        last_completed: known.newest.as_ref().map(|newest| Completed {
            attempt: newest.attempt.0,
            epoch: newest.epoch.0,
            handle: newest.handle.clone(),
            completed_time: (newest.time_ms > 0).then(|| rfc3339(newest.time_ms)),
            duration_milliseconds: newest.duration_ms,
            size_bytes: newest.size_bytes,
        }),
        last_failed: known.failed.as_ref().map(|failed| Failed {
            attempt: failed.attempt.0,
            epoch: failed.epoch.0,
            failed_time: rfc3339(failed.time_ms),
            message: failed.reason.clone(),
        }),
        consecutive_failures: known.consecutive_failures,
        restored_from: known.restored_from.as_ref().map(|restored| Restored {
            attempt: restored.attempt.0,
            epoch: restored.epoch.0,
            handle: restored.handle.clone(),
        }),
    }
}
