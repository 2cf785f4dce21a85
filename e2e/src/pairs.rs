//! Two deaths in a row: the first attempt dies at one named step, the next at another, and the third finishes.

use anyhow::{Context as _, Result, ensure};
use onceward::checker::expected::Window;
use onceward::workload::Workload;
use runtime::crashpoint::STEPS;

use crate::seeds::dice;
use crate::site::{SLOW, Site};
use crate::stage::Stage;

/// Steps that such a run does not come to: it is not told to stop, and its manifests are small.
const NEVER_MET: [&str; 4] =
    ["coordinator.stopping", "coordinator.manifest_written", "recovery.before_take_back", "recovery.taken_back"];
/// Steps that need an attempt before this one.
const NOT_MET_FIRST: [&str; 9] = [
    "claim.before_seal",
    "claim.sealed",
    "recovery.classified",
    "recovery.before_commit",
    "recovery.committed",
    "recovery.before_abort",
    "recovery.aborted",
    "committer.before_abort",
    "committer.aborted",
];
/// Steps that a run meets once, at its beginning or its end.
const ONCE: [&str; 4] =
    ["coordinator.deployed", "coordinator.settled", "coordinator.before_release", "coordinator.released"];
/// Each death comes at one of this many first hits of its step, where it is met more than once.
const HITS: u64 = 3;

/// What happened over all pairs that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairTally {
    pub tried: u64,
    /// Both deaths came, each where it was to.
    pub both: u64,
    /// Looks at what was visible while a run lived and there was something.
    pub looks: u64,
}

impl PairTally {
    pub fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.both += other.both;
        self.looks += other.looks;
    }
}

/// The pair of `(seed, case)`. A run that finishes before its death is no fault, and no pair.
///
/// # Errors
/// The result is not exact, something undecided was visible, or a run failed by itself.
pub fn one_pair(seed: u64, case: u64) -> Result<PairTally> {
    let mut dice = dice(seed, case);
    let steps: Vec<_> = STEPS.iter().map(|step| step.name).filter(|name| !NEVER_MET.contains(name)).collect();
    let mut death = |steps: &[&'static str]| {
        let step = steps[dice.below(steps.len() as u64) as usize];
        let once = step.starts_with("claim.") || step.starts_with("recovery.") || ONCE.contains(&step);
        (step, 1 + dice.below(if once { 1 } else { HITS }))
    };
    let first: Vec<_> = steps.iter().copied().filter(|name| !NOT_MET_FIRST.contains(name)).collect();
    let deaths = [death(&first), death(&steps)];
    let about = format!("SEED={seed}, case {case}: {deaths:?}");
    let window = Window::Hop { slide: 5_000_000, size: 15_000_000 };
    let workload = Workload { seed: dice.roll(), records: 20_000, customers: 600, window, ..Workload::default() };
    let stage = Stage::new(workload)?;
    let mut tally = PairTally { tried: 1, ..PairTally::default() };
    let mut died = 0;
    for (step, nth) in deaths {
        let parallelism = format!("parallelism={}", 1 + dice.below(3));
        let came = die(&stage, (step, nth), &parallelism, &mut tally).with_context(|| about.clone())?;
        if !came {
            break;
        }
        died += 1;
    }
    tally.both += u64::from(died == deaths.len());
    stage.run_well().with_context(|| about.clone())?;
    stage.assert_all_decided_is_visible().with_context(|| about.clone())?;
    stage.assert_exact_and_tidy().with_context(|| format!("{about}\n{}", stage.describe()))?;
    Ok(tally)
}

/// False if the run finished before it could die.
fn die(site: &Site, (step, nth): (&str, u64), parallelism: &str, tally: &mut PairTally) -> Result<bool> {
    let child = site.start(&format!("{step}:{nth}=kill,{SLOW}"), &["--set", parallelism])?;
    tally.looks += site.watch(&child, None)?.with_output;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0) || ended.died_at(step, nth), "it ended otherwise: {}", ended.describe());
    site.assert_nothing_undecided_is_visible()?;
    Ok(ended.code() != Some(0))
}
