//! How long to wait after a failure, and when to give up. Pure: time and randomness are values.

use std::collections::VecDeque;
use std::time::Duration;

use api::pipeline::{ExponentialDelay, RestartStrategy};
use checkpoint::ids::Epoch;

/// What the restart policy says to a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Restart { after: Duration },
    GiveUp { reason: String },
}

/// Failures of one process start, held against the restart policy.
#[derive(Clone, Debug)]
pub struct RestartBudget {
    strategy: RestartStrategy,
    /// Restarts since the last reset.
    restarts: u32,
    /// When the latest failures happened; never more than the policy looks at.
    recent: VecDeque<Duration>,
}

impl RestartBudget {
    pub fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, restarts: 0, recent: VecDeque::new() }
    }

    /// An attempt failed at `now` after running for `ran`; `random` spreads the pauses of many pipelines.
    pub fn failed(&mut self, now: Duration, ran: Duration, random: u64) -> Verdict {
        match self.strategy {
            RestartStrategy::ExponentialDelay(policy) => {
                if ran >= policy.reset_after.as_std() {
                    self.restarts = 0;
                }
                if let Some(max) = policy.max_restarts.filter(|max| self.restarts >= *max) {
                    return give_up(format!("maxRestarts: {max} reached"));
                }
                self.restarts = self.restarts.saturating_add(1);
                Verdict::Restart { after: exponential(&policy, self.restarts, random) }
            }
            RestartStrategy::FixedDelay(policy) => {
                if self.restarts >= policy.attempts {
                    return give_up(format!("fixedDelay.attempts: {} reached", policy.attempts));
                }
                self.restarts = self.restarts.saturating_add(1);
                Verdict::Restart { after: policy.delay.as_std() }
            }
            RestartStrategy::FailureRate(policy) => {
                self.recent.push_back(now);
                let per = policy.per.as_std();
                while self.recent.front().is_some_and(|at| now.saturating_sub(*at) > per) {
                    self.recent.pop_front();
                }
                if self.recent.len() > policy.failures as usize {
                    return give_up(format!("more than {} failures within {}", policy.failures, policy.per));
                }
                Verdict::Restart { after: policy.delay.as_std() }
            }
            RestartStrategy::Never => give_up("restartPolicy is never".to_owned()),
        }
    }
}

/// So often the same panic may end attempts that go on from the same checkpoint; then it is given up, whatever the
/// restart policy allows: the same rows would meet the same bug.
pub(super) const MAX_PANICS: u32 = 5;

/// Panics in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Panics {
    /// Its message and the epoch that was decided by then.
    last: Option<(String, Option<Epoch>)>,
    count: u32,
}

impl Panics {
    /// An attempt has failed, with this panic or otherwise; `true`: one time too many.
    pub(super) fn failed(&mut self, panic: Option<&str>, decided: Option<Epoch>) -> bool {
        let now = panic.map(|message| (message.to_owned(), decided));
        self.count = match &now {
            None => 0,
            Some(_) if now == self.last => self.count.saturating_add(1),
            Some(_) => 1,
        };
        self.last = now;
        self.count >= MAX_PANICS
    }
}

fn give_up(reason: String) -> Verdict {
    Verdict::GiveUp { reason }
}

/// The pause before try `n` (from 1) of something that is retried for ever, a commit or an append: the restart policy's
/// delays, without its limits (a decided commit is owed whatever the policy says).
pub fn retry_delay(strategy: RestartStrategy, n: u32, random: u64) -> Duration {
    match strategy {
        RestartStrategy::ExponentialDelay(policy) => exponential(&policy, n, random),
        RestartStrategy::FixedDelay(policy) => policy.delay.as_std(),
        RestartStrategy::FailureRate(policy) => policy.delay.as_std(),
        RestartStrategy::Never => exponential(&ExponentialDelay::default(), n, random),
    }
}

