//! Markers that Kafka leaves out: a partition that has no leader while a transaction ends gets none, for ever, and its
//! readers stand still (KAFKA-20734). One broker that is killed behind `EndTxn` and started again is enough.

use super::classify::testimonies;
use super::prepared::PreparedTransaction;
use super::verdict::{Outcome, combine, holds_open};
use crate::connectors::kafka::client::{Backoff, Client, Code, Error, Marker};

/// What became of a transaction whose coordinator has answered `told` just now; None: that the log must tell. Where it
/// hangs and its end is proven, the end is written first. [`Outcome::Torn`] is what that could not mend, with the reason.
///
/// # Errors
/// A log cannot be asked.
pub(super) async fn settled(
    client: &Client,
    prepared: &PreparedTransaction,
    told: Option<Marker>,
    backoff: &Backoff,
) -> Result<Outcome, Error> {
    let outcome = combine(testimonies(client, prepared, backoff).await?, told);
    let Outcome::Torn(end, places) = outcome else { return Ok(outcome) };
    tracing::warn!(transaction = %prepared, "Kafka has ended a transaction and left out partitions: {places}");
    match client.retried(backoff, || mend(client, prepared, end)).await {
        Ok(written) => tracing::warn!(transaction = %prepared, written, "markers that were left out are written"),
        Err(error) if error.code() == Some(Code::CLUSTER_AUTHORIZATION_FAILED) => return Ok(denied(end, &places)),
        Err(error) => return Err(error),
    }
    Ok(combine(testimonies(client, prepared, backoff).await?, told))
}

/// Writes the marker of `end` where the transaction is still open; on how many partitions. The coordinator must have
/// decided `end` for this very producer id and epoch, of which there is one transaction only: a partition that has a newer
/// epoch refuses.
async fn mend(client: &Client, prepared: &PreparedTransaction, end: Marker) -> Result<u32, Error> {
    let mut written = 0;
    for witness in &prepared.witnesses {
        let place = (witness.topic.as_str(), witness.partition);
        let active = client.active_producers(place.0, place.1).await?;
        let is_it = |epoch: i32| epoch == i32::from(prepared.producer_epoch);
        let open = active.iter().find(|found| holds_open(prepared, witness, found) && is_it(found.epoch));
        if let Some(open) = open {
            client.write_marker(place, prepared.producer(), end, open.coordinator_epoch).await?;
            written += 1;
        }
    }
    Ok(written)
}

/// An abort is proven without its markers, which readers need all the same; a commit is not done without them.
fn denied(end: Marker, places: &str) -> Outcome {
    let wish = "this user may not write the missing markers: allow it CLUSTER_ACTION on the cluster (or ALTER, from Kafka 4 \
                on); do not abort it with Kafka's tool";
    match end {
        Marker::Commit => Outcome::Torn(end, format!("torn: {wish}; {places}")),
        Marker::Abort => {
            tracing::warn!("an aborted transaction holds readers back, and {wish}; {places}");
            Outcome::Aborted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_right_a_commit_is_not_done_and_an_abort_is() {
        let commit = denied(Marker::Commit, "out-1 hangs");
        assert!(
            matches!(&commit, Outcome::Torn(Marker::Commit, text) if text.contains("CLUSTER_ACTION") && text.contains("out-1"))
        );
        assert_eq!(denied(Marker::Abort, "out-1 hangs"), Outcome::Aborted);
    }
}
