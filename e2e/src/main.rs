//! `cargo run -p onceward-e2e -- full`: the longer forms of the tests, with what they found printed. `cluster` and
//! `shell`: a Kubernetes of two nodes for a person.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::chaos::{Plan, between_topics};
use e2e::kills::{Tally, one_case, one_generated_case};
use e2e::pairs::{PairTally, one_pair};
use onceward::screen::{Gone, Screen};

const HELP: &str = "\
usage: onceward-e2e full [--kills N] [--pairs N] [--seeds N] [--seed S] [--lanes N] [--minutes N]
                          [--only kills|pairs|simulation|model|kafka|controller|cluster|chaos|alerts|recovery]
       onceward-e2e cluster up|down [--name N]
       onceward-e2e shell [--name N]

  kills        random kills of the shipped binary, over files and generators (default 5000)
  pairs        two deaths in a row, each at a named step (default 500)
  model        the protocol's state space, enumerated to the end (needs much memory and hours)
  simulation   seeds of the simulation (default 20000)
  kafka        worker and broker killed under a stream between two topics (default 60 minutes), then the
               worker killed at every step, five times in each of four shapes, on three kinds of brokers
  controller   the controller dies before and after each of its changing requests, while real workers run

 On a Kubernetes of two nodes that is made for it, as root:
  cluster      every scenario but the next three, those that CI leaves out for their length, too
  chaos        pods, processes, nodes, brokers, buckets and the control plane are struck under two pipelines
               (default 60 minutes)
  alerts       what each alert of the chart watches is broken, with a Prometheus: all as shipped, so that it takes
               half an hour
  recovery     how long it takes from a pod that is killed to new output, part by part (100 kills, or --kills with
               --only recovery)

  cluster      brings up a Kubernetes of two nodes with this repository's image, and beside it a Kafka broker, a
               bucket and a Prometheus with the chart's rules; or takes all of it down; needs root
  shell        the same, with a shell in its network; it stays up when the shell ends";

