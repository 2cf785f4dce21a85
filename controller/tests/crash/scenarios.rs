//! Lives of a Pipeline.

use api::pipeline::Phase;
use api::report::WorkerState;
use serde_json::json;
use stage::inprocess::{Key, NAMESPACES, PIPELINES};
use stage::script::{Death, Moment, Script};

use crate::world::{Act, NAME, NAMESPACE, Scenario, World};

/// Fast enough for a run's end to come soon, whatever failed before.
fn policy() -> serde_json::Value {
    json!({ "fixedDelay": { "attempts": 20, "delay": "2s" } })
}

fn scenario(name: &'static str) -> Scenario {
    Scenario {
        name,
        spec: json!({ "restartPolicy": policy() }),
        script: Script { units: 6, deaths: vec![] },
        acts: vec![],
        ends: |world| world.is(Phase::Finished),
    }
}

/// With input that outlasts every absence of a controller.
fn long(name: &'static str) -> Scenario {
    Scenario { script: Script { units: 40, deaths: vec![] }, ..scenario(name) }
}

fn dying(name: &'static str, deaths: Vec<Option<Death>>) -> Scenario {
    Scenario { script: Script { units: 6, deaths }, ..scenario(name) }
}

fn edit_image(world: &World) {
    world.edit(|pipeline| pipeline["spec"]["image"] = "onceward:next".into());
}

fn suspend(world: &World) {
    world.edit(|pipeline| pipeline["spec"]["suspend"] = true.into());
}

fn resume(world: &World) {
    world.edit(|pipeline| pipeline["spec"]["suspend"] = false.into());
}

fn deleting() -> serde_json::Value {
    let checkpoint = json!({ "onDelete": "Delete", "storage": { "local": { "path": "/data/state" } } });
    json!({ "restartPolicy": policy(), "checkpoint": checkpoint })
}

/// Another Pipeline of the name, which goes on where the one before was deleted.
fn go_on(world: &World) {
    let store = world.store();
    let newest = store.logs.last().and_then(|log| Some(log.handle(log.newest()?)));
    let mut spec = deleting();
    spec["restoreFrom"] = json!({ "handle": newest.expect("a checkpoint") });
    world.create(&spec);
}

fn is_half_way(world: &World) -> bool {
    world.units() >= 2
}

fn is_gone(world: &World) -> bool {
    world.pipeline().is_none() && world.pod().is_none()
}

fn waits_to_restart(world: &World) -> bool {
    world.status().restarts.next_time.is_some()
}

/// A pod that only commits gives up.
fn failed_to_commit() -> Death {
    let words = Some((WorkerState::Failed, "RestartsExhausted".to_owned()));
    Death { at: Moment::Claimed, code: 1, words }
}

fn has_failed_and_settled(world: &World) -> bool {
    world.is(Phase::Failed) && is(world, "CommitsSettled", "True", "NoPendingCommits")
}

fn is(world: &World, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = world.status().conditions;
    let found = conditions.iter().find(|found| found.kind == kind);
    found.is_some_and(|found| (found.status.as_str(), found.reason.as_str()) == (status, reason))
}

/// The status says why nothing runs, that something is pending, and when it is tried again.
fn is_stuck_behind_the_limit(world: &World) -> bool {
    is(world, "Ready", "False", "RestartLimitReached")
        && is(world, "CommitsSettled", "False", "CommitsPending")
        && waits_to_restart(world)
}

fn pod_of(world: &World) -> Key {
    world.pod().expect("a pod")
}

pub(crate) fn all() -> Vec<Scenario> {
    [asked_for(), deletions(), of_workers(), of_clusters()].into_iter().flatten().collect()
}

fn when(when: fn(&World) -> bool, what: fn(&World)) -> Vec<Act> {
    vec![Act { when, what }]
}

