//! How long watches wait before they try again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

const FIRST: Duration = Duration::from_millis(500);
/// Of one connection for each kind of object, so that an API server that comes back is heard within seconds. kube's own
/// default goes up to 30 s, and one that failed holds up the others.
const LONGEST: Duration = Duration::from_secs(4);

/// Doubles from one failure to the next.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    next: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let doubled = self.next.saturating_mul(2).min(LONGEST);
        Some(std::mem::replace(&mut self.next, doubled))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        *self = Self::default();
    }
}
