//! The world as a Stateright model: what may happen next.

use checkpoint::coordinator;
use checkpoint::ids::Epoch;
use checkpoint::log::{Reply, Request};
use checkpoint::recovery::Intent;
use stateright::{Model, Property};

use crate::properties::ALL;
use crate::steps::Config;
use crate::world::{Fate, Key, Phase, World, id, keys};

/// What the store does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Answers,
    /// Carried out; the answer is lost.
    LosesReply,
    /// Not carried out yet; it may land at any time later, or never.
    IsLate,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// In searches where processes start in turn, with the put of its claim.
    Start(Intent, Store),
    Request(usize, Store),
    Effect(usize, usize),
    Tick(usize),
    /// A checkpoint fails: by a refusal, which does what a timeout does.
    Decline(usize, Epoch),
    PreCommit(usize, usize, bool),
    Deliver(usize, usize),
    Open(usize, usize),
    Sweep(usize),
    Stop(usize),
    Fail(usize),
    Land(usize),
    Clock,
    Expire(Key),
}

/// The world's last moment: what was begun in the one before is past its budget.
const LAST_CLOCK: u8 = 1;

impl Model for Config {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        self.starts(world, steps);
        for index in 0..world.processes.len() {
            self.process_steps(world, index, steps);
        }
        steps.extend((0..world.late.len()).map(Step::Land));
        if self.has_expiry {
            // Time makes a difference only while there is something that it may end.
            let may_age =
                |fate: Fate, start: u8| !matches!(fate, Fate::Committed | Fate::Expired) && world.clock == start;
            if world.clock < LAST_CLOCK && world.targets.values().any(|t| may_age(t.fate, t.start)) {
                steps.push(Step::Clock);
            }
            // A target may drop it as soon as the budget begins; how much later it does is the search's to choose.
            let expires = |fate: Fate, start: u8| fate == Fate::Prepared && world.clock > start;
            let expiring = world.targets.iter().filter(|(_, t)| expires(t.fate, t.start));
            steps.extend(expiring.map(|(key, _)| Step::Expire(*key)));
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Start(intent, store) => {
                world.rewinds += u8::from(intent == Intent::Rewind);
                world.forces += u8::from(matches!(intent, Intent::ForceAbort { .. }));
                world.returns += u8::from(matches!(intent, Intent::GoBack { .. }));
                world.start(self, intent);
                if self.starts_in_turn {
                    let p = world.processes.len() - 1;
                    self.request(&mut world, p, store);
                }
            }
            Step::Request(p, store) => self.request(&mut world, p, store),
            Step::Effect(p, at) => {
                world.carry_out(self, p, at);
                world.read_on(self, p);
            }
            Step::Tick(p) => world.tick(self, p),
            Step::Decline(p, epoch) => {
                world.failures += 1;
                world.event(self, p, coordinator::Event::Declined { epoch, task: 0 });
            }
            Step::PreCommit(p, w, is_slow) => world.pre_commit(self, p, w, is_slow),
            Step::Deliver(p, at) => {
                let acknowledged = world.processes[p].withheld.remove(at);
                world.event(self, p, coordinator::Event::Acknowledged(acknowledged));
            }
            Step::Open(p, w) => world.open(p, w),
            Step::Sweep(p) => world.sweep(self, p),
            Step::Stop(p) => world.event(self, p, coordinator::Event::Stop),
            Step::Fail(p) => {
                world.failures += 1;
                world.event(self, p, coordinator::Event::Failed { reason: String::new() });
            }
            Step::Land(at) => world.land(at),
            Step::Clock => world.clock += 1,
            Step::Expire(key) => world.set(key, Fate::Expired),
        }
        world.begin_at_once(self);
        world.check(self.returns > 0);
        world.processes.tidy();
        world.forget_vain_puts();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // Property conditions are plain functions: one for each bit, made by a macro.
        macro_rules! never {
            ($($index:literal),*) => {
                vec![$(Property::always(ALL[$index].2, |_: &Config, world: &World| world.broken & ALL[$index].0 == 0)),*]
            };
        }
        never!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
    }
}

