//! One broker: asks it for all that it leads and that has room, again and again, on one connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Homeless, Shared, Who};
use crate::connectors::SourceError;
use crate::connectors::kafka::client::{Answered, Class, Code, Error, Reading, Wanted, by_place};
use crate::connectors::kafka::source::inbox::Inbox;
use crate::connectors::kafka::source::loss;

/// A partition that the broker leads.
pub(super) struct Led {
    pub(super) inbox: Arc<Inbox>,
    /// As the metadata has it.
    pub(super) leader_epoch: i32,
}

type Leads = Arc<Mutex<Vec<Led>>>;

fn lock(led: &Leads) -> MutexGuard<'_, Vec<Led>> {
    led.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn serve(shared: Arc<Shared>, node: i32, led: Leads) {
    let mut reading = None;
    let mut changed = shared.changed.subscribe();
    // Ends when its owner drops it.
    loop {
        changed.borrow_and_update();
        let (wanted, is_held_up) = wanted(&shared, &led);
        if wanted.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        match ask(&shared, node, &mut reading, &wanted, is_held_up).await {
            Ok(answered) => {
                let left = take(&shared, node, &led, &wanted, answered);
                if left.is_empty() {
                    shared.works_again(Who::Node(node));
                }
                hand_back(&shared, left);
            }
            Err(error) => {
                reading = None;
                give_all_up(&shared, node, &led, &error);
            }
        }
    }
}

/// What is to be asked for, and whether a partition is left out for want of room.
fn wanted(shared: &Shared, led: &Leads) -> (Vec<Wanted>, bool) {
    let mut led = lock(led);
    led.retain(|led| !led.inbox.is_over());
    let most = shared.limits.partition_bytes;
    let wanted: Vec<_> = led.iter().filter_map(|led| led.inbox.wanted(led.leader_epoch, most)).collect();
    let is_held_up = wanted.len() < led.len();
    (wanted, is_held_up)
}

async fn ask(
    shared: &Shared,
    node: i32,
    reading: &mut Option<Reading>,
    wanted: &[Wanted],
    is_held_up: bool,
) -> Result<Vec<Answered>, Error> {
    let open = match reading {
        Some(open) => open,
        None => reading.insert(shared.client.open_reading(node).await?),
    };
    open.fetch(wanted, shared.limits.patience(is_held_up)).await
}

/// Hands each partition its answer. Returns those that this broker does not serve.
fn take(shared: &Shared, node: i32, leads: &Leads, wanted: &[Wanted], answered: Vec<Answered>) -> Vec<Homeless> {
    let first = wanted.first().map(|wanted| (wanted.topic, wanted.partition));
    let whole_bytes = answered.iter().map(|answered| answered.records.len()).sum();
    let mut answered = by_place(answered);
    let mut homeless = vec![];
    let mut led = lock(leads);
    let (mut served, mut hungry) = (vec![], vec![]);
    for one in led.drain(..) {
        let place = (one.inbox.place.id, one.inbox.place.partition);
        let Some(answer) = answered.remove(&place) else {
            hungry.push(one);
            continue;
        };
        match judge(shared, node, &one.inbox, &answer) {
            Judged::Served => {
                let had_records = !answer.records.is_empty();
                let position = one.inbox.cursor().next;
                if let Err(error) = one.inbox.push(answer, first == Some(place), whole_bytes) {
                    one.inbox.fail(SourceError::Malformed {
                        source_name: shared.source.to_string(),
                        position: format!("{} offset {position}", one.inbox.place),
                        message: error.to_string(),
                    });
                } else if had_records {
                    served.push(one);
                } else {
                    hungry.push(one);
                }
            }
            Judged::Elsewhere { is_doubted } => homeless.push(Homeless { inbox: one.inbox, is_doubted }),
            Judged::GivenUp => (),
        }
    }
    // The first ones get the bytes of an answer: those that got some this time come last, and each is the first in turn.
    if !hungry.is_empty() {
        hungry.rotate_left(1);
    }
    led.extend(hungry);
    led.extend(served);
    homeless
}

enum Judged {
    Served,
    Elsewhere { is_doubted: bool },
    GivenUp,
}

fn judge(shared: &Shared, node: i32, inbox: &Inbox, answer: &Answered) -> Judged {
    if answer.code.is_none() {
        return match answer.parted {
            None => Judged::Served,
            Some(_) => Judged::Elsewhere { is_doubted: true },
        };
    }
    shared.warn(Who::Node(node), format!("{}: {}", inbox.place, answer.code));
    match (answer.code, answer.code.class()) {
        (Code::OFFSET_OUT_OF_RANGE, _) => Judged::Elsewhere { is_doubted: true },
        // The metadata tells whether the topic is another one now.
        (Code::UNKNOWN_TOPIC_ID | Code::INCONSISTENT_TOPIC_ID, _) | (_, Class::Retry | Class::Denied) => {
            Judged::Elsewhere { is_doubted: false }
        }
        (code, Class::Fatal) => {
            let error = Error::Refused { request: "Fetch", about: inbox.place.to_string(), code };
            inbox.fail(loss::remote(&shared.source, &inbox.place.to_string(), &error));
            Judged::GivenUp
        }
    }
}

/// What a broker does not serve is looked for anew.
fn hand_back(shared: &Shared, homeless: Vec<Homeless>) {
    for homeless in &homeless {
        homeless.inbox.count_failure();
    }
    shared.give_up(homeless);
}

fn give_all_up(shared: &Shared, node: i32, leads: &Leads, error: &Error) {
    let is_hopeless = matches!(error, Error::Unsupported { .. } | Error::Settings { .. });
    let mut homeless = vec![];
    for Led { inbox, .. } in lock(leads).drain(..) {
        if is_hopeless {
            inbox.fail(loss::remote(&shared.source, &inbox.place.to_string(), error));
        } else {
            homeless.push(Homeless { inbox, is_doubted: false });
        }
    }
    shared.warn(Who::Node(node), error.to_string());
    hand_back(shared, homeless);
}
