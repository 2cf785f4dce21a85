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

/// At least so long is waited before commits are tried by another pod; doubled with each further one, up to so long.
const SETTLING_FIRST_MS: u64 = 1_000;
const SETTLING_MOST_MS: u64 = 300_000;

/// How long the next commit-only pod waits after one that did not finish. There is no last one, whatever the policy says of
/// runs. `before`: those that did not finish before that one.
pub(super) fn settling_delay_ms(policy: &RestartPolicy, before: u64) -> u64 {
    let first = match policy.strategy() {
        RestartStrategy::ExponentialDelay(policy) => policy.initial.as_millis(),
        RestartStrategy::FixedDelay(policy) => policy.delay.as_millis(),
        RestartStrategy::FailureRate(policy) => policy.delay.as_millis(),
        RestartStrategy::Never => 0,
    };
    let first = first.max(SETTLING_FIRST_MS);
    first.saturating_mul(1 << before.min(30)).min(first.max(SETTLING_MOST_MS))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_of_commits_come_less_and_less_often_and_never_end() {
        let policy: RestartPolicy = serde_json::from_str(r#"{"fixedDelay": {"attempts": 1, "delay": "7s"}}"#).unwrap();
        let delays: Vec<u64> = [0, 1, 2, 5, 6, u64::MAX].map(|before| settling_delay_ms(&policy, before)).into();
        assert_eq!(delays, [7_000, 14_000, 28_000, 224_000, 300_000, 300_000]);
        let patient: RestartPolicy =
            serde_json::from_str(r#"{"fixedDelay": {"attempts": 1, "delay": "10m"}}"#).unwrap();
        assert_eq!([0, 9].map(|before| settling_delay_ms(&patient, before)), [600_000; 2]);
        let never: RestartPolicy = serde_json::from_str(r#"{"never": {}}"#).unwrap();
        assert_eq!([0, 1, 60].map(|before| settling_delay_ms(&never, before)), [1_000, 2_000, 300_000]);
    }
}