/// `initial * multiplier^(n-1)`, at most `max`, lengthened or shortened by up to `jitter`.
fn exponential(policy: &ExponentialDelay, n: u32, random: u64) -> Duration {
    let max = policy.max.as_std().as_secs_f64();
    // The exponent is bounded: whatever the factor, the pause has met its maximum or never will.
    let grown = policy.initial.as_std().as_secs_f64()
        * policy.multiplier.as_f64().max(1.0).powi(n.saturating_sub(1).min(1_000) as i32);
    let pause = if grown.is_finite() { grown.min(max) } else { max };
    let spread = (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
    Duration::from_secs_f64((pause * (1.0 + policy.jitter.as_f64().min(1.0) * spread)).max(0.0))
}

#[cfg(test)]
mod tests {
    use api::pipeline::{Duration as Span, FailureRate, FixedDelay};

    use super::*;

    const NO_SPREAD: u64 = 1 << 63;

    fn pauses(budget: &mut RestartBudget, count: usize) -> Vec<u64> {
        let ran = Duration::from_secs(1);
        (0..count)
            .map(|i| match budget.failed(Duration::from_secs(i as u64), ran, NO_SPREAD) {
                Verdict::Restart { after } => after.as_millis() as u64,
                Verdict::GiveUp { .. } => u64::MAX,
            })
            .collect()
    }

    #[test]
    fn exponential_pauses_grow_to_their_maximum() {
        let mut budget = RestartBudget::new(RestartStrategy::ExponentialDelay(ExponentialDelay::default()));
        let grown = pauses(&mut budget, 30);
        assert_eq!(&grown[..4], [1_000, 1_500, 2_250, 3_375]);
        assert_eq!(grown[29], 60_000);
    }

    #[test]
    fn a_long_run_starts_the_count_anew() {
        let policy = ExponentialDelay { max_restarts: Some(2), ..ExponentialDelay::default() };
        let mut budget = RestartBudget::new(RestartStrategy::ExponentialDelay(policy));
        assert_eq!(pauses(&mut budget, 3), [1_000, 1_500, u64::MAX]);
        let long = budget.failed(Duration::ZERO, Duration::from_hours(1), NO_SPREAD);
        assert_eq!(long, Verdict::Restart { after: Duration::from_secs(1) });
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let policy = ExponentialDelay::default();
        for random in [0, 1, NO_SPREAD, u64::MAX, 0x0123_4567_89ab_cdef] {
            let pause = exponential(&policy, 1, random).as_secs_f64();
            assert!((0.9..=1.1).contains(&pause), "{pause}");
        }
        assert!(exponential(&policy, u32::MAX, u64::MAX) <= Duration::from_secs(66));
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let policy = FixedDelay { attempts: 2, delay: Span::from_millis(250) };
        let mut budget = RestartBudget::new(RestartStrategy::FixedDelay(policy));
        assert_eq!(pauses(&mut budget, 3), [250, 250, u64::MAX]);
    }

    #[test]
    fn failure_rate_looks_only_at_its_own_span() {
        let policy = FailureRate { failures: 2, per: Span::from_secs(10), delay: Span::from_millis(5) };
        let mut budget = RestartBudget::new(RestartStrategy::FailureRate(policy));
        let mut at = |second| budget.failed(Duration::from_secs(second), Duration::ZERO, 0);
        let again = Verdict::Restart { after: Duration::from_millis(5) };
        assert_eq!(at(0), again);
        assert_eq!(at(1), again);
        assert_eq!(at(12), again);
        assert_eq!(at(13), again);
        assert!(matches!(at(14), Verdict::GiveUp { .. }));
    }

    #[test]
    fn the_same_panic_at_the_same_checkpoint_is_given_up() {
        let mut panics = Panics::default();
        let at = |epoch| Some(Epoch(epoch));
        for _ in 1..MAX_PANICS {
            assert!(!panics.failed(Some("row 7"), at(3)));
        }
        assert!(!panics.failed(Some("row 7"), at(4)), "something was decided in between");
        assert!(!panics.failed(Some("row 8"), at(4)), "another one");
        assert!(!panics.failed(None, at(4)), "no panic");
        for _ in 1..MAX_PANICS {
            assert!(!panics.failed(Some("row 8"), at(4)));
        }
        assert!(panics.failed(Some("row 8"), at(4)));
    }

    #[test]
    fn never_gives_up_at_once_and_still_retries_commits() {
        let mut budget = RestartBudget::new(RestartStrategy::Never);
        assert_eq!(pauses(&mut budget, 1), [u64::MAX]);
        assert!(retry_delay(RestartStrategy::Never, 3, NO_SPREAD) > Duration::ZERO);
    }
}
