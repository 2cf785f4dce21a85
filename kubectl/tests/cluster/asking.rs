//! What is asked for is done by the real controller and by scripted workers, and said when it is.

use std::time::Duration;

use serde_json::json;
use stage::inprocess::Verb;

use crate::world::{World, key, paused};

const CHECKPOINTED: &str = "onceward.dev/checkpoint-requested-at";

/// One that runs, and goes on running.
async fn running() -> (World, stage::script::Cluster) {
    let (world, cluster) = World::alive(u64::MAX);
    world.create("revenue", &json!({}));
    assert_eq!(world.types("wait revenue --for=ready").await, 0, "{}", world.said.err());
    assert_eq!(world.said.out(), "default/revenue: ready");
    (world, cluster)
}

#[test]
fn a_checkpoint_and_a_savepoint_are_taken_and_their_handles_are_the_answer() {
    paused(async {
        let (world, _cluster) = running().await;
        for (verb, action) in [("checkpoint", "checkpoint"), ("savepoint", "savepoint")] {
            assert_eq!(world.types(&format!("{verb} revenue")).await, 0, "{}", world.said.err());
            let handle = world.said.out();
            let taken = world.pipeline("revenue")["status"]["actions"][action]["taken"]["handle"].clone();
            assert_eq!(taken, handle.as_str(), "{verb}");
            assert!(world.said.err().contains(&format!("default/revenue: {verb} asked for")));
        }
        // A second one is another one, whatever the clock says.
        assert_eq!(world.types("savepoint revenue --no-wait").await, 0);
        assert_eq!(world.said.out(), "default/revenue: savepoint asked for");
        assert_eq!(world.types("wait revenue --for=savepoint").await, 0);
        assert!(world.said.out().starts_with("default/revenue: savepoint "));
        assert_eq!(world.types("wait revenue --for=checkpoint").await, 0);
        assert!(world.said.out().contains("is completed"));
        assert_eq!(world.types("checkpoints revenue").await, 0);
        let shown = world.said.out();
        assert!(shown.contains("On request:") && shown.contains("Savepoint:") && shown.contains("Newest:"), "{shown}");
    });
}

#[test]
fn it_is_suspended_resumed_and_restarted() {
    paused(async {
        let (world, cluster) = running().await;
        assert_eq!(world.types("suspend revenue").await, 0, "{}", world.said.err());
        assert_eq!(world.said.out(), "default/revenue: suspended; everything decided is visible");
        assert_eq!(cluster.living(), 0);
        assert_eq!(world.types("status revenue").await, 0, "to be suspended as wanted is healthy");
        world.said.out();
        for verb in ["restart", "checkpoint", "savepoint"] {
            assert_eq!(world.types(&format!("{verb} revenue")).await, 1);
            let said = world.said.err();
            assert!(said.contains("is suspended") && said.contains("resume"), "{said}");
        }
        assert_eq!(world.types("resume revenue").await, 0, "{}", world.said.err());
        assert_eq!(world.said.out(), "default/revenue: running");
        let started = cluster.started("default", "revenue");
        assert_eq!(world.types("restart revenue").await, 0, "{}", world.said.err());
        assert_eq!(world.said.out(), "revenue: restarted");
        assert_eq!(cluster.started("default", "revenue"), started + 1);
        assert_eq!(world.types("wait revenue --for=settled").await, 0);
    });
}

#[test]
fn somebody_else_may_write_in_between_and_nothing_is_forced() {
    paused(async {
        let (world, _cluster) = running().await;
        *world.asked.conflicts.lock().unwrap() = 3;
        assert_eq!(world.types("checkpoint revenue --no-wait").await, 0, "{}", world.said.err());
        *world.asked.conflicts.lock().unwrap() = 100;
        let before = world.pipeline("revenue")["metadata"]["annotations"][CHECKPOINTED].clone();
        assert_eq!(world.types("checkpoint revenue --no-wait").await, 1);
        assert!(world.said.err().contains("changed again and again"));
        assert_eq!(world.pipeline("revenue")["metadata"]["annotations"][CHECKPOINTED], before);
    });
}

#[test]
fn what_nobody_does_is_not_waited_for_beyond_the_timeout() {
    paused(async {
        // No controller.
        let world = World::at(1_767_261_600_000);
        world.create("revenue", &json!({}));
        for line in ["checkpoint revenue", "restart revenue", "suspend revenue", "wait revenue --for=ready"] {
            let begun_ms = world.server.clock().now_ms();
            assert_eq!(world.types(&format!("{line} --timeout=30s")).await, 1, "{line}");
            let took_ms = world.server.clock().now_ms() - begun_ms;
            assert!((30_000..30_100).contains(&took_ms), "{line}: {took_ms} ms");
            let said = world.said.err();
            assert!(said.contains("not so within 30s") && said.contains("status revenue"), "{line}: {said}");
        }
        let annotations = &world.pipeline("revenue")["metadata"]["annotations"];
        assert!(annotations[CHECKPOINTED].is_string(), "what was asked for stays asked for");
        assert_eq!(world.pipeline("revenue")["spec"]["suspend"], true);
    });
}

#[test]
fn what_will_never_be_is_not_waited_for() {
    paused(async {
        let (world, _cluster) = World::alive(2);
        world.create("short", &json!({}));
        assert_eq!(world.types("wait short --for=finished").await, 0, "{}", world.said.err());
        assert_eq!(world.said.out(), "default/short: finished");
        for line in ["wait short --for=ready", "wait short --for=suspended", "savepoint short", "restart short"] {
            let begun_ms = world.server.clock().now_ms();
            assert_eq!(world.types(line).await, 1, "{line}");
            assert!(world.server.clock().now_ms() - begun_ms < 1_000, "{line}");
            world.said.err();
        }
        assert_eq!(world.types("wait short --for=savepoint").await, 1);
        assert!(world.said.err().contains("nobody has asked for one"));
        let deletes = world.server.write(Verb::Delete, &key("short"), json!({}));
        deletes.unwrap();
        assert_eq!(world.types("wait short --for=deleted").await, 0, "{}", world.said.err());
        assert_eq!(world.types("wait short --for=ready").await, 1);
        assert!(world.said.err().contains("there is no Pipeline `short` in namespace `default`"));
    });
}

#[test]
fn ctrl_c_ends_a_wait_and_takes_nothing_back() {
    paused(async {
        let world = World::at(1_767_261_600_000);
        world.create("revenue", &json!({}));
        let stop = tokio::time::sleep(Duration::from_secs(3));
        assert_eq!(world.types_until("savepoint revenue", stop).await, 1);
        assert!(world.said.err().contains("stays asked for"));
        let annotations = &world.pipeline("revenue")["metadata"]["annotations"];
        assert!(annotations["onceward.dev/savepoint-requested-at"].is_string());
    });
}
