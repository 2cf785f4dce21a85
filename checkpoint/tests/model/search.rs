//! The world as a Stateright model: what may happen next.

use checkpoint::coordinator;
use checkpoint::log::{Reply, Request};
use checkpoint::recovery::Intent;
use stateright::{Model, Property};

use crate::properties::ALL;
use crate::steps::Config;
use crate::world::{Fate, Key, Phase, World, id};

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
    Start(Intent),
    Request(usize, Store),
    Effect(usize, usize),
    Tick(usize),
    TimeOut(usize),
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
            if world.clock < 2 {
                steps.push(Step::Clock);
            }
            let expires = |fate: Fate, start: u8| fate == Fate::Prepared && world.clock >= start + 2;
            let expiring = world.targets.iter().filter(|(_, t)| expires(t.fate, t.start));
            steps.extend(expiring.map(|(key, _)| Step::Expire(*key)));
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Start(intent) => {
                world.rewinds += u8::from(intent == Intent::Rewind);
                world.returns += u8::from(matches!(intent, Intent::GoBack { .. }));
                world.start(self, intent);
            }
            Step::Request(p, store) => self.request(&mut world, p, store),
            Step::Effect(p, at) => {
                world.carry_out(self, p, at);
                world.read_on(self, p);
            }
            Step::Tick(p) => world.event(self, p, coordinator::Event::Tick),
            Step::TimeOut(p) => {
                world.failures += 1;
                world.time_out(self, p);
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
        for process in &mut world.processes {
            process.effects.sort();
        }
        world.check(self.returns > 0);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        // Property conditions are plain functions: one for each bit, made by a macro.
        macro_rules! never {
            ($($index:literal),*) => {
                vec![$(Property::always(ALL[$index].2, |_: &Config, world: &World| world.broken & ALL[$index].0 == 0)),*]
            };
        }
        never!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
    }
}

impl Config {
    fn starts(&self, world: &World, steps: &mut Vec<Step>) {
        let is_turn = !self.starts_in_turn || world.log.claims.len() == world.processes.len();
        if world.processes.len() >= usize::from(self.attempts) || !is_turn {
            return;
        }
        steps.push(Step::Start(Intent::Run));
        if self.commit_only {
            steps.push(Step::Start(Intent::CommitOnly));
        }
        if world.rewinds < self.rewinds && world.decisions.len() > 1 {
            steps.push(Step::Start(Intent::Rewind));
        }
        if world.returns < self.returns {
            let older = world.log.slots.iter().filter(|(_, entry)| entry.completed().is_some()).map(|(at, _)| *at);
            steps.extend(older.map(|to| Step::Start(Intent::GoBack { to })));
        }
        if self.accepts_loss
            && world.is_loss_reported
            && let Some((at, completed)) = world.newest()
        {
            steps.push(Step::Start(Intent::AcceptLoss { decision: id(at, completed), reason: String::new() }));
        }
    }

    fn process_steps(&self, world: &World, p: usize, steps: &mut Vec<Step>) {
        let process = &world.processes[p];
        if let Some(request) = &process.request {
            steps.push(Step::Request(p, Store::Answers));
            let is_put = matches!(request, Request::CreateClaim(..) | Request::CreateSlot(..));
            if is_put && world.faults < self.faults {
                steps.push(Step::Request(p, Store::LosesReply));
                if self.has_late_puts {
                    steps.push(Step::Request(p, Store::IsLate));
                }
            }
        }
        steps.extend((0..process.effects.len()).map(|at| Step::Effect(p, at)));
        let Phase::Running(coordinator) = &process.phase else { return };
        let begun = coordinator.pending().unwrap_or(coordinator.decided().0.epoch).0;
        let is_begin = coordinator.pending().is_none();
        let is_due = coordinator.wakes_at().is_some_and(|at| at <= world.now());
        if is_due && !(is_begin && begun + u64::from(world.failures) >= self.max_epoch) {
            steps.push(Step::Tick(p));
        }
        if !is_begin && world.failures < self.checkpoint_failures {
            steps.push(Step::TimeOut(p));
            steps.push(Step::Fail(p));
        }
        for (w, worker) in process.workers.iter().enumerate() {
            if !worker.is_open {
                steps.push(Step::Open(p, w));
            } else if !worker.barriers.is_empty() {
                steps.push(Step::PreCommit(p, w, false));
                if self.has_slow_acknowledgements && process.withheld.is_empty() {
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
        if self.has_stop && !coordinator.is_stopping() {
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
