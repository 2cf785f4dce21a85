//! The whole life of checkpoints while an attempt runs, as one pure step function.
//!
//! At most one checkpoint is in flight, at most one decision has unfinished commits, at most one append has an unknown
//! outcome. The driver carries out every [`Action`] and hands the answers to [`Coordinator::step`], and a
//! [`Event::Tick`] when [`Coordinator::wakes_at`] has come.

use std::sync::Arc;

use crate::append::{Append, Appender};
use crate::commit::{CommitOutcome, Commits, Order};
use crate::ids::{Attempt, Epoch};
use crate::invariants::Violation;
use crate::log::{Reply, Request};
use crate::manifest::{Committable, Manifest, OperatorPlan, OperatorSnapshot};
use crate::record::{Completed, DecisionId, ManifestRef, Position, Record, Released};
use crate::recovery::{Loss, Restored};
use crate::rules::{Rule, Rules, Shipped};
use crate::undecided::Undecided;

/// What does not change while an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Tasks that acknowledge, numbered from 0 by the driver.
    pub tasks: u32,
    pub interval_ms: u64,
    /// From the barrier to the manifest; the wait for an append or for commits is outside of it.
    pub timeout_ms: u64,
    /// Failed checkpoints in a row that the attempt survives.
    pub tolerable_failures: u32,
    /// A sink holds row locks in its target: a failed checkpoint ends the attempt at once.
    pub ends_on_failure: bool,
    pub parallelism: u32,
    pub max_parallelism: u32,
    pub operators: Vec<OperatorPlan>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Time has passed.
    Tick,
    Acknowledged(Acknowledged),
    /// A task cannot take part in `epoch`.
    Declined {
        epoch: Epoch,
        task: u32,
    },
    /// Nothing but barriers will come from this task.
    Ended {
        task: u32,
    },
    ManifestWritten {
        epoch: Epoch,
        manifest: ManifestRef,
    },
    /// The manifest could not be written: the checkpoint failed.
    ManifestFailed {
        epoch: Epoch,
    },
    Log(Reply),
    Committed {
        decision: DecisionId,
        index: u32,
        outcome: CommitOutcome,
    },
    /// Somebody asked for a checkpoint now.
    Checkpoint,
    /// A person or the controller asked for a savepoint.
    Savepoint,
    /// Take a last checkpoint, commit it, leave.
    Stop,
    /// The attempt cannot go on.
    Failed {
        reason: String,
    },
}

/// A task's durable part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    pub epoch: Epoch,
    pub task: u32,
    pub snapshots: Vec<OperatorSnapshot>,
    /// All of the task's undecided committables, within a writer in pre-commit order.
    pub committables: Vec<Arc<Committable>>,
    /// Everything that the task will ever have to write is acknowledged.
    pub finished: bool,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Answer with [`Event::Log`].
    Log(Request),
    /// Send the barrier of `epoch` into the sources.
    Begin { epoch: Epoch, savepoint: bool },
    /// Nothing is rolled back: what was pre-committed waits for the next decision.
    CheckpointFailed { epoch: Epoch, failure: CheckpointFailure, in_a_row: u32 },
    /// Make it durable (or inline it when small): [`Event::ManifestWritten`] or [`Event::ManifestFailed`].
    WriteManifest { epoch: Epoch, manifest: Arc<Manifest> },
    /// `Completed(epoch)` stands at `at`: tell the tasks, which forget the committables up to it.
    Decided { epoch: Epoch, at: Position, savepoint: bool },
    /// Retried for ever off the data path; answer with [`Event::Committed`].
    Commit(Order),
    /// All of `decision` is visible.
    CommitsDone { decision: DecisionId },
    /// Delete what [`crate::retention::plan`] allows.
    Retain,
    /// A savepoint may be handed out now: everything it decided is settled.
    SavepointReady { at: Position },
    /// The last action. Drop everything without abort.
    End(End),
}

/// Why a checkpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointFailure {
    Timeout,
    Declined { task: u32 },
    ManifestNotWritten,
}

/// How an attempt ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// `Released{finished}` stands in the log: exit 0.
    Finished,
    /// `Released{stopped}` stands in the log: exit 0.
    Stopped,
    /// A later attempt owns the pipeline: exit 3, never restarted.
    Fenced { by: Attempt },
    /// Restart by the policy.
    Failed { reason: String },
    /// More failed checkpoints in a row than tolerated: restart by the policy.
    CheckpointsFailed,
    /// The commit budget ran out behind stuck commits: restart, outside of the policy's count, and wait in recovery.
    CommitBlocked,
    /// The commit budget ran out before the decision could be sent: restart by the policy; undecided work is rewound.
    BudgetExhausted,
    /// It stands in the log: report it and stop.
    Lost(Loss),
    /// Must crash.
    Broken(Violation),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    epoch: Epoch,
    savepoint: bool,
    started: u64,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Collecting {
        acknowledged: Vec<Option<Acknowledged>>,
    },
    Writing {
        manifest: Arc<Manifest>,
    },
    /// Waits for the commits of the decision before, then for nothing.
    Ready {
        manifest: Arc<Manifest>,
        written: ManifestRef,
    },
    Appending {
        manifest: Arc<Manifest>,
    },
}

