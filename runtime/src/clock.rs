//! The only reader of time and randomness.

use std::time::Duration;

use futures::future::BoxFuture;

/// Time as a port.
pub trait Clock: Send + Sync {
    /// Since an arbitrary origin; never goes back; counts suspend (`CLOCK_BOOTTIME`).
    fn monotonic(&self) -> Duration;
    /// Milliseconds since 1970, for people and metrics only: no decision is taken by it.
    fn wall_ms(&self) -> u64;
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness as a port.
pub trait Random: Send + Sync {
    fn u64(&self) -> u64;
    fn u128(&self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }
}
