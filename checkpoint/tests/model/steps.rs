//! How processes move: the thinnest possible driver around the shipped machines.

use std::sync::Arc;

use checkpoint::claim::{ClaimError, ClaimStep, Claimed, Claiming, Depth};
use checkpoint::commit::Order;
use checkpoint::coordinator::{self, Acknowledged, Coordinator, End, Settings};
use checkpoint::ids::{Attempt, Nonce, OperatorId, PipelineId, Subtask};
use checkpoint::log::{Reply, Request};
use checkpoint::manifest::{Committable, Manifest, OperatorSnapshot, StatePart};
use checkpoint::record::{Cause, Claim, DecisionId, ManifestRef};
use checkpoint::recovery::{self, Ending, Intent, Recovery, Restored};
use checkpoint::retention;

use crate::print::Shared;
use crate::properties::{V7, V9, V14};
use crate::targets::committable;
use crate::world::{Effect, Fate, Key, Phase, Process, Switches, Transaction, Worker, World, key_of, positions};

/// World time between two ticks of its clock.
pub(crate) const TICK_MS: u64 = 1000;
/// Beyond all that the world's clock shows: a checkpoint fails when the search says so, by a refusal.
const TIMEOUT_MS: u64 = 1000 * TICK_MS;

/// The bounds of a search, and the mistakes outside of the shipped machines that can be planted.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is one thing that can be turned on alone")]
pub(crate) struct Config {
    pub(crate) switches: Switches,
    pub(crate) attempts: u8,
    pub(crate) writers: u32,
    /// 1: all writers write to one sink; else one each.
    pub(crate) sinks: u32,
    pub(crate) max_epoch: u64,
    pub(crate) items: u8,
    /// The input ends after `items`: the pipeline finishes.
    pub(crate) is_bounded: bool,
    /// Lost replies and late or dropped puts, in all.
    pub(crate) faults: u8,
    pub(crate) has_late_puts: bool,
    pub(crate) has_slow_acknowledgements: bool,
    pub(crate) checkpoint_failures: u8,
    pub(crate) has_expiry: bool,
    pub(crate) has_retention: bool,
    pub(crate) has_stop: bool,
    pub(crate) has_sweep: bool,
    pub(crate) rewinds: u8,
    /// Forced aborts of the newest decision.
    pub(crate) forces: u8,
    /// Starts from older checkpoints, duplicates accepted.
    pub(crate) returns: u8,
    pub(crate) accepts_loss: bool,
    pub(crate) commit_only: bool,
    /// Starts that hand over to the next log of the store. That log begins empty and is not searched: it is another one
    /// of these worlds.
    pub(crate) supersedes: bool,
    /// A process reads on at once after its own write; pauses only before writes.
    pub(crate) is_coarse: bool,
    /// A process starts only after the one before has made its claim: fewer interleavings, for deep searches.
    pub(crate) starts_in_turn: bool,
    /// Without steps that lead only to worlds in which as much can happen as without them, so that a search goes
    /// deeper: an attempt that fails (it is one that never takes a step again), a lost reply (in a coarse search it is
    /// read back at once), a wish to stop long before the decision that it makes the last, an acknowledgement that is
    /// late for a checkpoint which cannot fail. The short searches have them.
    pub(crate) is_lean: bool,
    /// Mistake: sink ids without the attempt, so that an initialisation aborts what holds the id.
    pub(crate) shared_ids: bool,
    /// Mistake: clean-up takes every other attempt's, not only earlier ones'.
    pub(crate) sweeps_all: bool,
    /// Mistake: an acknowledgement lists its own epoch's committables only.
    pub(crate) own_epoch_only: bool,
    /// Mistake: two process starts draw one nonce.
    pub(crate) same_nonce: bool,
}

impl Config {
    pub(crate) fn is_due(&self, world: &World, coordinator: &Coordinator<Switches>) -> bool {
        let begun = coordinator.pending().unwrap_or(coordinator.decided().0.epoch).0;
        let may_begin = coordinator.pending().is_some() || begun + u64::from(world.failures) < self.max_epoch;
        may_begin && coordinator.wakes_at().is_some_and(|at| at <= world.now())
    }
}

