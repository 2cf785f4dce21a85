//! Can a (changed) manifest go on from what the log holds? What keeps its state does, what cannot is refused by name.

use std::collections::BTreeMap;

use checkpoint::manifest::{Manifest, OperatorSnapshot};
use checkpoint::record::{Claim, SinkClaim};

use super::Setup;
use super::error::CoordinatorError;
use super::recover::first_snapshot;
use crate::worker::source_operator;

/// Refuses a manifest that would lose state or decided output.
///
/// `decided`: the newest decision, and whether its commits are known to be done. `claim`: of the attempt that decided.
///
/// # Errors
/// [`CoordinatorError::Refused`] with every fault and what to do about it.
pub fn check(setup: &Setup, decided: &Manifest, is_settled: bool, claim: &Claim) -> Result<(), CoordinatorError> {
    let mut faults = lost_state(setup, decided);
    if !is_settled {
        faults.extend(unsettled_sinks(setup, decided, claim));
    }
    refuse(&faults)
}

/// Refuses a manifest that cannot take over the state of `decided`, whatever its sinks are.
///
/// # Errors
/// As [`check`].
pub fn check_state(setup: &Setup, decided: &Manifest) -> Result<(), CoordinatorError> {
    refuse(&lost_state(setup, decided))
}

/// Refuses a manifest that cannot finish the commits of `decided`.
///
/// # Errors
/// As [`check`].
pub fn check_sinks(setup: &Setup, decided: &Manifest, is_settled: bool, claim: &Claim) -> Result<(), CoordinatorError> {
    if is_settled { Ok(()) } else { refuse(&unsettled_sinks(setup, decided, claim)) }
}

fn refuse(faults: &[String]) -> Result<(), CoordinatorError> {
    if faults.is_empty() { Ok(()) } else { Err(CoordinatorError::Refused(faults.join("\n"))) }
}

fn lost_state(setup: &Setup, decided: &Manifest) -> Vec<String> {
    let mut faults = Vec::new();
    if decided.max_parallelism != setup.max_parallelism {
        faults.push(format!(
            "spec.maxParallelism: {} cannot become {}: state is divided into that many key groups; \
             set it back, or start anew with `--fresh`",
            decided.max_parallelism, setup.max_parallelism
        ));
    }
    for old in &decided.operators {
        let (name, role) = old.operator.0.split_once('/').unwrap_or((&old.operator.0, ""));
        if setup.drop_state_of.contains(name) {
            continue;
        }
        let new = setup.operators.iter().find(|new| new.operator == old.operator);
        let effect = match (role, new) {
            ("source", Some(_)) => "read it from its beginning, which writes again what came of it before",
            _ => "throw its state away",
        };
        let advice = format!("set it back, or list `{name}` in spec.dropStateOf to {effect}");
        match new {
            None => faults.push(format!("operator `{}` has state and is not in the manifest; {advice}", old.operator)),
            Some(new) if new.fingerprint != old.fingerprint => faults.push(format!(
                "operator `{}` cannot use its state: it was {} and is now {}; {advice}",
                old.operator, old.fingerprint, new.fingerprint
            )),
            Some(_) => {}
        }
    }
    faults
}

fn unsettled_sinks(setup: &Setup, decided: &Manifest, claim: &Claim) -> Vec<String> {
    let mut pending: BTreeMap<&str, u64> = BTreeMap::new();
    for committable in &decided.committables {
        *pending.entry(&committable.sink).or_default() += 1;
    }
    let gone = |sink: &SinkClaim| {
        let now = setup.sinks.get(&sink.name);
        now.is_none_or(|now| now.kind() != sink.kind || now.target() != sink.target)
    };
    let fault = |(name, count): (&str, u64)| {
        let sink = claim.sinks.iter().find(|sink| sink.name == name)?;
        gone(sink).then(|| {
            format!(
                "sink `{name}` ({} {}) was removed or re-pointed while {count} decided pieces of its output may not be \
                 visible yet; run the old manifest once more, stop it, and change the sink then",
                sink.kind, sink.target
            )
        })
    };
    pending.into_iter().filter_map(fault).collect()
}

/// What tasks are restored from: the decided snapshots without dropped state, and start positions of new sources.
///
/// # Errors
/// A new source that cannot be resolved.
pub async fn snapshots(setup: &Setup, decided: &Manifest) -> Result<Vec<OperatorSnapshot>, CoordinatorError> {
    let fits = |snapshot: &&OperatorSnapshot| {
        let then = decided.operators.iter().find(|old| old.operator == snapshot.operator);
        let now = setup.operators.iter().find(|new| new.operator == snapshot.operator);
        match (then, now) {
            (Some(then), Some(now)) => then.fingerprint == now.fingerprint,
            // Neither: watermarks of a stage's inputs, which the stage takes or leaves.
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    };
    let mut snapshots: Vec<OperatorSnapshot> = decided.snapshots.iter().filter(fits).cloned().collect();
    for (name, source) in &setup.sources {
        let operator = source_operator(name);
        if !snapshots.iter().any(|snapshot| snapshot.operator == operator) {
            snapshots.push(first_snapshot(setup.parallelism, name, source).await?);
        }
    }
    Ok(snapshots)
}
