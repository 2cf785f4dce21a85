//! Time of the runtime, as wall time: paused where the runtime's is.

use tokio::time::Instant;

/// 2026-01-01T10:00:00Z.
const BEGINNING_MS: u64 = 1_767_261_600_000;

/// Begins when it is made.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    begun: Instant,
    beginning_ms: u64,
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::at(BEGINNING_MS)
    }
}

impl RuntimeClock {
    /// It is now so late, in milliseconds since 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port: time of the runtime, which a test may have paused"
    )]
    pub fn at(beginning_ms: u64) -> Self {
        Self { begun: Instant::now(), beginning_ms }
    }

    /// Begins now, as the machine has it.
    pub fn of_the_machine() -> Self {
        Self::at(u64::try_from(k8s_openapi::jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.beginning_ms + self.elapsed_ms()
    }

    /// Since it was made.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns then, or at once if that has passed.
    pub async fn until(&self, ms: u64) {
        let after = std::time::Duration::from_millis(ms.saturating_sub(self.beginning_ms));
        tokio::time::sleep_until(self.begun + after).await;
    }
}

/// As Kubernetes writes times: whole seconds.
pub fn rfc3339(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    k8s_openapi::jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}
