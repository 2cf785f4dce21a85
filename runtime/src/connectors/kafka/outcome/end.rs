//! Committing and aborting what another process prepared.

use super::answer::{Reading, read_end};
use super::classify::{check_cluster, classify};
use super::prepared::PreparedTransaction;
use super::verdict::Outcome;
use crate::connectors::kafka::client::{Backoff, Client, Code, Error};

/// What one attempt to commit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitAnswer {
    /// The coordinator has decided so, now or earlier; readers see it as soon as the markers are written.
    Committed,
    /// The coordinator knows better than to repeat it, and the log says that it was committed.
    AlreadyCommitted,
    /// Proven: it was aborted, by its timeout or by somebody else.
    Lost,
    /// Not yet: try again.
    Again(Code),
    /// A right is missing. Nothing is lost by waiting for a person.
    Denied(Code),
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
    Denied(Code),
    Unknown(String),
}

/// Sends one `EndTxn` (commit) and reads the answer; where that is ambiguous, the log tells. `backoff`: for asking the log.
///
/// The caller must hold the decision: what is committed cannot be taken back.
///
/// # Errors
/// No answer came, so that it may be committed: calling again is right and does no harm.
pub async fn commit(client: &Client, prepared: &PreparedTransaction, backoff: &Backoff) -> Result<CommitAnswer, Error> {
    check_cluster(client, prepared, backoff).await?;
    let code = client.end_transaction(&prepared.transactional_id, prepared.producer(), true).await?;
    match read_end(code) {
        Reading::Done => Ok(CommitAnswer::Committed),
        Reading::Again => Ok(CommitAnswer::Again(code)),
        Reading::Denied => Ok(CommitAnswer::Denied(code)),
        Reading::Unexpected => Err(unexpected(prepared, code)),
        Reading::AskTheLog => Ok(match classify(client, prepared, backoff).await? {
            Outcome::Committed => CommitAnswer::AlreadyCommitted,
            Outcome::Aborted => CommitAnswer::Lost,
            Outcome::Open => CommitAnswer::Again(code),
            Outcome::Unknown(reason) => CommitAnswer::Unknown(reason),
        }),
    }
}

/// Sends one `EndTxn` (abort), and answers [`AbortAnswer::Aborted`] only when the log proves it.
///
/// # Errors
/// No answer came: calling again is right and does no harm.
pub async fn abort(client: &Client, prepared: &PreparedTransaction, backoff: &Backoff) -> Result<AbortAnswer, Error> {
    check_cluster(client, prepared, backoff).await?;
    let code = client.end_transaction(&prepared.transactional_id, prepared.producer(), false).await?;
    match read_end(code) {
        Reading::Again => return Ok(AbortAnswer::Again(code)),
        Reading::Denied => return Ok(AbortAnswer::Denied(code)),
        Reading::Unexpected => return Err(unexpected(prepared, code)),
        Reading::Done | Reading::AskTheLog => (),
    }
    Ok(match classify(client, prepared, backoff).await? {
        Outcome::Aborted => AbortAnswer::Aborted,
        Outcome::Committed => AbortAnswer::Committed,
        Outcome::Open => AbortAnswer::Again(code),
        Outcome::Unknown(reason) => AbortAnswer::Unknown(reason),
    })
}

fn unexpected(prepared: &PreparedTransaction, code: Code) -> Error {
    Error::Refused { request: "EndTxn", about: prepared.to_string(), code }
}
