//! Finding out what became of a transaction, touching nothing.

use std::pin::pin;

use futures::StreamExt as _;
use futures::stream;

use super::prepared::{PreparedTransaction, Witness};
use super::verdict::{Outcome, Seen, Standing, Testimony, combine, ended, seen, standing};
use crate::connectors::kafka::client::{Backoff, Class, Client, Code, Error, Fetched, Isolation, Marker};

/// Fetches in search of a marker, each of about a megabyte of log.
const MOST_FETCHES: usize = 1_000;
/// Bytes of each of them.
const SEARCHED_BYTES: i32 = 1 << 20;
/// Bytes of a fetch for the head of one batch: brokers give the first batch whole, however large.
const HEAD_BYTES: i32 = 1;
/// Witnesses asked at a time.
const MOST_AT_ONCE: usize = 16;

/// What one look at a witness gives.
enum Look {
    Outcome(Outcome),
    /// This witness will never tell.
    Gone(String),
    /// Not yet; and what it is if it stays so.
    Again(String),
    /// Its end is being written.
    Ending(String),
    /// Also to be looked at again, since partition and coordinator are asked one after the other.
    Hanging(String, Option<Marker>),
}

/// Asks the log of each witness. `backoff`: for each witness, while its leader moves or markers are
/// being written.
///
/// # Errors
/// The cluster is another one, cannot be reached, or a right is missing (`READ` on the topic, `DESCRIBE` on the
/// transactional id).
pub async fn classify(client: &Client, prepared: &PreparedTransaction, backoff: &Backoff) -> Result<Outcome, Error> {
    check_cluster(client, prepared, backoff).await?;
    Ok(combine(testimonies(client, prepared, backoff).await?, None))
}

/// What the witnesses tell, or as many of them as it takes.
///
/// # Errors
/// As [`classify`].
pub(super) async fn testimonies(
    client: &Client,
    prepared: &PreparedTransaction,
    backoff: &Backoff,
) -> Result<Vec<Testimony>, Error> {
    let asked: Vec<_> =
        prepared.witnesses.iter().map(|witness| by_witness(client, prepared, witness, backoff)).collect();
    let mut asked = pin!(stream::iter(asked).buffered(MOST_AT_ONCE));
    let mut testimonies = vec![];
    while let Some(testimony) = asked.next().await {
        let testimony = testimony?;
        // Open here is open everywhere.
        let is_enough = matches!(testimony, Testimony::Outcome(Outcome::Open) | Testimony::Ending(_));
        testimonies.push(testimony);
        if is_enough {
            break;
        }
    }
    Ok(testimonies)
}

/// A transaction of another cluster must neither be judged nor ended here.
pub(super) async fn check_cluster(
    client: &Client,
    prepared: &PreparedTransaction,
    backoff: &Backoff,
) -> Result<(), Error> {
    let here = client.retried(backoff, || client.cluster_id()).await?;
    if here == prepared.cluster_id {
        return Ok(());
    }
    let message = format!(
        "{prepared} was prepared in cluster `{}`, and bootstrapServers lead to cluster `{here}`",
        prepared.cluster_id
    );
    Err(Error::Settings { message })
}

async fn by_witness(
    client: &Client,
    prepared: &PreparedTransaction,
    witness: &Witness,
    backoff: &Backoff,
) -> Result<Testimony, Error> {
    let mut tried = 0;
    loop {
        let looked = look(client, prepared, witness).await;
        let is_last = tried + 1 >= backoff.tries;
        match looked {
            Ok(Look::Outcome(outcome)) => return Ok(Testimony::Outcome(outcome)),
            Ok(Look::Gone(reason)) => return Ok(Testimony::Nothing(reason)),
            Ok(Look::Again(reason)) if is_last => return Ok(Testimony::Nothing(reason)),
            Ok(Look::Ending(reason)) if is_last => return Ok(Testimony::Ending(reason)),
            Ok(Look::Hanging(reason, end)) if is_last => return Ok(Testimony::Hanging(reason, end)),
            Err(error) if is_last || error.class() != Class::Retry => return Err(error),
            Ok(Look::Again(_) | Look::Ending(_) | Look::Hanging(..)) | Err(_) => client.pause(backoff, tried).await,
        }
        tried += 1;
    }
}

