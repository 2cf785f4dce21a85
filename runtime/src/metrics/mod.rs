//! What a run tells Prometheus: every series exists, at 0, from the start. Names carry base units; timestamps instead
//! of ages; labels never hold keys, handles or epochs.

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

pub use server::{MetricsServer, ServeError};

use self::families::Families;

mod families;
mod server;
#[cfg(test)]
mod tests;

/// Stages of a checkpoint, in order.
pub const STAGES: [&str; 6] = ["align", "snapshot", "upload", "pre_commit", "decide", "commit"];

/// Two registrations of one name, or a name that Prometheus refuses: a mistake in this module.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Who exists in a pipeline, so that their series can begin at 0.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub pipeline: String,
    pub sources: Vec<String>,
    /// Operator ids.
    pub operators: Vec<String>,
    /// Stages and their parallelism.
    pub stages: Vec<(String, u32)>,
    pub sinks: Vec<String>,
    /// The weakest of its sinks'.
    pub guarantee: String,
}

/// An error and what caused it, in one line.
pub fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// All metrics of one run, shared by its attempts. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub checkpoints: CheckpointMetrics,
    pub commits: CommitMetrics,
    pub restarts: IntCounterVec,
    /// 1 while an attempt processes records.
    pub ready: IntGauge,
    sources: SourceFamilies,
    operators: OperatorFamilies,
    tasks: TaskFamilies,
    sinks: SinkFamilies,
}

/// Reasons of `onceward_pipeline_restarts_total`.
pub const RESTART_REASONS: [&str; 2] = ["failure", "commit_blocked"];

#[derive(Clone)]
pub struct CheckpointMetrics {
    /// By result: `completed`, `failed`, `timed_out`, `aborted`.
    pub total: IntCounterVec,
    pub consecutive_failures: IntGauge,
    pub in_progress: IntGauge,
    pub duration_seconds: Histogram,
    /// By stage, see [`STAGES`].
    pub stage_duration_seconds: HistogramVec,
    pub last_completed_timestamp_seconds: Gauge,
    pub last_completed_epoch: IntGauge,
    pub last_size_bytes: IntGauge,
    pub interval_seconds: Gauge,
    pub timeout_seconds: Gauge,
    pub written_bytes: IntCounter,
    /// By result: completed, failed.
    pub restores: IntCounterVec,
}

#[derive(Clone)]
pub struct CommitMetrics {
    /// By sink and result: committed, `already_committed`, lost, aborted.
    pub total: IntCounterVec,
    /// By sink.
    pub retries: IntCounterVec,
    pub duration_seconds: HistogramVec,
    pub pending: IntGaugeVec,
    pub oldest_pending_timestamp_seconds: GaugeVec,
}

impl CommitMetrics {
    /// Pieces of a sink's output are decided and not committed, since this time at the latest.
    pub fn owes(&self, sink: &str, count: u64, wall_seconds: f64) {
        self.pending.with_label_values(&[sink]).set(count as i64);
        let since = if count == 0 { 0.0 } else { wall_seconds };
        self.oldest_pending_timestamp_seconds.with_label_values(&[sink]).set(since);
    }

    /// One of them has ended.
    pub fn ended(&self, sink: &str) {
        self.pending.with_label_values(&[sink]).dec();
    }
}

#[derive(Clone)]
struct SourceFamilies {
    records: IntCounterVec,
    bytes: IntCounterVec,
    decode_errors: IntCounterVec,
    watermark: GaugeVec,
    lag: IntGaugeVec,
}

/// One source's series.
#[derive(Clone)]
pub struct SourceMetrics {
    pub records: IntCounter,
    pub bytes: IntCounter,
    pub decode_errors: IntCounter,
    pub watermark_timestamp_seconds: Gauge,
}

#[derive(Clone)]
struct OperatorFamilies {
    records_in: IntCounterVec,
    records_out: IntCounterVec,
    late_dropped: IntCounterVec,
    windows_fired: IntCounterVec,
    state_bytes: IntGaugeVec,
    state_keys: IntGaugeVec,
}

/// One operator's series; gauges are sums over subtasks, so each adds its change.
#[derive(Clone)]
pub struct OperatorMetrics {
    pub records_in: IntCounter,
    pub records_out: IntCounter,
    pub late_records_dropped: IntCounter,
    pub windows_fired: IntCounter,
    pub state_size_bytes: IntGauge,
    pub state_keys: IntGauge,
}

#[derive(Clone)]
struct TaskFamilies {
    busy: GaugeVec,
    backpressured: GaugeVec,
    idle: GaugeVec,
    watermark: GaugeVec,
}

/// One subtask's series; the three times only grow and sum to its running time.
#[derive(Clone)]
pub struct TaskMetrics {
    pub busy_seconds: Gauge,
    pub backpressured_seconds: Gauge,
    pub idle_seconds: Gauge,
    pub watermark_timestamp_seconds: Gauge,
}

#[derive(Clone)]
struct SinkFamilies {
    records: IntCounterVec,
    bytes: IntCounterVec,
    errors: IntCounterVec,
    visible_latency: HistogramVec,
    oldest_open: GaugeVec,
    timeout: GaugeVec,
    expired: IntCounterVec,
}

