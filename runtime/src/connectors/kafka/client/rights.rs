//! What this user may do with a topic, as the cluster says itself (KIP-430).

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::cluster::Client;
use super::error::{Code, Error};
use super::transactions::refuse;

/// Bits of an answer: numbers of operations in Kafka's access control lists.
const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
/// What an answer holds that does not tell.
const UNKNOWN: i32 = i32::MIN;

/// Rights on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRights {
    pub may_read: bool,
    pub may_write: bool,
}

impl Client {
    /// None where the cluster does not tell.
    ///
    /// # Errors
    /// No answer came, or a refusal: 3 no such topic, 29 not even to be seen.
    pub async fn topic_rights(&self, topic: &str) -> Result<Option<TopicRights>, Error> {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name))]))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let answer = self.any(&request).await?;
        let Some(found) = answer.topics.first() else { return Ok(None) };
        refuse("Metadata", || format!("topic `{topic}`"), Code(found.error_code))?;
        Ok(rights(found.topic_authorized_operations))
    }
}

fn rights(operations: i32) -> Option<TopicRights> {
    let told = (operations != UNKNOWN).then_some(operations)?;
    Some(TopicRights { may_read: told & READ != 0, may_write: told & WRITE != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_by_their_numbers() {
        assert_eq!(rights(UNKNOWN), None);
        // Read 3, write 4, create 5, delete 6, alter 7, describe 8, describe configs 10, alter configs 11.
        assert_eq!(rights(0b1101_1111_1000), Some(TopicRights { may_read: true, may_write: true }));
        assert_eq!(rights(1 << 8 | 1 << 4), Some(TopicRights { may_read: false, may_write: true }));
        assert_eq!(rights(1 << 3), Some(TopicRights { may_read: true, may_write: false }));
    }
}