async fn look(client: &Client, prepared: &PreparedTransaction, witness: &Witness) -> Result<Look, Error> {
    let mut gone = None;
    // The last record may have outlived the first: retention, compaction.
    let offsets = [witness.first_offset, witness.last_offset];
    for offset in offsets.into_iter().take(if witness.first_offset == witness.last_offset { 1 } else { 2 }) {
        let fetched = match fetch(client, witness, offset, Isolation::Committed).await? {
            Ok(fetched) => fetched,
            Err(Look::Gone(reason)) => {
                gone = Some(reason);
                continue;
            }
            Err(other) => return Ok(other),
        };
        match seen(prepared, witness, offset, &fetched) {
            Seen::Committed => return Ok(Look::Outcome(Outcome::Committed)),
            Seen::Aborted => return Ok(Look::Outcome(Outcome::Aborted)),
            Seen::HeldUp => return held_up(client, prepared, witness).await,
            Seen::Gone(reason) => gone = Some(reason),
        }
    }
    Ok(Look::Gone(gone.unwrap_or_default()))
}

/// A fetch, or what its refusal says of the witness.
async fn fetch(
    client: &Client,
    witness: &Witness,
    offset: i64,
    isolation: Isolation,
) -> Result<Result<Fetched, Look>, Error> {
    let place = (witness.topic.as_str(), witness.topic_id, witness.partition);
    let most_bytes = match isolation {
        Isolation::Committed => HEAD_BYTES,
        Isolation::Uncommitted => SEARCHED_BYTES,
    };
    match client.fetch(place, offset, isolation, most_bytes).await {
        Ok(fetched) => Ok(Ok(fetched)),
        Err(error) => match error.code() {
            Some(Code::OFFSET_OUT_OF_RANGE) => {
                Ok(Err(Look::Gone(format!("{witness}: offset {offset} is not in the log any more"))))
            }
            // Also what a broker says that has just started.
            Some(Code::UNKNOWN_TOPIC_OR_PARTITION | Code::UNKNOWN_TOPIC_ID | Code::INCONSISTENT_TOPIC_ID) => {
                Ok(Err(Look::Again(format!("{witness}: the topic was deleted, or made again under the same name"))))
            }
            _ => Err(error),
        },
    }
}

/// Readers have not come so far. That alone proves nothing: any earlier open transaction holds them up.
async fn held_up(client: &Client, prepared: &PreparedTransaction, witness: &Witness) -> Result<Look, Error> {
    let active = client.active_producers(&witness.topic, witness.partition).await?;
    let coordinated = client.describe_transaction(&prepared.transactional_id).await?;
    match standing(prepared, witness, &active, coordinated.as_ref()) {
        Standing::Open => Ok(Look::Outcome(Outcome::Open)),
        Standing::Ending => Ok(Look::Ending(format!("{witness}: its end is still being written"))),
        Standing::Hanging(end) => {
            let state = coordinated.map_or("no such id".to_owned(), |found| format!("state {}", found.state));
            let reason = format!(
                "{witness}: it hangs: open there, and the coordinator has {state}; see `kafka-transactions.sh find-hanging`"
            );
            Ok(Look::Hanging(reason, end))
        }
        Standing::Ended => find_marker(client, prepared, witness).await,
    }
}

async fn find_marker(client: &Client, prepared: &PreparedTransaction, witness: &Witness) -> Result<Look, Error> {
    let mut offset = witness.last_offset.saturating_add(1);
    for _ in 0..MOST_FETCHES {
        let fetched = match fetch(client, witness, offset, Isolation::Uncommitted).await? {
            Ok(fetched) => fetched,
            Err(other) => return Ok(other),
        };
        if let Some(outcome) = ended(prepared, witness, &fetched) {
            return Ok(Look::Outcome(outcome));
        }
        let next = fetched.batches.last().map_or(offset, |batch| batch.last_offset.saturating_add(1));
        if next <= offset || next >= fetched.high_watermark {
            // It may be there, and not yet be replicated.
            return Ok(Look::Again(format!("{witness}: it has ended, and its marker is not in the log")));
        }
        offset = next;
    }
    Ok(Look::Gone(format!("{witness}: its marker was not found before offset {offset}")))
}
