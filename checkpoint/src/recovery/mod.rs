//! From a won claim to a running pipeline: finish what was decided, clean up, restore. No record is read before.
//!
//! ```text
//! newest decision -> classify all of its committables -> commit -> abort leftovers of earlier attempts -> restore
//!        none: decide the first epoch       some lost: record it, then stop
//! ```
//! Drive it as the coordinator: carry out each [`Action`], hand the answer to [`Recovery::step`], until [`Action::Done`].

use std::sync::Arc;

use crate::append::{Append, Appender};
use crate::claim::{Claimed, Found};
use crate::commit::{Classification, CommitOutcome, Commits, Order};
use crate::ids::{Attempt, Epoch};
use crate::invariants::{self, Violation};
use crate::log::{Reply, Request};
use crate::manifest::{Committable, Manifest};
use crate::record::{
    Completed, DecisionId, ManifestRef, Origin, Outcome, Position, Record, Released, Settled, bounded,
};
use crate::rules::{Rule, Rules, Shipped};

/// What the claim was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Go on from the newest decision. Claim with `Depth::Newest`.
    Run,
    /// Finish the commits and leave. `Depth::Newest`.
    CommitOnly,
    /// The same, and hand over to the next log of the store: nobody runs in this one any more. `Depth::Newest`.
    Supersede,
    /// Take the newest decision back, which must have nothing committed, and go on from the one before. `Depth::Previous`.
    Rewind,
    /// Go on although output of this decision is lost. `Depth::Newest`.
    AcceptLoss { decision: DecisionId, reason: String },
    /// Abort these committables (indices into the manifest) of this decision although they are decided, commit the rest
    /// of it, record the loss as accepted, and leave. `Depth::Newest`.
    ForceAbort { decision: DecisionId, indices: Vec<u32>, reason: String },
    /// Go on from an older decision: what came after it is emitted again. `Depth::DownTo`.
    GoBack { to: Position },
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<R = Shipped> {
    /// Answer with [`Event::Log`].
    Log(Request),
    /// Read and verify a stored manifest: [`Event::Manifest`].
    LoadManifest(ManifestRef),
    /// Nothing was ever decided: resolve start positions and bounds, empty state: [`Event::Manifest`].
    ResolveFirst,
    /// Make it durable (or inline it when small): [`Event::ManifestWritten`]. With `copy_parts` every stored part is
    /// first copied under this attempt's own name, because a fenced attempt's clean-up may still delete the original.
    WriteManifest {
        epoch: Epoch,
        manifest: Arc<Manifest>,
        copy_parts: bool,
    },
    /// Ask the target, touch nothing: [`Event::Classified`].
    Classify {
        index: u32,
        committable: Arc<Committable>,
    },
    /// [`Event::Committed`]; retried for ever.
    Commit(Order),
    /// [`Event::Aborted`] when it is proven; retried for ever.
    Abort {
        index: u32,
        committable: Arc<Committable>,
    },
    /// In every sink of the claims, all that attempts below this one left open: [`Event::LeftoversAborted`].
    AbortLeftovers {
        before: Attempt,
    },
    Done(Ending<R>),
}

/// What the driver found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Log(Reply),
    Manifest(Arc<Manifest>),
    ManifestWritten(ManifestRef),
    Classified { index: u32, classification: Classification },
    Committed { index: u32, outcome: CommitOutcome },
    Aborted { index: u32, outcome: AbortOutcome },
    LeftoversAborted,
}

/// How an abort ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AbortOutcome {
    /// Proven gone, now or before.
    Aborted,
    /// Too late: it is visible.
    Committed,
}

/// How recovery ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ending<R = Shipped> {
    /// Everything decided is committed: deploy from here.
    Restore(Box<Restored<R>>),
    /// The pipeline is bounded and done; nothing to run.
    Finished,
    /// Commits are finished, as [`Intent::CommitOnly`], [`Intent::Supersede`] and [`Intent::ForceAbort`] asked.
    Settled,
    /// Leave silently.
    Fenced {
        by: Attempt,
    },
    /// Output is lost. It stands in the log: report it and stop.
    Lost(Loss),
    Refused(Refusal),
    /// Must crash.
    Broken(Violation),
}

