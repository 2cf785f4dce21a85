//! Time of the runtime, as wall time: paused where the runtime's is.

use tokio::time::Instant;

/// 2026-01-01T10:00:00Z.
const BEGINNING_MS: u64 = 1_767_261_600_000;

/// Begins when it is made.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    begun: Instant,
}

impl Default for RuntimeClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port: time of the runtime that a test has paused")]
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl RuntimeClock {
    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        BEGINNING_MS + self.elapsed_ms()
    }

    /// Since it was made.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns then, or at once if that has passed.
    pub async fn until(&self, ms: u64) {
        let after = std::time::Duration::from_millis(ms.saturating_sub(BEGINNING_MS));
        tokio::time::sleep_until(self.begun + after).await;
    }
}

/// As Kubernetes writes times: whole seconds.
pub fn rfc3339(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    k8s_openapi::jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}
