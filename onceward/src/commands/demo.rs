//! `onceward demo`: the promise, seen and not read. A pipeline runs as a child process, is killed again and again with
//! `kill -9`, and in the end an independent checker compares what went in with what came out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use runtime::clock::{Clock, Random, SystemClock, SystemRandom};

use super::{DONE, Error, FAILED, io};
use crate::checker::expected::Window;
use crate::checker::verdict::Verdict;
use crate::child::{Child, Ended};
use crate::cli::DemoArgs;
use crate::screen::{Screen, Style, thousands};
use crate::workload::{Dice, Workload, Written};

/// Steps that every run of the demo meets, early or late in the life of a checkpoint, with how often they may be
/// passed before the child dies there.
const STEPS: &[(&str, u64)] = &[
    ("claim.created", 1),
    ("claim.finished", 1),
    ("coordinator.barrier_sent", 2),
    ("worker.barrier_emitted", 3),
    ("worker.aligned", 3),
    ("worker.snapshotted", 3),
    ("sink.hidden_created", 3),
    ("sink.flushed", 3),
    ("sink.synced", 3),
    ("worker.pre_committed", 3),
    ("worker.before_ack", 3),
    ("worker.acked", 3),
    ("coordinator.all_acknowledged", 2),
    ("coordinator.before_decide", 2),
    ("coordinator.decided", 2),
    ("coordinator.before_commit", 3),
    ("committer.before_rename", 3),
    ("committer.renamed", 3),
    ("coordinator.committed", 3),
    ("coordinator.all_committed", 2),
];

/// A kill at a random moment comes within this time after the start.
const MOMENT_MS: u64 = 700;
/// A run that is to be killed is slowed down at every batch that it reads, so that small data has a long life: the whole
/// of it would take about this long, divided among the kills.
const SLOW_MS_PER_KILL: u64 = 400;
/// A barrier waits for the batch before it: slower than this and no checkpoint would come about between two kills.
const SLOWEST_MS: u64 = 80;
/// Rows that the engine reads at a time, roughly; the slowing down is computed from it.
const ROWS_PER_BATCH: u64 = 8_192;
/// Data that a child has finished before all kills were dealt is begun anew, at most so often.
const ROUNDS: u32 = 100;

/// Runs the demo.
///
/// # Errors
/// What keeps it from coming to a verdict; a bad verdict is not an error but exit code 1.
pub fn execute(args: &DemoArgs, screen: Screen) -> Result<u8, Error> {
    // Nobody may take an end without a verdict for a good one.
    judge(args, screen).map_err(|error| error.or(FAILED))
}

fn judge(args: &DemoArgs, screen: Screen) -> Result<u8, Error> {
    let began = SystemClock.monotonic();
    let seed = args.seed.unwrap_or_else(|| SystemRandom.u64() >> 32);
    let mut place = Place::choose(args.dir.as_deref())?;
    screen.say(format!(
        "demo    {} orders, {} kills, seed {seed}, in {}",
        thousands(args.records),
        args.kills,
        place.path.display()
    ))?;
    let program = std::env::current_exe().map_err(io("find this program's own file"))?;
    let mut demo = Demo { program, dice: Dice::new(seed), kills: 0, runs: 0, screen };
    let mut verdict = Verdict::default();
    for round in 1..=ROUNDS {
        let folder = place.path.join(format!("round-{round}"));
        let workload = Workload {
            seed: seed.wrapping_add(u64::from(round) - 1),
            records: args.records,
            window: Window::Tumble { size: 10_000_000 },
            ..Workload::default()
        };
        let written = workload.write(&folder).map_err(io(format!("write the example to {}", folder.display())))?;
        let before = demo.kills;
        demo.run_to_the_end(&workload, &written, args.kills)?;
        let (expected, judged) = written.judge()?;
        screen.say(format!(
            "check   {} orders in ({} too late for their window), {} rows out of {} expected",
            thousands(expected.records),
            thousands(expected.late),
            thousands(judged.found),
            thousands(judged.expected)
        ))?;
        verdict = verdict.and(judged);
        if demo.kills >= args.kills || !verdict.is_good() {
            break;
        }
        if demo.kills == before {
            return Err(Error::Other("the runs ended before any of them could be killed: use more records".to_owned()));
        }
    }
    let seconds = (SystemClock.monotonic().saturating_sub(began)).as_secs_f64();
    conclude(&verdict, &demo, seconds, args, screen)?;
    place.keep |= !verdict.is_good();
    if place.keep {
        screen.say(format!("files   {}", place.path.display()))?;
    }
    Ok(if verdict.is_good() && demo.kills >= args.kills { DONE } else { FAILED })
}

fn conclude(verdict: &Verdict, demo: &Demo, seconds: f64, args: &DemoArgs, screen: Screen) -> Result<(), Error> {
    for example in &verdict.examples {
        screen.say(format!("        {example}"))?;
    }
    let style = if verdict.is_good() { Style::Good } else { Style::Bad };
    let runs = demo.runs;
    screen.say(format!(
        "result  {} ({runs} runs, {} kills, {seconds:.1} s)",
        screen.paint(style, &verdict.to_string()),
        demo.kills
    ))?;
    if demo.kills < args.kills {
        screen.say(format!("        only {} of {} kills could be dealt", demo.kills, args.kills))?;
    }
    Ok(())
}