fn main() -> ExitCode {
    let screen = Screen::of_process();
    match execute(&std::env::args().skip(1).collect::<Vec<_>>(), screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Gone>() => ExitCode::SUCCESS,
        Err(error) => {
            screen.fault(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &[String], screen: Screen) -> Result<()> {
    let mut words = arguments.iter().map(String::as_str);
    match (words.next(), words.next()) {
        (Some("cluster"), Some("down" | "keep")) => {}
        // Its nodes have the image of this source.
        (Some("cluster" | "shell"), _) if std::env::var_os("ONCEWARD_BIN").is_none() => build(screen)?,
        (Some("cluster" | "shell"), _) => {}
        _ => return full(arguments, screen),
    }
    e2e::cluster::execute(arguments, |line| Ok(screen.say(line)?))
}

const PARTS: [&str; 10] =
    ["kills", "pairs", "simulation", "model", "kafka", "controller", "cluster", "chaos", "alerts", "recovery"];
/// Those that make a cluster.
const ON_CLUSTERS: [&str; 4] = ["cluster", "chaos", "alerts", "recovery"];

#[derive(Debug)]
struct Options {
    kills: Option<u64>,
    pairs: u64,
    seeds: u64,
    seed: u64,
    lanes: u64,
    minutes: u64,
    only: Option<String>,
}

fn options(arguments: &[String]) -> Result<Options> {
    let Some(("full", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        bail!("{HELP}");
    };
    let mut options = Options { kills: None, pairs: 500, seeds: 20_000, seed: 1, lanes: 2, minutes: 60, only: None };
    for pair in rest.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value\n{HELP}", pair.join(" ")) };
        let number = || value.parse::<u64>().with_context(|| format!("{name} takes a number\n{HELP}"));
        match name.as_str() {
            "--kills" => options.kills = Some(number()?),
            "--pairs" => options.pairs = number()?,
            "--seeds" => options.seeds = number()?,
            "--seed" => options.seed = number()?,
            "--minutes" => options.minutes = number()?,
            "--lanes" => options.lanes = number()?.clamp(1, 64),
            "--only" if PARTS.contains(&value.as_str()) => options.only = Some(value.clone()),
            "--only" => bail!("there is no part {value}\n{HELP}"),
            other => bail!("there is no {other}\n{HELP}"),
        }
    }
    Ok(options)
}

fn full(arguments: &[String], screen: Screen) -> Result<()> {
    let options = options(arguments)?;
    screen.say(format!("{options:?}"))?;
    let wanted = |part: &str| options.only.as_ref().is_none_or(|only| only == part);
    let needs_binary = ["kills", "pairs", "kafka", "controller"].iter().chain(&ON_CLUSTERS).any(|part| wanted(part));
    if needs_binary && std::env::var_os("ONCEWARD_BIN").is_none() {
        build(screen)?;
    }
    if wanted("kills") {
        kills(&options, screen)?;
    }
    if wanted("pairs") {
        pairs(&options, screen)?;
    }
    if wanted("kafka") {
        let time = Duration::from_mins(options.minutes);
        let tally = between_topics(&Plan { seed: options.seed, kills: 1, time })?;
        screen.say(format!("chaos between topics, missing 0, doubled 0, reordered 0: {tally:?}"))?;
        // Every step with one and three partitions, one and two sinks, five times.
        cargo(&["test", "--workspace", "--test", "kafka_sink"], &[("TIMES", "5".to_owned())], screen)?;
    }
    if wanted("controller") {
        let deaths = ["test", "--workspace", "--test", "controller", "a_controller_may_die", "--", "--nocapture"];
        cargo(&deaths, &[("DEATHS", "all".to_owned())], screen)?;
    }
    if options.only.is_none() && !rustix::process::geteuid().is_root() {
        screen.say(format!("{}: left out, they need root", ON_CLUSTERS.join(", ")))?;
    } else {
        ON_CLUSTERS.into_iter().filter(|part| wanted(part)).try_for_each(|part| on_cluster(part, &options, screen))?;
    }
    if wanted("simulation") {
        let simulation = ["test", "--workspace", "--test", "simulation", "--", "--nocapture"];
        cargo(&simulation, &[("SEEDS", options.seeds.to_string())], screen)?;
    }
    if wanted("model") {
        let model = ["test", "-p", "onceward-checkpoint", "--profile", "dist", "--test", "model", "--", "--nocapture"];
        cargo(&model, &[("ONCEWARD_FULL", "1".to_owned())], screen)?;
    }
    Ok(())
}

/// One of [`ON_CLUSTERS`].
fn on_cluster(part: &str, options: &Options, screen: Screen) -> Result<()> {
    let mut test = vec!["test", "--workspace", "--test", "cluster", "--", "--ignored"];
    let environment = match part {
        "chaos" => vec![("MINUTES", options.minutes.to_string()), ("SEED", options.seed.to_string())],
        "recovery" => vec![("KILLS", options.kills.filter(|_| options.only.is_some()).unwrap_or(100).to_string())],
        "cluster" => vec![("ONCEWARD_FULL", "1".to_owned())],
        _ => vec![],
    };
    test.extend(match part {
        "chaos" => Some("chaos_loses_and_doubles_nothing"),
        "recovery" => Some("recovery_is_measured"),
        "alerts" => Some("every_alert_fires_and_resolves_as_shipped"),
        _ => None,
    });
    cargo(&test, &environment, screen)?;
    if part == "cluster" {
        cargo(&["test", "--workspace", "--test", "person", "--", "--ignored"], &[], screen)?;
    }
    Ok(())
}

/// The binary that is killed is this source's, and built as this program is.
fn build(screen: Screen) -> Result<()> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let mut arguments = vec!["build", "--workspace", "--bin", "onceward"];
    if folder != "debug" {
        arguments.extend(["--profile", folder]);
    }
    cargo(&arguments, &[], screen)
}

fn kills(options: &Options, screen: Screen) -> Result<()> {
    const KILLS_PER_CASE: u64 = 8;
    /// Every so many cases one is over generators.
    const GENERATED_EVERY: u64 = 8;
    let tally = Mutex::new(Tally::default());
    let ended = in_lanes(options.lanes, |case| {
        // Only ever held for an assignment: no panic can have poisoned it.
        let Ok(so_far) = tally.lock().map(|tally| *tally) else { return Ok(false) };
        if so_far.kills >= options.kills.unwrap_or(5_000) {
            return Ok(false);
        }
        let one = if case % GENERATED_EVERY == 0 { one_generated_case } else { one_case };
        let dealt = one(options.seed, case, KILLS_PER_CASE)?;
        Ok(tally.lock().map(|mut tally| tally.add(&dealt)).is_ok())
    });
    screen.say(format!("random kills: {:?}", tally.into_inner().unwrap_or_default()))?;
    ended
}

fn pairs(options: &Options, screen: Screen) -> Result<()> {
    let tally = Mutex::new(PairTally::default());
    let ended = in_lanes(options.lanes, |case| {
        let Ok(so_far) = tally.lock().map(|tally| *tally) else { return Ok(false) };
        if so_far.both >= options.pairs {
            return Ok(false);
        }
        let dealt = one_pair(options.seed, case)?;
        Ok(tally.lock().map(|mut tally| tally.add(&dealt)).is_ok())
    });
    screen.say(format!("pairs of kills: {:?}", tally.into_inner().unwrap_or_default()))?;
    ended
}

/// Cases from 0 on, side by side, until one says that it is enough or one fails.
fn in_lanes(lanes: u64, case: impl Fn(u64) -> Result<bool> + Sync) -> Result<()> {
    let (next, failure) = (AtomicU64::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while failure.lock().is_ok_and(|failure| failure.is_none()) {
                    match case(next.fetch_add(1, Ordering::Relaxed)) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => drop(failure.lock().map(|mut failure| *failure = Some(error))),
                    }
                }
            });
        }
    });
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

/// In this source's workspace, wherever it is called from.
fn cargo(arguments: &[&str], environment: &[(&str, String)], screen: Screen) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    screen.say(format!("{command:?}"))?;
    ensure!(command.status()?.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}
