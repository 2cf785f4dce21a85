//! A controller that dies behind its requests, over real worker processes and the machine's clock. Each request is struck in
//! a life of its own: before it is sent, or carried out and unheard. Then another controller goes on, and the end is that of
//! a life in which nobody died but the worker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api::pipeline::{Phase, Pipeline, PipelineStatus};
use controller::cluster::{self, Options, Reports};
use controller::observe::Settings;
use futures::{FutureExt as _, future};
use runtime::clock::{Clock as _, SystemClock};
use runtime::tasks::{self, Task};
use serde_json::{Value, json};
use stage::inprocess::{CONFIG_MAPS, Fair, Fate, Fates, Key, PIPELINES, PODS, Request, RuntimeClock, Server, Verb};

use crate::kubelet::Kubelet;
use crate::lives::{generated, manifest};

const NAME: &str = "dies";
/// In CI; `DEATHS=all` strikes every request, before and after.
const DEATHS: u64 = 10;
/// Lives until a death is struck: how often the status is written goes with the machine's speed.
const MOST_LIVES: u32 = 5;
/// By so many requests two lives may differ: the last ones are struck where a life has them.
const VARIES: u64 = 2;
/// Lives at a time.
const LANES: usize = 4;
const LOOK: Duration = Duration::from_millis(50);
/// A minute and a half.
const MOST_LOOKS: u32 = 1_800;

/// Counts changing requests of all controllers of a life, and strikes one.
struct Deaths {
    at: u64,
    is_after: bool,
    writes: AtomicU64,
    struck: AtomicU64,
}

/// One controller's line to the server.
struct Line {
    deaths: Arc<Deaths>,
    is_dead: AtomicBool,
}

impl Fates for Line {
    fn of(&self, request: &Request) -> Fate {
        if self.is_dead.load(Ordering::SeqCst) {
            return Fate::DeadBefore;
        }
        let is_struck =
            request.verb.is_write() && self.deaths.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.deaths.at;
        if !is_struck {
            return Fate::Answered;
        }
        self.is_dead.store(true, Ordering::SeqCst);
        self.deaths.struck.fetch_add(1, Ordering::SeqCst);
        if self.deaths.is_after { Fate::DeadAfter } else { Fate::DeadBefore }
    }
}

struct World {
    server: Server,
    deaths: Arc<Deaths>,
    kubelet: Kubelet,
    controller: (Arc<Line>, Task<()>),
    _kubelet: Task<()>,
    _folder: tempfile::TempDir,
}

/// A controller, alone, as `onceward controller` runs it.
fn controller(server: &Server, deaths: &Arc<Deaths>) -> (Arc<Line>, Task<()>) {
    let line = Arc::new(Line { deaths: Arc::clone(deaths), is_dead: AtomicBool::new(false) });
    let settings =
        Settings { image: "onceward".to_owned(), service_account: "default".to_owned(), controller_key: None };
    let options = Options::new(settings, Arc::new(Reports::default()));
    let client = server.client(Arc::<Line>::clone(&line));
    (line, tasks::spawn("controller", cluster::run(client, options, future::pending()).map(drop)))
}

impl World {
    fn new(deaths: Deaths) -> Result<Self> {
        let server = Server::new(RuntimeClock::at(SystemClock.wall_ms()));
        let folder = tempfile::Builder::new().prefix("onceward-deaths-").tempdir()?;
        let kubelet = Kubelet::new(server.client(Arc::new(Fair)), folder.path())?;
        let task = tasks::spawn("kubelet", kubelet.clone().work());
        let deaths = Arc::new(deaths);
        let controller = controller(&server, &deaths);
        Ok(Self { server, deaths, kubelet, controller, _kubelet: task, _folder: folder })
    }

    fn key() -> Key {
        Key::new(&PIPELINES, "default", NAME)
    }

    fn status(&self) -> Result<PipelineStatus> {
        let found =
            self.server.get(&Self::key()).map(|found| serde_json::from_value::<Pipeline>(found.as_ref().clone()));
        Ok(found.transpose()?.and_then(|found| found.status).unwrap_or_default())
    }

    /// Looks until it is so; a controller that has died is followed by another one.
    async fn until(&mut self, what: &str, is: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        for _ in 0..MOST_LOOKS {
            if is(self)? {
                return Ok(());
            }
            if self.controller.0.is_dead.load(Ordering::SeqCst) {
                self.controller = controller(&self.server, &self.deaths);
            }
            // In a cluster another process does that.
            self.server.collect();
            tokio::time::sleep(LOOK).await;
        }
        bail!("it never came to this: {what}; {:#?}\nkubelet: {:?}", self.status()?, self.kubelet.failure())
    }

