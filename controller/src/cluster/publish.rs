//! Events to the API server, as many as people can read. None is worth a failed turn.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::pipeline::Pipeline;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _};

use crate::events::Told;
use crate::names::{self, MANAGER};

/// Of one Pipeline within an hour.
const MOST_AN_HOUR: u32 = 30;
const HOUR_MS: u64 = 3_600_000;

/// Publishes. One of a reason that was told a moment ago is counted in that one.
pub(super) struct Publisher {
    recorder: Recorder,
    /// By uid of the Pipeline: when its hour began, and how many there were since.
    told: Mutex<HashMap<String, (u64, u32)>>,
}

impl Publisher {
    /// `instance`: which controller it is, where there are several.
    pub(super) fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance };
        Self { recorder: Recorder::new(client, reporter), told: Mutex::default() }
    }

    pub(super) async fn publish(&self, pipeline: &Pipeline, all: Vec<Told>, now_ms: u64) {
        let mut regarding = pipeline.object_ref(&());
        // Part of what makes two events the same one.
        regarding.resource_version = None;
        for told in all {
            if !self.may(names::uid(pipeline), now_ms) {
                tracing::info!(pipeline = names::name(pipeline), ?told, "not published: too many this hour");
                continue;
            }
            let event = Event {
                type_: if told.is_warning { EventType::Warning } else { EventType::Normal },
                reason: told.reason.to_owned(),
                note: Some(told.note),
                action: told.action.to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &regarding).await {
                tracing::warn!(pipeline = names::name(pipeline), reason = event.reason, %error, "an event is not published");
            }
        }
    }

    fn may(&self, uid: &str, now_ms: u64) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (began_ms, count) = told.entry(uid.to_owned()).or_insert((now_ms, 0));
        if now_ms.saturating_sub(*began_ms) >= HOUR_MS {
            (*began_ms, *count) = (now_ms, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST_AN_HOUR
    }

    pub(super) fn forget(&self, uid: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
