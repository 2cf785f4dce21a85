//! An API server that is away for a while: nobody answers, watches break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::pipeline::Phase;
use controller::cluster::{self, Lease};
use futures::{FutureExt as _, future};
use serde_json::json;
use stage::inprocess::{Fate, Fates, Request, RuntimeClock, WatchFate};
use stage::script::Script;

use crate::trouble::{Plan, Trouble};
use crate::world::{NAMESPACE, World};

const LOOK: Duration = Duration::from_millis(100);
/// Long after the lease is lost.
const GOES_AFTER: Duration = Duration::from_mins(1);
/// From its return to the first thing that is done about a change that was made before.
const MOST_MS: u64 = 5_000;

struct Away {
    clock: RuntimeClock,
    from_ms: u64,
    until_ms: u64,
    lost: AtomicU64,
}

impl Fates for Away {
    fn of(&self, _: &Request) -> Fate {
        if (self.from_ms..self.until_ms).contains(&self.clock.now_ms()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Fate::Unsent;
        }
        Fate::Answered
    }

    fn of_watch(&self, _: &Request) -> WatchFate {
        let breaks_at_ms = Some(self.from_ms).filter(|from_ms| self.clock.now_ms() < *from_ms);
        WatchFate { breaks_at_ms, ..WatchFate::default() }
    }
}

/// How long after such an outage a Pipeline is suspended whose user asked for it meanwhile.
async fn heard_after(away: Duration) -> u64 {
    let mut world = World::new(Script { units: u64::MAX, deaths: vec![] }, Trouble::new(Plan::Nothing));
    let clock = world.server.clock();
    let from_ms = clock.now_ms() + GOES_AFTER.as_millis() as u64;
    let until_ms = from_ms + away.as_millis() as u64;
    let line = Arc::new(Away { clock, from_ms, until_ms, lost: AtomicU64::new(0) });
    let client = world.server.client(Arc::clone(&line) as Arc<dyn Fates>);
    let mut options = world.options();
    options.lease =
        Some(Lease { namespace: NAMESPACE.to_owned(), name: "onceward".to_owned(), identity: "only".to_owned() });
    world.create(&json!({}));
    world.spawn(cluster::run(client, options, future::pending()).map(drop));
    clock.until(from_ms + 1).await;
    assert!(world.is(Phase::Running), "{}", world.told());
    world.edit(|pipeline| pipeline["spec"]["suspend"] = true.into());
    clock.until(until_ms).await;
    assert!(world.is(Phase::Running), "nobody could be told");
    let lost = line.lost.load(Ordering::Relaxed);
    assert!(lost > 0, "no request was lost: this proves nothing");
    for _ in 0..6_000 {
        if !world.is(Phase::Running) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    clock.now_ms() - until_ms
}

#[test]
fn an_api_server_that_comes_back_is_heard_within_seconds_however_long_it_was_away() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let heard: Vec<_> = [3, 10, 20, 40, 80, 300, 1_800]
        .map(|seconds| (seconds, runtime.block_on(heard_after(Duration::from_secs(seconds)))))
        .into();
    println!("seconds away, and milliseconds until it is heard: {heard:?}");
    assert!(heard.iter().all(|(_, ms)| *ms <= MOST_MS), "{heard:?}");
}
