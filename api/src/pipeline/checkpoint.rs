//! How progress is made durable, and what happens after a failure.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::factor::Factor;
use super::storage::Storage;

/// How often, how long, how many, and where.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("duration(self.interval) >= duration('10ms')")
        .message("interval must be at least 10ms")
        .field_path(".interval"),
    validation = Rule::new("duration(self.timeout) >= duration('100ms')")
        .message("timeout must be at least 100ms")
        .field_path(".timeout")
)]
pub struct CheckpointSpec {
    /// From the start of one checkpoint to the start of the next.
    #[serde(default = "default_interval")]
    pub interval: Duration,
    /// A checkpoint that is not acknowledged by then has failed.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// How many completed checkpoints are kept.
    #[serde(default = "default_retain")]
    #[schemars(range(min = 2, max = 1000))]
    pub retain: u32,
    /// How many may fail in a row before the attempt ends and the next one rewinds.
    #[serde(default = "default_tolerable")]
    #[schemars(range(min = 0, max = 1000))]
    pub tolerable_failed_checkpoints: u32,
    /// On a cluster: what becomes of checkpoints when the Pipeline is deleted. `Retain` (absent: this) keeps them; `Delete` deletes
    /// their state, but for savepoints, once everything that was decided is visible.
    #[serde(default, skip_serializing_if = "OnDelete::is_retain")]
    pub on_delete: OnDelete,
    /// Where the checkpoint log lives.
    pub storage: Storage,
}

/// What becomes of checkpoints when a Pipeline is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDelete {
    /// They are kept: a Pipeline with `restoreFrom` can go on with them.
    #[default]
    Retain,
    /// Their state is deleted once everything that was decided is visible. Savepoints and the log, some kilobytes, stay.
    Delete,
}

impl OnDelete {
    // The form that serde asks for.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
    fn is_retain(&self) -> bool {
        *self == Self::Retain
    }
}

impl CheckpointSpec {
    /// How long what was written may stay undecided before the attempt ends: every tolerated failure, then one that succeeds.
    pub fn longest_undecided(&self) -> Duration {
        let one = self.interval.as_millis().saturating_add(self.timeout.as_millis());
        Duration::from_millis(one.saturating_mul(u64::from(self.tolerable_failed_checkpoints) + 1))
    }
}

/// What happens after a failure that can heal. Exactly one field is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = (
    "[has(self.exponentialDelay), has(self.fixedDelay), has(self.failureRate), has(self.never)].filter(x, x).size() == 1",
    "set exactly one of exponentialDelay, fixedDelay, failureRate, never"
))]
pub struct RestartPolicy {
    /// Longer and longer pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_delay: Option<ExponentialDelay>,
    /// The same pause, a number of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_delay: Option<FixedDelay>,
    /// The same pause, until failures come too often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<FailureRate>,
    /// The first failure ends the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<Never>,
}

/// The one strategy that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartStrategy {
    ExponentialDelay(ExponentialDelay),
    FixedDelay(FixedDelay),
    FailureRate(FailureRate),
    Never,
}

impl RestartPolicy {
    /// The strategy that is set (`exponentialDelay` for a spec that was not validated and sets none).
    pub fn strategy(&self) -> RestartStrategy {
        if let Some(fixed) = self.fixed_delay {
            RestartStrategy::FixedDelay(fixed)
        } else if let Some(rate) = self.failure_rate {
            RestartStrategy::FailureRate(rate)
        } else if self.never.is_some() {
            RestartStrategy::Never
        } else {
            RestartStrategy::ExponentialDelay(self.exponential_delay.unwrap_or_default())
        }
    }
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            exponential_delay: Some(ExponentialDelay::default()),
            fixed_delay: None,
            failure_rate: None,
            never: None,
        }
    }
}

/// Pause n is initial * multiplier^(n-1), at most max, spread by jitter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("duration(self.initial) > duration('0s')")
        .message("initial must be longer than 0s")
        .field_path(".initial"),
    validation = Rule::new("duration(self.initial) <= duration(self.max)")
        .message("max must not be shorter than initial")
        .field_path(".max"),
    validation = Rule::new("double(self.multiplier) >= 1.0")
        .message("multiplier must be at least \"1\", or pauses would shrink")
        .field_path(".multiplier"),
    validation = Rule::new("double(self.jitter) <= 1.0")
        .message("jitter is a share of the pause; set it from \"0\" to \"1\"")
        .field_path(".jitter")
)]
pub struct ExponentialDelay {
    /// The first pause.
    #[serde(default = "default_initial")]
    pub initial: Duration,
    /// The longest pause.
    #[serde(default = "default_max")]
    pub max: Duration,
    /// At least "1".
    #[serde(default = "default_multiplier")]
    pub multiplier: Factor,
    /// Share of a pause by which it is lengthened or shortened at random; at most "1".
    #[serde(default = "default_jitter")]
    pub jitter: Factor,
    /// An attempt that ran this long starts the count anew.
    #[serde(default = "default_reset_after")]
    pub reset_after: Duration,
    /// Restarts since the last reset; absent: no limit, but a panic that comes five times at the same checkpoint is given
    /// up under any policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_restarts: Option<u32>,
}

impl Default for ExponentialDelay {
    fn default() -> Self {
        Self {
            initial: default_initial(),
            max: default_max(),
            multiplier: default_multiplier(),
            jitter: default_jitter(),
            reset_after: default_reset_after(),
            max_restarts: None,
        }
    }
}

/// The same pause, a number of times.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FixedDelay {
    /// Restarts in all.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub attempts: u32,
    /// The pause before each restart.
    #[serde(default = "default_initial")]
    pub delay: Duration,
}

/// Restarts until more than `failures` happen within `per`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("duration(self.per) > duration('0s')").message("per must be longer than 0s").field_path(".per"))]
pub struct FailureRate {
    /// How many failures within `per` are borne.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// The span that failures are counted over.
    pub per: Duration,
    /// The pause before each restart.
    #[serde(default = "default_initial")]
    pub delay: Duration,
}

/// The first failure ends the run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Never {}

const fn default_interval() -> Duration {
    Duration::from_secs(10)
}

const fn default_timeout() -> Duration {
    Duration::from_secs(120)
}

const fn default_retain() -> u32 {
    5
}

const fn default_tolerable() -> u32 {
    3
}

const fn default_initial() -> Duration {
    Duration::from_secs(1)
}

const fn default_max() -> Duration {
    Duration::from_secs(60)
}

const fn default_multiplier() -> Factor {
    Factor::from_thousandths(1500)
}

const fn default_jitter() -> Factor {
    Factor::from_thousandths(100)
}

const fn default_reset_after() -> Duration {
    Duration::from_secs(3600)
}