/// Where to go on from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restored<R = Shipped> {
    pub(crate) appender: Appender<R>,
    pub at: Position,
    pub decision: DecisionId,
    pub manifest: Arc<Manifest>,
    /// A `Settled` of it stands in the log, or it decided no output.
    pub settled: bool,
}

/// Decided output that its target threw away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loss {
    pub decision: DecisionId,
    /// Empty when an earlier attempt had recorded it.
    pub committables: Vec<Arc<Committable>>,
    /// Nothing of the decision was committed when it was found: a rewind may lose nothing.
    pub rewind_may_help: bool,
    /// What the attempt that found it wrote down of it.
    pub reason: Option<String>,
}

/// Why a start is refused. Nothing was changed that the next start would not change too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the log ends with {}, before the known checkpoint {}/{}: the store lost data", newest.map_or_else(|| "nothing".to_owned(), |d| format!("{}/{}", d.attempt, d.epoch)), floor.attempt, floor.epoch)]
    BelowFloor { floor: DecisionId, newest: Option<DecisionId> },
    #[error("a fresh start has handed over to the next log of this store: run again to go on there")]
    Superseded,
    #[error("nothing was decided yet: there is no checkpoint to go back to")]
    NothingDecided,
    #[error("epoch {}/{} has output that is already visible: a rewind would double it", decision.attempt, decision.epoch)]
    RewindOfCommitted { decision: DecisionId },
    #[error("the newest checkpoint {}/{} is itself a rewind: the epoch before it was aborted and cannot be restored", decision.attempt, decision.epoch)]
    RewindOfRewind { decision: DecisionId },
    #[error("there is no checkpoint before {}/{}", decision.attempt, decision.epoch)]
    NoPrevious { decision: DecisionId },
    #[error("the loss to accept is that of {}/{}, not of {}/{}", newest.attempt, newest.epoch, named.attempt, named.epoch)]
    OtherLoss { named: DecisionId, newest: DecisionId },
    #[error("checkpoint {}/{} is not the newest one, which is {}/{}: everything that it decided has ended", named.attempt, named.epoch, newest.attempt, newest.epoch)]
    NotNewest { named: DecisionId, newest: DecisionId },
    #[error("output of checkpoint {}/{} that was to be aborted is already visible", decision.attempt, decision.epoch)]
    AbortOfCommitted { decision: DecisionId },
    #[error("there is no checkpoint at attempts/{}/{}", at.attempt, at.slot)]
    NoSuchCheckpoint { at: Position },
    #[error("output of checkpoint {}/{} was aborted or lost: going on from it would skip records", decision.attempt, decision.epoch)]
    OutputGone { decision: DecisionId },
}

/// Whether a claim with this intent would come to a refusal, as far as the log tells: asked before anybody is fenced.
///
/// `history`: newest first, as deep as for a claim. It is not final; a claim asks again.
pub fn foresee(history: Vec<Found>, intent: Intent, floor: Option<DecisionId>) -> Option<Refusal> {
    let mut recovery = Recovery::<Shipped>::of(None, history, intent);
    recovery.go_on_from_newest();
    recovery.refusal(floor)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    LoadingNewest,
    ResolvingFirst,
    Classifying {
        known: Vec<Option<Classification>>,
    },
    Committing,
    /// Rewind, or a forced abort: this one is being aborted.
    Aborting {
        index: u32,
    },
    RecordingLoss {
        go_on: bool,
    },
    AbortingLeftovers,
    LoadingBase {
        completed: Completed,
    },
    WritingManifest {
        origin: Origin,
        manifest: Arc<Manifest>,
    },
    Deciding {
        manifest: Arc<Manifest>,
    },
    Settling,
    Releasing {
        finished: bool,
    },
    Ended,
}

/// Recovery in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovery<R = Shipped> {
    appender: Option<Appender<R>>,
    history: Vec<Found>,
    intent: Intent,
    stage: Stage,
    /// Of the newest decision, once loaded.
    manifest: Option<Arc<Manifest>>,
    commits: Option<Commits>,
    /// Of a forced abort: what it still has to abort.
    to_abort: Vec<u32>,
    settled: bool,
    leftovers_aborted: bool,
}

mod decide;
mod finish;

