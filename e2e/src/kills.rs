//! Random kills: a pipeline is killed at random moments and random steps until it has finished all the same. While it
//! lives its output is looked at again and again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use onceward::checker::expected::Window;
use onceward::workload::{Dice, Workload};

use crate::generated::Generated;
use crate::seeds::dice;
use crate::site::{SLOW, Site};
use crate::stage::Stage;

const SECOND: i64 = 1_000_000;
/// A kill at a random moment comes within this time.
const MOMENT_MS: u64 = 400;
/// Steps that a run may be killed at while it makes progress; those that are not met just let it go on to its end.
const STEPS: &[&str] = &[
    "claim.created",
    "claim.sealed",
    "recovery.before_commit",
    "recovery.committed",
    "recovery.aborted",
    "worker.restored",
    "worker.aligned",
    "worker.snapshotted",
    "sink.synced",
    "worker.acked",
    "coordinator.before_decide",
    "coordinator.decided",
    "committer.renamed",
    "coordinator.committed",
    "coordinator.all_committed",
    "store.linked",
    "store.created",
];

/// What happened over all cases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub cases: u64,
    pub runs: u64,
    /// Children that died by a kill that this module dealt.
    pub kills: u64,
    pub at_steps: u64,
    pub at_moments: u64,
    /// Runs that began at another parallelism than the one before.
    pub rescaled: u64,
    /// Looks at what was visible while a run lived and there was something.
    pub looks: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.runs += other.runs;
        self.kills += other.kills;
        self.at_steps += other.at_steps;
        self.at_moments += other.at_moments;
        self.rescaled += other.rescaled;
        self.looks += other.looks;
    }
}

/// One pipeline over files, drawn from `(seed, case)`, killed up to `kills` times, then left to finish, then judged.
///
/// # Errors
/// The result is not exact, something undecided was visible, or a run failed by itself.
pub fn one_case(seed: u64, case: u64, kills: u64) -> Result<Tally> {
    let mut dice = dice(seed, case);
    let workload = draw(&mut dice);
    let about = format!("SEED={seed}, case {case}: {workload:?}");
    let stage = Stage::new(workload)?;
    let parallelism = u64::from(stage.workload.parallelism);
    let tally = kill_until_done(&stage, &mut dice, parallelism, kills).with_context(|| about.clone())?;
    stage.assert_exact_and_tidy().with_context(|| format!("{about}\n{}", stage.describe()))?;
    Ok(tally)
}

/// As [`one_case`], over generators and with three sinks.
///
/// # Errors
/// As there.
pub fn one_generated_case(seed: u64, case: u64, kills: u64) -> Result<Tally> {
    let mut dice = dice(seed, case);
    let generated = Generated::draw(&mut dice);
    let about = format!("SEED={seed}, case {case}: {generated:?}");
    let site = generated.site()?;
    let tally = kill_until_done(&site, &mut dice, generated.parallelism, kills).with_context(|| about.clone())?;
    let judged = site.assert_tidy().and_then(|()| generated.assert_exact(&site));
    judged.with_context(|| format!("{about}\n{}", site.describe()))?;
    Ok(tally)
}

fn kill_until_done(site: &Site, dice: &mut Dice, mut parallelism: u64, kills: u64) -> Result<Tally> {
    let mut tally = Tally { cases: 1, ..Tally::default() };
    while tally.kills < kills {
        let before = parallelism;
        if dice.below(2) == 0 {
            parallelism = 1 + dice.below(4);
        }
        tally.rescaled += u64::from(before != parallelism && tally.runs > 0);
        tally.runs += 1;
        let killed = strike(site, dice, parallelism, &mut tally)?;
        site.assert_nothing_undecided_is_visible()?;
        if !killed {
            break;
        }
    }
    tally.runs += 1;
    let ended = site.run_well()?;
    ensure!(ended.events("finished").len() == 1, "no `finished`: {}", ended.describe());
    site.assert_all_decided_is_visible()?;
    Ok(tally)
}

fn draw(dice: &mut Dice) -> Workload {
    let window = match dice.below(3) {
        0 => Window::Tumble { size: 10 * SECOND },
        1 => Window::Hop { slide: 5 * SECOND, size: 15 * SECOND },
        _ => Window::Session { gap: 2 * SECOND },
    };
    Workload {
        seed: dice.roll(),
        records: 15_000 + dice.below(30_000),
        files: 1 + dice.below(30) as u32,
        customers: 50 + dice.below(1_000),
        window,
        parallelism: 1 + dice.below(4) as u32,
        interval_ms: 100,
    }
}

/// One run that is struck; false if it finished before the blow.
fn strike(site: &Site, dice: &mut Dice, parallelism: u64, tally: &mut Tally) -> Result<bool> {
    let set = format!("parallelism={parallelism}");
    let more = ["--set", set.as_str()];
    let at_step = dice.below(2) == 0;
    let ended = if at_step {
        let step = STEPS[dice.below(STEPS.len() as u64) as usize];
        let child = site.start(&format!("{step}:{}=kill,{SLOW}", 1 + dice.below(4)), &more)?;
        tally.looks += site.watch(&child, None)?.with_output;
        child.finish()?
    } else {
        let mut child = site.start(SLOW, &more)?;
        tally.looks += site.watch(&child, Some(Duration::from_millis(dice.below(MOMENT_MS))))?.with_output;
        // It may have ended by itself: then this does nothing.
        child.kill()?;
        child.finish()?
    };
    if ended.code() == Some(0) {
        return Ok(false);
    }
    ensure!(ended.signal() == Some(9), "the run failed by itself: {}", ended.describe());
    tally.kills += 1;
    *(if at_step { &mut tally.at_steps } else { &mut tally.at_moments }) += 1;
    Ok(true)
}