impl World {
    pub(crate) fn now(&self) -> u64 {
        u64::from(self.clock) * TICK_MS
    }

    pub(crate) fn start(&mut self, config: &Config, intent: Intent) {
        let nonce = if config.same_nonce { 1 } else { 1 + self.processes.len() as u128 };
        let claim =
            Claim { pipeline: PipelineId(0), cause: Cause::Start, nonce: Nonce(nonce << 32), sinks: Vec::new() };
        let depth = match &intent {
            Intent::Rewind => Depth::Previous,
            Intent::GoBack { to } => Depth::DownTo(*to),
            Intent::Run
            | Intent::CommitOnly
            | Intent::Supersede
            | Intent::AcceptLoss { .. }
            | Intent::ForceAbort { .. } => Depth::Newest,
        };
        let (claiming, request) = Claiming::begin_under(config.switches, Arc::new(claim), depth);
        self.processes.push(Process {
            phase: Phase::Claiming(claiming),
            intent,
            request: Some(request),
            effects: Vec::new(),
            workers: Vec::new(),
            withheld: Vec::new(),
            attempt: Attempt(0),
            began_with_loss: false,
        });
        self.read_on(config, self.processes.len() - 1);
    }

    /// In a coarse search, everything up to the next write happens at once.
    pub(crate) fn read_on(&mut self, config: &Config, p: usize) {
        if !config.is_coarse {
            return;
        }
        loop {
            if let Some(reply) = self.processes[p].request.as_ref().and_then(|request| self.log.read(request)) {
                self.processes[p].request = None;
                self.answer(config, p, reply);
            } else if let Some(at) =
                self.processes[p].effects.iter().position(|effect| matches!(effect, Effect::Classify { .. }))
            {
                self.carry_out(config, p, at);
            } else {
                return;
            }
        }
    }

    /// Carries a put out. `true`: it was new.
    pub(crate) fn put(&mut self, request: &Request) -> bool {
        match request {
            Request::CreateClaim(attempt, claim) => {
                let is_new = !self.log.claims.contains_key(attempt);
                self.log.claims.entry(*attempt).or_insert_with(|| claim.clone());
                is_new
            }
            Request::CreateSlot(at, entry) => {
                let is_new = !self.log.slots.contains_key(at);
                if is_new {
                    self.check_landing(*at, entry);
                    let entry = Shared::of(entry.clone());
                    if entry.completed().is_some() {
                        self.decisions.insert(*at, entry.clone());
                    }
                    self.log.slots.insert(*at, entry);
                }
                is_new
            }
            Request::List | Request::ReadClaim(_) | Request::ReadSlot(_) => false,
        }
    }

    pub(crate) fn answer(&mut self, config: &Config, p: usize, reply: Reply) {
        let now = self.now();
        match &mut self.processes[p].phase {
            Phase::Claiming(claiming) => {
                let step = claiming.step(reply);
                let attempt = claiming.attempt();
                self.claim_step(config, p, attempt, step);
            }
            Phase::Recovering(recovery) => {
                let actions = recovery.step(now, recovery::Event::Log(reply));
                self.recover(config, p, actions);
            }
            Phase::Running(coordinator) => {
                let actions = coordinator.step(now, coordinator::Event::Log(reply));
                self.run(config, p, actions);
            }
            Phase::Gone => {}
        }
    }

    fn claim_step(&mut self, config: &Config, p: usize, attempt: Attempt, step: ClaimStep<Switches>) {
        match step {
            ClaimStep::Ask(request) => self.processes[p].request = Some(request),
            ClaimStep::Claimed(claimed) => self.claimed(config, p, attempt, claimed),
            ClaimStep::Outrun { .. } => self.leave(p),
            ClaimStep::Refused(ClaimError::Missing { .. }) => {
                self.broken |= V14;
                self.leave(p);
            }
            ClaimStep::Refused(ClaimError::UnexpectedReply) => unreachable!("the driver answers what was asked"),
        }
    }

