//! Whether what was read of a partition is still there, and what is missing if not. Nobody is ever set back in silence.

use super::inbox::{Cursor, Place};
use crate::connectors::kafka::client::{Class, Client, Error, Isolation, OffsetAt, Topic};
use crate::connectors::{Retry, SourceError};

const FIX: &str = "put the records back, or start anew with --fresh";

/// Why a partition cannot be gone on with.
#[derive(Debug)]
pub(super) enum Doubt {
    /// What is missing.
    Lost(String),
    /// The brokers do not say.
    Unanswered(Error),
}

impl From<Error> for Doubt {
    fn from(error: Error) -> Self {
        Self::Unanswered(error)
    }
}

impl Doubt {
    pub(super) fn into_error(self, source: &str, place: &Place) -> SourceError {
        match self {
            Self::Lost(message) => lost(source, place, &message),
            Self::Unanswered(error) => remote(source, &place.to_string(), &error),
        }
    }
}

pub(super) fn lost(source: &str, place: &Place, message: &str) -> SourceError {
    SourceError::DataLost { source_name: source.to_owned(), message: format!("{place}: {message}; {FIX}") }
}

/// A right that is missing is given by a person, so waiting for it loses nothing.
pub(super) fn remote(source: &str, target: &str, error: &Error) -> SourceError {
    // Something odd on the way may be gone with the next connection.
    let is_hopeless = error.class() == Class::Fatal && !matches!(error, Error::Malformed { .. });
    let retry = if is_hopeless { Retry::Never } else { Retry::Backoff };
    let (source_name, target, message) = (source.to_owned(), target.to_owned(), error.to_string());
    SourceError::Remote { source_name, target, message, retry }
}

/// Whether the topic of that name is the one that was read. None: it is.
pub(super) fn is_another(place: &Place, found: &Topic) -> Option<String> {
    if found.id != place.id {
        return Some(format!(
            "the topic was deleted and made again (its id was {}, and is {}): what was not read is gone",
            place.id, found.id
        ));
    }
    let is_there = found.partitions.iter().any(|partition| partition.index == place.partition);
    (!is_there && !found.partitions.is_empty()).then(|| "the topic does not have it any more".to_owned())
}

/// Compares a partition's log with what was read of it.
///
/// # Errors
/// Which offsets are lost, or that nobody tells.
pub(super) async fn check(client: &Client, place: &Place, read: Cursor) -> Result<(), Doubt> {
    let (topic, partition, next) = (place.topic.as_str(), place.partition, read.next);
    let begin = client.offset(topic, partition, OffsetAt::Earliest).await?.offset.unwrap_or(0);
    if begin > next {
        return Err(Doubt::Lost(format!(
            "{} were deleted before they were read (retention?): the log begins at {begin}",
            range(next, begin)
        )));
    }
    if read.leader_epoch >= 0 {
        let end = client.epoch_end(topic, partition, read.leader_epoch).await?;
        if end.end_offset < next || end.leader_epoch < read.leader_epoch {
            let from = end.end_offset.clamp(begin, next);
            return Err(Doubt::Lost(format!(
                "{} were read and are not in the log any more: leader epoch {} ends at {} there (an unclean election?)",
                if from < next { range(from, next) } else { format!("offsets below {next}") },
                read.leader_epoch,
                end.end_offset
            )));
        }
    }
    let end = client.offset(topic, partition, OffsetAt::Latest(Isolation::Uncommitted)).await?.offset;
    match end.filter(|end| *end < next) {
        Some(end) => Err(Doubt::Lost(format!(
            "{} were read and are not in the log any more: it ends at {end}",
            range(end, next)
        ))),
        None => Ok(()),
    }
}

/// `begin` to before `end`.
fn range(begin: i64, end: i64) -> String {
    format!("offsets {begin} to {}", end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::kafka::client::{Code, Partition, TopicId};

    #[test]
    fn a_topic_of_the_same_name_is_not_taken_for_the_one_that_was_read() {
        let place = |partition| Place { topic: "t".to_owned(), id: TopicId(1), partition };
        let found = |id| Topic {
            name: "t".to_owned(),
            id: TopicId(id),
            code: Code::NONE,
            partitions: vec![Partition { index: 0, leader: None, leader_epoch: 0, replicas: 1, in_sync: 1 }],
        };
        assert_eq!(is_another(&place(0), &found(1)), None);
        assert!(is_another(&place(0), &found(2)).unwrap().contains("deleted and made again"));
        assert!(is_another(&place(1), &found(1)).is_some());
    }

    #[test]
    fn losses_name_the_range() {
        assert_eq!(range(5, 8), "offsets 5 to 7");
    }
}
