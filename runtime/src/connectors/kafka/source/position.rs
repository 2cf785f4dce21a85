//! Where a partition is read: stored in checkpoints, so its form is pinned by a test.

use serde::{Deserialize, Serialize};

use crate::connectors::kafka::client::TopicId;
use crate::connectors::{SourceError, Split};
use crate::element::Watermark;

/// Everything that a partition is gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Position {
    pub(super) topic: String,
    /// A topic of the same name that was made anew has another one.
    pub(super) topic_id: TopicId,
    pub(super) partition: i32,
    /// The offset to be read next.
    pub(super) next: i64,
    /// Leader epoch of the last batch read: by it a log that lost its end and grew again is recognised. Absent: none was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leader_epoch: Option<i32>,
    /// The first offset that is not read. Absent: reading does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<i64>,
}

impl Position {
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under fixed names always encode")
    }

    pub(super) fn decode(source: &str, text: &str) -> Result<Self, SourceError> {
        let unusable = |message: String| SourceError::Position { source_name: source.to_owned(), message };
        let position: Self = serde_json::from_str(text).map_err(|error| unusable(format!("{text}: {error}")))?;
        let is_usable = position.partition >= 0 && position.next >= 0;
        if is_usable { Ok(position) } else { Err(unusable(text.to_owned())) }
    }

    /// Whether all that is wanted of the partition was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.until.is_some_and(|until| self.next >= until)
    }

    pub(super) fn split(&self) -> Split {
        Split {
            id: split_id(&self.topic, self.partition),
            position: self.encode(),
            watermark: Watermark::START,
            finished: false,
        }
    }
}

/// Padded, so that the order of ids is the order of partitions. No topic's name holds a slash.
pub(super) fn split_id(topic: &str, partition: i32) -> String {
    format!("{topic}/{partition:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position {
            topic: "orders".to_owned(),
            topic_id: TopicId(0xabc),
            partition: 7,
            next: 42,
            leader_epoch: Some(3),
            until: Some(100),
        }
    }

    #[test]
    fn stored_form_is_pinned() {
        let bounded = r#"{"topic":"orders","topicId":"00000000000000000000000000000abc","partition":7,"next":42,"leaderEpoch":3,"until":100}"#;
        let unread = r#"{"topic":"orders","topicId":"00000000000000000000000000000abc","partition":7,"next":42}"#;
        assert_eq!(position().encode(), bounded);
        assert_eq!(Position::decode("s", bounded).unwrap(), position());
        let expected = Position { leader_epoch: None, until: None, ..position() };
        assert_eq!(expected.encode(), unread);
        assert_eq!(Position::decode("s", unread).unwrap(), expected);
        assert_eq!(position().split().id, "orders/0000000007");
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for wrong in
            ["", "{}", &position().encode().replace("42", "-1"), &position().encode().replace("next", "offset")]
        {
            assert!(matches!(Position::decode("s", wrong), Err(SourceError::Position { .. })), "{wrong}");
        }
    }
}