/// One sink's series.
#[derive(Clone)]
pub struct SinkMetrics {
    pub records: IntCounter,
    pub bytes: IntCounter,
    pub errors: IntCounter,
    /// Seconds.
    pub visible_latency: Histogram,
    pub transaction_oldest_open_timestamp_seconds: Gauge,
    pub transaction_timeout_seconds: Gauge,
    pub transactions_expired: IntCounter,
}

impl Metrics {
    /// # Errors
    /// Only for a mistake in this module.
    pub fn new(names: &Names) -> Result<Self, MetricsError> {
        let families = Families { registry: Registry::new(), pipeline: names.pipeline.clone() };
        let build = families.gauges("onceward_build_info", "1; the version that runs", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let info = families.gauges("onceward_pipeline_info", "1; what holds after any failure", &["guarantee"])?;
        info.with_label_values(&[&names.guarantee]).set(1.0);
        let metrics = Self {
            checkpoints: families.checkpoints()?,
            commits: families.commits()?,
            restarts: families.counters(
                "onceward_pipeline_restarts_total",
                "attempts that this process began itself after one that ended: `failure` or `commit_blocked`. \
                 Pods that are replaced are counted by the controller, under the same name: the sum is all of them",
                &["reason"],
            )?,
            ready: families.int_gauge("onceward_pipeline_ready", "1 while an attempt processes records")?,
            sources: families.sources()?,
            operators: families.operators()?,
            tasks: families.tasks()?,
            sinks: families.sinks()?,
            registry: Arc::new(families.registry),
        };
        metrics.begin(names);
        Ok(metrics)
    }

    /// Touches every series, so that it is there before its first event.
    fn begin(&self, names: &Names) {
        for result in ["completed", "failed", "timed_out", "aborted"] {
            self.checkpoints.total.with_label_values(&[result]);
        }
        for result in ["completed", "failed"] {
            self.checkpoints.restores.with_label_values(&[result]);
        }
        for stage in STAGES {
            self.checkpoints.stage_duration_seconds.with_label_values(&[stage]);
        }
        for reason in RESTART_REASONS {
            self.restarts.with_label_values(&[reason]);
        }
        for source in &names.sources {
            self.source(source);
        }
        for operator in &names.operators {
            self.operator(operator);
        }
        for (stage, parallelism) in &names.stages {
            (0..*parallelism).for_each(|subtask| drop(self.task(stage, subtask)));
        }
        for sink in &names.sinks {
            self.sink(sink);
            for result in ["committed", "already_committed", "lost", "aborted"] {
                self.commits.total.with_label_values(&[sink.as_str(), result]);
            }
            self.commits.retries.with_label_values(&[sink]);
            self.commits.duration_seconds.with_label_values(&[sink]);
            self.commits.pending.with_label_values(&[sink]);
            self.commits.oldest_pending_timestamp_seconds.with_label_values(&[sink]);
        }
    }

    pub fn source(&self, name: &str) -> SourceMetrics {
        SourceMetrics {
            records: self.sources.records.with_label_values(&[name]),
            bytes: self.sources.bytes.with_label_values(&[name]),
            decode_errors: self.sources.decode_errors.with_label_values(&[name]),
            watermark_timestamp_seconds: self.sources.watermark.with_label_values(&[name]),
        }
    }

    /// A gauge of one partition.
    pub fn lag(&self, source: &str, topic: &str, partition: u32) -> IntGauge {
        self.sources.lag.with_label_values(&[source, topic, &partition.to_string()])
    }

    pub fn operator(&self, id: &str) -> OperatorMetrics {
        OperatorMetrics {
            records_in: self.operators.records_in.with_label_values(&[id]),
            records_out: self.operators.records_out.with_label_values(&[id]),
            late_records_dropped: self.operators.late_dropped.with_label_values(&[id]),
            windows_fired: self.operators.windows_fired.with_label_values(&[id]),
            state_size_bytes: self.operators.state_bytes.with_label_values(&[id]),
            state_keys: self.operators.state_keys.with_label_values(&[id]),
        }
    }

    pub fn task(&self, stage: &str, subtask: u32) -> TaskMetrics {
        let subtask = subtask.to_string();
        let labels = [stage, subtask.as_str()];
        TaskMetrics {
            busy_seconds: self.tasks.busy.with_label_values(&labels),
            backpressured_seconds: self.tasks.backpressured.with_label_values(&labels),
            idle_seconds: self.tasks.idle.with_label_values(&labels),
            watermark_timestamp_seconds: self.tasks.watermark.with_label_values(&labels),
        }
    }

    pub fn sink(&self, name: &str) -> SinkMetrics {
        SinkMetrics {
            records: self.sinks.records.with_label_values(&[name]),
            bytes: self.sinks.bytes.with_label_values(&[name]),
            errors: self.sinks.errors.with_label_values(&[name]),
            visible_latency: self.sinks.visible_latency.with_label_values(&[name]),
            transaction_oldest_open_timestamp_seconds: self.sinks.oldest_open.with_label_values(&[name]),
            transaction_timeout_seconds: self.sinks.timeout.with_label_values(&[name]),
            transactions_expired: self.sinks.expired.with_label_values(&[name]),
        }
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A family without a series: a mistake in this module.
    pub fn text(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}