/// What a user does.
fn asked_for() -> Vec<Scenario> {
    vec![
        scenario("it runs to its end"),
        Scenario { acts: when(is_half_way, edit_image), ..long("the image changes") },
        Scenario {
            acts: vec![
                Act { when: is_half_way, what: suspend },
                Act { when: |world| world.is(Phase::Suspended), what: resume },
            ],
            ..long("it is suspended and goes on")
        },
        Scenario {
            acts: when(is_half_way, suspend),
            ends: |world| world.is(Phase::Suspended),
            ..long("it is suspended")
        },
    ]
}

/// What becomes of one that is deleted.
fn deletions() -> Vec<Scenario> {
    vec![
        Scenario { acts: when(is_half_way, World::delete_pipeline), ends: is_gone, ..long("it is deleted as it runs") },
        Scenario {
            spec: deleting(),
            acts: when(is_half_way, World::delete_pipeline),
            ends: |world| is_gone(world) && world.store().logs.iter().all(|log| log.is_cleared),
            ..long("it is deleted with its checkpoints")
        },
        Scenario {
            spec: deleting(),
            script: Script { units: 40, deaths: vec![None, Some(Death::killed(Moment::Claimed))] },
            acts: when(is_half_way, World::delete_pipeline),
            ends: |world| is_gone(world) && world.store().logs.iter().all(|log| log.is_cleared),
            ..scenario("it is deleted with its checkpoints, and the pod that does so is killed")
        },
        Scenario {
            acts: vec![
                Act { when: is_half_way, what: World::delete_pipeline },
                Act { when: is_gone, what: go_on },
                Act { when: |world| world.pipeline().is_some() && world.units() >= 6, what: World::delete_pipeline },
            ],
            ends: |world| is_gone(world) && world.units() >= 6 && !world.store().logs.iter().any(|log| log.is_cleared),
            ..long("it goes on with the log of one that was deleted, and leaves its checkpoints")
        },
        Scenario {
            spec: json!({ "restartPolicy": { "fixedDelay": { "attempts": 3, "delay": "10m" } } }),
            acts: when(waits_to_restart, World::delete_pipeline),
            ends: is_gone,
            ..dying("it is deleted with pending commits", vec![Some(Death::killed(Moment::Decided(2)))])
        },
        Scenario {
            spec: json!({ "restartPolicy": policy(), "deletionTimeout": "1m" }),
            acts: when(is_half_way, |world| {
                world.cluster.block(NAMESPACE, NAME, true);
                world.delete_pipeline();
            }),
            ends: is_gone,
            ..long("it is deleted as its target is away")
        },
        Scenario {
            acts: vec![
                Act { when: is_half_way, what: World::delete_pipeline },
                Act { when: is_gone, what: |world| world.create(&json!({ "restartPolicy": policy() })) },
            ],
            ends: |world| world.is(Phase::Finished) && world.store().logs.len() == 2,
            ..long("it is deleted and made anew")
        },
        Scenario {
            spec: json!({ "restartPolicy": policy(), "deletionTimeout": "1m" }),
            acts: when(is_half_way, |world| {
                let time = stage::inprocess::rfc3339(world.server.clock().now_ms());
                let place = Key::new(&NAMESPACES, "", NAMESPACE);
                world.server.edit(&place, |object| object["metadata"]["deletionTimestamp"] = time.into());
                world.delete_pipeline();
            }),
            ends: is_gone,
            ..long("its namespace is terminating")
        },
    ]
}

