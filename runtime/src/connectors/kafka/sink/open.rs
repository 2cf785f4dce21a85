//! Looking for transactions: by their names in the coordinators' lists, and by the names that the claims allow.

use std::collections::BTreeSet;

use super::Target;
use super::committer::QUICK;
use super::names::{enumerate, of_pipeline, parse};
use crate::connectors::kafka::client::Coordinated;
use crate::connectors::kafka::outcome::{is_ending, is_open, leftovers};
use crate::connectors::{Earlier, Phase, Search, SinkError, Stamp, Transaction};

impl Target {
    /// What the coordinators know of transactions of this sink that earlier attempts may have left.
    ///
    /// # Errors
    /// Something could be missing.
    pub(super) async fn left_by(&self, earlier: &Earlier) -> Result<Vec<Coordinated>, SinkError> {
        let told = |error| self.asked("transactions of earlier attempts cannot be looked for", &error);
        let (ids, is_all) = enumerate(earlier, &self.sink);
        if !is_all {
            tracing::warn!(
                sink = self.sink,
                "the claims allow more than {} transactional ids: older ones are found by the coordinators' lists alone",
                ids.len()
            );
        }
        let former = earlier.ids.iter().filter(|range| range.sink == self.sink).map(|range| range.prefix.as_str());
        let prefixes: BTreeSet<&str> = former.chain([self.prefix.as_str()]).collect();
        let prefixes: Vec<String> = prefixes.iter().map(|prefix| of_pipeline(prefix, earlier.pipeline)).collect();
        let found = leftovers(&self.client, &prefixes, &ids, &QUICK).await.map_err(told)?;
        let is_meant = |found: &Coordinated| {
            parse(&found.transactional_id).is_some_and(|owner| {
                owner.pipeline == earlier.pipeline && owner.attempt < earlier.before && owner.sink == self.sink
            })
        };
        Ok(found.into_iter().filter(is_meant).collect())
    }

    /// See [`crate::connectors::Committer::transactions`].
    pub(super) async fn search(&self, search: &Search) -> Result<Vec<Transaction>, SinkError> {
        let told = |error| self.asked("transactions cannot be looked for", &error);
        let found = match search {
            Search::Earlier(earlier) => self.left_by(earlier).await?,
            Search::Prefix(prefix) => {
                leftovers(&self.client, std::slice::from_ref(prefix), &[], &QUICK).await.map_err(told)?
            }
            Search::Id(id) => {
                let ids = std::slice::from_ref(id);
                self.client.retried(&QUICK, || self.client.describe_transactions(ids)).await.map_err(told)?
            }
        };
        let cluster = self.client.retried(&QUICK, || self.client.cluster_id()).await.map_err(told)?;
        Ok(found.into_iter().map(|found| transaction(found, &cluster)).collect())
    }
}

fn transaction(found: Coordinated, cluster: &str) -> Transaction {
    let phase = match (is_ending(&found), is_open(&found)) {
        (true, _) => Phase::Ending,
        (false, true) => Phase::Open,
        (false, false) => Phase::Over,
    };
    Transaction {
        owner: parse(&found.transactional_id),
        id: found.transactional_id,
        cluster: cluster.to_owned(),
        stamp: Stamp { producer_id: found.producer.id, producer_epoch: found.producer.epoch },
        state: found.state,
        phase,
        start_ms: found.start_ms.and_then(|start| u64::try_from(start).ok()),
        timeout_ms: u64::try_from(found.timeout_ms).unwrap_or_default(),
        partitions: found.partitions.iter().map(|(topic, partition)| format!("{topic}-{partition}")).collect(),
    }
}
