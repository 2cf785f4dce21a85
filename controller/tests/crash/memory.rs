//! What a thousand Pipelines cost the controller alone: it is a process of its own, over HTTP and on the machine's clock. The
//! API server, the rest of the cluster and its workers are in the process that measures it.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use controller::cluster::{self, Options, Reports};
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use stage::inprocess::{Fate, Fates, Key, PIPELINES, Request, RuntimeClock, Server, Verb};
use stage::ports::Port;
use stage::script::{Cluster, Script, address};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;

use crate::world::{NAMESPACE, manifest, settings};

const COUNT: u32 = 1_000;
/// Each has a second, so that all of them run at once for a while.
const UNITS: u64 = 40;
const MOST_MEMORY_KB: u64 = 100 << 10;
const LOOK: Duration = Duration::from_millis(100);
/// Ten minutes of a busy machine.
const MOST_LOOKS: u32 = 6_000;
/// Where the other process finds the server and the workers, and where it shows its metrics.
const API: &str = "ONCEWARD_TEST_API";
const WORKERS: &str = "ONCEWARD_TEST_WORKERS";
const METRICS: &str = "ONCEWARD_TEST_METRICS";

/// Counts requests.
#[derive(Default)]
struct Count(AtomicU64);

impl Fates for Count {
    fn of(&self, _: &Request) -> Fate {
        self.0.fetch_add(1, Ordering::Relaxed);
        Fate::Answered
    }
}

/// The controller's process.
struct Alone(Child);

impl Alone {
    fn start(api: SocketAddr, workers: u16, metrics: SocketAddr) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "memory::a_controller_alone", "--ignored", "--nocapture"]);
        command.env(API, format!("http://{api}")).env(WORKERS, workers.to_string()).env(METRICS, metrics.to_string());
        // It ends with its input, and so with this process, whatever becomes of it.
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts"))
    }

    /// A number of its `status`, in KB.
    fn of_status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it lives");
        let line = text.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// User and system time; Linux counts hundredths.
    fn cpu_ms(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it lives");
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn listen(address: &str, port: u16) -> TcpListener {
    TcpListener::bind(format!("{address}:{port}")).await.expect("an address of loopback")
}

/// A figure of its metrics; 0 until it serves them.
async fn figure(metrics: SocketAddr, name: &str) -> f64 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let Ok(answer) = client.get(format!("http://{metrics}/metrics").parse().expect("a URI")).await else { return 0.0 };
    let Ok(body) = answer.into_body().collect().await else { return 0.0 };
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn count(server: &Server, phase: &str) -> usize {
    let is_so = |found: &serde_json::Value| found.pointer("/status/phase").is_some_and(|found| found == phase);
    server.list(&PIPELINES).iter().filter(|(_, found)| is_so(found)).count()
}

/// Looks until it is so; how often.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) -> u32 {
    for look in 0..MOST_LOOKS {
        if is().await {
            return look;
        }
        tokio::time::sleep(LOOK).await;
    }
    assert!(is().await, "it never came to this: {what}");
    MOST_LOOKS
}

#[tokio::test]
async fn a_thousand_pipelines_cost_the_controller_little_memory() {
    let server = Server::new(RuntimeClock::of_the_machine());
    let cluster = Cluster::new(server.clone(), Script { units: UNITS, deaths: vec![] });
    let (workers, metrics) = (Port::reserve().expect("a port"), Port::reserve().expect("a port"));
    let requests = Arc::new(Count::default());
    let mut tasks = JoinSet::new();
    tasks.spawn(cluster.clone().work());
    for number in 0..COUNT {
        let listener = listen(&address(number), workers.number).await;
        tasks.spawn(cluster.clone().serve(listener).map(drop));
    }
    let listener = listen("127.0.0.1", 0).await;
    let api = listener.local_addr().expect("an address");
    let (served, fates) = (server.clone(), Arc::<Count>::clone(&requests));
    tasks.spawn(async move { served.serve(listener, fates).map(drop).await });

    let metrics = SocketAddr::from(([127, 0, 0, 1], metrics.number));
    let alone = Alone::start(api, workers.number, metrics);
    until("it is ready", async || figure(metrics, "onceward_leader").await > 0.0).await;
    let idle_kb = alone.of_status("VmHWM:");
    for number in 0..COUNT {
        let name = format!("many-{number}");
        let key = Key::new(&PIPELINES, NAMESPACE, &name);
        server.write(Verb::Create, &key, manifest(&name, &json!({}))).expect("it is made");
    }
    let (mut at_once, all) = (0, COUNT as usize);
    let looks = until("all have come to their end", async || {
        at_once = at_once.max(count(&server, "Running"));
        count(&server, "Finished") == all
    })
    .await;
    let turns = figure(metrics, "onceward_reconcile_duration_seconds_count").await;
    let (peak_kb, cpu_ms) = (alone.of_status("VmHWM:"), alone.cpu_ms());
    println!(
        "{COUNT} pipelines, at most {at_once} running at once, came to their end within {} s: the controller took {peak_kb} KB of \
         memory at its peak ({idle_kb} KB before there were any), {cpu_ms} ms of a processor, {turns} turns and {} requests",
        looks / 10,
        requests.0.load(Ordering::Relaxed),
    );
    assert!(at_once > all / 2, "most of them run at once: {at_once}");
    assert!(peak_kb <= MOST_MEMORY_KB, "{peak_kb} KB");
}

#[test]
#[ignore = "started by the test before"]
fn a_controller_alone() {
    let given = |name: &str| std::env::var(name).expect(name);
    // As the binary runs it.
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    threads.block_on(async {
        let mut config = kube::Config::new(given(API).parse().expect("a URI"));
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        let workers = Arc::new(Reports::at(given(WORKERS).parse().expect("a port")));
        let metrics = Some(given(METRICS).parse().expect("an address"));
        let options = Options { metrics, ..Options::new(settings(), workers) };
        let input = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().expect("an input");
        let mut input = pipe::Receiver::from_owned_fd(input).expect("a pipe");
        let stop = async move { drop(input.read_u8().await) };
        cluster::run(client, options, stop).await.expect("it ends as told");
    });
}
