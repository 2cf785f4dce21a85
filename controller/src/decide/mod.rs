//! The pure heart: what is to be done, and what is to be said, from one observation. Level-triggered: it asks what is, never
//! what has happened, so that a missed event changes nothing.

mod delay;
mod goal;
mod lives;

use api::pipeline::PipelineStatus;
use api::report::WorkerState;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};

pub(crate) use self::delay::counted;
pub use self::goal::{Aim, Goal, Stop};
pub(crate) use self::lives::obstacle;
pub use self::lives::{Ended, Life, Worker};

use self::goal::{aim, deadline_ms};
use crate::build::{self, Configuration};
use crate::names::{self, Purpose};
use crate::observe::{Observed, Settings};
use crate::requests::Kind;
use crate::status::{self, Knowledge};

/// How often a worker that runs is asked.
const POLL_MS: u64 = 2_000;
/// What is at rest is looked at again now and then, in case an event was lost.
const REST_MS: u64 = 300_000;

/// One request to the API server. Each may be sent twice, and by two controllers.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    AddFinalizer,
    RemoveFinalizer,
    ApplyConfigMap(Box<ConfigMap>),
    CreatePod(Box<Pod>),
    /// With the uid as a precondition. `at_once`: nobody waits for its kubelet.
    DeletePod {
        name: String,
        uid: String,
        at_once: bool,
    },
    DeleteConfigMap {
        name: String,
        uid: String,
    },
    /// Of the worker at this address: a checkpoint now. Its worker takes one request once.
    Ask {
        address: String,
        id: String,
        savepoint: bool,
    },
}

/// What follows from an observation: the status is written before the steps are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub status: PipelineStatus,
    pub steps: Vec<Step>,
    pub look_again_ms: u64,
}

/// Decides.
pub fn decide(observed: &Observed, settings: &Settings) -> Decision {
    let configuration = build::configuration(&observed.pipeline, settings);
    let workers = lives::workers(observed);
    let mut knowledge = Knowledge::of(observed, &workers);
    let aim = aim(observed, &configuration, &workers, &knowledge);
    let goal = &aim.goal;
    knowledge.take_goal(observed, &configuration, &workers, goal);
    let mut plan = Plan { observed, settings, configuration: &configuration, workers: &workers, steps: vec![] };
    let refused = plan.pursue(goal, &knowledge).err();
    plan.tidy();
    plan.ask(goal);
    let steps = plan.steps;
    let refused = refused.as_deref();
    let facts = status::Facts {
        observed,
        settings,
        configuration: &configuration,
        workers: &workers,
        knowledge: &knowledge,
        aim: &aim,
        refused,
    };
    let status = status::report(&facts);
    let look_again_ms = match goal {
        Goal::Wait { until_ms } => {
            let until_ms = deadline_ms(&observed.pipeline).map_or(*until_ms, |deadline| deadline.min(*until_ms));
            until_ms.saturating_sub(observed.now_ms).clamp(1, REST_MS)
        }
        Goal::Have(_) | Goal::Replace { .. } | Goal::Stopping(_) => POLL_MS,
        Goal::Rest(_) | Goal::LetGo { .. } => REST_MS,
    };
    Decision { status, steps, look_again_ms }
}

struct Plan<'a> {
    observed: &'a Observed,
    settings: &'a Settings,
    configuration: &'a Configuration,
    workers: &'a [Worker<'a>],
    steps: Vec<Step>,
}

