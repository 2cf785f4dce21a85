//! What a run tells Prometheus: every series exists, at 0, from the start. Names carry base units; timestamps instead
//! of ages; labels never hold keys, handles or epochs.

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use server::{MetricsServer, ServeError};

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
        let build = families.gauges("onceward_build_info", "the version that runs", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let info = families.gauges("onceward_pipeline_info", "what holds after any failure", &["guarantee"])?;
        info.with_label_values(&[&names.guarantee]).set(1.0);
        let metrics = Self {
            checkpoints: families.checkpoints()?,
            commits: families.commits()?,
            restarts: families.counters(
                "onceward_pipeline_restarts_total",
                "attempts that took over from one that ended",
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

/// Makes and registers families with the pipeline's own label.
struct Families {
    registry: Registry,
    pipeline: String,
}

/// Upper bounds in seconds, from a local fsync to a stuck broker.
const SECONDS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

impl Families {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_label("pipeline", self.pipeline.clone())
    }

    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, collector: C) -> Result<C, MetricsError> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, MetricsError> {
        self.add(GaugeVec::new(self.opts(name, help), labels)?)
    }

    fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.add(Gauge::with_opts(self.opts(name, help))?)
    }

    fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.add(IntGauge::with_opts(self.opts(name, help))?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }

    fn checkpoints(&self) -> Result<CheckpointMetrics, MetricsError> {
        let duration = HistogramOpts::from(
            self.opts("onceward_checkpoint_duration_seconds", "from the barrier to the decision, decided ones"),
        );
        Ok(CheckpointMetrics {
            total: self.counters("onceward_checkpoints_total", "checkpoints that ended", &["result"])?,
            consecutive_failures: self.int_gauge(
                "onceward_checkpoint_consecutive_failures",
                "checkpoints that failed since the last decided one",
            )?,
            in_progress: self.int_gauge("onceward_checkpoints_in_progress", "checkpoints begun and not ended")?,
            duration_seconds: self.add(Histogram::with_opts(duration.buckets(SECONDS.to_vec()))?)?,
            stage_duration_seconds: self.histograms(
                "onceward_checkpoint_stage_duration_seconds",
                "the slowest subtask's time in a stage",
                &["stage"],
            )?,
            last_completed_timestamp_seconds: self.gauge(
                "onceward_checkpoint_last_completed_timestamp_seconds",
                "when the newest checkpoint was decided; the start of the run until then",
            )?,
            last_completed_epoch: self
                .int_gauge("onceward_checkpoint_last_completed_epoch", "epoch of the newest checkpoint")?,
            last_size_bytes: self.int_gauge("onceward_checkpoint_last_size_bytes", "state in the newest checkpoint")?,
            interval_seconds: self.gauge("onceward_checkpoint_interval_seconds", "as configured")?,
            timeout_seconds: self.gauge("onceward_checkpoint_timeout_seconds", "as configured")?,
            written_bytes: self.add(IntCounter::with_opts(
                self.opts("onceward_checkpoint_written_bytes_total", "state that was written anew, decided ones"),
            )?)?,
            restores: self.counters(
                "onceward_checkpoint_restores_total",
                "attempts that restored a checkpoint",
                &["result"],
            )?,
        })
    }

    fn commits(&self) -> Result<CommitMetrics, MetricsError> {
        let oldest = "onceward_commit_oldest_pending_timestamp_seconds";
        Ok(CommitMetrics {
            total: self.counters("onceward_commits_total", "ends of commits and aborts", &["sink", "result"])?,
            retries: self.counters(
                "onceward_commit_retries_total",
                "calls to a target that failed and were repeated",
                &["sink"],
            )?,
            duration_seconds: self.histograms("onceward_commit_duration_seconds", "one committable", &["sink"])?,
            pending: self.int_gauges("onceward_commits_pending", "decided and not committed", &["sink"])?,
            oldest_pending_timestamp_seconds: self.gauges(oldest, "when it was decided; 0: none", &["sink"])?,
        })
    }

    fn sources(&self) -> Result<SourceFamilies, MetricsError> {
        let watermark = "onceward_source_watermark_timestamp_seconds";
        Ok(SourceFamilies {
            records: self.counters("onceward_source_records_total", "records read", &["source"])?,
            bytes: self.counters("onceward_source_bytes_total", "bytes read", &["source"])?,
            decode_errors: self.counters(
                "onceward_source_decode_errors_total",
                "rows skipped because they could not be read",
                &["source"],
            )?,
            watermark: self.gauges(watermark, "event time reached; 0: none yet", &["source"])?,
            lag: self.int_gauges(
                "onceward_source_lag_records",
                "records that could be read and were not, where the source can tell",
                &["source", "topic", "partition"],
            )?,
        })
    }

    fn operators(&self) -> Result<OperatorFamilies, MetricsError> {
        let late = "onceward_operator_late_records_dropped_total";
        Ok(OperatorFamilies {
            records_in: self.counters("onceward_operator_records_in_total", "rows taken in", &["operator"])?,
            records_out: self.counters("onceward_operator_records_out_total", "rows given on", &["operator"])?,
            late_dropped: self.counters(late, "rows dropped because their window had ended", &["operator"])?,
            windows_fired: self.counters("onceward_operator_windows_fired_total", "windows emitted", &["operator"])?,
            state_bytes: self.int_gauges("onceward_state_size_bytes", "state held", &["operator"])?,
            state_keys: self.int_gauges("onceward_state_keys", "groups held", &["operator"])?,
        })
    }

    fn tasks(&self) -> Result<TaskFamilies, MetricsError> {
        let labels = &["operator", "subtask"];
        Ok(TaskFamilies {
            busy: self.gauges("onceward_operator_busy_seconds_total", "time spent on records", labels)?,
            backpressured: self.gauges(
                "onceward_operator_backpressured_seconds_total",
                "time spent waiting for those downstream",
                labels,
            )?,
            idle: self.gauges("onceward_operator_idle_seconds_total", "time spent waiting for input", labels)?,
            watermark: self.gauges(
                "onceward_operator_watermark_timestamp_seconds",
                "event time reached; 0: none yet",
                labels,
            )?,
        })
    }

    fn sinks(&self) -> Result<SinkFamilies, MetricsError> {
        Ok(SinkFamilies {
            records: self.counters("onceward_sink_records_total", "records written, committed or not", &["sink"])?,
            bytes: self.counters("onceward_sink_bytes_total", "bytes written, committed or not", &["sink"])?,
            errors: self.counters(
                "onceward_sink_errors_total",
                "calls to the target that failed and were repeated",
                &["sink"],
            )?,
            visible_latency: self.histograms(
                "onceward_record_visible_latency_seconds",
                "from reading to committed: for each checkpoint with output the longest and the shortest wait",
                &["sink"],
            )?,
            oldest_open: self.gauges(
                "onceward_transaction_oldest_open_timestamp_seconds",
                "when the oldest transaction began that has no end yet; 0: none, or a sink without",
                &["sink"],
            )?,
            timeout: self.gauges(
                "onceward_transaction_timeout_seconds",
                "how long the target keeps a transaction that nobody ends; 0: a sink without",
                &["sink"],
            )?,
            expired: self.counters(
                "onceward_transactions_expired_total",
                "transactions that were decided, or about to be, and that the target had thrown away",
                &["sink"],
            )?,
        })
    }
}
