//! Decisions carried out in a world of obedient pods: from every state it comes to rest, with at most one worker at work.

use std::collections::BTreeMap;

use api::pipeline::Phase;
use api::report::{LogPosition, REPORT_VERSION, WorkerReport, WorkerState};
use checkpoint::ids::{Attempt, LogIndex, PipelineId, Slot};
use controller::decide::{Step, decide};
use controller::names::{self, Purpose};
use controller::observe::Observed;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proptest::prelude::*;
use serde_json::json;

use crate::scene::{PodInWords, Scene, settings};

/// Turns after which it must be at rest.
const MOST_TURNS: usize = 30;

fn report(state: WorkerState, attempt: u64) -> WorkerReport {
    let log =
        LogPosition { pipeline_id: PipelineId(7), log: LogIndex(0), attempt: Attempt(attempt), slot: Slot(attempt) };
    WorkerReport { report_version: REPORT_VERSION, state, log: Some(log), parallelism: 1, ..WorkerReport::default() }
}

/// What a pod of the beginning is like.
#[derive(Clone, Copy, Debug)]
enum Was {
    Waiting,
    Running,
    Leaving,
    Lost,
    Ended(i32, Option<WorkerState>),
    Evicted,
}

fn any_was() -> impl Strategy<Value = Was> {
    let last_words = prop::option::of(prop::sample::select(vec![
        WorkerState::Stopped,
        WorkerState::StoppedUndecided,
        WorkerState::Finished,
        WorkerState::Settled,
        WorkerState::Failed,
        WorkerState::Refused,
        WorkerState::Fenced,
        WorkerState::Running,
    ]));
    prop_oneof![
        Just(Was::Waiting),
        Just(Was::Running),
        Just(Was::Leaving),
        Just(Was::Lost),
        Just(Was::Evicted),
        (prop::sample::select(vec![0, 1, 2, 3, 4, 137]), last_words).prop_map(|(code, words)| Was::Ended(code, words)),
    ]
}

fn in_words(serial: u64, was: Was, purpose: Purpose, outdated: bool) -> PodInWords {
    let terminated = |code: i32| {
        json!({ "phase": if code == 0 { "Succeeded" } else { "Failed" }, "terminated": {
            "exitCode": code, "startedAt": "2026-01-01T09:00:00Z", "finishedAt": "2026-01-01T09:30:00Z" } })
    };
    let (status, report, node) = match was {
        Was::Waiting => (json!({ "phase": "Pending" }), None, "well"),
        Was::Running | Was::Leaving => {
            (json!({ "phase": "Running" }), Some(report(WorkerState::Running, serial)), "well")
        }
        Was::Lost => (json!({ "phase": "Running" }), None, "lost"),
        Was::Ended(code, words) => (terminated(code), words.map(|state| report(state, serial)), "well"),
        Was::Evicted => (json!({ "phase": "Failed", "reason": "Evicted" }), None, "well"),
    };
    PodInWords {
        serial,
        purpose: purpose.label().to_owned(),
        outdated,
        status,
        obstacle: None,
        leaving: matches!(was, Was::Leaving),
        made: None,
        says: json!(null),
        node: Some(node.to_owned()),
        report,
    }
}

/// Carries the steps out; pods obey at once.
fn carry_out(observed: &mut Observed, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::AddFinalizer => observed.pipeline.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]),
            Step::RemoveFinalizer => observed.pipeline.metadata.finalizers = None,
            Step::ApplyConfigMap(object) => observed.config_maps.push(*object),
            Step::CreatePod(pod) => start(observed, *pod),
            Step::Ask { .. } => {}
            Step::DeletePod { uid, .. } => observed.pods.retain(|pod| pod.metadata.uid.as_ref() != Some(&uid)),
            Step::DeleteConfigMap { name, .. } => {
                observed.config_maps.retain(|found| found.metadata.name.as_ref() != Some(&name));
            }
        }
    }
}

fn start(observed: &mut Observed, mut pod: Pod) {
    let name = pod.metadata.name.clone().expect("a name");
    assert!(observed.pods.iter().all(|other| other.metadata.name.as_ref() != Some(&name)), "{name} is made twice");
    let labels = pod.metadata.labels.clone().expect("labels");
    let serial: u64 = labels[names::SERIAL].parse().expect("a number");
    pod.metadata.uid = Some(format!("pod-{serial}"));
    if labels[names::PURPOSE] == Purpose::Run.label() {
        observed.reports.insert(name, report(WorkerState::Running, 100 + serial).into());
        pod.status = serde_json::from_value(json!({ "phase": "Running" })).expect("a status");
    } else {
        pod.status = Some(settled(serial));
    }
    observed.pods.push(pod);
}

