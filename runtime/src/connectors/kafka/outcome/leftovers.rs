//! Transactions that nobody will decide: found by their names, and ended by taking their ids over.

use std::collections::BTreeSet;

use crate::connectors::kafka::client::{Backoff, Client, Coordinated, Error, Producer};

/// Whether an id in this state holds readers up.
pub fn is_open(coordinated: &Coordinated) -> bool {
    // `PrepareEpochFence`: an abort on behalf of who took the id over.
    matches!(coordinated.state.as_str(), "Ongoing" | "PrepareCommit" | "PrepareAbort" | "PrepareEpochFence")
}

/// What the coordinators know of ids that begin with `prefix`, from their lists, and of `ids`, which are asked for one by
/// one (lists are filtered by rights). Sorted by id; ids that were never used or are forgotten are left out.
///
/// # Errors
/// A node did not answer, or refused: something could be missing.
pub async fn leftovers(
    client: &Client,
    prefix: &str,
    ids: &[String],
    backoff: &Backoff,
) -> Result<Vec<Coordinated>, Error> {
    let listed = client.retried(backoff, || client.list_transactions()).await?;
    let listed = listed.into_iter().map(|listed| listed.transactional_id).filter(|id| id.starts_with(prefix));
    let wanted: BTreeSet<String> = listed.chain(ids.iter().cloned()).collect();
    let wanted: Vec<String> = wanted.into_iter().collect();
    let mut found = client.retried(backoff, || client.describe_transactions(&wanted)).await?;
    found.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
    Ok(found)
}

/// Takes an id over: whoever used it can no longer write under it, and what is open under it is aborted when this
/// returns. Never to be called for an id whose transaction is decided and not yet committed.
///
/// # Errors
/// No answer came or the abort takes longer than `backoff`; a right is missing.
pub async fn fence(client: &Client, leftover: &Coordinated, backoff: &Backoff) -> Result<Producer, Error> {
    // Its own timeout: one that this broker has accepted.
    client.retried(backoff, || client.init_producer(&leftover.transactional_id, leftover.timeout_ms)).await
}
