//! A topic as sink: records go through librdkafka into transactions that nobody but the holder of a decision commits.
//!
//! One (producer id, epoch) is used for one transaction: a handle is initialised, written to between two barriers,
//! flushed, described, and dropped. Its end is a raw `EndTxn`, from whichever process has the permit.

mod check;
mod committer;
mod handle;
mod limit;
mod names;
mod open;
mod plain;
mod reports;
mod rows;
mod seal;
mod settings;
mod slots;
mod urge;
mod warm;
mod writer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use checkpoint::ids::Epoch;

use self::check::Limits;
use self::committer::KafkaCommitter;
use self::handle::{Failed, Handle};
use self::limit::{BATCH_HEAD_BYTES, RecordLimit};
use self::plain::PlainWriter;
use self::rows::{Records, RowEncoder};
use self::settings::{lower, set_default, set_timeouts};
use self::slots::{Slots, slots_needed};
use self::warm::Warm;
use self::writer::KafkaWriter;
use super::client::{Class, Client, Error, Settings};
use super::librdkafka::base_config;
use crate::connectors::{Committer, Retry, SinkConnector, SinkError, SinkWriter, WriterContext};
use crate::tasks;
use crate::worker::StopSignal;

/// What the manifest says of a sink.
#[derive(Clone, Debug)]
pub struct KafkaSinkSpec {
    pub name: String,
    /// Name of the connection.
    pub connection: String,
    pub topic: String,
    pub key: Vec<String>,
    /// The value is one column of bytes.
    pub raw: bool,
    pub prefix: String,
    /// Absent: what the broker allows, an hour at most.
    pub transaction_timeout: Option<Duration>,
    /// Absent: a quarter of the timeout.
    pub commit_budget: Option<Duration>,
    /// The longest time from a transaction's first record to its decision that the manifest tolerates.
    pub longest_undecided: Duration,
    pub tolerable_failures: u32,
    /// Else records are visible as they are written, and again after a failure (at least once).
    pub is_transactional: bool,
    /// For librdkafka.
    pub properties: Vec<(String, String)>,
}

/// A configured Kafka sink.
pub struct KafkaSink {
    spec: KafkaSinkSpec,
    settings: Settings,
    target: Arc<Target>,
}

/// The topic, and how it is reached; shared by writers and committers.
struct Target {
    sink: String,
    topic: String,
    prefix: String,
    client: Client,
    /// Learned by the check.
    limits: OnceLock<Limits>,
    record_limit: Mutex<RecordLimit>,
    /// How many the topic had when somebody looked last; 0: nobody has.
    partitions: AtomicUsize,
}

impl Target {
    fn limits(&self) -> Limits {
        self.limits.get().copied().unwrap_or_default()
    }

    fn record_limit(&self) -> MutexGuard<'_, RecordLimit> {
        self.record_limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says so, once, when a topic has grown: from then on the keys are spread otherwise.
    fn note_partitions(&self, found: usize) {
        let before = self.partitions.swap(found, Ordering::Relaxed);
        if before != 0 && before != found {
            tracing::warn!(
                sink = self.sink,
                before,
                found,
                "topic `{}` had {before} partitions and has {found}: records of a key go to another partition than before, and \
                 their order across the two is not kept",
                self.topic
            );
        }
    }

    fn transient(&self, message: String) -> SinkError {
        self.remote(message, Retry::Backoff)
    }

    fn remote(&self, message: String, retry: Retry) -> SinkError {
        SinkError::Remote { sink: self.sink.clone(), target: format!("topic `{}`", self.topic), message, retry }
    }

    /// A record that was offered and not taken: if time does not heal it, it is the row's fault. Else it may be that of one
    /// that a broker has refused: librdkafka takes no more in its transaction then, and tells why a moment later.
    fn unoffered(&self, handle: &Handle, failed: &Failed) -> SinkError {
        if failed.retry == Retry::Never {
            let (sink, message) = (self.sink.clone(), failed.message.clone());
            return SinkError::Row { sink, message, origin: failed.origin.clone() };
        }
        for _ in 0..REPORT_PIECES {
            if let Err(earlier) = handle.poll(FLUSH_PIECE) {
                return self.rejected(&earlier, None);
            }
        }
        self.failed(failed)
    }

