//! Brings records in, in the background: one task and one connection for each broker that leads partitions of this
//! reader, and one task that finds out who leads.
//!
//! Nothing that heals by waiting ends a reader: it is tried for as long as the attempt lives.

mod director;
mod serve;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::inbox::Inbox;
use super::settings::Limits;
use crate::connectors::kafka::client::Client;
use crate::tasks::{self, Task};

/// Runs until it is dropped.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    _director: Task<()>,
}

/// What the tasks of a reader share.
pub(super) struct Shared {
    source: Arc<str>,
    client: Client,
    limits: Limits,
    /// Partitions whose leader is to be found; as many as there are at most.
    homeless: Mutex<Vec<Homeless>>,
    /// Told whenever one of the tasks may have something to do.
    changed: watch::Sender<()>,
    /// What was said last of whoever does not answer.
    troubles: Mutex<BTreeMap<Who, String>>,
}

/// Who may be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// Whoever tells the leaders.
    Cluster,
    Node(i32),
}

/// A partition that nobody fetches.
struct Homeless {
    inbox: Arc<Inbox>,
    /// A leader has said something that makes one doubt that what was read is still there.
    is_doubted: bool,
}

impl Fetcher {
    /// Must be called inside a runtime.
    pub(super) fn new(source: Arc<str>, client: Client, limits: Limits) -> Self {
        let shared = Arc::new(Shared {
            source,
            client,
            limits,
            homeless: Mutex::default(),
            changed: watch::Sender::new(()),
            troubles: Mutex::default(),
        });
        let director = tasks::spawn(format!("{}-leaders", shared.source), director::direct(Arc::clone(&shared)));
        Self { shared, _director: director }
    }

    /// Tells the tasks that a queue has room.
    pub(super) fn room(&self) -> watch::Sender<()> {
        self.shared.changed.clone()
    }

    pub(super) fn add(&self, inbox: Arc<Inbox>) {
        self.shared.give_up(vec![Homeless { inbox, is_doubted: false }]);
    }
}

impl Shared {
    fn give_up(&self, homeless: Vec<Homeless>) {
        if !homeless.is_empty() {
            self.homeless.lock().unwrap_or_else(PoisonError::into_inner).extend(homeless);
            self.changed.send_replace(());
        }
    }

    fn take_homeless(&self) -> Vec<Homeless> {
        std::mem::take(&mut *self.homeless.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Who, String>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once for each change: a broker that is dead is met again and again.
    fn warn(&self, who: Who, message: String) {
        let mut troubles = self.troubles();
        if troubles.get(&who) != Some(&message) {
            tracing::warn!(source = %self.source, "waiting for Kafka: {message}");
            troubles.insert(who, message);
        }
    }

    fn works_again(&self, who: Who) {
        if self.troubles().remove(&who).is_some() {
            tracing::info!(source = %self.source, "Kafka answers again");
        }
    }
}
