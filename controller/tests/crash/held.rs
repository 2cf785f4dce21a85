//! A Pipeline that somebody else holds, as a deletion in the foreground does, or whoever has a finalizer of their own.

use std::sync::Arc;
use std::time::Duration;

use api::pipeline::Phase;
use controller::cluster;
use futures::{FutureExt as _, future};
use serde_json::json;
use stage::inprocess::{Fate, Fates, PIPELINES, Request, WatchFate};
use stage::script::Script;

use crate::trouble::{Line, Plan, Trouble};
use crate::world::World;

const HOLD: &str = "example.com/hold";
const LOOK: Duration = Duration::from_millis(100);
const MOST_LOOKS: u32 = 600;
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Hears of Pipelines so much later than of everything else.
struct Late {
    line: Line,
    lag_ms: u64,
}

impl Fates for Late {
    fn of(&self, request: &Request) -> Fate {
        self.line.of(request)
    }

    fn of_watch(&self, request: &Request) -> WatchFate {
        let lag_ms = if request.kind == &PIPELINES { self.lag_ms } else { 0 };
        WatchFate { lag_ms, ..WatchFate::default() }
    }
}

async fn until(world: &World, wanted: impl Fn(&World) -> bool) {
    for _ in 0..MOST_LOOKS {
        if wanted(world) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert!(wanted(world), "{}", world.told());
}

async fn hold(lag_ms: u64) {
    let mut world = World::new(Script { units: u64::MAX, deaths: vec![] }, Trouble::new(Plan::Nothing));
    world.create(&json!({}));
    let line = Line::new(Arc::clone(&world.trouble), 0, world.server.clock());
    let client = world.server.client(Arc::new(Late { line, lag_ms }));
    let options = world.options();
    world.spawn(cluster::run(client, options, future::pending()).map(drop));
    until(&world, |world| world.is(Phase::Running) && world.units() > 3).await;
    world.edit(|pipeline| {
        let all = pipeline["metadata"]["finalizers"].as_array_mut().expect("its controller's");
        all.push(HOLD.into());
    });
    world.delete_pipeline();
    let finalizers = |world: &World| world.pipeline().expect("a Pipeline")["metadata"]["finalizers"].clone();
    until(&world, |world| finalizers(world) == json!([HOLD])).await;
    assert!(!world.owes(), "what was decided is visible");
    let before = world.trouble.writes();
    // Its pods are collected first then.
    world.delete(&world.pod().expect("the one that has finished its commits"));
    tokio::time::sleep(TEN_MINUTES).await;
    let writes = world.trouble.writes_since(before);
    assert!(writes.is_empty(), "with a lag of {lag_ms} ms: {writes:?}");
}

#[test]
fn of_a_pipeline_that_somebody_else_holds_nothing_is_written_once_it_is_let_go() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    for lag_ms in [0, 5_000] {
        runtime.block_on(hold(lag_ms));
    }
}
