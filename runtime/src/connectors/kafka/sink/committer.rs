//! Ends of transactions, by whoever holds the decision: no producer is needed.

use std::sync::Arc;

use checkpoint::commit::CommitPermit;
use checkpoint::manifest::Committable;
use futures::future::BoxFuture;

use super::Target;
use crate::connectors::kafka::client::{Backoff, Code};
use crate::connectors::kafka::outcome::{
    self, AbortAnswer, CommitAnswer, Outcome, PreparedTransaction, fence, is_open,
};
use crate::connectors::{Classification, CommitOutcome, Committer, Earlier, Search, SinkError, Stamp, Transaction};
use crate::crashpoint;

/// Quick repetitions of one call, while a coordinator moves or markers are written; the caller's own delays follow.
pub(super) const QUICK: Backoff = Backoff::SHORT;

pub(super) struct KafkaCommitter {
    pub(super) target: Arc<Target>,
}

impl KafkaCommitter {
    fn decode(&self, committable: &Committable) -> Result<PreparedTransaction, SinkError> {
        serde_json::from_str(&committable.handle)
            .map_err(|error| SinkError::Committable { sink: self.target.sink.clone(), message: error.to_string() })
    }

    fn hit(&self, step: &'static str) -> Result<(), SinkError> {
        crashpoint::hit(step).map_err(|error| self.target.transient(error.to_string()))
    }

    /// Neither proven committed nor proven lost, and time will not tell.
    fn unknown(&self, prepared: &PreparedTransaction, reason: &str) -> SinkError {
        SinkError::Unknown { sink: self.target.sink.clone(), message: format!("{prepared}: {reason}") }
    }

    fn not_yet(&self, prepared: &PreparedTransaction, code: Code) -> SinkError {
        self.target.transient(format!("{prepared}: {code}"))
    }

    fn ending(&self, prepared: &PreparedTransaction, place: &str) -> SinkError {
        self.target.transient(format!("{prepared}: {place}"))
    }

    async fn commit_one(&self, prepared: &PreparedTransaction) -> Result<CommitOutcome, SinkError> {
        let mut tried = 0;
        loop {
            let client = &self.target.client;
            let ready = outcome::ready(client, prepared, &QUICK).await;
            ready.map_err(|error| self.target.asked("commit", &error))?;
            self.hit("kafka.before_end")?;
            let code = outcome::end(client, prepared, true).await;
            self.hit("kafka.ended")?;
            let code = code.map_err(|error| self.target.asked("commit", &error))?;
            let answer = outcome::committed(client, prepared, code, &QUICK).await;
            return match answer.map_err(|error| self.target.asked("a commit cannot be confirmed", &error))? {
                CommitAnswer::Committed => Ok(CommitOutcome::Committed),
                CommitAnswer::AlreadyCommitted => Ok(CommitOutcome::AlreadyCommitted),
                CommitAnswer::Lost => Ok(CommitOutcome::Lost),
                CommitAnswer::Again(_) if tried + 1 < QUICK.tries => {
                    self.target.client.pause(&QUICK, tried).await;
                    tried += 1;
                    continue;
                }
                CommitAnswer::Again(code) | CommitAnswer::Denied(code) => Err(self.not_yet(prepared, code)),
                CommitAnswer::Ending(place) | CommitAnswer::Torn(place) => Err(self.ending(prepared, &place)),
                CommitAnswer::Unknown(reason) => Err(self.unknown(prepared, &reason)),
            };
        }
    }

    async fn abort_one(&self, prepared: &PreparedTransaction) -> Result<(), SinkError> {
        let mut tried = 0;
        loop {
            let client = &self.target.client;
            let told = |error| self.target.asked("abort", &error);
            outcome::ready(client, prepared, &QUICK).await.map_err(told)?;
            let code = outcome::end(client, prepared, false).await.map_err(told)?;
            return match outcome::aborted(client, prepared, code, &QUICK).await.map_err(told)? {
                // Whoever asked classifies it again, and finds which.
                AbortAnswer::Aborted | AbortAnswer::Committed => Ok(()),
                AbortAnswer::Again(_) if tried + 1 < QUICK.tries => {
                    self.target.client.pause(&QUICK, tried).await;
                    tried += 1;
                    continue;
                }
                AbortAnswer::Again(code) | AbortAnswer::Denied(code) => Err(self.not_yet(prepared, code)),
                AbortAnswer::Ending(place) | AbortAnswer::Torn(place) => Err(self.ending(prepared, &place)),
                AbortAnswer::Unknown(reason) => Err(self.unknown(prepared, &reason)),
            };
        }
    }

    async fn sweep(&self, earlier: &Earlier) -> Result<u64, SinkError> {
        let target = &self.target;
        let mut aborted = 0;
        for leftover in target.left_by(earlier).await?.iter().filter(|found| is_open(found)) {
            self.hit("kafka.before_fence")?;
            let fenced = fence(&target.client, leftover, &QUICK).await;
            fenced.map_err(|error| target.asked("a transaction of an earlier attempt cannot be aborted", &error))?;
            aborted += 1;
        }
        Ok(aborted)
    }
}

impl Committer for KafkaCommitter {
    fn classify<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<Classification, SinkError>> {
        Box::pin(async move {
            let prepared = self.decode(committable)?;
            let outcome = outcome::classify(&self.target.client, &prepared, &QUICK).await;
            match outcome.map_err(|error| self.target.asked("a transaction cannot be judged", &error))? {
                // What is torn is ended once more, which writes what is missing.
                Outcome::Open | Outcome::Torn(..) => Ok(Classification::Prepared),
                Outcome::Committed => Ok(Classification::Committed),
                Outcome::Aborted => Ok(Classification::Lost),
                Outcome::Ending(place) => Err(self.ending(&prepared, &place)),
                Outcome::Unknown(reason) => Err(self.unknown(&prepared, &reason)),
            }
        })
    }

    fn commit<'a>(
        &'a self,
        _: &'a CommitPermit,
        committable: &'a Committable,
    ) -> BoxFuture<'a, Result<CommitOutcome, SinkError>> {
        Box::pin(async move { self.commit_one(&self.decode(committable)?).await })
    }

    fn abort<'a>(&'a self, committable: &'a Committable) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { self.abort_one(&self.decode(committable)?).await })
    }

    fn describe(&self, committable: &Committable) -> String {
        let Committable { rows, sink, epoch, .. } = committable;
        let place = self.decode(committable).map_or_else(|error| error.to_string(), |prepared| prepared.to_string());
        format!("{rows} rows of sink `{sink}` written in epoch {epoch}, {place}")
    }

    fn abort_leftovers<'a>(&'a self, earlier: &'a Earlier) -> BoxFuture<'a, Result<u64, SinkError>> {
        Box::pin(self.sweep(earlier))
    }

    fn transactions<'a>(&'a self, search: &'a Search) -> BoxFuture<'a, Result<Vec<Transaction>, SinkError>> {
        Box::pin(self.target.search(search))
    }

    fn transaction_of(&self, committable: &Committable) -> Option<(String, Stamp)> {
        let prepared = self.decode(committable).ok()?;
        let PreparedTransaction { producer_id, producer_epoch, .. } = prepared;
        Some((prepared.transactional_id, Stamp { producer_id, producer_epoch }))
    }
}
