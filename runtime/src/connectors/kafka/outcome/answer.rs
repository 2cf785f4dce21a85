//! How an answer to `EndTxn` version 3 is to be read.

use crate::connectors::kafka::client::Code;

/// What follows from a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The coordinator has decided as asked, now or before.
    Done,
    /// It is busy, moving, or writing the markers of this very end: ask again.
    Again,
    /// It knows something else of this id than what was asked for: done before, undone, or forgotten. The log tells.
    AskTheLog,
    /// A right is missing. The transaction is as it was.
    Denied,
    /// No answer that `EndTxn` gives.
    Unexpected,
}

/// Reads the code of an `EndTxn` answer.
pub fn read_end(code: Code) -> Reading {
    match code {
        Code::NONE => Reading::Done,
        Code::COORDINATOR_LOAD_IN_PROGRESS
        | Code::COORDINATOR_NOT_AVAILABLE
        | Code::NOT_COORDINATOR
        | Code::CONCURRENT_TRANSACTIONS => Reading::Again,
        Code::INVALID_PRODUCER_EPOCH
        | Code::INVALID_TXN_STATE
        | Code::INVALID_PRODUCER_ID_MAPPING
        | Code::UNKNOWN_PRODUCER_ID
        | Code::PRODUCER_FENCED
        | Code::TRANSACTION_ABORTABLE => Reading::AskTheLog,
        Code::TOPIC_AUTHORIZATION_FAILED
        | Code::CLUSTER_AUTHORIZATION_FAILED
        | Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Reading::Denied,
        // Request timed out, leader not available, storage error: of the coordinator's own log.
        other if other.class() == crate::connectors::kafka::client::Class::Retry => Reading::Again,
        _ => Reading::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_taken_for_success() {
        for code in -1..200 {
            assert_eq!(read_end(Code(code)) == Reading::Done, code == 0, "{code}");
        }
    }

    #[test]
    fn every_code_that_end_txn_gives_has_its_reading() {
        let all = |codes: &[i16], reading| assert!(codes.iter().all(|code| read_end(Code(*code)) == reading));
        all(&[14, 15, 16, 51, 7, 5, 56], Reading::Again);
        all(&[47, 48, 49, 59, 90, 120], Reading::AskTheLog);
        all(&[29, 31, 53], Reading::Denied);
        all(&[-1, 35, 42, 12_345], Reading::Unexpected);
    }
}