/// What the attempt is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Goal {
    Run,
    /// All sources have ended: the last checkpoint commits the tail.
    Finish,
    Stop,
}

/// What was asked for beside the checkpoints of the interval; the more is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Wanted {
    Nothing,
    Checkpoint,
    Savepoint,
}

/// What the append under way is, beside a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Note {
    Settled,
    Lost(Loss),
    Released(Released),
}

/// A running attempt's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator<R = Shipped> {
    settings: Arc<Settings>,
    appender: Appender<R>,
    /// The newest decision, an earlier attempt's at first.
    decided: DecisionId,
    next_epoch: Epoch,
    undecided: Vec<Undecided>,
    pending: Option<Pending>,
    /// Of `decided`, until all are confirmed.
    commits: Option<Commits>,
    /// `decided` is committed but no `Settled` says so yet; since when.
    unsettled_since: Option<u64>,
    /// The savepoint that waits to be settled.
    savepoint: Option<Position>,
    wanted: Wanted,
    note: Option<Note>,
    failures_in_a_row: u32,
    last_begin: u64,
    ended_tasks: Vec<bool>,
    goal: Goal,
    /// The last checkpoint is decided; only its commits and records are left.
    is_last_decided: bool,
    /// Decided to end; waits for the outcome of an append.
    ending: Option<End>,
    is_over: bool,
}

mod append;
mod collect;

impl<R: Rules> Coordinator<R> {
    /// `now`: milliseconds on the coordinator's clock, the one that [`crate::manifest::Expiry`] is measured on.
    pub fn begin(settings: Arc<Settings>, restored: Restored<R>, now: u64) -> Self {
        let tasks = settings.tasks as usize;
        Self {
            settings,
            appender: restored.appender,
            decided: restored.decision,
            next_epoch: restored.decision.epoch.next(),
            undecided: vec![Undecided::default(); tasks],
            pending: None,
            commits: None,
            unsettled_since: (!restored.settled).then_some(now),
            savepoint: None,
            wanted: Wanted::Nothing,
            note: None,
            failures_in_a_row: 0,
            last_begin: now,
            ended_tasks: vec![false; tasks],
            goal: Goal::Run,
            is_last_decided: false,
            ending: None,
            is_over: false,
        }
    }

    /// After [`Action::End`] nothing comes any more.
    pub fn step(&mut self, now: u64, event: Event) -> Vec<Action> {
        if self.is_over {
            return Vec::new();
        }
        match event {
            Event::Tick => self.tick(now),
            Event::Acknowledged(acknowledged) => self.acknowledged(acknowledged),
            Event::Declined { epoch, task } => self.fails(epoch, CheckpointFailure::Declined { task }),
            Event::Ended { task } => self.task_ended(task),
            Event::ManifestWritten { epoch, manifest } => self.manifest_written(now, epoch, manifest),
            Event::ManifestFailed { epoch } => self.fails(epoch, CheckpointFailure::ManifestNotWritten),
            Event::Log(reply) => self.log_step(now, reply),
            Event::Committed { decision, index, outcome } => self.committed(now, decision, index, outcome),
            Event::Checkpoint => {
                self.wanted = self.wanted.max(Wanted::Checkpoint);
                Vec::new()
            }
            Event::Savepoint => {
                self.wanted = Wanted::Savepoint;
                Vec::new()
            }
            Event::Stop => {
                if self.goal == Goal::Run {
                    self.goal = Goal::Stop;
                }
                Vec::new()
            }
            Event::Failed { reason } => self.end(End::Failed { reason }),
        }
    }

    /// When the next [`Event::Tick`] is due; `None`: nothing waits for time. In the past: at once.
    pub fn wakes_at(&self) -> Option<u64> {
        if self.is_over || self.ending.is_some() {
            return None;
        }
        let pending = self.pending.as_ref().and_then(|pending| match &pending.stage {
            Stage::Collecting { .. } | Stage::Writing { .. } => Some(pending.started + self.settings.timeout_ms),
            Stage::Ready { manifest, .. } => deadline(manifest),
            Stage::Appending { .. } => None,
        });
        let begin = self.may_begin().then(|| self.begins_at());
        let settle =
            if self.may_settle() { self.unsettled_since.map(|at| at + self.settings.interval_ms) } else { None };
        [pending, begin, settle].into_iter().flatten().min()
    }

    /// The newest decision and whether its commits are all confirmed.
    pub fn decided(&self) -> (DecisionId, bool) {
        (self.decided, self.commits.is_none())
    }

    /// Commits of the newest decision without an outcome.
    pub fn open_commits(&self) -> usize {
        self.commits.as_ref().map_or(0, Commits::open)
    }

    /// The epoch in flight: begun and not decided.
    pub fn pending(&self) -> Option<Epoch> {
        self.pending.as_ref().map(|pending| pending.epoch)
    }

    pub fn attempt(&self) -> Attempt {
        self.appender.attempt()
    }

    /// The last checkpoint was asked for, or the input has ended.
    pub fn is_stopping(&self) -> bool {
        self.goal != Goal::Run
    }

