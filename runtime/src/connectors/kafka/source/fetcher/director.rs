//! Who leads: gives each partition to the task of its leader, and to another one when it moves.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::serve::{Led, serve};
use super::{Homeless, Shared, Who};
use crate::connectors::kafka::client::{Code, Metadata, Topic};
use crate::connectors::kafka::source::inbox::Inbox;
use crate::connectors::kafka::source::loss::{self, Doubt};
use crate::tasks::{self, Task};

/// A topic that a cluster has not known so many times in a row is gone. (Nodes learn of a new one a moment later.)
const MISSING_ANSWERS: u32 = 8;

/// The task of one broker.
struct Serving {
    led: Arc<Mutex<Vec<Led>>>,
    _task: Task<()>,
}

pub(super) async fn direct(shared: Arc<Shared>) {
    let mut serving: HashMap<i32, Serving> = HashMap::new();
    let mut changed = shared.changed.subscribe();
    // Ends when its owner drops it.
    loop {
        changed.borrow_and_update();
        let homeless = shared.take_homeless();
        if homeless.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        // Those that were given away may come back at once, from a node that does not answer: so failures are counted.
        let failures = homeless.iter().map(|homeless| homeless.inbox.failures()).max().unwrap_or(0);
        if failures > 0 {
            shared.client.pause(&shared.limits.backoff, failures - 1).await;
        }
        place(&shared, &mut serving, homeless).await;
    }
}

async fn place(shared: &Arc<Shared>, serving: &mut HashMap<i32, Serving>, homeless: Vec<Homeless>) {
    let topics: BTreeSet<&str> = homeless.iter().map(|homeless| homeless.inbox.place.topic.as_str()).collect();
    let metadata = shared.client.metadata(&topics.into_iter().collect::<Vec<_>>()).await;
    let mut waiting = vec![];
    match metadata {
        Ok(metadata) => {
            for Homeless { inbox, is_doubted } in homeless {
                match leader(shared, &inbox, is_doubted, &metadata).await {
                    Ok((node, led)) => give(shared, serving, node, led),
                    Err(Some(still_doubted)) => waiting.push(Homeless { inbox, is_doubted: still_doubted }),
                    Err(None) => (),
                }
            }
        }
        Err(error) => {
            shared.warn(Who::Cluster, error.to_string());
            waiting = homeless;
        }
    }
    if waiting.is_empty() {
        shared.works_again(Who::Cluster);
    }
    for homeless in &waiting {
        homeless.inbox.count_failure();
    }
    shared.give_up(waiting);
}

/// The node that leads a partition. None: the partition is given up; else it waits, in doubt or not.
async fn leader(
    shared: &Shared,
    inbox: &Arc<Inbox>,
    is_doubted: bool,
    metadata: &Metadata,
) -> Result<(i32, Led), Option<bool>> {
    let place = &inbox.place;
    let topic = metadata.topics.iter().find(|topic| topic.name == place.topic);
    match topic.map_or(Code::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.code) {
        Code::NONE => (),
        Code::UNKNOWN_TOPIC_OR_PARTITION if inbox.count_missing() >= MISSING_ANSWERS => {
            inbox.fail(loss::lost(&shared.source, place, "the topic was deleted: what was not read is gone"));
            return Err(None);
        }
        code => {
            shared.warn(Who::Cluster, format!("{place}: {code}"));
            return Err(Some(is_doubted));
        }
    }
    inbox.is_not_missing();
    let partition = topic.and_then(|topic| topic.partitions.iter().find(|found| found.index == place.partition));
    if let Some(message) = topic.and_then(|topic: &Topic| loss::is_another(place, topic)) {
        inbox.fail(loss::lost(&shared.source, place, &message));
        return Err(None);
    }
    let Some((node, leader_epoch)) = partition.and_then(|found| Some((found.leader?, found.leader_epoch))) else {
        shared.warn(Who::Cluster, format!("{place} has no leader at the moment"));
        return Err(Some(is_doubted));
    };
    if is_doubted {
        match loss::check(&shared.client, place, inbox.cursor()).await {
            Ok(()) => (),
            Err(Doubt::Unanswered(error)) => {
                shared.warn(Who::Cluster, error.to_string());
                return Err(Some(true));
            }
            Err(doubt @ Doubt::Lost(_)) => {
                inbox.fail(doubt.into_error(&shared.source, place));
                return Err(None);
            }
        }
    }
    Ok((node, Led { inbox: Arc::clone(inbox), leader_epoch }))
}

fn give(shared: &Arc<Shared>, serving: &mut HashMap<i32, Serving>, node: i32, led: Led) {
    let serving = serving.entry(node).or_insert_with(|| {
        let led: Arc<Mutex<Vec<Led>>> = Arc::default();
        let name = format!("{}-fetch-{node}", shared.source);
        let task = tasks::spawn(name, serve(Arc::clone(shared), node, Arc::clone(&led)));
        Serving { led, _task: task }
    });
    serving.led.lock().unwrap_or_else(PoisonError::into_inner).push(led);
    shared.changed.send_replace(());
}
