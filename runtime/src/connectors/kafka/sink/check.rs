//! What must hold of a topic and its brokers before anything is claimed.

use std::time::Duration;

use super::{KafkaSinkSpec, Target};
use crate::connectors::kafka::client::{Backoff, Class, Client, Code, Error, Resource, TopicRights};
use crate::connectors::{Retry, SinkError};

/// A lost pipeline must not hold a topic's readers back for weeks.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(1);
/// Kafka's own default, for brokers that do not tell theirs.
const USUAL_TIMEOUT: Duration = Duration::from_mins(15);

/// What the brokers allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) transaction_timeout: Duration,
    /// How much of it is kept for commits.
    pub(super) commit_budget: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transaction_timeout: USUAL_TIMEOUT, commit_budget: USUAL_TIMEOUT / 4 }
    }
}

/// Asks the cluster; with how large a record may be.
///
/// # Errors
/// It cannot be reached, the topic is not there, or the timeout cannot hold what the manifest tolerates.
pub(super) async fn check(spec: &KafkaSinkSpec, target: &Target) -> Result<(Limits, Option<u32>), SinkError> {
    let client = &target.client;
    // A person is there: what he has to mend is not waited for.
    let told = |error: Error| match error.class() {
        Class::Denied => target.remote(format!("cannot be looked at: {error}"), Retry::Never),
        _ => target.asked("cannot be looked at", &error),
    };
    let topics = [spec.topic.as_str()];
    let metadata = client.retried(&Backoff::SHORT, || client.metadata(&topics)).await.map_err(told)?;
    let topic = metadata.topics.iter().find(|topic| topic.name == spec.topic && topic.code.is_none());
    let Some(topic) = topic else {
        let message = "is not there, or this user may not see it; create it, or give the right to describe it";
        return Err(target.remote(message.to_owned(), Retry::Never));
    };
    target.note_partitions(topic.partitions.len());
    let rights = client.retried(&Backoff::SHORT, || client.topic_rights(&spec.topic)).await.map_err(told)?;
    if let Some(message) = rights.and_then(|rights| missing(spec, rights)) {
        return Err(target.remote(message, Retry::Never));
    }
    let most = match metadata.brokers.first() {
        Some(broker) => number(client, Resource::Broker(broker.id), "transaction.max.timeout.ms").await,
        None => None,
    };
    let most = most.map(Duration::from_millis);
    let limits = timeouts(spec, most).map_err(|message| target.remote(message, Retry::Never))?;
    if spec.is_transactional
        && let Some(right) = missing_of_ids(spec, client).await.map_err(told)?
    {
        let message = format!(
            "this user has no right to {right} transactional ids that begin with `{0}/`; give it (kafka-acls.sh --add \
             --operation {right} --transactional-id {0}/ --resource-pattern-type prefixed)",
            spec.prefix
        );
        return Err(target.remote(message, Retry::Never));
    }
    let record_bytes = record_bytes(target).await;
    let in_sync = number(client, Resource::Topic(&spec.topic), "min.insync.replicas").await;
    let copies = topic.partitions.iter().map(|partition| partition.replicas).min().unwrap_or(0);
    if copies < 2 || in_sync.is_some_and(|in_sync| in_sync < 2) {
        tracing::warn!(
            sink = spec.name,
            "topic `{}` has {copies} replicas and min.insync.replicas {}: a broker that is lost takes committed records \
             with it; use 3 and 2",
            spec.topic,
            in_sync.map_or_else(|| "unknown".to_owned(), |in_sync| in_sync.to_string()),
        );
    }
    Ok((limits, record_bytes))
}

/// Nobody's, so that asking for it touches nothing: no transaction is ever begun under it.
const PROBE: &str = "rights";
const PROBE_TIMEOUT_MS: i32 = 10_000;

/// What this user may not do with the sink's transactional ids, of what it takes. Only trying tells.
async fn missing_of_ids(spec: &KafkaSinkSpec, client: &Client) -> Result<Option<&'static str>, Error> {
    let probe = format!("{}/{PROBE}/{}", spec.prefix, spec.name);
    let denied = |error: &Error| error.code() == Some(Code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    match client.retried(&Backoff::SHORT, || client.describe_transaction(&probe)).await {
        Err(error) if denied(&error) => return Ok(Some("DESCRIBE")),
        answer => drop(answer?),
    }
    match client.retried(&Backoff::SHORT, || client.init_producer(&probe, PROBE_TIMEOUT_MS)).await {
        Err(error) if denied(&error) => Ok(Some("WRITE")),
        answer => answer.map(|_| None),
    }
}

const RECORD_BYTES: &str = "max.message.bytes";

/// How large a record may be; none where it may not be read.
async fn record_bytes(target: &Target) -> Option<u32> {
    let bytes = number(&target.client, Resource::Topic(&target.topic), RECORD_BYTES).await?;
    u32::try_from(bytes).ok()
}

/// The same for a run at work, where no answer is not the same one as before.
///
/// # Errors
/// Nobody answers: another attempt may ask again.
pub(super) async fn record_bytes_again(target: &Target) -> Result<Option<u32>, SinkError> {
    match asked(&target.client, Resource::Topic(&target.topic), RECORD_BYTES).await {
        Ok(bytes) => Ok(bytes.and_then(|bytes| u32::try_from(bytes).ok())),
        Err(error) if error.class() == Class::Retry => Err(target.asked("max.message.bytes is not told", &error)),
        Err(_) => Ok(None),
    }
}

