//! What becomes of requests on their way: whatever a test has in mind, one request at a time.

use futures::future::{self, BoxFuture, FutureExt as _};

use super::request::Request;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    Answered,
    /// Carried out when [`Fates::hold`] is over.
    Late,
    /// Carried out, and answered when [`Fates::hold`] is over.
    AnsweredLate,
    /// Refused with this code, and nothing is done.
    Refused(u16),
    /// Carried out, and answered with this code all the same.
    Denied(u16),
    /// The connection breaks before anybody has read it.
    Unsent,
    /// Carried out; the connection breaks before the answer.
    Unheard,
    /// Whoever asks is dead before it is sent.
    DeadBefore,
    /// Whoever asks is dead before the answer.
    DeadAfter,
}

/// What becomes of one watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchFate {
    /// Every change is seen so much later.
    pub lag_ms: u64,
    /// So many changes are told, and then the connection breaks.
    pub breaks_after: Option<u32>,
    /// Then the connection breaks.
    pub breaks_at_ms: Option<u64>,
    /// So many changes are never told; then the watch is refused as too old, as of a server that has forgotten them.
    pub forgets: u32,
}

impl WatchFate {
    /// Whether one more change is told.
    pub(super) fn tells(&mut self) -> bool {
        match &mut self.breaks_after {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Whether this change is one of those that are not.
    pub(super) fn swallows(&mut self) -> bool {
        let swallows = self.forgets > 0;
        self.forgets = self.forgets.saturating_sub(1);
        swallows
    }

    pub(super) fn is_spent(&self) -> bool {
        self.forgets == 0
    }
}

/// Decides for all requests of one client.
pub trait Fates: Send + Sync + 'static {
    fn of(&self, request: &Request) -> Fate;

    /// What late requests and answers wait for.
    fn hold(&self) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }

    fn of_watch(&self, _request: &Request) -> WatchFate {
        WatchFate::default()
    }

    /// So many revisions back a list looks; None: it is of now.
    fn age_of_list(&self, _request: &Request) -> u64 {
        0
    }
}

/// Nothing happens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fair;

impl Fates for Fair {
    fn of(&self, _request: &Request) -> Fate {
        Fate::Answered
    }
}
