//! Why pods are not made, or do not start, where only the API server and events tell: a quota, a policy, a Secret that is not
//! there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::Error;
use crate::decide::obstacle;

/// Nothing is asked of a pod that is younger: most start by then.
const PATIENCE_MS: u64 = 5_000;
/// Of one pod; kubelets count those that repeat in one event.
const MOST_EVENTS: u32 = 50;
const MOST_BYTES: usize = 1_000;

/// Of each pod that should have started and does not say why: the newest warning about it. What cannot be read is left out.
pub(super) async fn told(client: &Client, pods: &[Pod], now_ms: u64) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_late(pod, now_ms) && obstacle(pod).is_none()) {
        match newest_warning(client, pod).await {
            Ok(Some(warning)) => drop(told.insert(pod.name_any(), warning)),
            Ok(None) => {}
            Err(error) => tracing::debug!(pod = pod.name_any(), %error, "its events cannot be read"),
        }
    }
    told
}

fn is_late(pod: &Pod, now_ms: u64) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let made_ms = pod.creation_timestamp().and_then(|made| u64::try_from(made.0.as_millisecond()).ok());
    let is_leaving = pod.metadata.deletion_timestamp.is_some();
    phase == "Pending" && !is_leaving && made_ms.is_some_and(|made| now_ms.saturating_sub(made) >= PATIENCE_MS)
}

async fn newest_warning(client: &Client, pod: &Pod) -> Result<Option<String>, kube::Error> {
    let (Some(uid), Some(namespace)) = (pod.uid(), pod.namespace()) else { return Ok(None) };
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let about = ListParams::default().fields(&format!("regarding.uid={uid},type=Warning")).limit(MOST_EVENTS);
    let found = events.list(&about).await?.items;
    let newest = found.into_iter().max_by_key(seen_ms);
    Ok(newest.and_then(|event| Some(cut(&format!("{}: {}", event.reason.unwrap_or_default(), event.note?)))))
}

/// When it was seen last, whichever of the three ways its writer has chosen.
fn seen_ms(event: &Event) -> i64 {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0.as_millisecond());
    let last = event.deprecated_last_timestamp.as_ref().map(|time| time.0.as_millisecond());
    let first = event.event_time.as_ref().map(|time| time.0.as_millisecond());
    series.or(last).or(first).unwrap_or_default()
}

/// What the API server said, if it refused an object for something that asking again does not mend.
pub(super) fn denied(error: &Error) -> Option<String> {
    let Error::Request { source, .. } = error else { return None };
    let kube::Error::Api(status) = source.as_ref() else { return None };
    matches!(status.code, 400 | 403 | 422).then(|| cut(&status.message))
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MOST_BYTES)).unwrap_or_default().to_owned()
}