    fn holds(&self, rule: Rule) -> bool {
        self.appender.rules().holds(rule)
    }

    /// At most one thing: a failure, an end, a begin or a note.
    fn tick(&mut self, now: u64) -> Vec<Action> {
        if self.ending.is_some() {
            return Vec::new();
        }
        if let Some(pending) = &self.pending {
            match &pending.stage {
                Stage::Collecting { .. } | Stage::Writing { .. }
                    if now >= pending.started + self.settings.timeout_ms =>
                {
                    return self.fails(pending.epoch, CheckpointFailure::Timeout);
                }
                // Ready and still here: it waits behind commits that are stuck, or behind an append of this attempt's
                // own. Only the first is nobody's failure.
                Stage::Ready { manifest, .. } if deadline(manifest).is_some_and(|deadline| now >= deadline) => {
                    let is_stuck = self.commits.is_some();
                    return self.end(if is_stuck { End::CommitBlocked } else { End::BudgetExhausted });
                }
                Stage::Collecting { .. } | Stage::Writing { .. } | Stage::Ready { .. } | Stage::Appending { .. } => {}
            }
        }
        if self.may_begin() && now >= self.begins_at() {
            return self.begin_checkpoint(now);
        }
        let since = self.unsettled_since.unwrap_or(u64::MAX);
        if self.may_settle() && now >= since.saturating_add(self.settings.interval_ms) {
            return self.settle(now);
        }
        Vec::new()
    }

    fn may_begin(&self) -> bool {
        self.pending.is_none() && !self.is_last_decided && self.ending.is_none() && self.note.is_none()
    }

    fn begins_at(&self) -> u64 {
        // The last checkpoint begins at once, and is retried at the pace of the others.
        let is_urgent = self.goal != Goal::Run || self.wanted != Wanted::Nothing;
        if is_urgent && self.failures_in_a_row == 0 { 0 } else { self.last_begin + self.settings.interval_ms }
    }

    fn may_settle(&self) -> bool {
        self.unsettled_since.is_some() && self.commits.is_none() && !self.appender.is_busy() && !self.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| matches!(p.stage, Stage::Ready { .. } | Stage::Appending { .. }))
    }

    fn begin_checkpoint(&mut self, now: u64) -> Vec<Action> {
        let wanted = std::mem::replace(&mut self.wanted, Wanted::Nothing);
        let (epoch, savepoint) = (self.next_epoch, wanted == Wanted::Savepoint);
        self.next_epoch = epoch.next();
        self.last_begin = now;
        let stage = Stage::Collecting { acknowledged: vec![None; self.settings.tasks as usize] };
        self.pending = Some(Pending { epoch, savepoint, started: now, stage });
        vec![Action::Begin { epoch, savepoint }]
    }

    fn task_ended(&mut self, task: u32) -> Vec<Action> {
        if let Some(ended) = self.ended_tasks.get_mut(task as usize) {
            *ended = true;
        }
        if self.goal == Goal::Run && self.ended_tasks.iter().all(|ended| *ended) {
            self.goal = Goal::Finish;
        }
        Vec::new()
    }

    /// An append whose outcome is unknown is waited for: until then it has neither happened nor failed.
    fn end(&mut self, end: End) -> Vec<Action> {
        if self.appender.is_busy() {
            self.ending.get_or_insert(end);
            return Vec::new();
        }
        self.is_over = true;
        vec![Action::End(end)]
    }

    /// Takes an append's next step; only what needs a decision of the caller comes back.
    fn follow(&mut self, append: Append) -> Result<(Position, Arc<crate::record::Entry>), Vec<Action>> {
        match append {
            Append::Ask(request) => Err(vec![Action::Log(request)]),
            Append::Done(at, entry) => Ok((at, entry)),
            Append::Fenced { by } => Err(self.end_now(End::Fenced { by })),
            Append::Expired if !self.holds(Rule::UnknownIsNotFailed) => {
                self.pending = None;
                Err(Vec::new())
            }
            Append::Expired => {
                let end = self.ending.take().unwrap_or(End::BudgetExhausted);
                Err(self.end_now(end))
            }
            Append::Broken(violation) => Err(self.end_now(End::Broken(violation))),
        }
    }

    fn end_now(&mut self, end: End) -> Vec<Action> {
        self.is_over = true;
        vec![Action::End(end)]
    }

    fn append(&mut self, record: Record, deadline: Option<u64>, now: u64) -> Vec<Action> {
        let append = self.appender.begin(record, deadline, now);
        match self.follow(append) {
            Ok(_) => Vec::new(),
            Err(actions) => actions,
        }
    }
}

/// When the first of these committables has used up the time before its commit budget.
fn deadline(manifest: &Manifest) -> Option<u64> {
    let deadline = |committable: &Committable| {
        let expiry = committable.expiry?;
        Some(expiry.start_ms.saturating_add(expiry.timeout_ms.saturating_sub(expiry.commit_budget_ms)))
    };
    manifest.committables.iter().filter_map(deadline).min()
}

#[cfg(test)]
mod tests;
