//! Committing and aborting what another process prepared.

use super::answer::{Reading, read_end};
use super::classify::check_cluster;
use super::mend::settled;
use super::prepared::{PreparedTransaction, Witness};
use super::verdict::Outcome;
use crate::connectors::kafka::client::{Backoff, Client, Code, Error, Marker, Metadata};

/// What one attempt to commit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// The coordinator has decided so, now or earlier, and readers see it on every partition (or its records are gone).
    Committed,
    /// The coordinator knows better than to repeat it, and the log says that it was committed.
    AlreadyCommitted,
    /// Proven: it was aborted, by its timeout or by somebody else.
    Lost,
    /// Not yet: try again.
    Again(Code),
    /// It has an end, which is not on every partition yet, and where: try again.
    Ending(String),
    /// A right is missing. Nothing is lost by waiting for a person.
    Denied(Code),
    /// It is decided as asked, and the marker that Kafka left out on some partitions may not be written by this user, or is
    /// not there yet. Nothing is lost by waiting for a person.
    Torn(String),
    /// Neither proven committed nor proven lost.
    Unknown(String),
}

/// What one attempt to abort came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortAnswer {
    /// Proven by the log: no reader will ever see it.
    Aborted,
    /// It was committed: there is nothing to take back.
    Committed,
    Again(Code),
    /// It has an end, which is not on every partition yet.
    Ending(String),
    Denied(Code),
    /// As [`CommitAnswer::Torn`].
    Torn(String),
    Unknown(String),
}

/// Whether an end would reach every partition now: this is the cluster, and each has a leader. (An end that is sent
/// regardless leaves out partitions without one: KAFKA-20734.) To be asked right before [`end`].
///
/// # Errors
/// The cluster is another one, or cannot be reached, or a partition has no leader: asking again is right.
pub async fn ready(client: &Client, prepared: &PreparedTransaction, backoff: &Backoff) -> Result<(), Error> {
    check_cluster(client, prepared, backoff).await?;
    let mut topics: Vec<&str> = prepared.witnesses.iter().map(|witness| witness.topic.as_str()).collect();
    topics.dedup();
    if topics.is_empty() {
        return Ok(());
    }
    let asked = || async {
        let metadata = client.metadata(&topics).await?;
        match prepared.witnesses.iter().find(|witness| is_leaderless(&metadata, witness)) {
            Some(witness) => Err(Error::Leaderless { about: format!("{}-{}", witness.topic, witness.partition) }),
            None => Ok(()),
        }
    };
    client.retried(backoff, asked).await
}

/// Of a partition that is there: one that is gone cannot be waited for.
fn is_leaderless(metadata: &Metadata, witness: &Witness) -> bool {
    let topic = metadata.topics.iter().find(|topic| topic.name == witness.topic && topic.id == witness.topic_id);
    let partition = topic.and_then(|topic| topic.partitions.iter().find(|found| found.index == witness.partition));
    partition.is_some_and(|partition| partition.leader.is_none())
}

/// Sends one `EndTxn`, which commits or aborts, and gives the code of its answer: to be read by [`committed`] or
/// [`aborted`].
///
/// Who commits must hold the decision, and know the cluster: what is committed cannot be taken back.
///
/// # Errors
/// No answer came, so that it may have ended: calling again is right and does no harm.
pub async fn end(client: &Client, prepared: &PreparedTransaction, is_commit: bool) -> Result<Code, Error> {
    client.end_transaction(&prepared.transactional_id, prepared.producer(), is_commit).await
}

/// What a commit that was answered with `code` has come to. The log of every partition is asked, also after a plain yes:
/// where a partition had no leader at that moment, the marker of the commit never comes (KAFKA-20734); it is written here.
/// `backoff`: for asking the log.
///
/// # Errors
/// A log cannot be asked: ending it again is right and does no harm.
pub async fn committed(
    client: &Client,
    prepared: &PreparedTransaction,
    code: Code,
    backoff: &Backoff,
) -> Result<CommitAnswer, Error> {
    let (told, answer) = match read_end(code) {
        Reading::Done => (Some(Marker::Commit), CommitAnswer::Committed),
        Reading::AskTheLog => (None, CommitAnswer::AlreadyCommitted),
        Reading::Again => return Ok(CommitAnswer::Again(code)),
        Reading::Denied => return Ok(CommitAnswer::Denied(code)),
        Reading::Unexpected => return Err(unexpected(prepared, code)),
    };
    Ok(match settled(client, prepared, told, backoff).await? {
        Outcome::Committed => answer,
        Outcome::Aborted => CommitAnswer::Lost,
        Outcome::Open => CommitAnswer::Again(code),
        Outcome::Ending(place) => CommitAnswer::Ending(place),
        Outcome::Torn(_, places) => CommitAnswer::Torn(places),
        Outcome::Unknown(reason) => CommitAnswer::Unknown(reason),
    })
}

/// What an abort that was answered with `code` has come to; [`AbortAnswer::Aborted`] only when the log proves it.
///
/// # Errors
/// A log cannot be asked: ending it again is right and does no harm.
pub async fn aborted(
    client: &Client,
    prepared: &PreparedTransaction,
    code: Code,
    backoff: &Backoff,
) -> Result<AbortAnswer, Error> {
    let told = match read_end(code) {
        Reading::Done => Some(Marker::Abort),
        Reading::AskTheLog => None,
        Reading::Again => return Ok(AbortAnswer::Again(code)),
        Reading::Denied => return Ok(AbortAnswer::Denied(code)),
        Reading::Unexpected => return Err(unexpected(prepared, code)),
    };
    Ok(match settled(client, prepared, told, backoff).await? {
        Outcome::Aborted => AbortAnswer::Aborted,
        Outcome::Committed => AbortAnswer::Committed,
        Outcome::Open => AbortAnswer::Again(code),
        Outcome::Ending(place) => AbortAnswer::Ending(place),
        Outcome::Torn(_, places) => AbortAnswer::Torn(places),
        Outcome::Unknown(reason) => AbortAnswer::Unknown(reason),
    })
}

fn unexpected(prepared: &PreparedTransaction, code: Code) -> Error {
    Error::Refused { request: "EndTxn", about: prepared.to_string(), code }
}
