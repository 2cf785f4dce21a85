//! Lives of a Pipeline.

use api::pipeline::Phase;
use api::report::WorkerState;
use serde_json::json;
use stage::inprocess::Key;
use stage::script::{Death, Moment, Script};

use crate::world::{Act, Scenario, World};

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

fn is_half_way(world: &World) -> bool {
    world.units() >= 2
}

fn is_gone(world: &World) -> bool {
    world.pipeline().is_none() && world.pod().is_none()
}

fn waits_to_restart(world: &World) -> bool {
    world.status().restarts.next_time.is_some()
}

fn pod_of(world: &World) -> Key {
    world.pod().expect("a pod")
}

pub(crate) fn all() -> Vec<Scenario> {
    let when = |when, what| vec![Act { when, what }];
    let failed = |reason: &str| {
        Some(Death { at: Moment::Decided(2), code: 1, words: Some((WorkerState::Failed, reason.to_owned())) })
    };
    vec![
        scenario("it runs to its end"),
        dying("a worker is killed between a decision and its commit", vec![Some(Death::killed(Moment::Decided(2)))]),
        dying("a worker is killed before its claim", vec![Some(Death::killed(Moment::Unclaimed))]),
        dying("a worker is killed behind its claim", vec![None, Some(Death::killed(Moment::Claimed))]),
        Scenario { acts: when(is_half_way, edit_image), ..scenario("the image changes") },
        Scenario {
            acts: vec![
                Act { when: is_half_way, what: suspend },
                Act { when: |world| world.is(Phase::Suspended), what: resume },
            ],
            ..scenario("it is suspended and goes on")
        },
        Scenario {
            acts: when(is_half_way, suspend),
            ends: |world| world.is(Phase::Suspended),
            ..scenario("it is suspended")
        },
        Scenario {
            acts: when(is_half_way, World::delete_pipeline),
            ends: is_gone,
            ..scenario("it is deleted as it runs")
        },
        Scenario {
            spec: json!({ "restartPolicy": { "fixedDelay": { "attempts": 3, "delay": "10m" } } }),
            acts: when(waits_to_restart, World::delete_pipeline),
            ends: is_gone,
            ..dying("it is deleted with pending commits", vec![Some(Death::killed(Moment::Decided(2)))])
        },
        Scenario {
            acts: when(is_half_way, |world| world.cluster.evict(&pod_of(world))),
            ..scenario("its worker is evicted")
        },
        Scenario { acts: when(is_half_way, |world| world.delete(&pod_of(world))), ..scenario("its pod is deleted") },
        Scenario {
            acts: vec![
                Act {
                    when: is_half_way,
                    what: |world| world.cluster.lose(&world.cluster.node_of(&pod_of(world)).expect("a node")),
                },
                Act { when: |world| world.is(Phase::Finished), what: |world| world.cluster.find("node-a") },
            ],
            ..scenario("its node is lost and comes back")
        },
        Scenario {
            acts: when(|world| world.is(Phase::Failed), edit_image),
            ..dying("it fails for good, and its spec is mended", vec![failed("CannotHeal")])
        },
        Scenario { ends: |world| world.is(Phase::Failed), ..dying("it fails for good", vec![failed("CannotHeal")]) },
        Scenario {
            spec: json!({ "restartPolicy": { "fixedDelay": { "attempts": 1, "delay": "1s" } } }),
            ends: |world| world.is(Phase::Failed),
            ..dying("its worker is killed too often", vec![Some(Death::killed(Moment::Decided(1))); 3])
        },
    ]
}
