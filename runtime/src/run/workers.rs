//! Where the worker of an attempt runs, as a port: in this process, or wherever messages can reach.

use std::sync::Arc;

use crate::coordinator::{WorkerPort, channel_port};
use crate::tasks::{self, Task};
use crate::worker::{self, Environment, Plan};

/// Starts a worker for each attempt.
pub trait Workers: Send + Sync {
    fn start(&self, plan: Arc<Plan>, environment: Environment) -> Employed;
}

/// A worker and the line to it.
pub struct Employed {
    pub port: Box<dyn WorkerPort>,
    /// Ends after the port was dropped.
    pub worker: Task<()>,
}

/// Workers as tasks of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Workers for InProcess {
    fn start(&self, plan: Arc<Plan>, environment: Environment) -> Employed {
        let (port, commands, reports) = channel_port();
        let worker = tasks::spawn("worker", worker::run(plan, environment, commands, reports));
        Employed { port: Box::new(port), worker }
    }
}
