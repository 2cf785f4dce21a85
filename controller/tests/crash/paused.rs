//! A leader that is stopped in the middle of something, and wakes when another one leads. It is stopped as a whole: its
//! requests wait on their way, its timers do not run, and when it wakes, what it was about to do comes before what tells it
//! that its lease is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::cluster::{self, Lease};
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use serde_json::Value;
use stage::inprocess::{CONFIG_MAPS, EVENTS, Fair, Fate, Fates, Key, LEASES, PIPELINES, PODS, Request, Verb};
use tokio::sync::watch;

use crate::end::{difference, end, judge};
use crate::scenarios;
use crate::trouble::{Plan, Trouble};
use crate::world::{NAMESPACE, Scenario, World};

const LEASE: &str = "onceward";
const LOOK: Duration = Duration::from_millis(100);
const MOST_LOOKS: u32 = 12_000;
/// Far beyond its lease, and what another one waits for.
const SLEEPS_LOOKS: u32 = 400;
/// Requests go on so long before anything else does.
const DROWSY_LOOKS: u32 = 10;
const SETTLING: Duration = Duration::from_mins(2);
const MOST_TOLD: usize = 6;
/// Lives in which every request is tried.
const LIVES: [&str; 7] = [
    "it runs to its end",
    "a worker is killed between a decision and its commit",
    "the image changes",
    "it is suspended and goes on",
    "it is deleted as it runs",
    "its worker is evicted",
    "it fails for good, and its spec is mended",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Awake,
    Asleep,
    /// Its requests go on, and nothing else does.
    Drowsy,
}

/// Where it falls asleep.
#[derive(Clone, Copy, Debug)]
struct Nap {
    /// At the how-manieth changing request of its own but for the lease's, from 1; 0: never.
    at: u64,
    /// That one is carried out before.
    is_after: bool,
}

/// The line of the one that falls asleep.
struct Sleeper {
    nap: Nap,
    state: watch::Sender<State>,
    writes: AtomicU64,
    /// Of those that were on their way as it fell asleep, and of those that it began before it was quite awake.
    held: AtomicU64,
    begun_drowsy: Mutex<Vec<String>>,
}

impl Sleeper {
    fn is_write(request: &Request) -> bool {
        let is_change = !matches!(request.verb, Verb::Get | Verb::List | Verb::Watch);
        is_change && *request.kind != LEASES
    }

    fn state(&self) -> State {
        *self.state.borrow()
    }
}

impl Fates for Sleeper {
    fn of(&self, request: &Request) -> Fate {
        let is_write = Self::is_write(request);
        match self.state() {
            State::Awake => {}
            State::Asleep => {
                self.held.fetch_add(u64::from(is_write), Ordering::Relaxed);
                return Fate::Late;
            }
            State::Drowsy => {
                // Of what it had written it may still tell.
                if is_write && *request.kind != EVENTS {
                    let told =
                        format!("{:?} {} {} {}", request.verb, request.kind.plural, request.name, request.subresource);
                    self.begun_drowsy.lock().unwrap_or_else(PoisonError::into_inner).push(told);
                }
                return Fate::Answered;
            }
        }
        let nth = if is_write { self.writes.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        if nth == 0 || nth != self.nap.at {
            return Fate::Answered;
        }
        self.state.send_replace(State::Asleep);
        self.held.fetch_add(u64::from(!self.nap.is_after), Ordering::Relaxed);
        if self.nap.is_after { Fate::AnsweredLate } else { Fate::Late }
    }

    fn hold(&self) -> BoxFuture<'static, ()> {
        let mut state = self.state.subscribe();
        async move { drop(state.wait_for(|state| *state != State::Asleep).await) }.boxed()
    }
}

/// Is polled only while it is awake.
async fn sleeping(mut process: BoxFuture<'static, ()>, mut state: watch::Receiver<State>) {
    loop {
        tokio::select! {
            biased;
            _ = state.wait_for(|state| *state != State::Awake) => {}
            () = &mut process => return,
        }
        if state.wait_for(|state| *state == State::Awake).await.is_err() {
            return;
        }
    }
}

fn start(world: &mut World, identity: &str, fates: Arc<dyn Fates>, state: watch::Receiver<State>) {
    let client = world.server.client(fates);
    let mut options = world.options();
    options.lease =
        Some(Lease { namespace: NAMESPACE.to_owned(), name: LEASE.to_owned(), identity: identity.to_owned() });
    let process = cluster::run(client, options, future::pending()).map(drop).boxed();
    world.spawn(sleeping(process, state));
}

fn holder(world: &World) -> String {
    let lease = world.server.get(&Key::new(&LEASES, NAMESPACE, LEASE));
    let holder = lease.and_then(|lease| Some(lease.pointer("/spec/holderIdentity")?.as_str()?.to_owned()));
    holder.unwrap_or_default()
}

/// What came of a life.
struct Lived {
    end: Value,
    /// Changing requests of the first leader before it fell asleep.
    writes: u64,
    /// Requests that were on their way as it fell asleep; None: it never did.
    held: Option<u64>,
    strays: u64,
}