/// Where the demo works.
struct Place {
    path: PathBuf,
    keep: bool,
}

impl Place {
    fn choose(wanted: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = wanted else {
            let fresh = tempfile::Builder::new().prefix("onceward-demo-").tempdir();
            let path = fresh.map_err(io("make a temporary folder"))?.keep();
            return Ok(Self { path, keep: false });
        };
        std::fs::create_dir_all(path).map_err(io(format!("make the folder {}", path.display())))?;
        let mut entries = path.read_dir().map_err(io(format!("list the folder {}", path.display())))?;
        if entries.next().is_some() {
            return Err(Error::Other(format!("{} is not empty: name an empty or a new folder", path.display())));
        }
        // Absolute, as the child's working folder is its own matter.
        let path = path.canonicalize().map_err(io(format!("find the folder {}", path.display())))?;
        Ok(Self { path, keep: true })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.keep || std::thread::panicking() {
            return;
        }
        // Left-overs in the temporary folder are a nuisance, not a fault.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// How the next run is to die.
enum Strike {
    Step(&'static str, u64),
    Moment(Duration),
}

struct Demo {
    program: PathBuf,
    dice: Dice,
    kills: u32,
    runs: u32,
    screen: Screen,
}

impl Demo {
    /// Runs and kills until `kills` are dealt or the data is finished, then lets the last run live.
    fn run_to_the_end(&mut self, workload: &Workload, written: &Written, kills: u32) -> Result<(), Error> {
        while self.kills < kills {
            let strike = self.choose();
            let ended = self.strike(workload, written, &strike, kills)?;
            self.runs += 1;
            if ended.code() == Some(0) {
                return self.report(&ended, "finished before its kill");
            }
            if ended.signal() != Some(rustix::process::Signal::KILL.as_raw()) {
                return Err(died_otherwise(&ended));
            }
            self.kills += 1;
            let how = match strike {
                Strike::Moment(moment) => format!("killed after {} ms", moment.as_millis()),
                Strike::Step(step, nth) => {
                    if !ended.died_at(step, nth) {
                        return Err(Error::Other(format!("the child did not die at {step}: {}", ended.describe())));
                    }
                    format!("killed at {step}, hit {nth}")
                }
            };
            self.report(&ended, &how)?;
        }
        let ended = Child::start(&mut self.command(written)).map_err(io("start the child"))?.finish()?;
        self.runs += 1;
        if ended.code() != Some(0) {
            return Err(died_otherwise(&ended));
        }
        self.report(&ended, "finished")
    }

    fn choose(&mut self) -> Strike {
        if self.kills.is_multiple_of(2) {
            return Strike::Moment(Duration::from_millis(self.dice.below(MOMENT_MS)));
        }
        let (step, most) = STEPS[self.dice.below(STEPS.len() as u64) as usize];
        Strike::Step(step, 1 + self.dice.below(most))
    }

    fn strike(&self, workload: &Workload, written: &Written, strike: &Strike, kills: u32) -> Result<Ended, Error> {
        let batches = (workload.records / ROWS_PER_BATCH + u64::from(workload.files)) / u64::from(workload.parallelism);
        let pause = (SLOW_MS_PER_KILL * u64::from(kills) / batches.max(1)).clamp(1, SLOWEST_MS);
        let slow = format!("worker.batch_read:*=pause:{pause}ms");
        let mut command = self.command(written);
        match strike {
            Strike::Step(step, nth) => {
                command.env(runtime::crashpoint::VARIABLE, format!("{step}:{nth}=kill,{slow}"));
                Ok(Child::start(&mut command).map_err(io("start the child"))?.finish()?)
            }
            Strike::Moment(moment) => {
                command.env(runtime::crashpoint::VARIABLE, slow);
                let mut child = Child::start(&mut command).map_err(io("start the child"))?;
                if child.outlives(*moment) {
                    child.kill().map_err(io("kill the child"))?;
                }
                Ok(child.finish()?)
            }
        }
    }

    fn command(&self, written: &Written) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&written.manifest).args(["--output", "json"]);
        // Whatever this process was armed with is not meant for its children.
        command.env_remove(runtime::crashpoint::VARIABLE);
        command
    }

    fn report(&self, ended: &Ended, how: &str) -> Result<(), Error> {
        let restored = ended.events("restored").last().and_then(|event| event["epoch"].as_u64());
        let newest = ended.events("checkpoint.completed").last().and_then(|event| event["epoch"].as_u64());
        let from = restored.map_or_else(|| "from the start".to_owned(), |epoch| format!("from checkpoint {epoch}"));
        let to = newest.map_or_else(|| "no new checkpoint".to_owned(), |epoch| format!("up to checkpoint {epoch}"));
        let trail = self.screen.paint(Style::Faint, &format!("{from}, {to}"));
        self.screen.say(format!("run {:<3} {how:<46} {trail}", self.runs))?;
        Ok(())
    }
}

fn died_otherwise(ended: &Ended) -> Error {
    Error::Other(format!("the run failed by itself: {}", ended.describe()))
}
