//! Requests to transaction coordinators.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ListTransactionsRequest,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Client, is_misdirected};
use super::error::{Code, Error};
use super::wire::Ask;

/// `FindCoordinator`'s word for transactions.
const TRANSACTION: i8 = 1;
/// Ids in one question.
const MOST_IDS: usize = 1_000;

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// What a coordinator says of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinated {
    pub transactional_id: String,
    /// Kafka's words: `Empty`, `Ongoing`, `PrepareCommit`, `PrepareAbort`, `CompleteCommit`, `CompleteAbort`, ...
    pub state: String,
    pub producer: Producer,
    pub timeout_ms: i32,
    /// Milliseconds since 1970; None outside of a transaction.
    pub start_ms: Option<i64>,
    /// Partitions of the transaction that is open.
    pub partitions: Vec<(String, i32)>,
}

/// An entry of a coordinator's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub transactional_id: String,
    pub state: String,
    pub producer_id: i64,
}

impl Client {
    /// Asks the coordinator of `transactional_id`. What was remembered of it is forgotten when it was of no use.
    async fn coordinator<R: Ask>(
        &self,
        transactional_id: &str,
        request: &R,
        code: impl Fn(&R::Response) -> Code,
    ) -> Result<R::Response, Error> {
        let node = match self.coordinator_known(transactional_id) {
            Some(node) => node,
            None => self.find_coordinator(transactional_id).await?,
        };
        let answer = self.node(node, request).await;
        if answer.as_ref().map_or(true, |answer| is_misdirected(code(answer))) {
            self.forget_coordinator(transactional_id);
        }
        answer
    }

