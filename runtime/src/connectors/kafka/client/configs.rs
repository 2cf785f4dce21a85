//! Configuration as brokers tell it: what transactions may last, how many copies a write needs.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;

use super::cluster::Client;
use super::error::{Code, Error};
use super::transactions::refuse;

/// Whose configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic(&'a str),
    /// By node id. Asked of that node.
    Broker(i32),
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    /// None where it is unset, or secret.
    pub value: Option<String>,
}

impl Client {
    /// The settings `names` of a topic or a broker; unknown ones are left out.
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn configuration(&self, resource: Resource<'_>, names: &[&str]) -> Result<Vec<Config>, Error> {
        const TOPIC: i8 = 2;
        const BROKER: i8 = 4;
        let (kind, name) = match resource {
            Resource::Topic(name) => (TOPIC, name.to_owned()),
            Resource::Broker(id) => (BROKER, id.to_string()),
        };
        let keys = names.iter().map(|name| StrBytes::from_string((*name).to_owned())).collect();
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(name.clone()))
            .with_configuration_keys(Some(keys));
        let request = DescribeConfigsRequest::default().with_resources(vec![wanted]);
        let answer = match resource {
            Resource::Topic(_) => self.any(&request).await?,
            Resource::Broker(id) => self.node(id, &request).await?,
        };
        let mut found = vec![];
        for result in answer.results {
            refuse("DescribeConfigs", || name.clone(), Code(result.error_code))?;
            found.extend(result.configs.into_iter().map(|config| Config {
                name: config.name.as_str().to_owned(),
                value: config.value.map(|value| value.as_str().to_owned()),
            }));
        }
        Ok(found)
    }
}