impl Plan<'_> {
    /// The steps to the goal.
    ///
    /// # Errors
    /// The pod cannot be built from this manifest, in words.
    fn pursue(&mut self, goal: &Goal, knowledge: &Knowledge) -> Result<(), String> {
        let metadata = &self.observed.pipeline.metadata;
        let held = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER);
        let leaving = metadata.deletion_timestamp.is_some();
        if !held && !leaving {
            self.steps.push(Step::AddFinalizer);
        }
        match goal {
            Goal::LetGo { .. } if held => self.steps.push(Step::RemoveFinalizer),
            Goal::LetGo { .. } | Goal::Have(_) | Goal::Wait { .. } | Goal::Rest(_) => {}
            Goal::Stopping(serial) => self.stop(*serial),
            Goal::Replace { purpose } => self.create(*purpose, knowledge)?,
        }
        Ok(())
    }

    fn stop(&mut self, serial: u64) {
        let worker = self.workers.iter().find(|worker| worker.serial == serial);
        if let Some(worker) = worker.filter(|worker| worker.life != Life::Leaving) {
            self.delete(worker, worker.life == Life::Lost);
        }
    }

    fn create(&mut self, purpose: Purpose, knowledge: &Knowledge) -> Result<(), String> {
        let pipeline = &self.observed.pipeline;
        let recorded = pipeline.status.as_ref().map_or(0, |status| status.workers.serial);
        let serial = self.workers.iter().map(|worker| worker.serial).max().unwrap_or(0).max(recorded).saturating_add(1);
        let restore_from = pipeline.spec.restore_from.as_ref().map(|from| from.handle.clone());
        // Whoever deletes does so in the log with the Pipeline's own id, and in no other one.
        let deletes = purpose == Purpose::Delete;
        let worker = build::Worker {
            purpose,
            serial,
            floor: knowledge.floor(),
            pipeline_id: knowledge.log.filter(|_| !deletes).map(|log| log.pipeline_id.to_string()),
            restore_from: restore_from.filter(|_| knowledge.log.is_none() && !deletes),
            claimed: deletes.then(|| knowledge.log.map_or(0, |log| log.attempt.0)),
        };
        let pod = build::pod(pipeline, self.configuration, &worker, self.settings)?;
        let name = self.configuration.config_map.metadata.name.as_ref();
        if !self.observed.config_maps.iter().any(|found| found.metadata.name.as_ref() == name) {
            self.steps.push(Step::ApplyConfigMap(Box::new(self.configuration.config_map.clone())));
        }
        self.steps.push(Step::CreatePod(Box::new(pod)));
        Ok(())
    }

    /// Pods that tell nothing any more, and configurations that no pod runs.
    fn tidy(&mut self) {
        let newest = |purpose| self.workers.iter().rev().find(|worker| worker.purpose == purpose).map(|one| one.serial);
        let kept = [newest(Purpose::Run), newest(Purpose::Commit), newest(Purpose::Delete)];
        let old: Vec<&Worker<'_>> = self
            .workers
            .iter()
            .filter(|worker| matches!(worker.life, Life::Ended(_) | Life::Lost) && !kept.contains(&Some(worker.serial)))
            .collect();
        for worker in old {
            self.delete(worker, worker.life == Life::Lost);
        }
        for found in &self.observed.config_maps {
            let metadata = &found.metadata;
            let hash = metadata.labels.as_ref().and_then(|labels| labels.get(names::CONFIGURATION));
            let is_used = hash.is_some_and(|hash| {
                *hash == self.configuration.hash || self.workers.iter().any(|worker| worker.configuration == *hash)
            });
            if let (false, Some(name), Some(uid)) = (is_used, &metadata.name, &metadata.uid) {
                self.steps.push(Step::DeleteConfigMap { name: name.clone(), uid: uid.clone() });
            }
        }
    }

    /// What people asked for and the worker was not told yet. One at a time: a worker knows of the newest request only.
    fn ask(&mut self, goal: &Goal) {
        let Goal::Have(serial) = goal else { return };
        let is_running = |worker: &&Worker<'_>| {
            worker.serial == *serial
                && worker.purpose == Purpose::Run
                && worker.life == Life::Running
                && worker.state() == Some(WorkerState::Running)
        };
        let Some(worker) = self.workers.iter().find(is_running) else { return };
        let address = worker.pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let told = worker.report.as_ref().and_then(|report| report.requested.as_ref());
        let pipeline = &self.observed.pipeline;
        let open = Kind::ALL.into_iter().find_map(|kind| {
            let id = kind.open(pipeline)?;
            let savepoint = kind == Kind::Savepoint;
            let is_taken =
                told.is_some_and(|told| (told.id.as_str(), told.savepoint) == (id, savepoint) && told.taken.is_some());
            (!is_taken).then_some((id, savepoint))
        });
        let (Some((id, savepoint)), Some(address), Some(_)) = (open, address, &self.settings.controller_key) else {
            return;
        };
        if told.is_none_or(|told| (told.id.as_str(), told.savepoint) != (id, savepoint)) {
            self.steps.push(Step::Ask { address, id: id.to_owned(), savepoint });
        }
    }

    fn delete(&mut self, worker: &Worker<'_>, at_once: bool) {
        let metadata = &worker.pod.metadata;
        if let (Some(name), Some(uid)) = (&metadata.name, &metadata.uid) {
            self.steps.push(Step::DeletePod { name: name.clone(), uid: uid.clone(), at_once });
        }
    }
}
