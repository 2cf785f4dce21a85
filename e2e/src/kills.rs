//! Random kills: a pipeline is killed at random moments and random steps until it has finished all the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use onceward::checker::expected::Window;
use onceward::workload::{Dice, Workload};

use crate::seeds::dice;
use crate::stage::{SLOW, Stage};

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
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.runs += other.runs;
        self.kills += other.kills;
        self.at_steps += other.at_steps;
        self.at_moments += other.at_moments;
        self.rescaled += other.rescaled;
    }
}

/// One pipeline, drawn from `(seed, case)`, killed up to `kills` times, then left to finish, then judged.
///
/// # Errors
/// The result is not exact, something undecided was visible, or a run failed by itself.
pub fn one_case(seed: u64, case: u64, kills: u64) -> Result<Tally> {
    let mut dice = dice(seed, case);
    let workload = draw(&mut dice);
    let about = format!("SEED={seed}, case {case}: {workload:?}");
    let stage = Stage::new(workload)?;
    let mut tally = Tally { cases: 1, ..Tally::default() };
    let mut parallelism = u64::from(stage.workload.parallelism);
    while tally.kills < kills {
        let before = parallelism;
        if dice.below(2) == 0 {
            parallelism = 1 + dice.below(4);
        }
        tally.rescaled += u64::from(before != parallelism && tally.runs > 0);
        tally.runs += 1;
        let killed = strike(&stage, &mut dice, parallelism, &mut tally).with_context(|| about.clone())?;
        stage.assert_nothing_undecided_is_visible().with_context(|| about.clone())?;
        if !killed {
            break;
        }
    }
    tally.runs += 1;
    let ended = stage.run_well().with_context(|| about.clone())?;
    ensure!(ended.events("finished").len() == 1, "no `finished`: {}", ended.describe());
    stage.assert_exact_and_tidy().with_context(|| format!("{about}\n{}", stage.describe()))?;
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
fn strike(stage: &Stage, dice: &mut Dice, parallelism: u64, tally: &mut Tally) -> Result<bool> {
    let set = format!("parallelism={parallelism}");
    let more = ["--set", set.as_str()];
    let at_step = dice.below(2) == 0;
    let ended = if at_step {
        let step = STEPS[dice.below(STEPS.len() as u64) as usize];
        stage.run(&format!("{step}:{}=kill,{SLOW}", 1 + dice.below(4)), &more)?
    } else {
        let mut child = stage.start(SLOW, &more)?;
        if child.outlives(Duration::from_millis(dice.below(MOMENT_MS))) {
            child.kill()?;
        }
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