impl Config {
    fn starts(&self, world: &World, steps: &mut Vec<Step>) {
        let is_turn = !self.starts_in_turn || world.log.claims.len() == world.processes.len();
        if world.processes.len() >= usize::from(self.attempts) || !is_turn {
            return;
        }
        let mut intents = vec![Intent::Run];
        if self.commit_only {
            intents.push(Intent::CommitOnly);
        }
        if self.supersedes {
            intents.push(Intent::Supersede);
        }
        if world.rewinds < self.rewinds && world.decisions.len() > 1 {
            intents.push(Intent::Rewind);
        }
        if world.forces < self.forces
            && let Some((at, completed)) = world.newest()
        {
            // The first, and all: with two writers that is one of two, and both.
            let most = keys(completed).count() as u32;
            let choices = [vec![0], (0..most).collect()];
            let decision = id(at, completed);
            let chosen = choices.into_iter().take(most.min(2) as usize);
            intents.extend(chosen.map(|indices| Intent::ForceAbort { decision, indices, reason: String::new() }));
        }
        if world.returns < self.returns {
            let older = world.log.slots.iter().filter(|(_, entry)| entry.completed().is_some()).map(|(at, _)| *at);
            intents.extend(older.map(|to| Intent::GoBack { to }));
        }
        if self.accepts_loss
            && world.is_loss_reported
            && let Some((at, completed)) = world.newest()
        {
            intents.push(Intent::AcceptLoss { decision: id(at, completed), reason: String::new() });
        }
        for intent in intents {
            let starts = |store: &Store| Step::Start(intent.clone(), *store);
            steps.extend(
                self.fates_of_a_put(world)
                    .iter()
                    .filter(|store| self.starts_in_turn || **store == Store::Answers)
                    .map(starts),
            );
        }
    }

    fn fates_of_a_put(&self, world: &World) -> &'static [Store] {
        match (world.faults < self.faults, self.has_late_puts) {
            (false, _) => &[Store::Answers],
            (true, false) => &[Store::Answers, Store::LosesReply],
            (true, true) if self.is_lean => &[Store::Answers, Store::IsLate],
            (true, true) => &[Store::Answers, Store::LosesReply, Store::IsLate],
        }
    }

    fn process_steps(&self, world: &World, p: usize, steps: &mut Vec<Step>) {
        let process = &world.processes[p];
        match &process.request {
            Some(Request::CreateClaim(..) | Request::CreateSlot(..)) => {
                steps.extend(self.fates_of_a_put(world).iter().map(|store| Step::Request(p, *store)));
            }
            Some(_) => steps.push(Step::Request(p, Store::Answers)),
            None => {}
        }
        steps.extend((0..process.effects.len()).map(|at| Step::Effect(p, at)));
        let Phase::Running(coordinator) = &process.phase else { return };
        if self.is_due(world, coordinator) {
            steps.push(Step::Tick(p));
        }
        if let Some(epoch) = coordinator.pending()
            && world.failures < self.checkpoint_failures
        {
            steps.push(Step::Decline(p, epoch));
            if !self.is_lean {
                steps.push(Step::Fail(p));
            }
        }
        for (w, worker) in process.workers.iter().enumerate() {
            if !worker.is_open {
                steps.push(Step::Open(p, w));
            } else if !worker.barriers.is_empty() {
                steps.push(Step::PreCommit(p, w, false));
                let may_be_late = !self.is_lean || world.failures < self.checkpoint_failures;
                if self.has_slow_acknowledgements && may_be_late && process.withheld.is_empty() {
                    steps.push(Step::PreCommit(p, w, true));
                }
            }
        }
        steps.extend((0..process.withheld.len()).map(|at| Step::Deliver(p, at)));
        let has_leftovers =
            world.targets.iter().any(|(key, t)| key.attempt != process.attempt && t.fate == Fate::Prepared);
        if self.has_sweep && has_leftovers {
            steps.push(Step::Sweep(p));
        }
        let is_deciding =
            |request: &Request| matches!(request, Request::CreateSlot(_, entry) if entry.completed().is_some());
        let may_stop = !self.is_lean || process.request.as_ref().is_some_and(is_deciding);
        if self.has_stop && may_stop && !coordinator.is_stopping() {
            steps.push(Step::Stop(p));
        }
    }

    fn request(&self, world: &mut World, p: usize, store: Store) {
        let Some(request) = world.processes[p].request.take() else { return };
        let reply = match (world.log.read(&request), store) {
            (Some(reply), _) => reply,
            (None, Store::Answers) => {
                if world.put(&request) {
                    Reply::Created
                } else {
                    Reply::Exists
                }
            }
            (None, Store::LosesReply) => {
                world.faults += 1;
                world.put(&request);
                Reply::Unknown
            }
            (None, Store::IsLate) => {
                world.faults += 1;
                world.late.push(request);
                Reply::Unknown
            }
        };
        world.answer(self, p, reply);
        world.read_on(self, p);
    }
}