    fn claimed(&mut self, config: &Config, p: usize, attempt: Attempt, claimed: Claimed<Switches>) {
        self.processes[p].attempt = attempt;
        let fates: Vec<_> = claimed
            .newest()
            .into_iter()
            .flat_map(|(_, completed)| crate::world::keys(completed).filter_map(|key| self.fate(key)))
            .collect();
        let is_gone = |fate: &Fate| matches!(fate, Fate::Expired | Fate::Aborted | Fate::AbortedByRewind);
        self.processes[p].began_with_loss = fates.iter().any(is_gone) && !fates.contains(&Fate::Committed);
        let intent = self.processes[p].intent.clone();
        let (recovery, actions) = Recovery::begin(claimed, intent, None);
        self.processes[p].phase = Phase::Recovering(Box::new(recovery));
        self.recover(config, p, actions);
    }

    pub(crate) fn recover(&mut self, config: &Config, p: usize, actions: Vec<recovery::Action<Switches>>) {
        for action in actions {
            match action {
                recovery::Action::Log(request) => self.ask(p, request),
                recovery::Action::LoadManifest(_) => unreachable!("the model inlines"),
                recovery::Action::ResolveFirst => {
                    let manifest = first_manifest(config);
                    self.recovered(config, p, recovery::Event::Manifest(Arc::new(manifest)));
                }
                recovery::Action::WriteManifest { manifest, .. } => {
                    let written = ManifestRef::Inline(Box::new(manifest.as_ref().clone()));
                    self.recovered(config, p, recovery::Event::ManifestWritten(written));
                }
                recovery::Action::Classify { index, committable } => {
                    let key = key_of(&committable);
                    self.processes[p].effects.push(Effect::Classify { index, key });
                }
                recovery::Action::Commit(order) => self.order(p, &order),
                recovery::Action::Abort { index, committable } => {
                    let key = key_of(&committable);
                    self.processes[p].effects.push(Effect::Abort { index, key });
                }
                recovery::Action::AbortLeftovers { before } => {
                    self.processes[p].effects.push(Effect::Leftovers { before });
                }
                recovery::Action::Done(ending) => self.recovery_ended(config, p, ending),
            }
        }
    }

    pub(crate) fn recovered(&mut self, config: &Config, p: usize, event: recovery::Event) {
        let now = self.now();
        if let Phase::Recovering(recovery) = &mut self.processes[p].phase {
            let actions = recovery.step(now, event);
            self.recover(config, p, actions);
        }
    }

    fn recovery_ended(&mut self, config: &Config, p: usize, ending: Ending<Switches>) {
        match ending {
            Ending::Restore(restored) => self.deploy(config, p, *restored),
            Ending::Finished => {
                self.is_finished = true;
                self.leave(p);
            }
            Ending::Lost(_) => {
                self.check_report(self.processes[p].attempt);
                self.leave(p);
            }
            Ending::Broken(_) => {
                self.broken |= V7;
                self.leave(p);
            }
            Ending::Settled | Ending::Fenced { .. } | Ending::Refused(_) => self.leave(p),
        }
    }

    fn deploy(&mut self, config: &Config, p: usize, restored: Restored<Switches>) {
        self.check_running(p, &restored.manifest);
        let settings = Settings {
            tasks: config.writers,
            interval_ms: 0,
            timeout_ms: TIMEOUT_MS,
            tolerable_failures: u32::MAX,
            ends_on_failure: false,
            parallelism: 1,
            max_parallelism: 1,
            operators: Vec::new(),
        };
        let positions = positions(&restored.manifest);
        let worker = |item: &u8| Worker { item: *item, is_open: !config.shared_ids, ..Worker::default() };
        self.processes[p].workers = positions.iter().map(worker).collect();
        let coordinator = Coordinator::begin(Arc::new(settings), restored, 0);
        let process = &mut self.processes[p];
        process.phase = Phase::Running(Box::new(coordinator));
        // What it was started for makes no difference from here on.
        (process.intent, process.began_with_loss) = (Intent::Run, false);
    }

