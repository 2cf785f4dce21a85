//! What each series is called and tells. docs/metrics.md is made from this.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::{
    CheckpointMetrics, CommitMetrics, MetricsError, OperatorFamilies, SinkFamilies, SourceFamilies, TaskFamilies,
};

/// Makes and registers families with the pipeline's own label.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) pipeline: String,
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

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
        self.add(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, MetricsError> {
        self.add(GaugeVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricsError> {
        self.add(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricsError> {
        self.add(Gauge::with_opts(self.opts(name, help))?)
    }

    pub(super) fn int_gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.add(IntGauge::with_opts(self.opts(name, help))?)
    }

    pub(super) fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, MetricsError> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(SECONDS.to_vec());
        self.add(HistogramVec::new(opts, labels)?)
    }

    pub(super) fn checkpoints(&self) -> Result<CheckpointMetrics, MetricsError> {
        let duration = HistogramOpts::from(
            self.opts("onceward_checkpoint_duration_seconds", "from the barrier to the decision, decided ones"),
        );
        Ok(CheckpointMetrics {
            total: self.counters("onceward_checkpoints_total", "checkpoints that ended: `completed`, `failed`, `timed_out`, `aborted`", &["result"])?,
            consecutive_failures: self.int_gauge(
                "onceward_checkpoint_consecutive_failures",
                "checkpoints that failed since the last decided one",
            )?,
            in_progress: self.int_gauge("onceward_checkpoints_in_progress", "checkpoints begun and not ended")?,
            duration_seconds: self.add(Histogram::with_opts(duration.buckets(SECONDS.to_vec()))?)?,
            stage_duration_seconds: self.histograms(
                "onceward_checkpoint_stage_duration_seconds",
                "the slowest subtask's time in a stage: `align`, `snapshot`, `upload`, `pre_commit`, `decide`, `commit`",
                &["stage"],
            )?,
            last_completed_timestamp_seconds: self.gauge(
                "onceward_checkpoint_last_completed_timestamp_seconds",
                "when the newest checkpoint was decided; the start of the process until then",
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
                "attempts that restored a checkpoint: `completed`, `failed`",
                &["result"],
            )?,
        })
    }

    pub(super) fn commits(&self) -> Result<CommitMetrics, MetricsError> {
        let oldest = "onceward_commit_oldest_pending_timestamp_seconds";
        Ok(CommitMetrics {
            total: self.counters(
                "onceward_commits_total",
                "ends of commits and aborts: `committed`, `already_committed`, `lost`, `aborted`",
                &["sink", "result"],
            )?,
            retries: self.counters(
                "onceward_commit_retries_total",
                "calls to a target that failed and were repeated",
                &["sink"],
            )?,
            duration_seconds: self.histograms(
                "onceward_commit_duration_seconds",
                "committing one piece of output",
                &["sink"],
            )?,
            pending: self.int_gauges("onceward_commits_pending", "decided and not committed", &["sink"])?,
            oldest_pending_timestamp_seconds: self.gauges(
                oldest,
                "when the oldest of them was decided; 0: none",
                &["sink"],
            )?,
        })
    }

    pub(super) fn sources(&self) -> Result<SourceFamilies, MetricsError> {
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

    pub(super) fn operators(&self) -> Result<OperatorFamilies, MetricsError> {
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

    pub(super) fn tasks(&self) -> Result<TaskFamilies, MetricsError> {
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

    pub(super) fn sinks(&self) -> Result<SinkFamilies, MetricsError> {
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
                "decided, or about to be, and thrown away by the target",
                &["sink"],
            )?,
        })
    }
}
