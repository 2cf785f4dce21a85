//! One of several controllers is active: the one that holds the lease. Nothing rests on it but that requests are not made
//! twice.

use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};

use super::reconcile::jittered;
use super::{Error, SharedClock, is_code};
use crate::names::MANAGER;

/// What others wait for before they take a lease that nobody renews.
const LASTS_SECONDS: i32 = 15;
/// Counted from before the request of the last renewal, so that a leader stops before anybody may take over.
const LEADS_FOR: Duration = Duration::from_secs(10);
/// Between two renewals, or looks.
const EVERY_MS: u64 = 2_000;
/// For one look and one write.
const PATIENCE: Duration = Duration::from_secs(4);
const CONFLICT: u16 = 409;

/// Which lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
    /// Nobody else has the same, not even the process before in the same pod.
    pub identity: String,
}

/// Until when this process leads by the wall clock, as far as it was renewed; None: it does not. Whoever slept meanwhile finds
/// out by it before anything has told it.
pub(super) type Leads = Option<u64>;

/// A candidate.
pub(super) struct Candidate {
    api: Api<LeaseObject>,
    lease: Lease,
    clock: SharedClock,
    leads: watch::Sender<Leads>,
    /// What another holder wrote last, and the time after which it may be taken over if that is all. By this process' own
    /// time: clocks of two machines are not compared.
    seen: Option<(LeaseSpec, Pin<Box<Sleep>>)>,
}

/// What came of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Ours,
    Theirs,
}

impl Candidate {
    pub(super) fn new(client: Client, lease: Lease, clock: SharedClock, leads: watch::Sender<Leads>) -> Self {
        Self { api: Api::namespaced(client, &lease.namespace), lease, clock, leads, seen: None }
    }

    /// Takes the lease when it is free, and renews it; never returns. Dropping it leaves the lease as it is.
    pub(super) async fn run(&mut self) {
        let mut leads_until: Option<Pin<Box<Sleep>>> = None;
        loop {
            let until = Box::pin(sleep(LEADS_FOR));
            let until_ms = self.clock.now_ms().saturating_add(LEADS_FOR.as_millis() as u64);
            let looked = tokio::select! {
                looked = timeout(PATIENCE, self.look()) => looked.ok(),
                () = elapsed(&mut leads_until) => None,
            };
            match looked {
                Some(Ok(Held::Ours)) => {
                    leads_until = Some(until);
                    self.tell(Some(until_ms));
                }
                Some(Ok(Held::Theirs)) => {
                    leads_until = None;
                    self.tell(None);
                }
                Some(Err(error)) => tracing::warn!(%error, "the lease could not be renewed or looked at"),
                None => tracing::warn!("the lease could not be renewed or looked at in time"),
            }
            let pause = sleep(jittered(&self.lease.identity, self.clock.now_ms(), EVERY_MS));
            tokio::select! {
                () = pause => {}
                () = elapsed(&mut leads_until) => {
                    leads_until = None;
                    self.tell(None);
                }
            }
            if leads_until.as_mut().is_some_and(|until| until.as_mut().now_or_never().is_some()) {
                leads_until = None;
                self.tell(None);
            }
        }
    }

    fn tell(&self, leads: Leads) {
        let before = self.leads.send_replace(leads);
        if before.is_some() != leads.is_some() {
            tracing::info!(identity = self.lease.identity, leads = leads.is_some(), "the lease changed hands");
        }
    }

    async fn look(&mut self) -> Result<Held, Error> {
        let failed = |error| Error::request(format!("lease {}", self.lease.name))(error);
        let Some(found) = self.api.get_opt(&self.lease.name).await.map_err(failed)? else {
            let metadata = ObjectMeta { name: Some(self.lease.name.clone()), ..ObjectMeta::default() };
            let made = LeaseObject { metadata, spec: Some(self.spec(None)) };
            let made = self.api.create(&options(), &made).await;
            return told(made, failed);
        };
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder != self.lease.identity && !holder.is_empty() && !self.has_run_out(&spec) {
            return Ok(Held::Theirs);
        }
        let replaced = LeaseObject { spec: Some(self.spec(Some(&spec))), ..found };
        let written = self.api.replace(&self.lease.name, &options(), &replaced).await;
        let failed = |error| Error::request(format!("lease {}", self.lease.name))(error);
        told(written, failed)
    }

    /// Whether another one's lease stands as it was when it was seen first, and its time is over since.
    fn has_run_out(&mut self, spec: &LeaseSpec) -> bool {
        if let Some((seen, until)) = &mut self.seen
            && seen == spec
        {
            return until.as_mut().now_or_never().is_some();
        }
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or(LASTS_SECONDS)).unwrap_or_default();
        let mut until = Box::pin(sleep(Duration::from_secs(lasts)));
        let _ = until.as_mut().now_or_never();
        self.seen = Some((spec.clone(), until));
        false
    }

    /// Held by us from now on.
    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = i64::try_from(self.clock.now_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let now = now.map(MicroTime);
        let held = before.filter(|before| before.holder_identity.as_ref() == Some(&self.lease.identity));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.lease.identity.clone()),
            lease_duration_seconds: Some(LASTS_SECONDS),
            acquire_time: held.map_or_else(|| now.clone(), |held| held.acquire_time.clone()),
            lease_transitions: Some(if held.is_some() { transitions } else { transitions.saturating_add(1) }),
            renew_time: now,
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that nobody has to wait for its end.
    pub(super) async fn release(&self) {
        self.tell(None);
        let released = async {
            let found = self.api.get_opt(&self.lease.name).await?;
            let is_ours = |found: &LeaseObject| {
                found.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.lease.identity)
            };
            if let Some(mut found) = found.filter(is_ours) {
                if let Some(spec) = &mut found.spec {
                    (spec.holder_identity, spec.lease_duration_seconds) = (Some(String::new()), Some(1));
                }
                self.api.replace(&self.lease.name, &options(), &found).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(PATIENCE, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back; it runs out"),
            Err(_) => tracing::warn!("the lease could not be given back in time; it runs out"),
        }
    }
}

async fn elapsed(until: &mut Option<Pin<Box<Sleep>>>) {
    match until {
        Some(until) => until.as_mut().await,
        None => std::future::pending().await,
    }
}

fn options() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Somebody else was faster: the next look tells who.
fn told(written: Result<LeaseObject, kube::Error>, failed: impl FnOnce(kube::Error) -> Error) -> Result<Held, Error> {
    match written {
        Ok(_) => Ok(Held::Ours),
        Err(error) if is_code(&error, CONFLICT) => Ok(Held::Theirs),
        Err(error) => Err(failed(error)),
    }
}
