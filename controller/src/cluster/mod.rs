//! The side that touches the world: reads, writes, and the loop around them.

mod apply;
mod leader;
mod obstacles;
mod patience;
mod publish;
mod reconcile;
mod reports;
mod run;
mod station;

pub use self::leader::Lease;
pub use self::reports::{Ask, Reports};
pub use self::run::{Options, run};

use std::net::SocketAddr;
use std::sync::Arc;

/// Wall time, and nothing else: everything that waits waits in the runtime.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(k8s_openapi::jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
    }
}

/// A request that did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Request {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody else has made an object of that name.
    #[error("{what} is there already and not ours: delete it, or rename the Pipeline")]
    Foreign { what: String },
    /// What was read does not hold any more; the next look will tell.
    #[error("{what} has changed meanwhile")]
    Outdated { what: String },
    /// Another controller is the active one by now.
    #[error("the lease is lost")]
    Deposed,
    #[error("a worker does not take a request: {what}")]
    Worker { what: String },
    #[error("cannot serve metrics on {address}: {source}")]
    Serve {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// A mistake in this crate.
    #[error("metrics: {0}")]
    Metrics(#[source] prometheus::Error),
}

impl Error {
    /// One word for the metrics; None: nothing failed.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Request { .. } => Some("api"),
            Self::Outdated { .. } => Some("conflict"),
            Self::Foreign { .. } => Some("foreign"),
            Self::Worker { .. } => Some("worker"),
            Self::Deposed | Self::Serve { .. } | Self::Metrics(_) => None,
        }
    }

    fn request(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        |source| Self::Request { what, source: Box::new(source) }
    }
}

/// Whether the API server answered with this code.
fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Shared by all reconciliations.
type SharedClock = Arc<dyn Clock>;
