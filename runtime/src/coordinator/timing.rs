//! Where the time of the checkpoint in flight goes.

use std::time::Duration;

use api::control::StageTimes;
use checkpoint::ids::Epoch;

use crate::metrics::CheckpointMetrics;
use crate::run::Durations;

/// One checkpoint from its barrier on.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) epoch: Epoch,
    pub(super) begun: Duration,
    /// Of each stage the slowest task.
    slowest: StageTimes,
    all_acknowledged: Option<Duration>,
}

impl Timing {
    pub(super) fn begin(epoch: Epoch, now: Duration) -> Self {
        Self { epoch, begun: now, slowest: StageTimes::default(), all_acknowledged: None }
    }

    pub(super) fn acknowledged(&mut self, times: &StageTimes) {
        self.slowest.align_us = self.slowest.align_us.max(times.align_us);
        self.slowest.snapshot_us = self.slowest.snapshot_us.max(times.snapshot_us);
        self.slowest.upload_us = self.slowest.upload_us.max(times.upload_us);
        self.slowest.pre_commit_us = self.slowest.pre_commit_us.max(times.pre_commit_us);
    }

    pub(super) fn all_acknowledged(&mut self, now: Duration) {
        self.all_acknowledged = Some(now);
    }

    pub(super) fn decided(&self, now: Duration) -> Durations {
        let micros = |since: Duration| now.saturating_sub(since).as_micros() as u64;
        Durations {
            total_us: micros(self.begun),
            align_us: self.slowest.align_us,
            snapshot_us: self.slowest.snapshot_us,
            upload_us: self.slowest.upload_us,
            pre_commit_us: self.slowest.pre_commit_us,
            decide_us: micros(self.all_acknowledged.unwrap_or(now)),
        }
    }
}

/// Tells the metrics of a decided checkpoint.
pub(super) fn observe(metrics: &CheckpointMetrics, durations: &Durations) {
    let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
    metrics.duration_seconds.observe(seconds(durations.total_us));
    let stages = [
        ("align", durations.align_us),
        ("snapshot", durations.snapshot_us),
        ("upload", durations.upload_us),
        ("pre_commit", durations.pre_commit_us),
        ("decide", durations.decide_us),
    ];
    for (stage, us) in stages {
        metrics.stage_duration_seconds.with_label_values(&[stage]).observe(seconds(us));
    }
}
