//! Logs over connections that break, pods that end and kubelets that do not answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stage::inprocess::{Key, PODS};

use crate::kubelets::{Log, serve, timed};
use crate::reporting::pod;
use crate::world::{NAMESPACE, World, paused};

fn pod_key(letter: char) -> Key {
    Key::new(&PODS, NAMESPACE, &format!("revenue-0-{}", String::from(letter).repeat(4)))
}

/// Two pods, of which the second runs.
fn world() -> World {
    let world = World::at(1_767_261_600_000);
    world.create("revenue", &json!({}));
    world.server.put(&pod_key('a'), pod(1, "Succeeded"));
    world.server.put(&pod_key('b'), pod(2, "Running"));
    world
}

#[test]
fn logs_are_those_of_all_pods_with_their_names() {
    paused(async {
        let mut world = world();
        serve(&mut world, |pod, query| Log::Said(timed(&format!("log of {pod} ({query})\nred \x1b[31m\n\nlast"))));
        assert_eq!(world.types("logs revenue --tail=7 --since=1m").await, 0, "{}", world.said.err());
        let out = world.said.out();
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].starts_with("revenue-0-aaaa log of revenue-0-aaaa (&container=worker&"), "{out}");
        assert!(lines[0].contains("tailLines=7") && lines[0].contains("sinceSeconds=60"), "{out}");
        assert_eq!(lines[3], "revenue-0-aaaa last");
        assert!(lines[4].starts_with("revenue-0-bbbb log of revenue-0-bbbb"), "{out}");
        assert!(!out.contains('\x1b'), "what a terminal would obey is not passed on");
    });
}

#[test]
fn logs_follow_the_pod_that_comes_next() {
    paused(async {
        let mut world = world();
        serve(&mut world, |pod, query| Log::Said(timed(&format!("log of {pod} ({query})"))));
        let server = world.server.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.put(&pod_key('b'), pod(2, "Failed"));
            server.put(&pod_key('c'), pod(3, "Running"));
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        assert_eq!(world.types_until("logs revenue -f", stop).await, 0);
        let (out, err) = (world.said.out(), world.said.err());
        for pod in ["aaaa", "bbbb", "cccc"] {
            assert_eq!(out.matches(&format!("log of revenue-0-{pod}")).count(), 1, "{out}");
        }
        assert!(out.contains("follow=true") && err.contains("following pod revenue-0-cccc"), "{err}");
    });
}

#[test]
fn a_log_that_breaks_off_is_read_on_and_no_line_comes_twice() {
    let all = [
        "2026-01-01T10:00:00.100Z one",
        "2026-01-01T10:00:00.700Z two",
        "2026-01-01T10:00:00.700Z two again",
        "2026-01-01T10:00:01.200Z three",
        "2026-01-01T10:00:02.000Z four",
    ];
    // Up to where each connection breaks, in bytes: also within a line.
    let text = all.map(|line| format!("{line}\n")).concat();
    let lengths = [text.find("two again").unwrap(), text.find("three").unwrap() + 2, text.find("four").unwrap()];
    paused(async {
        let mut world = world();
        let asked = Arc::new(Mutex::new(vec![]));
        let (queries, whole) = (Arc::clone(&asked), text.clone());
        serve(&mut world, move |pod, query| {
            if pod.ends_with("aaaa") {
                return Log::Said(String::new());
            }
            let mut queries = queries.lock().unwrap();
            queries.push(query.to_owned());
            let length = lengths.get(queries.len() - 1).copied().unwrap_or(whole.len());
            Log::Said(whole[..length].to_owned())
        });
        let server = world.server.clone();
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.put(&pod_key('b'), pod(2, "Failed"));
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        assert_eq!(world.types_until("logs revenue -f --tail=9", stop).await, 0);
        let lines: Vec<String> =
            ["one", "two", "two again", "three", "four"].map(|line| format!("revenue-0-bbbb {line}")).into();
        assert_eq!(world.said.out().lines().collect::<Vec<_>>(), lines);
        let asked = asked.lock().unwrap();
        assert!(asked[0].contains("tailLines=9") && !asked[0].contains("sinceTime"), "{asked:?}");
        // Of .700: a time to the second, and none that is later.
        assert!(
            asked[1].contains("sinceTime=2026-01-01T10%3A00%3A00Z") && !asked[1].contains("tailLines"),
            "{asked:?}"
        );
    });
}

#[test]
fn the_end_of_a_pod_is_read_that_ended_while_nobody_could_ask() {
    paused(async {
        let mut world = world();
        serve(&mut world, |pod, query| match pod {
            "revenue-0-bbbb" if query.contains("follow") => Log::Said(timed("one")),
            "revenue-0-bbbb" => Log::Said(timed("one\nlast words")),
            _ => Log::Said(String::new()),
        });
        let (server, asked) = (world.server.clone(), Arc::clone(&world.asked));
        let stop = async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            *asked.refuses.lock().unwrap() = Some(503);
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.put(&pod_key('b'), pod(2, "Failed"));
            *asked.refuses.lock().unwrap() = None;
            tokio::time::sleep(Duration::from_secs(3)).await;
        };
        assert_eq!(world.types_until("logs revenue -f", stop).await, 0);
        assert_eq!(world.said.out(), "revenue-0-bbbb one\nrevenue-0-bbbb last words");
        let err = world.said.err();
        assert_eq!(err.matches("trying again").count(), 1, "{err}");
    });
}

#[test]
fn a_log_that_cannot_be_read_is_not_done() {
    paused(async {
        for code in [404, 500] {
            let mut world = world();
            serve(
                &mut world,
                move |pod, _| {
                    if pod.ends_with("aaaa") { Log::Refused(code) } else { Log::Said(timed("of b")) }
                },
            );
            assert_eq!(world.types("logs revenue").await, 1, "{code}");
            assert_eq!(world.said.out(), "revenue-0-bbbb of b", "others are read");
            assert!(world.said.err().contains("cannot read the log of pod `revenue-0-aaaa`"), "{code}");
        }
        // What has not begun has no log, which is no fault.
        let mut world = world();
        serve(&mut world, |_, _| Log::Said(timed("of a")));
        world.server.put(&pod_key('b'), pod(2, "Pending"));
        assert_eq!(world.types("logs revenue").await, 0, "{}", world.said.err());
        assert!(world.said.err().contains("pod revenue-0-bbbb has not begun"));
    });
}

#[test]
fn a_kubelet_that_says_nothing_is_not_waited_for() {
    paused(async {
        let mut world = world();
        serve(&mut world, |pod, _| if pod.ends_with("aaaa") { Log::Silent } else { Log::Said(timed("of b")) });
        let begun_ms = world.server.clock().now_ms();
        assert_eq!(world.types("logs revenue").await, 1);
        assert!(world.server.clock().now_ms() - begun_ms < 60_000);
        assert_eq!(world.said.out(), "revenue-0-bbbb of b");
        assert!(world.said.err().contains("no more of it within 20s"));
    });
}
