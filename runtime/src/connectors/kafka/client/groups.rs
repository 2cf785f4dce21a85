//! What a consumer group has committed: where reading may begin, and nothing else.

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::cluster::Client;
use super::error::{Code, Error};
use super::transactions::refuse;

/// An offset of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Client {
    /// What a group has committed of these topics' partitions; those without are left out.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn group_offsets(&self, group: &str, topics: &[(&str, Vec<i32>)]) -> Result<Vec<GroupOffset>, Error> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        let found = self.any(&request).await?;
        let about = || format!("group {group}");
        let found = found.coordinators.first().ok_or_else(|| Error::Leaderless { about: about() })?;
        refuse("FindCoordinator", about, Code(found.error_code))?;
        let wanted = topics.iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(partitions.clone())
        });
        let wanted =
            OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(Some(wanted.collect()));
        // Stable: not while a transaction that commits offsets is open.
        let request = OffsetFetchRequest::default().with_groups(vec![wanted]).with_require_stable(true);
        let answer = self.node(found.node_id.0, &request).await?;
        let mut offsets = vec![];
        for group in &answer.groups {
            refuse("OffsetFetch", about, Code(group.error_code))?;
            for topic in &group.topics {
                for partition in &topic.partitions {
                    refuse("OffsetFetch", about, Code(partition.error_code))?;
                    offsets.push(GroupOffset {
                        topic: topic.name.as_str().to_owned(),
                        partition: partition.partition_index,
                        offset: partition.committed_offset,
                    });
                }
            }
        }
        offsets.retain(|found| found.offset >= 0);
        Ok(offsets)
    }
}
