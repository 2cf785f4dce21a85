//! What the loop costs: nothing is written at rest, little while pipelines run, and a thousand of them come to their end.

use std::time::Duration;

use api::pipeline::PipelineStatus;
use serde_json::json;
use stage::inprocess::EVENTS;
use stage::script::Script;

use crate::trouble::{Plan, Trouble, Write};
use crate::world::{NAMESPACE, World};

const TEN_MINUTES: Duration = Duration::from_mins(10);
const COUNT: usize = 1_000;
/// Changing and asking ones, from a Pipeline's creation to its end.
const MOST_REQUESTS_EACH: u64 = 30;

fn paused<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(life)
}

fn world(units: u64) -> World {
    World::new(Script { units, deaths: vec![] }, Trouble::new(Plan::Nothing))
}

/// Waits until they are all so; virtual milliseconds that it took.
async fn until(world: &World, names: &[String], phase: &str) -> u64 {
    let begun_ms = world.server.clock().now_ms();
    for _ in 0..6_000 {
        if names.iter().all(|name| world.phase_of(name).as_deref() == Some(phase)) {
            return world.server.clock().now_ms() - begun_ms;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let phases: Vec<_> = names.iter().map(|name| world.phase_of(name)).take(20).collect();
    assert!(phases.is_empty(), "they are not {phase}: {phases:?}");
    0
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// Writes of ten minutes, once everything has settled.
async fn writes(world: &World) -> Vec<Write> {
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = world.trouble.writes();
    tokio::time::sleep(TEN_MINUTES).await;
    world.trouble.writes_since(before)
}

/// Only statuses are written, each of them every thirty seconds at most, and `most` times in all.
fn assert_seldom(writes: &[Write], names: &[String], most: usize) {
    assert!(writes.iter().all(|write| write.what.ends_with(" status")), "{writes:?}");
    for name in names {
        let times: Vec<u64> = writes.iter().filter(|write| write.name == *name).map(|write| write.at_ms).collect();
        assert!((15..=most).contains(&times.len()), "{name}: what changes is shown, and seldom: {times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 30_000), "{name}: {times:?}");
    }
}

#[test]
fn at_rest_nothing_is_written_in_ten_minutes() {
    paused(async {
        let mut world = world(3);
        let (finished, suspended) = (names("finished", 20), names("suspended", 20));
        for name in &finished {
            world.create_named(name, &json!({}));
        }
        for name in &suspended {
            world.create_named(name, &json!({ "suspend": true }));
        }
        world.start_controller();
        until(&world, &finished, "Finished").await;
        until(&world, &suspended, "Suspended").await;
        let writes = writes(&world).await;
        assert!(writes.is_empty(), "{writes:?}");
    });
}

#[test]
fn a_running_pipeline_is_written_of_every_thirty_seconds_at_most() {
    paused(async {
        let mut world = world(u64::MAX);
        let running = names("running", 20);
        for name in &running {
            world.create_named(name, &json!({}));
        }
        world.start_controller();
        until(&world, &running, "Running").await;
        let writes = writes(&world).await;
        assert_seldom(&writes, &running, 20);
    });
}

#[test]
fn of_a_pipeline_whose_target_is_away_tries_are_written_every_thirty_seconds_at_most() {
    paused(async {
        let mut world = world(u64::MAX);
        let running = names("waiting", 20);
        for name in &running {
            world.create_named(name, &json!({}));
        }
        world.start_controller();
        until(&world, &running, "Running").await;
        for name in &running {
            world.cluster.block(NAMESPACE, name, true);
        }
        let writes = writes(&world).await;
        assert_seldom(&writes, &running, 20);
        for name in &running {
            let pending = world.pending_of(name);
            assert!(pending.as_ref().is_some_and(|pending| pending.attempts > 500), "tries are shown: {pending:?}");
        }
        let before = world.trouble.writes();
        for name in &running {
            world.cluster.block(NAMESPACE, name, false);
        }
        tokio::time::sleep(Duration::from_secs(35)).await;
        let pending: Vec<_> = running.iter().filter_map(|name| world.pending_of(name)).collect();
        assert!(pending.is_empty(), "that they are done is told, too: {pending:?}");
        let writes = world.trouble.writes_since(before);
        for name in &running {
            let count = writes.iter().filter(|write| write.name == *name).count();
            assert!((1..=2).contains(&count), "{name}: {writes:?}");
        }
    });
}

/// Blocks what they write to for longer than what is called quick, and lets it go for a moment, so often. How often what the
/// statuses of all show changes meanwhile.
async fn turns(world: &World, names: &[String], count: usize) -> usize {
    let (mut shown, mut changes) = (false, 0);
    for is_blocked in [true, false].into_iter().cycle().take(2 * count) {
        for name in names {
            world.cluster.block(NAMESPACE, name, is_blocked);
        }
        tokio::time::sleep(Duration::from_secs(if is_blocked { 14 } else { 3 })).await;
        let pending = names.iter().filter(|name| world.pending_of(name).is_some()).count();
        if (pending > 0) != shown && (pending == 0 || pending == names.len()) {
            (shown, changes) = (!shown, changes + 1);
        }
    }
    changes
}

/// Commits that take longer than what is called quick pend and are settled with every epoch.
#[test]
fn of_a_pipeline_whose_target_is_slow_turns_are_written_every_thirty_seconds_at_most() {
    paused(async {
        let mut world = world(u64::MAX);
        let running = names("slow", 5);
        for name in &running {
            world.create_named(name, &json!({}));
        }
        world.start_controller();
        until(&world, &running, "Running").await;
        let begun = world.trouble.writes();
        let first = turns(&world, &running, 8).await;
        assert!(first > 0, "what is shown changes");
        let events = world.trouble.writes_since(begun);
        let events = events.iter().filter(|write| write.what.contains(" events ")).count();
        assert_eq!(events, 2 * running.len(), "that commits pend and are settled is told once");
        let before = world.trouble.writes();
        let more = turns(&world, &running, 40).await;
        assert!(more >= 5, "what is shown goes on changing: {more}");
        assert_seldom(&world.trouble.writes_since(before), &running, 24);
        // What then lasts is told in the end.
        let before = world.trouble.writes();
        for name in &running {
            world.cluster.block(NAMESPACE, name, true);
        }
        tokio::time::sleep(TEN_MINUTES + Duration::from_mins(2)).await;
        let told = world.trouble.writes_since(before);
        let told = told.iter().filter(|write| write.what.contains(" events ")).count();
        assert_eq!(told, running.len(), "that commits have pended for ten minutes is told once");
    });
}

/// Lets checkpoints fail for so long, then complete for so long, again and again.
async fn fail_by_turns(world: &World, names: &[String], turns: impl Iterator<Item = (u64, u64)>) {
    for (failing_s, completing_s) in turns {
        for (is_failing, seconds) in [(true, failing_s), (false, completing_s)] {
            for name in names {
                world.cluster.fail_checkpoints(NAMESPACE, name, is_failing);
            }
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

/// How often something differs between two statuses of a Pipeline that were written one after the other.
fn changes(statuses: &[PipelineStatus], differs: impl Fn(&PipelineStatus, &PipelineStatus) -> bool) -> usize {
    statuses.windows(2).filter(|pair| differs(&pair[0], &pair[1])).count()
}

#[test]
fn of_a_pipeline_whose_checkpoints_fail_by_turns_they_are_written_every_thirty_seconds_at_most() {
    paused(async {
        let mut world = world(u64::MAX);
        let running = names("failing", 5);
        let checkpoint =
            json!({ "storage": { "local": { "path": "/data/state" } }, "tolerableFailedCheckpoints": 1_000 });
        for name in &running {
            world.create_named(name, &json!({ "checkpoint": checkpoint }));
        }
        world.start_controller();
        until(&world, &running, "Running").await;
        let begun = world.trouble.writes();
        // Each of them is seen as it has failed for long, and as it has not.
        fail_by_turns(&world, &running, [(40, 40); 3].into_iter()).await;
        let events = world.trouble.writes_since(begun);
        let events = events.iter().filter(|write| write.what.contains(" events ")).count();
        assert_eq!(events, running.len(), "that checkpoints fail is told once");
        let told = world.server.list(&EVENTS).into_iter().filter(|(_, event)| event["reason"] == "CheckpointsFail");
        assert_eq!(told.count(), running.len(), "of each of them");
        let (before, since_ms) = (world.trouble.writes(), world.server.clock().now_ms());
        // Ten minutes and twenty seconds.
        fail_by_turns(&world, &running, [(5, 2), (1, 3), (2, 1), (8, 5)].into_iter().cycle().take(92)).await;
        assert_seldom(&world.trouble.writes_since(before), &running, 24);
        for name in &running {
            let written = world.statuses_since(name, since_ms);
            let healthy = |status: &PipelineStatus| {
                let condition = status.conditions.iter().find(|condition| condition.kind == "CheckpointHealthy");
                condition.map(|condition| condition.status.clone())
            };
            let turns = changes(&written, |before, after| healthy(before) != healthy(after));
            assert!(turns >= 4, "{name}: the condition goes on changing: {turns}");
            let last =
                changes(&written, |before, after| before.checkpoints.last_failed != after.checkpoints.last_failed);
            assert!(last >= 15, "{name}: the last failure is shown: {last}");
            let count = |status: &PipelineStatus| status.checkpoints.consecutive_failures;
            let many = changes(&written, |before, after| count(before) < 3 && count(after) >= 3);
            assert!(many >= 2, "{name}: many fail in a row again and again: {many}");
        }
    });
}

/// What they cost in memory is asked in `memory`.
#[test]
fn a_thousand_pipelines_come_to_their_end() {
    paused(async {
        let mut world = world(20);
        let names = names("many", COUNT);
        for name in &names {
            world.create_named(name, &json!({}));
        }
        world.start_controller();
        let took_ms = until(&world, &names, "Finished").await;
        let (requests, writes, asked) = (world.trouble.requests(), world.trouble.writes(), world.trouble.asked());
        println!(
            "{COUNT} pipelines finished after {took_ms} ms of virtual time: {requests} requests, {writes} of them changing, {asked} \
             answers of workers"
        );
        assert!(requests <= COUNT as u64 * MOST_REQUESTS_EACH, "{requests} requests");
    });
}
