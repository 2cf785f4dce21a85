//! How long watches wait before they try again.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
/// Of one connection for each kind of object, so that an API server that comes back is heard within seconds: kube's own
/// default goes up to half a minute.
const LONGEST: Duration = Duration::from_secs(4);
/// Without a failure for so long, the next one is a first one.
const CALM: Duration = Duration::from_secs(10);

/// Of one watch: doubles from one failure to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    last: Option<(Instant, Duration)>,
}

impl Iterator for Patience {
    type Item = Duration;

    #[expect(clippy::disallowed_methods, reason = "it waits by the runtime's time, as whoever sleeps so long does")]
    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.last.filter(|(at, _)| now.duration_since(*at) < CALM);
        let pause = before.map_or(FIRST, |(_, pause)| pause.saturating_mul(2).min(LONGEST));
        self.last = Some((now, pause));
        Some(pause)
    }
}

impl Backoff for Patience {
    /// A watch says that all is well before it lists, also when that fails then: only time tells.
    fn reset(&mut self) {}
}

/// Of all watches together: each has patience of its own, and none waits for another.
#[derive(Clone, Debug)]
pub(super) struct Apart;

impl Iterator for Apart {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for Apart {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_few_seconds_until_there_is_calm() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut patience = Patience::default();
            let mut pauses = |count| (0..count).map(|_| patience.next().unwrap().as_millis()).collect::<Vec<_>>();
            assert_eq!(pauses(5), [500, 1_000, 2_000, 4_000, 4_000]);
            tokio::time::sleep(CALM / 2).await;
            assert_eq!(pauses(1), [4_000]);
            tokio::time::sleep(CALM).await;
            assert_eq!(pauses(2), [500, 1_000]);
            patience.reset();
            assert_eq!(patience.next(), Some(2 * FIRST * 2), "a list that is about to begin has not succeeded");
        });
    }
}
