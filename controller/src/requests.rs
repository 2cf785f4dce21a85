//! What people ask for by annotation: a time names the request, and a newer one is a new request. What was obeyed stands in
//! the status, so that each is obeyed once, whatever becomes of the annotation.

use api::pipeline::{ActionStatus, Pipeline};
use k8s_openapi::jiff::Timestamp;

use crate::names;

/// Said once to each request that cannot be passed on.
pub const NO_KEY: &str = "the controller has no signing key, and workers take requests with its signature only: set signingKey.* in the chart, then ask again";

/// What may be asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Checkpoint,
    /// A checkpoint that is kept for ever.
    Savepoint,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Checkpoint, Self::Savepoint];

    /// Its annotation.
    pub fn annotation(self) -> &'static str {
        match self {
            Self::Checkpoint => names::CHECKPOINT_REQUESTED_AT,
            Self::Savepoint => names::SAVEPOINT_REQUESTED_AT,
        }
    }

    /// What came of the newest one that was obeyed.
    pub fn answer(self, pipeline: &Pipeline) -> Option<&ActionStatus> {
        let actions = &pipeline.status.as_ref()?.actions;
        match self {
            Self::Checkpoint => actions.checkpoint.as_ref(),
            Self::Savepoint => actions.savepoint.as_ref(),
        }
    }

    /// The request that was not obeyed yet.
    pub fn open(self, pipeline: &Pipeline) -> Option<&str> {
        let obeyed = self.answer(pipeline).map(|answer| answer.requested_at.as_str());
        newer(annotation(pipeline, self.annotation()), obeyed)
    }
}

/// The newest restart that was ever asked for: a worker that was made for an older one is replaced.
pub fn restart(pipeline: &Pipeline) -> Option<&str> {
    let obeyed = pipeline.status.as_ref().and_then(|status| status.actions.restart_requested_at.as_deref());
    newer(annotation(pipeline, names::RESTART_REQUESTED_AT), obeyed).or(obeyed)
}

fn annotation<'a>(pipeline: &'a Pipeline, name: &str) -> Option<&'a str> {
    pipeline.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// What is no time asks for nothing.
fn newer<'a>(asked: Option<&'a str>, obeyed: Option<&str>) -> Option<&'a str> {
    const MOST_BYTES: usize = 64;
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let asked = asked.filter(|text| text.len() <= MOST_BYTES)?;
    let is_newer = time(asked)? > obeyed.and_then(time).unwrap_or(Timestamp::MIN);
    is_newer.then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_time_asks_for_something() {
        let (old, new) = ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00.001Z");
        assert_eq!(newer(Some(new), Some(old)), Some(new));
        assert_eq!(newer(Some(new), None), Some(new));
        assert_eq!(newer(Some(old), Some(new)), None);
        assert_eq!(newer(Some(new), Some(new)), None);
        assert_eq!(newer(Some("2026-01-01T12:00:00+02:00"), Some(old)), None, "the same moment");
        assert_eq!(newer(Some("now"), None), None);
        assert_eq!(newer(None, Some(old)), None);
    }
}
