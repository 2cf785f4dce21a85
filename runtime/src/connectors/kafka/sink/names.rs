//! Transactional ids. The attempt is part of each: a zombie that initialised a shared one would abort a decided
//! transaction of its successor.

use checkpoint::ids::{Attempt, PipelineId, Subtask};

use crate::connectors::{Earlier, IdRange, Owner, WriterIdentity};

/// Ids that are made up from the claims for one question, newest attempts first; one more costs a coordinator a look.
const MOST_IDS: usize = 10_000;

/// `<prefix>/<pipeline>/<attempt>/<sink>/<writer>/<slot>`
pub(super) fn transactional_id(prefix: &str, writer: &WriterIdentity, slot: u32) -> String {
    let WriterIdentity { pipeline, attempt, sink, subtask } = writer;
    format!("{}{attempt}/{sink}/{subtask}/{slot}", of_pipeline(prefix, *pipeline))
}

/// What every id of a pipeline begins with.
pub(super) fn of_pipeline(prefix: &str, pipeline: PipelineId) -> String {
    format!("{prefix}/{pipeline}/")
}

/// Whose an id is; `None` for what is nobody's.
pub(super) fn parse(id: &str) -> Option<Owner> {
    let mut parts = id.rsplitn(6, '/');
    let (slot, writer) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (sink, attempt) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let (pipeline, prefix) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
    Some(Owner { prefix, pipeline, attempt: Attempt(attempt), sink, writer: Subtask(writer), slot })
}

/// Every id that attempts below `earlier.before` may have used for `sink`, and whether that was all of them.
pub(super) fn enumerate(earlier: &Earlier, sink: &str) -> (Vec<String>, bool) {
    let of = |range: &IdRange| {
        let IdRange { attempt, prefix, writers, slots, .. } = range.clone();
        let identity =
            WriterIdentity { pipeline: earlier.pipeline, attempt, sink: sink.to_owned(), subtask: Subtask(0) };
        (0..writers).flat_map(move |writer| {
            let identity = WriterIdentity { subtask: Subtask(writer), ..identity.clone() };
            let prefix = prefix.clone();
            (0..slots).map(move |slot| transactional_id(&prefix, &identity, slot))
        })
    };
    let ranges = earlier.ids.iter().filter(|range| range.sink == sink && range.attempt < earlier.before);
    let mut ids: Vec<String> = ranges.flat_map(of).take(MOST_IDS + 1).collect();
    let is_all = ids.len() <= MOST_IDS;
    ids.truncate(MOST_IDS);
    (ids, is_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINE: PipelineId = PipelineId(0xabc);

    #[test]
    fn an_id_carries_everything_that_its_owner_is_known_by() {
        let writer =
            WriterIdentity { pipeline: PIPELINE, attempt: Attempt(7), sink: "out".into(), subtask: Subtask(2) };
        for prefix in ["onceward", "team/onceward"] {
            let id = transactional_id(prefix, &writer, 3);
            assert_eq!(id, format!("{prefix}/00000000000000000000000000000abc/7/out/2/3"));
            let owner = Owner {
                prefix: prefix.to_owned(),
                pipeline: PIPELINE,
                attempt: Attempt(7),
                sink: "out".to_owned(),
                writer: Subtask(2),
                slot: 3,
            };
            assert_eq!(parse(&id), Some(owner));
        }
    }

    #[test]
    fn ids_of_others_are_nobodys_leftovers() {
        let pipeline = "onceward/00000000000000000000000000000abc";
        for id in ["", "other/x", pipeline, &format!("{pipeline}/x/out/2/3"), &format!("{pipeline}/7/out/2")] {
            assert_eq!(parse(id), None, "{id}");
        }
        for id in [format!("{pipeline}/7/out/2/3/4"), format!("{pipeline}/7/out/two/3")] {
            assert_eq!(parse(&id), None, "{id}");
        }
        assert_eq!(parse(&format!("on/{pipeline}/7/out/2/3")).unwrap().prefix, "on/onceward");
    }

    fn range(attempt: u64, sink: &str, writers: u32, slots: u32) -> IdRange {
        IdRange { attempt: Attempt(attempt), sink: sink.into(), prefix: "onceward".into(), writers, slots }
    }

    #[test]
    fn the_claims_name_every_id_that_an_earlier_attempt_may_have_used() {
        let ids = [range(5, "out", 1, 1), range(4, "out", 2, 3), range(4, "other", 1, 1), range(3, "out", 1, 1)].into();
        let earlier = Earlier { pipeline: PIPELINE, before: Attempt(5), ids };
        let (ids, is_all) = enumerate(&earlier, "out");
        assert!(is_all && ids.len() == 7, "{ids:?}");
        assert_eq!(ids[0], format!("onceward/{PIPELINE}/4/out/0/0"));
        assert_eq!(ids[5], format!("onceward/{PIPELINE}/4/out/1/2"));
        assert_eq!(ids[6], format!("onceward/{PIPELINE}/3/out/0/0"));
        assert!(ids.iter().all(|id| parse(id).is_some_and(|owner| owner.attempt < Attempt(5) && owner.sink == "out")));
    }

    #[test]
    fn more_ids_than_can_be_asked_for_are_cut_and_said_to_be() {
        let ids = [range(2, "out", u32::MAX, u32::MAX), range(1, "out", 1, 1)].into();
        let (ids, is_all) = enumerate(&Earlier { pipeline: PIPELINE, before: Attempt(3), ids }, "out");
        assert!(!is_all && ids.len() == MOST_IDS);
    }
}