/// What becomes of workers by themselves.
fn of_workers() -> Vec<Scenario> {
    let failed = |reason: &str| {
        Some(Death { at: Moment::Decided(2), code: 1, words: Some((WorkerState::Failed, reason.to_owned())) })
    };
    vec![
        dying("a worker is killed between a decision and its commit", vec![Some(Death::killed(Moment::Decided(2)))]),
        dying("a worker is killed before its claim", vec![Some(Death::killed(Moment::Unclaimed))]),
        dying("a worker is killed behind its claim", vec![Some(Death::killed(Moment::Claimed))]),
        Scenario {
            acts: when(has_failed_and_settled, edit_image),
            ..dying("it fails for good, and its spec is mended", vec![failed("CannotHeal")])
        },
        Scenario {
            ends: |world| world.is(Phase::Pending),
            ..dying(
                "it is refused",
                vec![Some(Death {
                    at: Moment::Unclaimed,
                    code: 2,
                    words: Some((WorkerState::Refused, "Refused".to_owned())),
                })],
            )
        },
        Scenario { ends: has_failed_and_settled, ..dying("it fails for good", vec![failed("CannotHeal")]) },
        Scenario {
            spec: json!({ "restartPolicy": { "fixedDelay": { "attempts": 1, "delay": "1s" } } }),
            acts: vec![
                Act { when: |world| world.units() >= 1, what: |world| world.cluster.block(NAMESPACE, NAME, true) },
                // Behind the limit three pods have given up already; a controller that was away then finds the fourth one trying.
                Act {
                    when: |world| {
                        let started = world.cluster.started(NAMESPACE, NAME);
                        started > 5 || (started == 5 && is_stuck_behind_the_limit(world))
                    },
                    what: |world| world.cluster.block(NAMESPACE, NAME, false),
                },
            ],
            ends: |world| has_failed_and_settled(world) && !world.owes(),
            ..dying(
                "its target is away until long behind the restart limit",
                vec![
                    Some(Death::killed(Moment::Decided(1))),
                    Some(Death::killed(Moment::Claimed)),
                    Some(failed_to_commit()),
                    Some(failed_to_commit()),
                    Some(failed_to_commit()),
                ],
            )
        },
        Scenario {
            spec: json!({ "restartPolicy": { "fixedDelay": { "attempts": 1, "delay": "1s" } } }),
            ends: has_failed_and_settled,
            ..dying("its worker is killed too often", vec![Some(Death::killed(Moment::Decided(1))); 3])
        },
    ]
}

/// What nodes, targets and servers do to a Pipeline.
fn of_clusters() -> Vec<Scenario> {
    vec![
        Scenario {
            script: Script { units: 40, deaths: vec![None, Some(failed_to_commit()), Some(failed_to_commit())] },
            acts: vec![
                Act {
                    when: is_half_way,
                    what: |world| {
                        world.cluster.block(NAMESPACE, NAME, true);
                        suspend(world);
                    },
                },
                Act {
                    when: |world| world.cluster.started(NAMESPACE, NAME) >= 4,
                    what: |world| world.cluster.block(NAMESPACE, NAME, false),
                },
            ],
            ends: |world| world.is(Phase::Suspended) && !world.owes(),
            ..scenario("it is suspended as its target is away")
        },
        Scenario {
            acts: when(is_half_way, |world| world.cluster.evict(&pod_of(world))),
            ..long("its worker is evicted")
        },
        Scenario { acts: when(is_half_way, |world| world.delete(&pod_of(world))), ..long("its pod is deleted") },
        Scenario {
            acts: vec![
                Act {
                    when: is_half_way,
                    what: |world| world.cluster.lose(&world.cluster.node_of(&pod_of(world)).expect("a node")),
                },
                Act { when: |world| world.is(Phase::Finished), what: |world| world.cluster.find("node-a") },
            ],
            ..long("its node is lost and comes back")
        },
        Scenario {
            acts: vec![
                Act { when: is_half_way, what: |world| world.cluster.block(NAMESPACE, NAME, true) },
                Act {
                    when: |world| !world.status().pending_commits.is_empty(),
                    what: |world| world.cluster.block(NAMESPACE, NAME, false),
                },
            ],
            ..long("its target is away for a while")
        },
        Scenario {
            acts: when(is_half_way, |world| {
                let key = Key::new(&PIPELINES, NAMESPACE, NAME);
                world
                    .server
                    .edit(&key, |object| drop(object.as_object_mut().and_then(|fields| fields.remove("status"))));
            }),
            ..long("its status is forgotten")
        },
    ]
}