    fn encode(&self, encoder: &RowEncoder, rows: &RecordBatch) -> Result<Records, SinkError> {
        encoder.encode(rows).map_err(|message| SinkError::Row { sink: self.sink.clone(), message, origin: None })
    }

    /// A record that was sent and not taken.
    fn rejected(&self, failed: &Failed, epoch: Option<Epoch>) -> SinkError {
        if failed.retry == Retry::Backoff {
            return self.failed(failed);
        }
        let (message, origin) = (failed.message.clone(), failed.origin.clone());
        if failed.too_large.is_some_and(|bytes| !self.record_limit().is_to_blame(bytes)) {
            let place = origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
            return self.transient(format!(
                "{message}{place}; it is the largest of a request that is too large for the topic's max.message.bytes, and may be \
                 too large by itself, which another attempt finds out; raise that, or leave the record out{}",
                if self.record_limit().bytes().is_none() { UNTOLD } else { "" }
            ));
        }
        let sink = self.sink.clone();
        SinkError::Refused { sink, message, epoch, origin }
    }

    /// Blocks until everything offered up to the barrier of `epoch` is acknowledged. The `flush` of librdkafka's binding waits a tenth of a second
    /// whatever there is. Ends: librdkafka gives up on a record in the end.
    fn flush(&self, handle: &Handle, epoch: Epoch, stop: &StopSignal) -> Result<(), SinkError> {
        let (mut left, mut idle) = (handle.in_flight(), IDLE_PIECES);
        while left > 0 {
            // What is left may be waiting for company. Not all the time: a broker's thread spins meanwhile when it must
            // wait for answers.
            if idle >= IDLE_PIECES {
                handle.urge(FLUSH_PIECE);
                idle = 0;
            }
            handle.poll(FLUSH_PIECE).map_err(|failed| self.rejected(&failed, Some(epoch)))?;
            let before = std::mem::replace(&mut left, handle.in_flight());
            idle = if left < before { 0 } else { idle + 1 };
            if stop.is_stopped() {
                return Err(self.transient("the attempt ended before all records were acknowledged".to_owned()));
            }
        }
        handle.poll(Duration::ZERO).map_err(|failed| self.rejected(&failed, Some(epoch)))
    }

    fn failed(&self, failed: &Failed) -> SinkError {
        self.remote(failed.message.clone(), failed.retry)
    }

    /// A request of the small client came to nothing. A missing right or a wrong password is waited for: a person mends
    /// it, and what is decided must not be given up.
    fn asked(&self, action: &str, error: &Error) -> SinkError {
        let retry = if error.class() == Class::Fatal { Retry::Never } else { Retry::Backoff };
        self.remote(format!("{action}: {error}"), retry)
    }
}

impl KafkaSink {
    pub fn new(spec: KafkaSinkSpec, settings: Settings, client: Client) -> Self {
        let target = Target {
            sink: spec.name.clone(),
            topic: spec.topic.clone(),
            prefix: spec.prefix.clone(),
            client,
            limits: OnceLock::new(),
            record_limit: Mutex::default(),
            partitions: AtomicUsize::new(0),
        };
        Self { spec, settings, target: Arc::new(target) }
    }

    fn encoder(&self, schema: &SchemaRef) -> Result<RowEncoder, SinkError> {
        RowEncoder::new(schema, &self.spec.key, self.spec.raw)
            .map_err(|message| SinkError::Schema { sink: self.spec.name.clone(), message })
    }