    fn leave(&mut self, p: usize) {
        // Nothing of what it was makes a difference any more: worlds that differ in it alone are one.
        self.processes[p] = Process {
            phase: Phase::Gone,
            intent: Intent::Run,
            request: None,
            effects: Vec::new(),
            workers: Vec::new(),
            withheld: Vec::new(),
            attempt: Attempt(0),
            began_with_loss: false,
        };
    }

    fn order(&mut self, p: usize, order: &Order) {
        let (attempt, epoch) = order.permit.decided_by();
        let (decision, key) = (DecisionId { attempt, epoch }, key_of(&order.committable));
        self.processes[p].effects.push(Effect::Commit { decision, index: order.index, key });
    }

    /// A decision may leave the process only within the budget of all that it decides.
    fn ask(&mut self, p: usize, request: Request) {
        if let Request::CreateSlot(_, entry) = &request
            && let Some(completed) = entry.completed()
        {
            let is_over = |c: &Committable| {
                c.expiry.is_some_and(|e| self.now() >= e.start_ms + e.timeout_ms - e.commit_budget_ms)
            };
            if crate::world::manifest(completed).committables.iter().any(is_over) {
                self.broken |= V9;
            }
        }
        self.processes[p].request = Some(request);
    }

    pub(crate) fn run(&mut self, config: &Config, p: usize, actions: Vec<coordinator::Action>) {
        for action in actions {
            match action {
                coordinator::Action::Log(request) => self.ask(p, request),
                coordinator::Action::Begin { epoch, .. } => {
                    for worker in &mut self.processes[p].workers {
                        worker.barriers.push(epoch);
                    }
                }
                coordinator::Action::WriteManifest { epoch, manifest } => {
                    let manifest = ManifestRef::Inline(Box::new(manifest.as_ref().clone()));
                    self.event(config, p, coordinator::Event::ManifestWritten { epoch, manifest });
                }
                coordinator::Action::Commit(order) => self.order(p, &order),
                coordinator::Action::Retain if config.has_retention => self.plan_retention(config, p),
                coordinator::Action::Retain
                | coordinator::Action::CheckpointFailed { .. }
                | coordinator::Action::Decided { .. }
                | coordinator::Action::CommitsDone { .. }
                | coordinator::Action::SavepointReady { .. } => {}
                coordinator::Action::End(end) => {
                    match end {
                        End::Finished => self.is_finished = true,
                        End::Lost(_) => self.check_report(self.processes[p].attempt),
                        End::Broken(_) => self.broken |= V7,
                        End::Stopped
                        | End::Fenced { .. }
                        | End::Failed { .. }
                        | End::CheckpointsFailed
                        | End::CommitBlocked
                        | End::BudgetExhausted => {}
                    }
                    self.leave(p);
                }
            }
        }
    }

    pub(crate) fn event(&mut self, config: &Config, p: usize, event: coordinator::Event) {
        self.event_at(config, p, self.now(), event);
    }

    pub(crate) fn event_at(&mut self, config: &Config, p: usize, now: u64, event: coordinator::Event) {
        if let Phase::Running(coordinator) = &mut self.processes[p].phase {
            let actions = coordinator.step(now, event);
            self.run(config, p, actions);
        }
    }

    /// Intervals are zero here, so when a checkpoint was begun makes no difference; the world's time would only
    /// multiply the states.
    pub(crate) fn tick(&mut self, config: &Config, p: usize) {
        let now = if self.has_pending(p) { self.now() } else { 0 };
        self.event_at(config, p, now, coordinator::Event::Tick);
    }

    /// The same for when commits were done, unless a decision is next: that asks for the time.
    pub(crate) fn committed(&mut self, config: &Config, p: usize, event: coordinator::Event) {
        let now = if self.has_pending(p) { self.now() } else { 0 };
        self.event_at(config, p, now, event);
    }

