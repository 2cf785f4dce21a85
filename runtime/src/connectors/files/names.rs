//! Names of output files: `<sink>-<pipeline id>-<attempt>-<epoch>-<subtask>-<part>.jsonl`, and the same with a leading
//! dot and `.pending` while it is hidden. A name says who wrote it, so that nobody touches another attempt's file by
//! mistake.
//!
//! `part` counts the files of one writer over its whole life, so names never meet. A hidden file is begun before its
//! epoch is known: its name carries the first epoch that it can belong to, the final name the epoch that it does.

use checkpoint::ids::{Attempt, Epoch, PipelineId};
use checkpoint::record::DecisionId;

use crate::connectors::WriterIdentity;

const SUFFIX: &str = ".jsonl";
const HIDDEN_SUFFIX: &str = ".jsonl.pending";

pub(super) fn final_name(writer: &WriterIdentity, epoch: Epoch, part: u64) -> String {
    format!("{}{SUFFIX}", stem(writer, epoch, part))
}

pub(super) fn hidden_name(writer: &WriterIdentity, first_epoch: Epoch, part: u64) -> String {
    format!(".{}{HIDDEN_SUFFIX}", stem(writer, first_epoch, part))
}

fn stem(writer: &WriterIdentity, epoch: Epoch, part: u64) -> String {
    let WriterIdentity { pipeline, attempt, sink, subtask } = writer;
    format!("{sink}-{pipeline}-{attempt}-{epoch}-{subtask}-{part}")
}

/// Whose a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner<'a> {
    pub(super) sink: &'a str,
    pub(super) pipeline: PipelineId,
    pub(super) attempt: Attempt,
}

/// The decision that a published file gives evidence of: its own epoch or a later one of its attempt.
pub(super) fn decision_of(name: &str) -> Option<(Owner<'_>, DecisionId)> {
    let owner = final_owner(name)?;
    let epoch = name.strip_suffix(SUFFIX)?.rsplit('-').nth(2)?.parse().ok().map(Epoch)?;
    let decision = DecisionId { attempt: owner.attempt, epoch };
    Some((owner, decision))
}

/// The owner of a hidden file; `None` for every other name.
pub(super) fn hidden_owner(name: &str) -> Option<Owner<'_>> {
    owner(name.strip_prefix('.')?.strip_suffix(HIDDEN_SUFFIX)?)
}

/// The owner of a published file; `None` for every other name.
pub(super) fn final_owner(name: &str) -> Option<Owner<'_>> {
    let stem = name.strip_suffix(SUFFIX)?;
    if stem.starts_with('.') { None } else { owner(stem) }
}

fn owner(stem: &str) -> Option<Owner<'_>> {
    // From the right: a sink's name may hold dashes.
    let mut fields = stem.rsplitn(6, '-');
    let (part, subtask, epoch) = (fields.next()?, fields.next()?, fields.next()?);
    if !(is_number(part) && is_number(subtask) && is_number(epoch)) {
        return None;
    }
    let attempt = fields.next().filter(|text| is_number(text))?.parse().ok().map(Attempt)?;
    let pipeline = fields.next()?.parse().ok()?;
    let sink = fields.next().filter(|sink| !sink.is_empty() && !sink.contains('/'))?;
    Some(Owner { sink, pipeline, attempt })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use checkpoint::ids::Subtask;

    use super::*;

    #[test]
    fn a_name_says_whose_it_is_and_others_say_nothing() {
        let writer = WriterIdentity {
            pipeline: PipelineId(7),
            attempt: Attempt(3),
            sink: "my-out".to_owned(),
            subtask: Subtask(1),
        };
        let owner = Some(Owner { sink: "my-out", pipeline: PipelineId(7), attempt: Attempt(3) });
        let (hidden, published) = (hidden_name(&writer, Epoch(4), 9), final_name(&writer, Epoch(5), 9));
        assert_eq!(published, format!("my-out-{}-3-5-1-9.jsonl", PipelineId(7)));
        assert_eq!(hidden, format!(".my-out-{}-3-4-1-9.jsonl.pending", PipelineId(7)));
        assert_eq!((hidden_owner(&hidden), final_owner(&published)), (owner, hidden_owner(&hidden)));
        assert_eq!((hidden_owner(&published), final_owner(&hidden)), (None, None));
        let (_, decision) = decision_of(&published).unwrap();
        assert_eq!((decision, decision_of(&hidden)), (DecisionId { attempt: Attempt(3), epoch: Epoch(5) }, None));
        for other in [
            "",
            ".jsonl.pending",
            ".a-b-c-d-e-f.jsonl.pending",
            ".x.jsonl.pending",
            "a.jsonl",
            ".-1-1-1-1-1.jsonl.pending",
        ] {
            assert_eq!((hidden_owner(other), final_owner(other)), (None, None), "{other}");
        }
    }
}
