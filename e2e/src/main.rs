//! `cargo run -p onceward-e2e -- full`: the longer forms of the tests, with what they found printed.

use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::kills::{Tally, one_case};
use onceward::screen::{Gone, Screen};

const HELP: &str = "\
usage: onceward-e2e full [--kills N] [--seed S] [--lanes N] [--only kills|model|simulation]

  kills        random kills of the shipped binary (default 5000)
  model        the protocol's state space, enumerated to the end (needs much memory and hours)
  simulation   seeds of the simulation (as many as its own long form takes)";

fn main() -> ExitCode {
    let screen = Screen::of_process();
    match full(&std::env::args().skip(1).collect::<Vec<_>>(), screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Gone>() => ExitCode::SUCCESS,
        Err(error) => {
            screen.fault(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug)]
struct Options {
    kills: u64,
    seed: u64,
    lanes: u64,
    only: Option<String>,
}

fn options(arguments: &[String]) -> Result<Options> {
    let Some(("full", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        bail!("{HELP}");
    };
    let mut options = Options { kills: 5_000, seed: 1, lanes: 2, only: None };
    for pair in rest.chunks(2) {
        let [name, value] = pair else { bail!("{} needs a value\n{HELP}", pair.join(" ")) };
        let number = || value.parse::<u64>().with_context(|| format!("{name} takes a number\n{HELP}"));
        match name.as_str() {
            "--kills" => options.kills = number()?,
            "--seed" => options.seed = number()?,
            "--lanes" => options.lanes = number()?.clamp(1, 64),
            "--only" => options.only = Some(value.clone()),
            other => bail!("there is no {other}\n{HELP}"),
        }
    }
    Ok(options)
}

fn full(arguments: &[String], screen: Screen) -> Result<()> {
    let options = options(arguments)?;
    let wanted = |part: &str| options.only.as_ref().is_none_or(|only| only == part);
    if wanted("kills") {
        kills(&options, screen)?;
    }
    if wanted("simulation") {
        cargo_test(&["-p", "onceward-runtime", "--test", "simulation"], screen)?;
    }
    if wanted("model") {
        cargo_test(&["-p", "onceward-checkpoint", "--profile", "dist", "--test", "model"], screen)?;
    }
    Ok(())
}

fn kills(options: &Options, screen: Screen) -> Result<()> {
    const KILLS_PER_CASE: u64 = 8;
    let (next, tally, failure) = (AtomicU64::new(0), Mutex::new(Tally::default()), Mutex::new(None));
    screen.say(format!("random kills: {options:?}"))?;
    std::thread::scope(|scope| {
        for _ in 0..options.lanes {
            scope.spawn(|| {
                // Both locks are only ever held for an assignment: no panic can have poisoned them.
                let going = || failure.lock().is_ok_and(|failure| failure.is_none());
                while going() && tally.lock().is_ok_and(|tally| tally.kills < options.kills) {
                    let dealt = one_case(options.seed, next.fetch_add(1, Ordering::Relaxed), KILLS_PER_CASE);
                    match (dealt, tally.lock(), failure.lock()) {
                        (Ok(dealt), Ok(mut tally), _) => tally.add(&dealt),
                        (Err(error), _, Ok(mut failure)) => *failure = Some(error),
                        _ => return,
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_default();
    screen.say(format!("random kills: {tally:?}"))?;
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

fn cargo_test(arguments: &[&str], screen: Screen) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg("test").args(arguments).args(["--", "--nocapture"]).env("ONCEWARD_FULL", "1");
    screen.say(format!("{command:?}"))?;
    ensure!(command.status()?.success(), "the tests failed");
    Ok(())
}