impl<R: Rules> Recovery<R> {
    /// `floor`: the newest checkpoint of this pipeline id that was ever made known, unless a person waived it.
    pub fn begin(claimed: Claimed<R>, intent: Intent, floor: Option<DecisionId>) -> (Self, Vec<Action<R>>) {
        let mut recovery = Self::of(Some(claimed.appender), claimed.history, intent);
        let actions = recovery.start(floor);
        (recovery, actions)
    }

    fn of(appender: Option<Appender<R>>, history: Vec<Found>, intent: Intent) -> Self {
        Self {
            appender,
            history,
            intent,
            stage: Stage::Ended,
            manifest: None,
            commits: None,
            to_abort: Vec::new(),
            settled: false,
            leftovers_aborted: false,
        }
    }

    /// `now`: milliseconds on the driver's clock.
    pub fn step(&mut self, now: u64, event: Event) -> Vec<Action<R>> {
        match (std::mem::replace(&mut self.stage, Stage::Ended), event) {
            (Stage::LoadingNewest, Event::Manifest(manifest)) => self.loaded(now, &manifest),
            (Stage::ResolvingFirst, Event::Manifest(manifest)) => {
                self.write_manifest(Origin::First, manifest.as_ref().clone(), false)
            }
            (Stage::Classifying { known }, Event::Classified { index, classification }) => {
                self.classified(now, known, index, classification)
            }
            (Stage::Committing, Event::Committed { index, outcome }) => self.committed(now, index, outcome),
            (Stage::Aborting { index }, Event::Aborted { index: of, outcome }) if index == of => {
                self.aborted(now, index, outcome)
            }
            (Stage::AbortingLeftovers, Event::LeftoversAborted) => self.leftovers_gone(now),
            (Stage::LoadingBase { completed }, Event::Manifest(manifest)) => self.base_loaded(&completed, &manifest),
            (Stage::WritingManifest { origin, manifest }, Event::ManifestWritten(written)) => {
                self.decide(now, origin, manifest, written)
            }
            (stage, Event::Log(reply)) => {
                self.stage = stage;
                self.log_step(now, reply)
            }
            // A repeated answer: the driver may ask a target twice.
            (stage, _) => {
                self.stage = stage;
                Vec::new()
            }
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.appender.as_ref().is_none_or(|appender| appender.rules().holds(rule))
    }

    fn me(&self) -> Attempt {
        self.appender.as_ref().map(Appender::attempt).unwrap_or_default()
    }

    fn decisions(&self) -> impl Iterator<Item = (Position, &Completed)> {
        self.history.iter().filter_map(|found| found.entry.completed().map(|completed| (found.at, completed)))
    }

    fn newest(&self) -> Option<(Position, DecisionId)> {
        self.decisions().next().map(|(at, completed)| (at, id(at, completed)))
    }

    fn end(&mut self, ending: Ending<R>) -> Vec<Action<R>> {
        self.stage = Stage::Ended;
        vec![Action::Done(ending)]
    }

    fn start(&mut self, floor: Option<DecisionId>) -> Vec<Action<R>> {
        self.go_on_from_newest();
        if let Some(refusal) = self.refusal(floor) {
            return self.end(Ending::Refused(refusal));
        }
        if self.newest().is_none() {
            if self.intent == Intent::CommitOnly {
                return self.end(Ending::Settled);
            }
            if self.intent == Intent::Supersede {
                return self.release(0, Released::Superseded);
            }
            self.stage = Stage::ResolvingFirst;
            return vec![Action::ResolveFirst];
        }
        if self.intent == Intent::Supersede && !self.holds(Rule::HandOverSettles) {
            return self.release(0, Released::Superseded);
        }
        if self.is_released_as(&Released::Finished) {
            match self.intent {
                Intent::Run | Intent::CommitOnly => return self.end(Ending::Finished),
                Intent::Supersede => return self.release(0, Released::Superseded),
                Intent::Rewind | Intent::AcceptLoss { .. } | Intent::ForceAbort { .. } | Intent::GoBack { .. } => {}
            }
        }
        self.stage = Stage::LoadingNewest;
        self.load_newest()
    }

    /// Going back to the newest decision is going on from it: nothing comes twice, and nothing may be passed over.
    fn go_on_from_newest(&mut self) {
        let is_newest = |to: Position| self.newest().is_some_and(|(at, _)| at == to);
        if matches!(self.intent, Intent::GoBack { to } if is_newest(to)) && self.holds(Rule::BackToNewestIsRun) {
            self.intent = Intent::Run;
        }
    }

    /// What can be refused before anything is touched.
    fn refusal(&self, floor: Option<DecisionId>) -> Option<Refusal> {
        let newest = self.newest().map(|(_, decision)| decision);
        if let Some(floor) = floor.filter(|floor| newest.is_none_or(|newest| newest < *floor)) {
            return Some(Refusal::BelowFloor { floor, newest });
        }
        let is_last_word = matches!(self.intent, Intent::CommitOnly | Intent::Supersede);
        if self.is_released_as(&Released::Superseded) && !is_last_word && self.holds(Rule::HandOverIsLast) {
            return Some(Refusal::Superseded);
        }
        let Some(newest) = newest else {
            let needs_one = !is_last_word && self.intent != Intent::Run;
            return needs_one.then_some(Refusal::NothingDecided);
        };
        match &self.intent {
            Intent::Run | Intent::CommitOnly | Intent::Supersede => None,
            Intent::AcceptLoss { decision, .. } if *decision == newest => None,
            Intent::AcceptLoss { decision, .. } => Some(Refusal::OtherLoss { named: *decision, newest }),
            Intent::ForceAbort { decision, .. } if *decision != newest => {
                Some(Refusal::NotNewest { named: *decision, newest })
            }
            Intent::ForceAbort { .. } => (self.settled_as(newest) == Some(Outcome::Committed))
                .then_some(Refusal::AbortOfCommitted { decision: newest }),
            Intent::Rewind => {
                let is_rewind = self.decisions().next().is_some_and(|(_, c)| matches!(c.origin, Origin::Rewind { .. }));
                let is_settled = self.settled_as(newest) == Some(Outcome::Committed);
                if is_rewind && self.holds(Rule::RewindOnce) {
                    Some(Refusal::RewindOfRewind { decision: newest })
                } else if is_settled {
                    Some(Refusal::RewindOfCommitted { decision: newest })
                } else if self.decisions().nth(1).is_none() {
                    Some(Refusal::NoPrevious { decision: newest })
                } else {
                    None
                }
            }
            Intent::GoBack { to } => {
                let Some((at, base)) = self.decisions().find(|(at, _)| at == to) else {
                    return Some(Refusal::NoSuchCheckpoint { at: *to });
                };
                let decision = id(at, base);
                self.is_output_gone(decision).then_some(Refusal::OutputGone { decision })
            }
        }
    }

    /// Was it taken back by a rewind, or lost without anybody accepting that?
    fn is_output_gone(&self, decision: DecisionId) -> bool {
        let rewound = self
            .decisions()
            .any(|(_, c)| matches!(c.origin, Origin::Rewind { taken_back, .. } if taken_back == decision));
        rewound || self.settled_as(decision) == Some(Outcome::Lost)
    }

    /// The last word on a decision: a loss can be followed by its acceptance.
    fn settled_as(&self, decision: DecisionId) -> Option<Outcome> {
        self.settlement(decision).map(|settled| settled.outcome)
    }

    fn settlement(&self, decision: DecisionId) -> Option<&Settled> {
        self.history.iter().find_map(|found| match &found.entry.record {
            Record::Settled(settled) if settled.decision == decision => Some(settled),
            Record::Settled(_) | Record::Completed(_) | Record::Released(_) | Record::Sealed { .. } => None,
        })
    }

    /// Such a `Released` stands above the newest decision.
    fn is_released_as(&self, released: &Released) -> bool {
        let mut above = self.history.iter().take_while(|found| found.entry.completed().is_none());
        above.any(|found| matches!(&found.entry.record, Record::Released(other) if other == released))
    }

    fn load_newest(&mut self) -> Vec<Action<R>> {
        let manifest = self.decisions().next().map(|(_, completed)| completed.manifest.clone());
        match manifest {
            Some(ManifestRef::Inline(manifest)) => self.loaded(0, &Arc::new(*manifest)),
            Some(stored) => vec![Action::LoadManifest(stored)],
            None => self.end(Ending::Refused(Refusal::NothingDecided)),
        }
    }
}

fn id(at: Position, completed: &Completed) -> DecisionId {
    DecisionId { attempt: at.attempt, epoch: completed.epoch }
}

#[cfg(test)]
mod tests;
