//! How long a pod that failed by itself waits for its replacement, by the manifest's restart policy.

use api::pipeline::{RestartPolicy, RestartStrategy, Restarts};

/// What the policy says to one more failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    AfterMs(u64),
    /// The policy allows no more.
    Never,
}

/// `before`: pods that failed since one last ran for long, this one not among them.
pub(super) fn delay(policy: &RestartPolicy, before: u32) -> Verdict {
    match policy.strategy() {
        RestartStrategy::ExponentialDelay(policy) if policy.max_restarts.is_none_or(|most| before < most) => {
            let (first, most) = (policy.initial.as_millis(), policy.max.as_millis());
            let factor = policy.multiplier.as_f64().powi(i32::try_from(before.min(10_000)).unwrap_or(i32::MAX));
            let grown = first as f64 * factor;
            Verdict::AfterMs(if grown.is_finite() { (grown as u64).min(most) } else { most })
        }
        RestartStrategy::FixedDelay(policy) if before < policy.attempts => Verdict::AfterMs(policy.delay.as_millis()),
        RestartStrategy::FailureRate(policy) if before < policy.failures => Verdict::AfterMs(policy.delay.as_millis()),
        RestartStrategy::ExponentialDelay(_)
        | RestartStrategy::FixedDelay(_)
        | RestartStrategy::FailureRate(_)
        | RestartStrategy::Never => Verdict::Never,
    }
}

/// After which time of running a failure is the first one again.
pub(super) fn resets_after_ms(policy: &RestartPolicy) -> u64 {
    match policy.strategy() {
        RestartStrategy::ExponentialDelay(policy) => policy.reset_after.as_millis(),
        RestartStrategy::FailureRate(policy) => policy.per.as_millis(),
        RestartStrategy::FixedDelay(_) | RestartStrategy::Never => u64::MAX,
    }
}

/// Failures in a row, once the newest one, which had lasted for `lasted_ms`, is counted.
pub(crate) fn counted(before: &Restarts, lasted_ms: u64, policy: &RestartPolicy) -> u32 {
    if lasted_ms >= resets_after_ms(policy) { 1 } else { before.since_reset.saturating_add(1) }
}