    /// In a coarse search a checkpoint begins as soon as it may: nothing that others do depends on it.
    pub(crate) fn begin_at_once(&mut self, config: &Config) {
        for p in (0..self.processes.len()).filter(|_| config.is_coarse) {
            if matches!(&self.processes[p].phase, Phase::Running(c) if c.pending().is_none() && config.is_due(self, c))
            {
                self.tick(config, p);
            }
        }
    }

    fn has_pending(&self, p: usize) -> bool {
        matches!(&self.processes[p].phase, Phase::Running(coordinator) if coordinator.pending().is_some())
    }

    fn plan_retention(&mut self, config: &Config, p: usize) {
        let decisions: Vec<_> = self
            .log
            .slots
            .iter()
            .filter(|(_, entry)| entry.completed().is_some())
            .map(|(at, _)| retention::Decision { at: *at, savepoint: false, objects: Vec::new() })
            .collect();
        let me = self.processes[p].attempt;
        let plan = retention::plan_under(&config.switches, me, &self.log.listing(), &decisions, 0);
        let process = &mut self.processes[p];
        for at in plan.records {
            if !process.effects.contains(&Effect::Delete(at)) {
                process.effects.push(Effect::Delete(at));
            }
        }
    }

    /// A worker meets its next barrier: it pre-commits what it read since the last one, and acknowledges.
    pub(crate) fn pre_commit(&mut self, config: &Config, p: usize, w: usize, is_slow: bool) {
        let (clock, attempt) = (self.clock, self.processes[p].attempt);
        let worker = &mut self.processes[p].workers[w];
        let epoch = worker.barriers.remove(0);
        if worker.item < config.items {
            let key = Key { attempt, writer: w as u32, epoch };
            let item = worker.item;
            worker.item += 1;
            worker.prepared.push(Arc::new(committable(config, key, clock)));
            self.targets.entry(key).or_insert(Transaction { item, start: clock, fate: Fate::Prepared });
        }
        let worker = &self.processes[p].workers[w];
        let is_listed = |c: &&Arc<Committable>| !config.own_epoch_only || c.epoch == epoch;
        let acknowledged = Acknowledged {
            epoch,
            task: w as u32,
            snapshots: vec![snapshot(w as u32, worker.item)],
            committables: worker.prepared.iter().filter(is_listed).cloned().collect(),
            finished: config.is_bounded && worker.item == config.items,
        };
        let has_ended = acknowledged.finished;
        if is_slow {
            self.processes[p].withheld.push(acknowledged);
        } else {
            self.event(config, p, coordinator::Event::Acknowledged(acknowledged));
        }
        if has_ended {
            self.event(config, p, coordinator::Event::Ended { task: w as u32 });
        }
    }

    /// What stands where a late put would land, and is never deleted, makes it nothing.
    pub(crate) fn forget_vain_puts(&mut self) {
        let log = &self.log;
        self.late.retain(|request| match request {
            Request::CreateClaim(attempt, _) => !log.claims.contains_key(attempt),
            Request::CreateSlot(at, _) => !log.slots.get(at).is_some_and(|entry| entry.is_sealed()),
            Request::List | Request::ReadClaim(_) | Request::ReadSlot(_) => false,
        });
    }

    /// A late put lands: nobody waits for its answer.
    pub(crate) fn land(&mut self, index: usize) {
        let request = self.late.remove(index);
        self.put(&request);
    }
}

fn snapshot(writer: u32, item: u8) -> OperatorSnapshot {
    OperatorSnapshot {
        operator: OperatorId(String::new()),
        subtask: Subtask(writer),
        parts: vec![StatePart::Inline { body: item.to_string() }],
    }
}

fn first_manifest(config: &Config) -> Manifest {
    Manifest { snapshots: (0..config.writers).map(|writer| snapshot(writer, 0)).collect(), ..Manifest::empty(1, 1) }
}