    /// What two lives must agree in.
    fn end(&self) -> Result<Value> {
        let status = self.status()?;
        let conditions: Vec<_> =
            status.conditions.iter().map(|told| (&told.kind, &told.status, &told.reason)).collect();
        let names = |kind| self.server.list(kind).into_iter().map(|(key, _)| key.name).collect::<Vec<_>>();
        Ok(json!({ "phase": status.phase, "conditions": conditions, "workers": status.workers,
            "restarts": status.restarts.total, "reasons": status.restarts.reasons,
            "pending": status.pending_commits.len(), "pods": names(&PODS).len(), "configurations": names(&CONFIG_MAPS).len() }))
    }
}

/// A life whose worker dies between a decision and its commit: how many requests it took, whether one was struck, its end.
async fn live(at: u64, is_after: bool) -> Result<(u64, bool, Value)> {
    let (writes, struck) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut world = World::new(Deaths { at, is_after, writes, struck })?;
    let generated = generated(2);
    let (folder, mut manifest) = manifest(&generated, NAME)?;
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 3, "delay": "100ms" } });
    world.kubelet.arm("coordinator.decided:3=kill");
    world.server.write(Verb::Create, &World::key(), manifest).map_err(|code| anyhow::anyhow!("refused: {code}"))?;
    world.until("it is finished", |world| Ok(world.status()?.phase == Some(Phase::Finished))).await?;
    generated.assert_exact(&folder)?;
    let end = world.end()?;
    let killed = world.kubelet.started();
    ensure!(killed == ["run", "run"], "one worker dies, the next one finishes: {killed:?}");
    world.server.write(Verb::Delete, &World::key(), Value::Null).map_err(|code| anyhow::anyhow!("refused: {code}"))?;
    let is_gone = |world: &World| {
        let kinds = [&PIPELINES, &PODS, &CONFIG_MAPS];
        Ok(kinds.into_iter().all(|kind| world.server.list(kind).is_empty()))
    };
    world.until("everything is gone", is_gone).await?;
    generated.assert_exact(&folder)?;
    let struck = world.deaths.struck.load(Ordering::SeqCst);
    Ok((world.deaths.writes.load(Ordering::SeqCst), struck == 1, end))
}

/// Whether this death happened in one of several lives, all of which must end as one without it.
async fn struck(at: u64, is_after: bool, undisturbed: &Value) -> Result<bool> {
    for _ in 0..MOST_LIVES {
        let (_, is_struck, end) = live(at, is_after).await?;
        ensure!(end == *undisturbed, "{end:#}\nand undisturbed\n{undisturbed:#}");
        if is_struck {
            return Ok(true);
        }
    }
    Ok(false)
}

fn in_runtime<T>(life: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?.block_on(life)
}

#[test]
fn a_controller_may_die_behind_any_request_while_real_workers_run() -> Result<()> {
    let (writes, _, undisturbed) = in_runtime(live(0, false))?;
    let sure = writes.saturating_sub(VARIES);
    ensure!(undisturbed["restarts"] == 1 && sure >= DEATHS, "{writes} requests; {undisturbed:#}");
    let is_all = std::env::var("DEATHS").is_ok_and(|deaths| deaths == "all");
    let plans: Vec<(u64, bool)> = if is_all {
        (1..=writes).flat_map(|at| [(at, false), (at, true)]).collect()
    } else {
        (0..DEATHS).map(|nth| (1 + nth * (sure - 1) / (DEATHS - 1), nth % 2 == 0)).collect()
    };
    let (next, deaths, wrong) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some((at, is_after)) = plans.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
                    let told = match in_runtime(struck(*at, *is_after, &undisturbed)) {
                        Ok(true) => {
                            deaths.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        // Other lives may do with fewer than the first one.
                        Ok(false) if *at > sure => continue,
                        Ok(false) => format!("{MOST_LIVES} lives had fewer requests"),
                        Err(error) => format!("{error:#}"),
                    };
                    let told = format!("request {at}, carried out: {is_after}: {told}");
                    wrong.lock().expect("nobody panics").push(told);
                }
            });
        }
    });
    let wrong = wrong.into_inner()?;
    println!("{} of {} deaths at {writes} requests", deaths.into_inner(), plans.len());
    ensure!(wrong.is_empty(), "{} of {} end otherwise:\n{}", wrong.len(), plans.len(), wrong.join("\n"));
    Ok(())
}
