//! What a subtask takes back from a checkpoint, at the parallelism of that checkpoint or any other.

use std::sync::{Arc, OnceLock};

use api::control::Deployment;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use checkpoint::ids::{OperatorId, Subtask};
use checkpoint::manifest::{OperatorSnapshot, StatePart};

use crate::connectors::{Assignment, Split};
use crate::dataflow::graph::StatefulOperator;
use crate::operators::Chain;
use crate::state::{Run, ipc};
use crate::tasks;
use crate::worker::alignment::StageWatermark;
use crate::worker::failure::TaskFailure;
use crate::worker::parts::Parts;

/// Identity of a source's positions.
pub fn source_operator(source: &str) -> OperatorId {
    OperatorId(format!("{source}/source"))
}

/// Identity of what a stage was told of event time.
pub fn input_operator(stage: &str) -> OperatorId {
    OperatorId(format!("{stage}/input"))
}

/// The snapshot of a source that nobody has read yet: what the first epoch of a log consists of.
///
/// # Errors
/// Never for splits that connectors make; the encoding is JSON.
pub fn initial_source_snapshot(source: &str, splits: &[Split]) -> Result<OperatorSnapshot, serde_json::Error> {
    let body = STANDARD.encode(serde_json::to_vec(splits)?);
    let parts = vec![StatePart::Inline { body }];
    Ok(OperatorSnapshot { operator: source_operator(source), subtask: Subtask(0), parts })
}

/// One subtask's view of the checkpoint that its attempt starts from.
pub(crate) struct Restore<'a> {
    pub deployment: &'a Deployment,
    pub parts: &'a Parts,
    pub max_parallelism: u32,
    pub subtask: Subtask,
}

impl Restore<'_> {
    /// All splits of a source, sorted by id; split i belongs to subtask i mod parallelism.
    pub(crate) async fn assignment(&self, source: &str) -> Result<Assignment, TaskFailure> {
        let operator = source_operator(source);
        let mut splits: Vec<Split> = Vec::new();
        let mut found = false;
        for snapshot in self.snapshots_of(&operator) {
            found = true;
            let body = self.single_part(snapshot).await?;
            let decoded: Vec<Split> = serde_json::from_slice(&body)
                .map_err(|error| TaskFailure::State(format!("positions of `{operator}`: {error}")))?;
            splits.extend(decoded);
        }
        if !found {
            return Err(TaskFailure::State(format!("the checkpoint holds no positions of `{operator}`")));
        }
        splits.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(twice) = splits.windows(2).find_map(|pair| match pair {
            [a, b] if a.id == b.id => Some(&a.id),
            _ => None,
        }) {
            return Err(TaskFailure::State(format!("split `{twice}` of `{operator}` is in the checkpoint twice")));
        }
        let known = Arc::new(splits.iter().map(|split| split.id.clone()).collect());
        let parallelism = self.deployment.parallelism.max(1);
        let splits = splits.into_iter().skip(self.subtask.0 as usize).step_by(parallelism as usize).collect();
        Ok(Assignment { splits, known, subtask: self.subtask, parallelism })
    }

    /// Gives a chain the runs of all stored subtasks that may hold key groups of this one.
    pub(crate) async fn chain(&self, operators: &[StatefulOperator], chain: &mut dyn Chain) -> Result<(), TaskFailure> {
        for StatefulOperator { id, .. } in operators {
            for snapshot in self.snapshots_of(id) {
                if self.holds_groups_of_ours(snapshot.subtask) {
                    let mut runs = Vec::with_capacity(snapshot.parts.len());
                    for part in &snapshot.parts {
                        runs.push(self.run(part).await?);
                    }
                    chain.restore(id, runs)?;
                }
            }
        }
        Ok(())
    }

    /// How far event time had come for a stage.
    ///
    /// At another parallelism: `keyed`: all inputs are broadcast watermarks by every upstream subtask, so at an aligned
    /// barrier all subtasks agree, unless idleness let one run ahead; then the highest holds, since windows up to it
    /// have fired. Else each subtask had its own input, and the lowest holds.
    pub(crate) async fn watermark(&self, stage: &str, keyed: bool) -> Result<Option<StageWatermark>, TaskFailure> {
        let operator = input_operator(stage);
        let mut told: Option<StageWatermark> = None;
        for snapshot in self.snapshots_of(&operator) {
            if self.same_parallelism() && snapshot.subtask != self.subtask {
                continue;
            }
            let body = self.single_part(snapshot).await?;
            let then: StageWatermark = serde_json::from_slice(&body)
                .map_err(|error| TaskFailure::State(format!("watermark of `{operator}`: {error}")))?;
            let combined = match told {
                None => then.combined,
                Some(told) if keyed => told.combined.max(then.combined),
                Some(told) => told.combined.min(then.combined),
            };
            told = Some(StageWatermark { combined });
        }
        Ok(told)
    }

    fn snapshots_of<'b>(&'b self, operator: &'b OperatorId) -> impl Iterator<Item = &'b OperatorSnapshot> {
        self.deployment.snapshots.iter().filter(move |snapshot| snapshot.operator == *operator)
    }

    fn same_parallelism(&self) -> bool {
        self.deployment.snapshot_parallelism == self.deployment.parallelism
    }

    fn holds_groups_of_ours(&self, stored: Subtask) -> bool {
        let then = groups(stored, self.deployment.snapshot_parallelism, self.max_parallelism);
        let now = groups(self.subtask, self.deployment.parallelism, self.max_parallelism);
        then.0 < now.1 && now.0 < then.1
    }

    async fn run(&self, part: &StatePart) -> Result<Run, TaskFailure> {
        let body = self.parts.read(part).await?;
        let decoding = tasks::spawn_blocking("decode state", move || ipc::decode(&body));
        let rows = decoding.await?.map_err(|error| TaskFailure::State(error.to_string()))?;
        let durable = OnceLock::new();
        if self.same_parallelism() {
            // The run is the part, so later checkpoints may refer to it. At another parallelism it holds rows of
            // other subtasks too: referred to by several, it would be loaded several times.
            let _ = durable.set(part.clone());
        }
        Ok(Run { rows: Arc::new(rows), part: Arc::new(durable) })
    }

    async fn single_part(&self, snapshot: &OperatorSnapshot) -> Result<Bytes, TaskFailure> {
        match snapshot.parts.as_slice() {
            [part] => Ok(self.parts.read(part).await?),
            parts => {
                let (operator, count) = (&snapshot.operator, parts.len());
                Err(TaskFailure::State(format!("`{operator}` has {count} parts where there must be one")))
            }
        }
    }
}

/// First key group of a subtask and the one after its last: the groups g with g * parallelism / max = subtask.
fn groups(subtask: Subtask, parallelism: u32, max_parallelism: u32) -> (u64, u64) {
    let (max, parallelism) = (u64::from(max_parallelism), u64::from(parallelism.max(1)));
    let first = |index: u64| (index * max).div_ceil(parallelism);
    let index = u64::from(subtask.0);
    (first(index), first(index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::key_groups;

    #[test]
    fn group_ranges_are_those_of_the_exchange() {
        for (parallelism, max) in [(1, 128), (2, 128), (3, 128), (7, 128), (128, 128), (5, 7)] {
            for group in 0..max {
                let owner = key_groups::subtask(group, parallelism, max);
                for subtask in 0..parallelism {
                    let (first, end) = groups(Subtask(subtask), parallelism, max);
                    let inside = (first..end).contains(&u64::from(group));
                    assert_eq!(inside, subtask == owner, "group {group} of {max}, subtask {subtask} of {parallelism}");
                }
            }
        }
    }
}
