//! Transactions that nobody will decide: found by their names, and ended by taking their ids over.

use std::collections::BTreeSet;

use crate::connectors::kafka::client::{Backoff, Class, Client, Coordinated, Error, Producer};

/// Whether an id in this state holds readers up.
pub fn is_open(coordinated: &Coordinated) -> bool {
    // `PrepareEpochFence`: an abort on behalf of who took the id over.
    matches!(coordinated.state.as_str(), "Ongoing" | "PrepareCommit" | "PrepareAbort" | "PrepareEpochFence")
}

/// Whether its end is being written, and nobody need do anything.
pub fn is_ending(coordinated: &Coordinated) -> bool {
    is_open(coordinated) && coordinated.state != "Ongoing"
}

/// What the coordinators know of ids that begin with one of `prefixes`, from their lists, and of `ids`, which are asked
/// for by name (lists are filtered by rights). Sorted by id; ids that were never used or are forgotten are left out.
/// Where `ids` are given, a list that is refused is done without, and warned of.
///
/// # Errors
/// A node did not answer, or refused: something could be missing.
pub async fn leftovers(
    client: &Client,
    prefixes: &[String],
    ids: &[String],
    backoff: &Backoff,
) -> Result<Vec<Coordinated>, Error> {
    let listed = match client.retried(backoff, || client.list_transactions()).await {
        Ok(listed) => listed,
        // Unlike a node that does not answer, this does not change by waiting.
        Err(error) if error.class() != Class::Retry && !ids.is_empty() => {
            tracing::warn!(
                %error,
                "transactions cannot be listed: the {} ids that the claims of the log allow are asked for by name",
                ids.len()
            );
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let is_meant = |id: &String| prefixes.iter().any(|prefix| id.starts_with(prefix.as_str()));
    let listed = listed.into_iter().map(|listed| listed.transactional_id).filter(is_meant);
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