    /// The node that coordinates an id, asked anew.
    ///
    /// # Errors
    /// No node answers, or none knows.
    pub async fn find_coordinator(&self, transactional_id: &str) -> Result<i32, Error> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(TRANSACTION)
            .with_coordinator_keys(vec![text(transactional_id)]);
        let answer = self.any(&request).await?;
        let about = || transactional_id.to_owned();
        let found = answer.coordinators.first().ok_or_else(|| Error::Leaderless { about: about() })?;
        refuse("FindCoordinator", about, Code(found.error_code))?;
        // Its address may be one that this side has not heard of yet; it is asked for when it is used.
        let node = found.node_id.0;
        self.remember_coordinator(transactional_id, node);
        Ok(node)
    }

    /// Ends a transaction, once: version 3, for what a librdkafka producer wrote. Whatever the coordinator says is the
    /// answer, also an error code; only what kept it from answering is an error.
    ///
    /// # Errors
    /// No answer came. The transaction may have ended all the same.
    pub async fn end_transaction(
        &self,
        transactional_id: &str,
        producer: Producer,
        is_commit: bool,
    ) -> Result<Code, Error> {
        let request = EndTxnRequest::default()
            .with_transactional_id(id(transactional_id))
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_committed(is_commit);
        let answer = self.coordinator(transactional_id, &request, |answer| Code(answer.error_code)).await?;
        Ok(Code(answer.error_code))
    }

    /// Initialises an id: fences who used it before, and aborts what is open under it.
    ///
    /// # Errors
    /// No answer came, or a refusal; 51 while the abort is under way.
    pub async fn init_producer(&self, transactional_id: &str, timeout_ms: i32) -> Result<Producer, Error> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(id(transactional_id)))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.coordinator(transactional_id, &request, |answer| Code(answer.error_code)).await?;
        refuse("InitProducerId", || transactional_id.to_owned(), Code(answer.error_code))?;
        Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
    }

    /// What the coordinator knows of an id; None: nothing (never used, or expired).
    ///
    /// # Errors
    /// No answer came, or a refusal.
    pub async fn describe_transaction(&self, transactional_id: &str) -> Result<Option<Coordinated>, Error> {
        let described = self.describe_transactions(std::slice::from_ref(&transactional_id.to_owned())).await?;
        Ok(described.into_iter().next())
    }

    /// What coordinators know of these ids; those that they do not know are left out.
    ///
    /// # Errors
    /// No answer came, or a refusal for one of them.
    pub async fn describe_transactions(&self, transactional_ids: &[String]) -> Result<Vec<Coordinated>, Error> {
        let mut by_node: BTreeMap<i32, Vec<&String>> = BTreeMap::new();
        // In pieces below what is remembered, so that one question does not make another one's answer forgotten.
        for ids in transactional_ids.chunks(MOST_IDS) {
            for (transactional_id, node) in self.coordinators(ids).await? {
                by_node.entry(node).or_default().push(transactional_id);
            }
        }
        let mut found = vec![];
        for (node, ids) in by_node {
            for ids in ids.chunks(MOST_IDS) {
                let described = self.describe_on(node, ids).await;
                if described.is_err() {
                    for id in ids {
                        self.forget_coordinator(id);
                    }
                }
                found.extend(described?);
            }
        }
        Ok(found)
    }

    /// The nodes that coordinate these ids; those that are not remembered are asked for in one question.
    async fn coordinators<'a>(&self, ids: &'a [String]) -> Result<Vec<(&'a String, i32)>, Error> {
        let mut known: BTreeMap<String, i32> = BTreeMap::new();
        let mut unknown = Vec::new();
        for id in ids {
            match self.coordinator_known(id) {
                Some(node) => drop(known.insert(id.clone(), node)),
                None => unknown.push(text(id)),
            }
        }
        if !unknown.is_empty() {
            let request = FindCoordinatorRequest::default().with_key_type(TRANSACTION).with_coordinator_keys(unknown);
            for found in self.any(&request).await?.coordinators {
                let about = || found.key.as_str().to_owned();
                refuse("FindCoordinator", about, Code(found.error_code))?;
                self.remember_coordinator(&found.key, found.node_id.0);
                known.insert(about(), found.node_id.0);
            }
        }
        let node = |id: &'a String| match known.get(id) {
            Some(node) => Ok((id, *node)),
            None => Err(Error::Leaderless { about: id.clone() }),
        };
        ids.iter().map(node).collect()
    }

    async fn describe_on(&self, node: i32, ids: &[&String]) -> Result<Vec<Coordinated>, Error> {
        let request =
            DescribeTransactionsRequest::default().with_transactional_ids(ids.iter().map(|name| id(name)).collect());
        let answer = self.node(node, &request).await?;
        let mut found = vec![];
        for state in answer.transaction_states {
            let (transactional_id, code) = (state.transactional_id.as_str().to_owned(), Code(state.error_code));
            if code == Code::TRANSACTIONAL_ID_NOT_FOUND {
                continue;
            }
            refuse("DescribeTransactions", || transactional_id.clone(), code)?;
            let of_topic = |topic: &kafka_protocol::messages::describe_transactions_response::TopicData| {
                let name = topic.topic.as_str().to_owned();
                topic.partitions.iter().map(move |index| (name.clone(), *index)).collect::<Vec<_>>()
            };
            found.push(Coordinated {
                state: state.transaction_state.as_str().to_owned(),
                producer: Producer { id: state.producer_id.0, epoch: state.producer_epoch },
                timeout_ms: state.transaction_timeout_ms,
                start_ms: Some(state.transaction_start_time_ms).filter(|start| *start >= 0),
                partitions: state.topics.iter().flat_map(of_topic).collect(),
                transactional_id,
            });
        }
        Ok(found)
    }

    /// Every id that any node coordinates and that this user may see.
    ///
    /// # Errors
    /// A node did not answer, or refused: then something could be missing.
    pub async fn list_transactions(&self) -> Result<Vec<Listed>, Error> {
        let mut found = vec![];
        for broker in self.metadata(&[]).await?.brokers {
            let answer = self.node(broker.id, &ListTransactionsRequest::default()).await?;
            refuse("ListTransactions", || format!("node {}", broker.id), Code(answer.error_code))?;
            found.extend(answer.transaction_states.into_iter().map(|state| Listed {
                transactional_id: state.transactional_id.as_str().to_owned(),
                state: state.transaction_state.as_str().to_owned(),
                producer_id: state.producer_id.0,
            }));
        }
        Ok(found)
    }
}

fn text(from: &str) -> StrBytes {
    StrBytes::from_string(from.to_owned())
}

fn id(from: &str) -> TransactionalId {
    TransactionalId(text(from))
}

/// An error code as an error.
pub(super) fn refuse(request: &'static str, about: impl FnOnce() -> String, code: Code) -> Result<(), Error> {
    if code.is_none() { Ok(()) } else { Err(Error::Refused { request, about: about(), code }) }
}
