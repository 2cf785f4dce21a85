//! Transactional ids. The attempt is part of each: a zombie that initialised a shared one would abort a decided
//! transaction of its successor.

use checkpoint::ids::{Attempt, PipelineId};

use crate::connectors::WriterIdentity;

/// `<prefix>/<pipeline>/<attempt>/<sink>/<writer>/<slot>`
pub(super) fn transactional_id(prefix: &str, writer: &WriterIdentity, slot: u32) -> String {
    let WriterIdentity { pipeline, attempt, sink, subtask } = writer;
    format!("{}{attempt}/{sink}/{subtask}/{slot}", of_pipeline(prefix, *pipeline))
}

/// What every id of a pipeline begins with.
pub(super) fn of_pipeline(prefix: &str, pipeline: PipelineId) -> String {
    format!("{prefix}/{pipeline}/")
}

/// Attempt and sink of an id of this pipeline; `None` for what is none.
pub(super) fn parse<'a>(prefix: &str, pipeline: PipelineId, id: &'a str) -> Option<(Attempt, &'a str)> {
    let rest = id.strip_prefix(&of_pipeline(prefix, pipeline))?;
    let mut parts = rest.split('/');
    let (attempt, sink) = (parts.next()?.parse().ok()?, parts.next()?);
    let (_writer, _slot): (u32, u32) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((Attempt(attempt), sink))
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::Subtask;

    use super::*;

    const PIPELINE: PipelineId = PipelineId(0xabc);

    #[test]
    fn an_id_carries_everything_that_its_owner_is_known_by() {
        let writer =
            WriterIdentity { pipeline: PIPELINE, attempt: Attempt(7), sink: "out".into(), subtask: Subtask(2) };
        let id = transactional_id("onceward", &writer, 3);
        assert_eq!(id, "onceward/00000000000000000000000000000abc/7/out/2/3");
        assert_eq!(parse("onceward", PIPELINE, &id), Some((Attempt(7), "out")));
    }

    #[test]
    fn ids_of_others_are_nobodys_leftovers() {
        let pipeline = "onceward/00000000000000000000000000000abc";
        for id in ["", "other/x", pipeline, &format!("{pipeline}/x/out/2/3"), &format!("{pipeline}/7/out/2")] {
            assert_eq!(parse("onceward", PIPELINE, id), None, "{id}");
        }
        for id in
            [format!("{pipeline}/7/out/2/3/4"), format!("{pipeline}/7/out/two/3"), format!("on/{pipeline}/7/out/2/3")]
        {
            assert_eq!(parse("onceward", PIPELINE, &id), None, "{id}");
        }
        assert_eq!(parse("onceward", PipelineId(1), &format!("{pipeline}/7/out/2/3")), None);
    }
}