/// Of a commit-only pod that has done its work.
fn settled(serial: u64) -> PodStatus {
    let message = serde_json::to_string(&report(WorkerState::Settled, 100 + serial)).expect("JSON");
    let ended = json!([{ "name": names::CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0, "message": message } } }]);
    serde_json::from_value(json!({ "phase": "Succeeded", "containerStatuses": ended })).expect("a status")
}

/// What is told to leave leaves, what waits starts, and what commits comes to its end.
fn obey(observed: &mut Observed) {
    observed.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    for pod in &mut observed.pods {
        let labels = pod.metadata.labels.clone().expect("labels");
        if commits(pod) {
            pod.status = Some(settled(labels[names::SERIAL].parse().expect("a number")));
        }
        let waits = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Pending"));
        if waits && let Some(status) = &mut pod.status {
            status.phase = Some("Running".to_owned());
            let name = pod.metadata.name.clone().expect("a name");
            observed.reports.insert(name, report(WorkerState::Running, 50).into());
        }
    }
}

/// Whether it is a commit-only pod that is at it.
fn commits(pod: &Pod) -> bool {
    let is_commit = pod.metadata.labels.as_ref().is_some_and(|labels| labels[names::PURPOSE] != Purpose::Run.label());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_lost = pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some("lost"));
    is_commit && matches!(phase, Some("Pending" | "Running")) && !is_lost
}

fn at_work(observed: &Observed) -> usize {
    let working = |pod: &&Pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        node != Some("lost") && matches!(phase, Some("Running" | "Pending"))
    };
    observed.pods.iter().filter(working).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// From whatever pods there are: at rest after a few turns, with one worker or none as the spec says, nothing written at
    /// rest, and never a pod made while another one may be at work.
    #[test]
    fn every_state_comes_to_rest(
        pods in prop::collection::vec((any_was(), any::<bool>(), any::<bool>()), 0..5),
        is_suspended in any::<bool>(),
        is_deleted in any::<bool>(),
        on_delete in prop::sample::select(vec!["Retain", "Delete"]),
    ) {
        let mut metadata = json!({});
        if is_deleted {
            metadata["deletionTimestamp"] = "2026-01-01T09:59:00Z".into();
        }
        let made = pods.len();
        let words = pods.into_iter().zip(1_u64..).map(|((was, is_commit, outdated), serial)| {
            in_words(serial, was, if is_commit { Purpose::Commit } else { Purpose::Run }, outdated)
        });
        let mut observed = Scene {
            now: "2026-01-01T10:00:00Z".to_owned(),
            pipeline: json!({ "metadata": metadata,
                "spec": { "suspend": is_suspended, "checkpoint": { "onDelete": on_delete } },
                "status": { "workers": { "serial": made } } }),
            pods: words.collect(),
            lost_nodes: ["lost".to_owned()].into(),
            denied: None,
            no_key: false,
        }
        .observed();
        let mut writes = BTreeMap::new();
        for turn in 0..=MOST_TURNS {
            let decision = decide(&observed, &settings());
            let makes = decision.steps.iter().any(|step| matches!(step, Step::CreatePod(_)));
            prop_assert!(!makes || at_work(&observed) == 0, "a pod is made beside another one: {decision:?}");
            let deletes = |labels: &BTreeMap<String, String>| labels[names::PURPOSE] == Purpose::Delete.label();
            let is_deleting = observed.pods.iter().any(|pod| pod.metadata.labels.as_ref().is_some_and(deletes));
            prop_assert!(!is_deleting || (is_deleted && on_delete == "Delete"), "checkpoints are deleted unasked");
            let is_quiet = decision.steps.is_empty() && observed.pipeline.status.as_ref() == Some(&decision.status);
            let is_moving = observed.pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some() || commits(pod));
            if is_quiet && !is_moving {
                let phase = decision.status.phase;
                let wanted = usize::from(phase == Some(Phase::Running));
                // What a deletion leaves when its time is over goes with its owner.
                prop_assert!(is_deleted || at_work(&observed) == wanted, "at rest as {:?}: {:#?}", phase, observed.pods);
                prop_assert!(!is_deleted || observed.pipeline.metadata.finalizers.is_none(), "it is never let go");
                prop_assert!(is_deleted || !is_suspended || phase == Some(Phase::Suspended), "{:?}", phase);
                return Ok(());
            }
            prop_assert!(turn < MOST_TURNS, "it does not come to rest: {:?}", decision);
            *writes.entry(decision.steps.len()).or_insert(0) += 1;
            observed.pipeline.status = Some(decision.status);
            carry_out(&mut observed, decision.steps);
            obey(&mut observed);
            observed.now_ms += decision.look_again_ms.min(120_000);
        }
    }
}