/// Pods and configurations that came when their Pipeline was gone.
fn strays(world: &World) -> u64 {
    let (mut is_there, mut strays) = (false, 0);
    world.server.changes(|change| {
        if change.key.kind == &PIPELINES {
            is_there = change.after.is_some();
        } else if [&PODS, &CONFIG_MAPS].contains(&change.key.kind) && change.before.is_none() {
            let made = change.after.as_ref().is_some_and(|made| made["metadata"]["ownerReferences"].is_array());
            strays += u64::from(made && !is_there);
        }
    });
    strays
}

async fn live(scenario: &Scenario, nap: Nap) -> Result<Lived, String> {
    let mut world = World::new(scenario.script.clone(), Trouble::new(Plan::Nothing));
    let (state, awake) = watch::channel(State::Awake);
    let sleeper = Arc::new(Sleeper {
        nap,
        state,
        writes: AtomicU64::new(0),
        held: AtomicU64::new(0),
        begun_drowsy: Mutex::default(),
    });
    start(&mut world, "first", Arc::clone(&sleeper) as Arc<dyn Fates>, awake.clone());
    for _ in 0..MOST_LOOKS {
        if holder(&world) == "first" {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    let (_always, never) = watch::channel(State::Awake);
    start(&mut world, "second", Arc::new(Fair), never);
    world.create(&scenario.spec);
    let mut acts = scenario.acts.iter().peekable();
    let (mut slept, mut is_over) = (0, false);
    for _ in 0..MOST_LOOKS {
        while let Some(act) = acts.next_if(|act| (act.when)(&world)) {
            (act.what)(&world);
        }
        match sleeper.state() {
            State::Asleep if slept == SLEEPS_LOOKS => {
                let holder = holder(&world);
                if holder != "second" {
                    return Err(format!("`{holder}` leads as the first one wakes"));
                }
                sleeper.state.send_replace(State::Drowsy);
            }
            State::Drowsy if slept == SLEEPS_LOOKS + DROWSY_LOOKS => {
                sleeper.state.send_replace(State::Awake);
            }
            State::Awake | State::Asleep | State::Drowsy => {}
        }
        slept += u32::from(sleeper.state() != State::Awake);
        is_over = acts.peek().is_none() && (scenario.ends)(&world) && sleeper.state() == State::Awake;
        if is_over {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if !is_over {
        return Err(format!("it does not come to its end:\n{}", world.told()));
    }
    let writes = sleeper.writes.load(Ordering::Relaxed);
    tokio::time::sleep(SETTLING).await;
    judge(&world)?;
    let begun = sleeper.begun_drowsy.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !begun.is_empty() {
        return Err(format!("it writes on after its lease: {begun:?}"));
    }
    let held = (slept > 0).then(|| sleeper.held.load(Ordering::Relaxed));
    Ok(Lived { end: end(&world), writes, held, strays: strays(&world) })
}

fn run(scenario: &Scenario, nap: Nap) -> Result<Lived, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(live(scenario, nap)).map_err(|wrong| format!("{}, {nap:?}: {wrong}", scenario.name))
}

#[test]
fn a_leader_that_sleeps_beyond_its_lease_writes_nothing_more_than_what_was_on_its_way() {
    let (mut naps, mut held, mut strayed, mut wrong) = (0_u64, 0, 0, vec![]);
    let all: Vec<_> = scenarios::all().into_iter().filter(|scenario| LIVES.contains(&scenario.name)).collect();
    assert_eq!(all.len(), LIVES.len());
    for scenario in &all {
        let undisturbed = match run(scenario, Nap { at: 0, is_after: false }) {
            Ok(undisturbed) => undisturbed,
            Err(told) => {
                wrong.push(told);
                continue;
            }
        };
        assert!(undisturbed.held.is_none() && undisturbed.writes >= 4, "{}: {}", scenario.name, undisturbed.writes);
        for at in 1..=undisturbed.writes {
            for is_after in [false, true] {
                let nap = Nap { at, is_after };
                match run(scenario, nap) {
                    Ok(lived) if lived.end == undisturbed.end => {
                        let on_their_way =
                            lived.held.unwrap_or_else(|| panic!("{}, {nap:?}: it slept not", scenario.name));
                        (naps, held, strayed) = (naps + 1, held + on_their_way, strayed + lived.strays);
                    }
                    Ok(lived) => {
                        let difference = difference(&lived.end, &undisturbed.end);
                        wrong.push(format!("{}, {nap:?}:\n{difference}", scenario.name));
                    }
                    Err(told) => wrong.push(told),
                }
            }
        }
    }
    println!(
        "a leader slept {naps} times; {held} requests were carried out after another one led, and {strayed} of what they made \
              had no Pipeline any more"
    );
    let told = wrong.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} end otherwise:\n{told}", wrong.len());
    assert!(naps >= 100 && held >= 50 && strayed >= 2, "{naps} {held} {strayed}");
}
