//! The wish for a checkpoint now, from whoever may ask to the coordinator. It outlives an attempt that does not answer it.

use std::sync::Arc;

use api::token::Verifier;
use tokio::sync::watch;

use super::{Observer, RunEvent};
use crate::clock::Clock;

/// Who may ask: whoever signs with the controller's key, and for this pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub verifier: Verifier,
    /// `namespace/name`.
    pub pipeline: String,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRequest {
    /// Asking again for the same changes nothing.
    pub id: String,
    /// It is kept for ever.
    pub savepoint: bool,
}

#[derive(Clone, Debug, Default)]
struct State {
    newest: Option<CheckpointRequest>,
    is_answered: bool,
}

/// The newest request: one at a time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    state: watch::Sender<State>,
}

impl Requests {
    /// Whether it is a new one. It takes the place of one that is not answered.
    pub fn ask(&self, request: CheckpointRequest) -> bool {
        self.state.send_if_modified(|state| {
            let is_new = state.newest.as_ref() != Some(&request);
            if is_new {
                *state = State { newest: Some(request), is_answered: false };
            }
            is_new
        })
    }

    pub(crate) fn is_known(&self, request: &CheckpointRequest) -> bool {
        self.state.borrow().newest.as_ref() == Some(request)
    }

    /// An answer to one that another one has taken the place of is none.
    pub(crate) fn answered(&self, request: &CheckpointRequest) {
        self.state.send_if_modified(|state| {
            let is_it = state.newest.as_ref() == Some(request);
            state.is_answered |= is_it;
            is_it
        });
    }

    /// The first request that is not answered, and not the one that is known.
    pub(crate) async fn other_than(&self, known: Option<&CheckpointRequest>) -> CheckpointRequest {
        let mut states = self.state.subscribe();
        let is_other = |state: &State| !state.is_answered && state.newest.is_some() && state.newest.as_ref() != known;
        let found = states.wait_for(is_other).await.ok().and_then(|state| state.newest.clone());
        match found {
            Some(request) => request,
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }
}

/// Where requests come in.
#[derive(Clone)]
pub struct Door {
    pub control: Control,
    pub requests: Requests,
    pub clock: Arc<dyn Clock>,
}

impl Door {
    /// Whether a token lets somebody read the report.
    ///
    /// # Errors
    /// It is not to be trusted.
    pub(crate) fn may_look(&self, token: &str) -> Result<(), api::token::Untrusted> {
        let Control { verifier, pipeline } = &self.control;
        verifier.verify_look(token, pipeline, self.clock.wall_ms())
    }

    /// Takes what a token asks for; told once.
    ///
    /// # Errors
    /// It is not to be trusted.
    pub(crate) fn knock(&self, token: &str, observer: &dyn Observer) -> Result<(), api::token::Untrusted> {
        let Control { verifier, pipeline } = &self.control;
        let asked = verifier.verify(token, pipeline, self.clock.wall_ms())?;
        let request = CheckpointRequest { id: asked.id, savepoint: asked.savepoint };
        if !self.requests.is_known(&request) {
            let (id, savepoint) = (request.id.clone(), request.savepoint);
            observer.event(RunEvent::CheckpointRequested { id, savepoint });
            self.requests.ask(request);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str) -> CheckpointRequest {
        CheckpointRequest { id: id.to_owned(), savepoint: false }
    }

    #[tokio::test]
    async fn a_request_waits_for_its_answer_and_is_taken_once() {
        let requests = Requests::default();
        assert!(requests.ask(request("a")));
        assert!(!requests.ask(request("a")));
        assert_eq!(requests.other_than(None).await, request("a"));
        let open = request("a");
        assert!(futures::poll!(Box::pin(requests.other_than(Some(&open)))).is_pending());
        // Another attempt begins without knowing it.
        assert_eq!(requests.other_than(None).await, request("a"));
        requests.answered(&open);
        assert!(futures::poll!(Box::pin(requests.other_than(None))).is_pending());
        assert!(!requests.ask(request("a")), "it is answered");
        assert!(requests.ask(request("b")));
        requests.answered(&open);
        assert_eq!(requests.other_than(Some(&open)).await, request("b"));
    }
}
