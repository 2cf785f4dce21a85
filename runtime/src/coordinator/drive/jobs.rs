//! What goes on beside the loop: one append, one manifest, one clean-up and any number of commits.

use std::sync::Arc;
use std::time::Duration;

use checkpoint::commit::Order;
use checkpoint::coordinator::Event;
use checkpoint::ids::{Attempt, Epoch};
use checkpoint::log::{Reply, Request};
use checkpoint::manifest::Manifest;
use checkpoint::record::{DecisionId, ManifestRef, Record};
use checkpoint::retention::Decision;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::clock::{Clock, Random};
use crate::coordinator::commit::Committers;
use crate::coordinator::error::CoordinatorError;
use crate::coordinator::log::Log;
use crate::coordinator::retain::Retention;
use crate::crashpoint;

/// So long a zombie's orphan may hold readers up.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// How a job ended.
pub(super) enum Done {
    Event(Event),
    Committed { event: Event, sink: String },
    Retained(Box<Retention>, Result<u64, CoordinatorError>),
    Swept,
}

/// Futures that the loop polls; dropped with it, which is as if the process had died there.
pub(super) struct Jobs {
    pub(super) running: FuturesUnordered<BoxFuture<'static, Result<Done, CoordinatorError>>>,
    /// Not there while a clean-up works with it.
    pub(super) retention: Option<Retention>,
    /// Decisions that it does not know yet.
    decisions: Vec<Decision>,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self { running: FuturesUnordered::new(), retention: Some(Retention::default()), decisions: Vec::new() }
    }

    /// An operation on the log.
    pub(super) fn log(&self, log: &Log, request: Request) {
        let log = log.clone();
        self.running.push(Box::pin(async move {
            let record = match &request {
                Request::CreateSlot(_, entry) => Some(&entry.record),
                Request::List | Request::ReadClaim(_) | Request::ReadSlot(_) | Request::CreateClaim(..) => None,
            };
            let is_settled = matches!(record, Some(Record::Settled(_)));
            match record {
                Some(Record::Completed(_)) => crashpoint::hit("coordinator.before_decide")?,
                Some(Record::Released(_)) => crashpoint::hit("coordinator.before_release")?,
                Some(Record::Settled(_) | Record::Sealed { .. }) | None => {}
            }
            let reply = log.carry_out(request).await?;
            if is_settled && reply == Reply::Created {
                crashpoint::hit("coordinator.settled")?;
            }
            Ok(Done::Event(Event::Log(reply)))
        }));
    }

    pub(super) fn write_manifest(
        &self,
        log: &Log,
        (attempt, epoch): (Attempt, Epoch),
        manifest: Manifest,
        random: Arc<dyn Random>,
    ) {
        let log = log.clone();
        self.running.push(Box::pin(async move {
            let written = log.write_manifest(attempt, epoch, manifest, random.as_ref()).await;
            Ok(Done::Event(match written {
                Ok(manifest) => {
                    if matches!(manifest, ManifestRef::Stored { .. }) {
                        crashpoint::hit("coordinator.manifest_written")?;
                    }
                    Event::ManifestWritten { epoch, manifest }
                }
                Err(error) => {
                    tracing::warn!(%error, %epoch, "the manifest could not be written");
                    Event::ManifestFailed { epoch }
                }
            }))
        }));
    }

    pub(super) fn commit(&self, committers: &Committers, order: Order) {
        let committers = committers.clone();
        self.running.push(Box::pin(async move {
            crashpoint::hit("coordinator.before_commit")?;
            let outcome = committers.commit(&order).await?;
            let (attempt, epoch) = order.permit.decided_by();
            let decision = DecisionId { attempt, epoch };
            let event = Event::Committed { decision, index: order.index, outcome };
            Ok(Done::Committed { event, sink: order.committable.sink.clone() })
        }));
    }

    /// Waits, and looks once for what zombies have left open.
    pub(super) fn sweep(&self, committers: &Committers, clock: Arc<dyn Clock>) {
        let committers = committers.clone();
        self.running.push(Box::pin(async move {
            clock.sleep(SWEEP_INTERVAL).await;
            committers.sweep().await;
            Ok(Done::Swept)
        }));
    }

    pub(super) fn decided(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    /// Begins a clean-up unless one is under way.
    pub(super) fn retain(&mut self, log: &Log, attempt: Attempt, retain: u32) {
        let Some(mut retention) = self.retention.take() else { return };
        self.decisions.drain(..).for_each(|decision| retention.decided(decision));
        let log = log.clone();
        self.running.push(Box::pin(async move {
            let result = retention.run(&log, attempt, retain).await;
            if let Err(CoordinatorError::Injected(injected)) = result {
                return Err(injected.into());
            }
            Ok(Done::Retained(Box::new(retention), result))
        }));
    }
}
