//! What is told of Pipelines: nothing but their statuses, so that it needs no memory, survives the controller, and ends with
//! the Pipeline.

use std::fmt::Write as _;
use std::sync::Arc;

use api::pipeline::{Phase, Pipeline, PipelineStatus};

use crate::names;
use crate::status::ms_of_rfc3339;
use crate::status::restarts::REASONS;

/// Reasons that a Failed pipeline may have; every other one is `Other`.
pub const FAILED: [&str; 13] = [
    "RestartLimitReached",
    "RestartsExhausted",
    "CommitLost",
    "SourceDataLost",
    "CorruptCheckpoint",
    "CannotHeal",
    "Store",
    "Metrics",
    "Panic",
    "Violation",
    "FencedByForeign",
    "WorkerVersion",
    "Other",
];
const CONDITIONS: [&str; 5] = ["Accepted", "Ready", "CheckpointHealthy", "CommitsSettled", "Progressing"];
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];
const PHASES: [Phase; 9] = [
    Phase::Pending,
    Phase::Starting,
    Phase::Running,
    Phase::Restarting,
    Phase::Suspending,
    Phase::Suspended,
    Phase::Finished,
    Phase::Failed,
    Phase::Deleting,
];

/// One family: name, type, help, and its series of one Pipeline as further labels and value.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    series: fn(&PipelineStatus) -> Vec<(String, f64)>,
}

const FAMILIES: [Family; 9] = [
    Family {
        name: "onceward_pipeline_status_condition",
        kind: "gauge",
        help: "1 for the status that a condition has, 0 for the two others; `status` is `true`, `false` or `unknown`, `condition` one of `Accepted`, `Ready`, `CheckpointHealthy`, `CommitsSettled`, `Progressing`",
        series: conditions,
    },
    Family {
        name: "onceward_pipeline_status_phase",
        kind: "gauge",
        help: "1 for the phase of the status, 0 for every other one",
        series: phases,
    },
    Family {
        name: "onceward_pipeline_failed",
        kind: "gauge",
        help: "1 for the reason that a Failed pipeline has, 0 for every other one",
        series: failed,
    },
    Family {
        name: "onceward_pipeline_desired_workers",
        kind: "gauge",
        help: "workers that should run",
        series: |status| one(f64::from(status.workers.desired)),
    },
    Family {
        name: "onceward_pipeline_ready_workers",
        kind: "gauge",
        help: "workers that process records",
        series: |status| one(f64::from(status.workers.ready)),
    },
    Family {
        name: "onceward_pipeline_restarts_total",
        kind: "counter",
        help: "pods that were replaced, as `status.restarts.reasons`: `SpecChanged` and `Requested` are those that somebody asked for; every other reason names what went wrong: `Error`, `OOMKilled`, `Evicted`, `NodeLost`, `Disrupted`, `Other`",
        series: restarts,
    },
    Family {
        name: "onceward_pipeline_last_checkpoint_timestamp_seconds",
        kind: "gauge",
        help: "when the newest checkpoint of the status was decided, which may lag by 30 s; 0: none, or not known",
        series: |status| {
            let newest = status.checkpoints.last_completed.as_ref();
            one(newest.and_then(|newest| newest.completed_time.as_deref()).map_or(0.0, seconds))
        },
    },
    Family {
        name: "onceward_pipeline_pending_commits",
        kind: "gauge",
        help: "decided pieces of output that are not visible, once that takes longer than 10 s or a second try",
        series: |status| one(status.pending_committables as f64),
    },
    Family {
        name: "onceward_pipeline_oldest_pending_commit_timestamp_seconds",
        kind: "gauge",
        help: "when the oldest of them was decided; 0: none",
        series: |status| {
            let oldest = status.pending_commits.iter().map(|pending| seconds(&pending.since_time));
            one(oldest.reduce(f64::min).unwrap_or(0.0))
        },
    },
];

/// In Prometheus' text format.
pub fn text(pipelines: &[Arc<Pipeline>]) -> String {
    let mut text = String::new();
    let nothing = PipelineStatus::default();
    for Family { name, kind, help, series } in FAMILIES {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for pipeline in pipelines {
            // Names of objects need no escaping.
            let (namespace, own) = (names::namespace(pipeline), names::name(pipeline));
            for (labels, value) in series(pipeline.status.as_ref().unwrap_or(&nothing)) {
                let _ = writeln!(text, "{name}{{namespace=\"{namespace}\",pipeline=\"{own}\"{labels}}} {value}");
            }
        }
    }
    text
}

fn one(value: f64) -> Vec<(String, f64)> {
    vec![(String::new(), value)]
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn conditions(status: &PipelineStatus) -> Vec<(String, f64)> {
    let mut series = vec![];
    for kind in CONDITIONS {
        let found = status.conditions.iter().find(|condition| condition.kind == kind);
        let is = found.map_or("Unknown", |condition| condition.status.as_str());
        for word in STATUSES {
            let labels = format!(",condition=\"{kind}\",status=\"{}\"", word.to_lowercase());
            series.push((labels, flag(is == word)));
        }
    }
    series
}

fn phases(status: &PipelineStatus) -> Vec<(String, f64)> {
    let is = status.phase.unwrap_or(Phase::Pending);
    PHASES.into_iter().map(|phase| (format!(",phase=\"{phase:?}\""), flag(phase == is))).collect()
}

fn failed(status: &PipelineStatus) -> Vec<(String, f64)> {
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let reason = ready.filter(|_| status.phase == Some(Phase::Failed)).map(|ready| ready.reason.as_str());
    let reason = reason.map(|reason| if FAILED.contains(&reason) { reason } else { "Other" });
    FAILED.into_iter().map(|known| (format!(",reason=\"{known}\""), flag(reason == Some(known)))).collect()
}

fn restarts(status: &PipelineStatus) -> Vec<(String, f64)> {
    let of = |reason: &str| status.restarts.reasons.get(reason).copied().unwrap_or(0);
    REASONS.into_iter().map(|reason| (format!(",reason=\"{reason}\""), of(reason) as f64)).collect()
}

fn seconds(time: &str) -> f64 {
    ms_of_rfc3339(time).unwrap_or(0) as f64 / 1_000.0
}
