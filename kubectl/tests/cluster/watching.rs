//! `status --watch`: what changes, what changes by silence alone, and what is not there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use stage::inprocess::Verb;

use crate::showing::{ms, narrow, scenes};
use crate::world::{World, key, paused};

#[test]
fn watching_says_a_line_for_each_change_and_ends_with_ctrl_c() {
    paused(async {
        let (world, _cluster) = World::alive(u64::MAX);
        world.create("revenue", &json!({}));
        let (said, server) = (world.said.clone(), world.server.clone());
        let stop = async {
            for _ in 0..600 {
                if said.last().is_some_and(|line| line.contains("Running")) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("it never ran: {}", server.list(&stage::inprocess::PIPELINES)[0].1);
        };
        assert_eq!(world.types_until("status -w", stop).await, 0);
        let out = world.said.out();
        narrow("status -w", &out);
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].starts_with("NAME") && lines.len() >= 3, "{out}");
        assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{out}");
        let stop = tokio::time::sleep(Duration::from_secs(1));
        assert_eq!(world.types_until("status revenue -w -o json", stop).await, 0);
        let told: Value = serde_json::from_str(world.said.out().lines().next().unwrap()).unwrap();
        assert_eq!(told["health"], "healthy");
    });
}

#[test]
fn silence_is_said_without_an_event_and_judged_at_the_end() {
    paused(async {
        let (now_ms, pipeline) = scenes().remove("running").unwrap();
        let world = World::at(now_ms);
        world.put(pipeline);
        let stop = tokio::time::sleep(Duration::from_hours(1));
        assert_eq!(world.types_until("status -n shop -w", stop).await, 1);
        let out = world.said.out();
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines.len(), 3, "{out}");
        assert!(lines[1].contains("healthy") && lines[2].contains("degraded"), "{out}");
    });
}

#[test]
fn who_is_not_there_is_not_watched() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        let stop = tokio::time::sleep(Duration::from_mins(1));
        assert_eq!(world.types_until("status nobody -w", stop).await, 2);
        assert!(world.said.err().contains("there is no Pipeline `nobody` in namespace `default`"));
        let stop = tokio::time::sleep(Duration::from_mins(1));
        assert_eq!(world.types_until("status -w", stop).await, 0, "nobody at all is no fault");
    });
}

#[test]
fn a_watch_that_has_read_nothing_was_not_reachable() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        world.create("revenue", &json!({}));
        *world.asked.refuses.lock().unwrap() = Some(503);
        for line in ["status -w", "status revenue -w"] {
            let stop = tokio::time::sleep(Duration::from_mins(1));
            assert_eq!(world.types_until(line, stop).await, 3, "{line}");
            assert!(world.said.err().contains("trying again"), "{line}");
        }
        // An outage that ends is one that is over.
        let asked = world.asked.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            *asked.refuses.lock().unwrap() = None;
            tokio::time::sleep(Duration::from_mins(1)).await;
        };
        assert_eq!(world.types_until("status revenue -w", stop).await, 1);
        assert!(world.said.out().contains("degraded"));
    });
}

#[test]
fn who_was_deleted_while_nobody_looked_is_gone() {
    paused(async {
        let world = World::at(ms("2026-01-01T10:00:00Z"));
        world.create("revenue", &json!({}));
        world.asked.forgets.store(true, Ordering::Relaxed);
        let server = world.server.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.write(Verb::Delete, &key("revenue"), json!({})).unwrap();
            tokio::time::sleep(Duration::from_mins(1)).await;
        };
        assert_eq!(world.types_until("status -w", stop).await, 0, "what is gone is no reason");
        let err = world.said.err();
        assert_eq!(err.matches("default/revenue is gone").count(), 1, "{err}");
    });
}