/// What this user would fail for later.
fn missing(spec: &KafkaSinkSpec, rights: TopicRights) -> Option<String> {
    let why = match rights {
        TopicRights { may_write: false, .. } => "WRITE, without which no record is taken",
        // Else a commit could be sent and never be confirmed.
        TopicRights { may_read: false, .. } if spec.is_transactional => {
            "READ, without which nobody can find out whether a transaction is committed"
        }
        TopicRights { .. } => return None,
    };
    Some(format!("this user has no right to {why}; give it (kafka-acls.sh --add --topic {})", spec.topic))
}

/// A setting that is a number; none where it may not be read.
async fn number(client: &Client, resource: Resource<'_>, name: &str) -> Option<u64> {
    let found = asked(client, resource, name).await;
    found.inspect_err(|error| tracing::warn!("{name} of {resource:?} is not told: {error}")).ok().flatten()
}

async fn asked(client: &Client, resource: Resource<'_>, name: &str) -> Result<Option<u64>, Error> {
    let names = [name];
    let found = client.retried(&Backoff::SHORT, || client.configuration(resource, &names)).await?;
    Ok(found.into_iter().find(|found| found.name == name).and_then(|found| found.value?.parse().ok()))
}

/// The transaction's timeout and what is kept of it for commits: in between, every checkpoint that may fail must have
/// failed and one more been decided.
fn timeouts(spec: &KafkaSinkSpec, most: Option<Duration>) -> Result<Limits, String> {
    let timeout = match (spec.transaction_timeout, most) {
        (Some(wanted), Some(most)) if wanted > most => {
            return Err(format!(
                "transactionTimeout {} is more than the brokers allow (transaction.max.timeout.ms {}); raise that, or lower this",
                text(wanted),
                text(most)
            ));
        }
        (Some(wanted), _) => wanted,
        (None, Some(most)) => most.min(LONGEST_TIMEOUT),
        (None, None) => USUAL_TIMEOUT,
    };
    let budget = spec.commit_budget.unwrap_or(timeout / 4);
    let needed = spec.longest_undecided.saturating_add(budget);
    if timeout <= needed {
        return Err(format!(
            "a transaction lasts {}, and may need more than {}: {} until it is decided (tolerableFailedCheckpoints + 1 \
             times interval and timeout of a checkpoint) and {} to commit; raise transactionTimeout (and the brokers' \
             transaction.max.timeout.ms), or lower checkpoint.timeout",
            text(timeout),
            text(needed),
            text(spec.longest_undecided),
            text(budget)
        ));
    }
    Ok(Limits { transaction_timeout: timeout, commit_budget: budget })
}

fn text(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{SeededRandom, SystemClock};
    use crate::connectors::kafka::client::{Ports, Settings};
    use crate::connectors::kafka::sink::KafkaSink;

    fn spec(timeout: Option<u64>, budget: Option<u64>) -> KafkaSinkSpec {
        KafkaSinkSpec {
            name: "out".into(),
            connection: "main".into(),
            topic: "revenue".into(),
            key: Vec::new(),
            raw: false,
            prefix: "onceward".into(),
            transaction_timeout: timeout.map(Duration::from_secs),
            commit_budget: budget.map(Duration::from_secs),
            longest_undecided: Duration::from_secs(520),
            tolerable_failures: 3,
            is_transactional: true,
            properties: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_nobody_tells_is_not_the_same_as_before() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap().to_string();
        drop(listener);
        let settings = Settings { bootstrap_servers: vec![nobody], ..Settings::default() };
        let ports = Ports { clock: Arc::new(SystemClock), random: Arc::new(SeededRandom::new(1)) };
        let client = Client::new(&settings, ports).unwrap();
        let sink = KafkaSink::new(spec(None, None), settings, client);
        let error = record_bytes_again(&sink.target).await.unwrap_err();
        assert!(matches!(&error, SinkError::Remote { retry: Retry::Backoff, .. }), "{error}");
        assert!(error.to_string().contains("max.message.bytes"), "{error}");
    }

    #[test]
    fn rights_that_a_commit_needs_are_missed_at_the_start() {
        let of = |is_transactional, may_read, may_write| {
            missing(&KafkaSinkSpec { is_transactional, ..spec(None, None) }, TopicRights { may_read, may_write })
        };
        assert_eq!(of(true, true, true), None);
        assert_eq!(of(false, false, true), None);
        assert!(of(true, false, true).unwrap().contains("READ"));
        assert!(of(false, true, false).unwrap().contains("WRITE"));
    }

    #[test]
    fn the_timeout_is_what_the_broker_allows_and_an_hour_at_most() {
        let found = |most: Option<u64>| timeouts(&spec(None, None), most.map(Duration::from_secs)).unwrap();
        assert_eq!(found(Some(900)).transaction_timeout, Duration::from_mins(15));
        assert_eq!(found(Some(2_147_483)).transaction_timeout, LONGEST_TIMEOUT);
        assert_eq!(found(None).transaction_timeout, USUAL_TIMEOUT);
        assert_eq!(found(Some(900)).commit_budget, Duration::from_secs(225));
    }

    #[test]
    fn a_timeout_that_cannot_hold_what_is_tolerated_is_refused_with_the_numbers() {
        let refused =
            |timeout, budget, most: u64| timeouts(&spec(timeout, budget), Some(Duration::from_secs(most))).unwrap_err();
        let error = refused(Some(1_000), None, 900);
        assert!(error.contains("1000s") && error.contains("900s") && error.contains("transaction.max.timeout.ms"));
        let error = refused(Some(600), Some(80), 900);
        assert!(error.contains("600s") && error.contains("520s") && error.contains("80s"), "{error}");
        assert!(timeouts(&spec(Some(601), Some(80)), None).is_ok());
        assert!(refused(None, None, 600).contains("600s"));
    }
}