    fn config(&self) -> Result<rdkafka::ClientConfig, SinkError> {
        let limits = self.target.limits();
        let config = base_config(&self.settings, &self.spec.properties);
        let mut config = config.map_err(|error| self.target.remote(error.to_string(), Retry::Never))?;
        set_timeouts(&mut config, limits.transaction_timeout.as_millis() as u64, self.spec.is_transactional);
        // Half of it passes between two connections of a new client, of which each transaction needs three.
        set_default(&mut config, "reconnect.backoff.ms", "20");
        // As the Java client's.
        config.set("partitioner", "murmur2_random");
        set_default(&mut config, "batch.num.messages", "100000");
        set_default(&mut config, "queue.buffering.max.messages", "200000");
        set_default(&mut config, "queue.buffering.max.kbytes", "32768");
        let limit = self.target.record_limit();
        if let Some(most) = limit.bytes() {
            // Refused before it is sent, so that the row can be named.
            let most = most.saturating_sub(BATCH_HEAD_BYTES).clamp(1_000, 1_000_000_000);
            lower(&mut config, "message.max.bytes", most);
        }
        if let Some(most) = limit.request_bytes() {
            lower(&mut config, "batch.size", most);
        }
        Ok(config)
    }
}

/// What helps where this user is not told the limit.
const UNTOLD: &str =
    "; this user may not ask for it: give DESCRIBE_CONFIGS of the topic, or a batch.size among the properties";
/// Waits for acknowledgements in one piece.
const FLUSH_PIECE: Duration = Duration::from_millis(1);
/// Pieces of that kind until nothing is told of an earlier record.
const REPORT_PIECES: u32 = 200;
/// Pieces without an acknowledgement until what is left is urged again.
const IDLE_PIECES: u32 = 4;

impl SinkConnector for KafkaSink {
    fn check(&self) -> Result<(), SinkError> {
        let (limits, record_bytes) = tasks::block_on(check::check(&self.spec, &self.target))?;
        self.target.record_limit().learn(record_bytes);
        // Checked once in a run; a second answer would not reach writers that are open.
        let _ = self.target.limits.set(limits);
        Ok(())
    }

    fn prepare(&self) -> Result<(), SinkError> {
        if self.target.record_limit().is_doubted() {
            let bytes = tasks::block_on(check::record_bytes_again(&self.target))?;
            let mut limit = self.target.record_limit();
            limit.learn(bytes);
            if let Some(request_bytes) = limit.request_bytes() {
                tracing::warn!(
                    sink = self.spec.name,
                    request_bytes,
                    "topic `{}` refuses requests as too large for its max.message.bytes, and small ones are slow: raise that, and \
                     run again{}",
                    self.spec.topic,
                    if limit.bytes().is_none() { UNTOLD } else { "" }
                );
            }
        }
        Ok(())
    }

    fn check_schema(&self, schema: &SchemaRef) -> Result<(), SinkError> {
        self.encoder(schema).map(drop)
    }

    fn open_writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>, SinkError> {
        let encoder = self.encoder(&context.schema)?;
        let mut config = self.config()?;
        if !self.spec.is_transactional {
            config.remove("transaction.timeout.ms");
            config.set("enable.idempotence", "true");
            let handle = Handle::plain(&config).map_err(|failed| self.target.failed(&failed))?;
            return Ok(Box::new(PlainWriter::new(Arc::clone(&self.target), encoder, handle, context.stop)));
        }
        let config = Arc::new(config);
        let slots = Slots::new(slots_needed(self.spec.tolerable_failures));
        let prefix = self.spec.prefix.clone();
        let topic = self.spec.topic.clone();
        let warm = Warm::new(config, prefix, topic, context.identity.clone(), context.stop.clone(), slots);
        Ok(Box::new(KafkaWriter::new(Arc::clone(&self.target), context, encoder, warm)))
    }

    fn committer(&self) -> Box<dyn Committer> {
        Box::new(KafkaCommitter { target: Arc::clone(&self.target) })
    }

    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn target(&self) -> String {
        format!("{}/{}", self.spec.connection, self.spec.topic)
    }

    fn transaction_timeout(&self) -> Option<Duration> {
        self.target.limits.get().filter(|_| self.spec.is_transactional).map(|limits| limits.transaction_timeout)
    }

    fn transactional_ids(&self) -> Option<(String, u32)> {
        let ids = || (self.spec.prefix.clone(), slots_needed(self.spec.tolerable_failures));
        self.spec.is_transactional.then(ids)
    }
}
