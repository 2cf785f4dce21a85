//! A cluster, a terminal that remembers, and what a person types.

use std::collections::BTreeSet;
use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use api::report::Words as Told;
use api::token::Signer;
use clap::Parser;
use controller::cluster::{self, Ask, Clock, Options};
use controller::observe::Settings;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::Client;
use kubectl::{Gone, Reach, Site, Terminal, Tone, Verb};
use serde_json::Value;
use stage::inprocess::{self, Fate, Fates, Key, PIPELINES, RuntimeClock, Server, WatchFate};
use stage::script::{Cluster, Script, pipeline};
use tokio::task::JoinSet;

pub(crate) const NAMESPACE: &str = "default";
/// Made for these tests.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";

#[derive(Debug, Parser)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Remembers what is said.
#[derive(Default)]
pub(crate) struct Recorded {
    out: Mutex<Vec<String>>,
    err: Mutex<Vec<String>>,
}

impl Recorded {
    /// Standard output, and forgets it.
    pub(crate) fn out(&self) -> String {
        std::mem::take(&mut *self.out.lock().unwrap()).join("\n")
    }

    /// Standard error, and forgets it.
    pub(crate) fn err(&self) -> String {
        std::mem::take(&mut *self.err.lock().unwrap()).join("\n")
    }

    /// The last line on standard output so far.
    pub(crate) fn last(&self) -> Option<String> {
        self.out.lock().unwrap().last().cloned()
    }
}

impl Terminal for Recorded {
    fn say(&self, line: &str) -> Result<(), Gone> {
        self.out.lock().unwrap().push(line.to_owned());
        Ok(())
    }

    fn tell(&self, line: &str) {
        self.err.lock().unwrap().push(line.to_owned());
    }

    fn fault(&self, text: &str) {
        self.tell(&format!("error: {text}"));
    }

    fn paint(&self, _: Tone, text: &str) -> String {
        text.to_owned()
    }
}

/// Remembers of what kinds objects were asked for; refuses one kind of write a few times.
#[derive(Default)]
pub(crate) struct Asked {
    kinds: Mutex<BTreeSet<&'static str>>,
    pub(crate) conflicts: Mutex<u32>,
    pub(crate) refuses: Mutex<Option<u16>>,
    /// Nothing is answered any more.
    pub(crate) is_silent: AtomicBool,
    /// Watches forget the next change, and are refused as too old.
    pub(crate) forgets: AtomicBool,
}

impl Asked {
    pub(crate) fn kinds(&self) -> BTreeSet<&'static str> {
        self.kinds.lock().unwrap().clone()
    }
}

impl Fates for Asked {
    fn of(&self, request: &inprocess::Request) -> Fate {
        self.kinds.lock().unwrap().insert(request.kind.plural);
        if self.is_silent.load(Ordering::Relaxed) {
            return Fate::Late;
        }
        if let Some(code) = *self.refuses.lock().unwrap() {
            return Fate::Refused(code);
        }
        let mut conflicts = self.conflicts.lock().unwrap();
        if request.verb.is_write() && *conflicts > 0 {
            *conflicts -= 1;
            return Fate::Refused(409);
        }
        Fate::Answered
    }

    fn hold(&self) -> BoxFuture<'static, ()> {
        future::pending().boxed()
    }

    fn of_watch(&self, _: &inprocess::Request) -> WatchFate {
        WatchFate { forgets: u32::from(self.forgets.load(Ordering::Relaxed)), ..WatchFate::default() }
    }
}

struct Now(RuntimeClock);

impl Clock for Now {
    fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }
}

/// Asks the script, as the controller asks workers.
struct Workers(Cluster);

impl Ask for Workers {
    fn ask<'a>(&'a self, address: &'a str, _: Option<&'a str>) -> BoxFuture<'a, Option<Told>> {
        future::ready(self.0.ask(address).map(Told::from)).boxed()
    }

    fn request<'a>(&'a self, address: &'a str, token: String) -> BoxFuture<'a, Result<(), String>> {
        let answer = self.0.request(address, &token).unwrap_or(Ok(()));
        future::ready(answer.map_err(|error| error.to_string())).boxed()
    }
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) said: Arc<Recorded>,
    pub(crate) asked: Arc<Asked>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    tasks: JoinSet<()>,
}

impl World {
    /// With nobody at work in it, at a time in milliseconds since 1970.
    pub(crate) fn at(now_ms: u64) -> Self {
        Self::over(Server::new(RuntimeClock::at(now_ms)))
    }

    fn over(server: Server) -> Self {
        let (said, asked) = (Arc::default(), Arc::<Asked>::default());
        let client = server.client(Arc::clone(&asked) as Arc<dyn Fates>);
        Self { server, said, asked, client, namespace: NAMESPACE.to_owned(), tasks: JoinSet::new() }
    }

    /// With a controller and scripted workers, which have so many units to do.
    pub(crate) fn alive(units: u64) -> (Self, Cluster) {
        let mut world = Self::over(Server::default());
        let cluster = Cluster::new(world.server.clone(), Script { units, deaths: vec![] });
        world.tasks.spawn(cluster.clone().work());
        let signer = Arc::new(Signer::from_pem(PEM).unwrap());
        let settings = Settings {
            image: "onceward:test".to_owned(),
            service_account: "default".to_owned(),
            controller_key: Some(signer.public_key()),
        };
        let options = Options {
            clock: Arc::new(Now(world.server.clock())),
            signer: Some(signer),
            ..Options::new(settings, Arc::new(Workers(cluster.clone())))
        };
        let client = world.server.client(Arc::new(inprocess::Fair));
        world.tasks.spawn(cluster::run(client, options, future::pending()).map(drop));
        (world, cluster)
    }

    /// Carries out what a person types; the exit code.
    pub(crate) async fn types(&self, line: &str) -> u8 {
        self.types_until(line, future::pending()).await
    }

    /// The same, until Ctrl-C.
    pub(crate) async fn types_until(&self, line: &str, stop: impl Future<Output = ()> + Send) -> u8 {
        let clock = self.server.clock();
        let now_ms = move || clock.now_ms();
        let read = Line::try_parse_from(["onceward"].into_iter().chain(line.split(' '))).unwrap();
        let namespace = read.reach.namespace.unwrap_or_else(|| self.namespace.clone());
        let client = self.client.clone();
        let site = Site { client, namespace, terminal: self.said.as_ref(), now_ms: &now_ms };
        kubectl::carry_out(&site, &read.verb, stop).await
    }

    pub(crate) fn create(&self, name: &str, spec: &Value) {
        let made = self.server.write(inprocess::Verb::Create, &key(name), manifest(name, spec));
        made.unwrap();
    }

    /// Past all rules, as it is.
    pub(crate) fn put(&self, pipeline: Value) {
        let text = |pointer: &str| pipeline.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = Key::new(&PIPELINES, &text("/metadata/namespace"), &text("/metadata/name"));
        self.server.put(&key, pipeline);
    }

    pub(crate) fn pipeline(&self, name: &str) -> Value {
        self.server.get(&key(name)).unwrap().as_ref().clone()
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(&PIPELINES, NAMESPACE, name)
}

/// A valid one of this name; fields of `spec` replace its own.
pub(crate) fn manifest(name: &str, spec: &Value) -> Value {
    pipeline(NAMESPACE, name, spec)
}

/// On a clock of its own, which goes on when everybody waits.
pub(crate) fn paused<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(life)
}
