//! Scenarios on whole clusters of two nodes (`stage::cluster`): a cluster itself, and the chart, the image and Pipelines
//! on one. They need root, and run when they are asked for: `cargo test --test cluster -- --ignored [NAME...]`.
//!
//! Those of the second kind share one cluster, in whose network this program runs itself once more: pods, broker and
//! bucket are reached by address there. `ONCEWARD_KEEP=1` leaves it up; `--down` in place of `--ignored`
//! takes it down; `ONCEWARD_CLUSTER` gives it another name, so that two people can test at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alerts;
mod bring_up;
mod changes;
mod chaos;
mod deaths;
mod deletions;
mod desk;
#[path = "../apiserver/dice.rs"]
mod dice;
mod faults;
mod installed;
mod orders;
mod outages;
mod plugin;
mod pressure;
mod readme;
mod recovery;
mod recreated;
mod refusals;
mod revenue;
mod stand;
mod steps;
mod stream;
mod upgrades;

use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use stage::cluster::Cluster;
use stage::helm::Helm;
use stage::{kafka, promtool, s3};

use crate::stand::Stand;

/// The cluster that scenarios share, unless `ONCEWARD_CLUSTER` names another one.
const SHARED: &str = "tests";
/// Scenarios side by side.
const LANES: usize = 3;
/// Set for the process that is in its network.
const WITHIN: &str = "ONCEWARD_WITHIN";

enum Scenario {
    /// Brings up clusters of its own.
    Alone(fn() -> Result<()>),
    /// Stands on the shared cluster, with the chart installed, and disturbs no other one.
    Beside(fn(&Stand) -> Result<()>),
    /// Stands there, too, and has the cluster for itself.
    Installed(fn(&Stand) -> Result<()>),
    /// So does this one, and takes long: it runs where it is asked for by name, or all are by `ONCEWARD_FULL`.
    Long(fn(&Stand) -> Result<()>),
    /// And this one measures: it runs only when it is asked for by name.
    Measured(fn(&Stand) -> Result<()>),
}
use Scenario::{Alone, Beside, Installed, Long, Measured};

/// Those that run beside others come first, the rest in this order.
const SCENARIOS: [(&str, Scenario); 27] = [
    (
        "clusters_come_up_side_by_side_and_leave_nothing",
        Alone(bring_up::clusters_come_up_side_by_side_and_leave_nothing),
    ),
    (
        "ten_minutes_with_a_cluster_end_as_the_readme_says",
        Beside(readme::ten_minutes_with_a_cluster_end_as_the_readme_says),
    ),
    (
        "a_pipeline_reaches_ready_advances_and_finishes",
        Beside(installed::a_pipeline_reaches_ready_advances_and_finishes),
    ),
    ("deaths_lose_and_double_nothing", Installed(deaths::deaths_lose_and_double_nothing)),
    (
        "a_node_that_is_cut_off_with_its_worker_running_is_fenced",
        Installed(deaths::a_node_that_is_cut_off_with_its_worker_running_is_fenced),
    ),
    (
        "a_worker_that_is_cut_off_from_its_bucket_is_fenced_when_it_is_back",
        Long(deaths::a_worker_that_is_cut_off_from_its_bucket_is_fenced_when_it_is_back),
    ),
    ("a_node_that_loses_power_loses_nothing_else", Long(deaths::a_node_that_loses_power_loses_nothing_else)),
    ("a_bucket_that_is_away_is_waited_for", Beside(outages::a_bucket_that_is_away_is_waited_for)),
    ("a_broker_that_is_away_is_waited_for", Beside(outages::a_broker_that_is_away_is_waited_for)),
    (
        "a_wrong_secret_and_a_missing_bucket_are_told_with_what_to_do",
        Beside(outages::a_wrong_secret_and_a_missing_bucket_are_told_with_what_to_do),
    ),
    (
        "the_data_plane_goes_on_without_the_control_plane",
        Long(outages::the_data_plane_goes_on_without_the_control_plane),
    ),
    (
        "sums_from_topic_to_topic_outlive_forced_deletions",
        Beside(revenue::sums_from_topic_to_topic_outlive_forced_deletions),
    ),
    ("a_pipeline_is_suspended_scaled_and_changed", Beside(changes::a_pipeline_is_suspended_scaled_and_changed)),
    (
        "a_savepoint_is_gone_on_from_by_another_pipeline",
        Beside(changes::a_savepoint_is_gone_on_from_by_another_pipeline),
    ),
    ("what_keeps_a_pod_from_being_made_is_told", Installed(refusals::what_keeps_a_pod_from_being_made_is_told)),
    ("a_secret_that_is_not_there_is_told", Beside(refusals::a_secret_that_is_not_there_is_told)),
    (
        "kubectl_finds_its_plugin_and_every_verb_does_what_it_says",
        Beside(plugin::kubectl_finds_its_plugin_and_every_verb_does_what_it_says),
    ),
    ("every_alert_fires_and_resolves_as_shipped", Measured(alerts::every_alert_fires_and_resolves_as_shipped)),
    ("recovery_is_measured", Measured(recovery::recovery_is_measured)),
    (
        "a_worker_that_runs_out_of_memory_is_told_and_replaced",
        Beside(pressure::a_worker_that_runs_out_of_memory_is_told_and_replaced),
    ),
    (
        "a_kubelet_that_is_stopped_leaves_its_worker_at_work",
        Long(pressure::a_kubelet_that_is_stopped_leaves_its_worker_at_work),
    ),
    ("another_image_goes_through_a_last_checkpoint", Beside(upgrades::another_image_goes_through_a_last_checkpoint)),
    (
        "a_release_that_is_upgraded_and_rolled_back_leaves_pipelines_alone",
        Long(upgrades::a_release_that_is_upgraded_and_rolled_back_leaves_pipelines_alone),
    ),
    ("a_deletion_waits_for_commits_and_not_for_ever", Long(deletions::a_deletion_waits_for_commits_and_not_for_ever)),
    ("a_worker_that_dies_at_a_named_step_is_replaced", Beside(steps::a_worker_that_dies_at_a_named_step_is_replaced)),
    ("chaos_loses_and_doubles_nothing", Installed(chaos::chaos_loses_and_doubles_nothing)),
    (
        "a_release_that_is_removed_leaves_pipelines_and_checkpoints",
        Installed(installed::a_release_that_is_removed_leaves_pipelines_and_checkpoints),
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.first().map(String::as_str) {
        Some("--owner") => bring_up::own(arguments.get(1).map_or("", String::as_str)),
        Some("--down") => Cluster::down(arguments.get(1).unwrap_or(&shared_name())),
        Some("--list") => list(&SCENARIOS.iter().collect(), ": test"),
        _ if std::env::var_os(WITHIN).is_some() => within(&wanted(&arguments)),
        _ if arguments.iter().any(|argument| argument == "--ignored" || argument == "--include-ignored") => {
            everything(&wanted(&arguments))
        }
        _ => list(&wanted(&arguments), " ... ignored, needs root: --ignored"),
    };
    ended.map_or_else(
        |error| {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn shared_name() -> String {
    std::env::var("ONCEWARD_CLUSTER").unwrap_or_else(|_| SHARED.to_owned())
}

type Chosen = Vec<&'static (&'static str, Scenario)>;

/// Those whose name has one of the words in it; all if there are none.
fn wanted(arguments: &[String]) -> Chosen {
    let words: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_named = |name: &str| words.iter().any(|word| name.contains(word.as_str()));
    let is_full = std::env::var_os("ONCEWARD_FULL").is_some();
    let is_wanted = |scenario: &Scenario| match scenario {
        Alone(_) | Beside(_) | Installed(_) => words.is_empty(),
        Long(_) => words.is_empty() && is_full,
        Measured(_) => false,
    };
    SCENARIOS.iter().filter(|(name, scenario)| is_named(name) || is_wanted(scenario)).collect()
}

/// What libtest would print of them.
fn list(chosen: &Chosen, ending: &str) -> Result<()> {
    let begin = if ending == ": test" { "" } else { "test " };
    chosen.iter().try_for_each(|(name, _)| Ok(writeln!(std::io::stdout(), "{begin}{name}{ending}")?))
}

fn everything(chosen: &Chosen) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "these scenarios make namespaces, mounts and cgroups: run them as root"
    );
    let alone = chosen.iter().filter_map(|(name, scenario)| match scenario {
        Alone(run) => Some((*name, run)),
        Beside(_) | Installed(_) | Long(_) | Measured(_) => None,
    });
    let failed = alone.filter(|(name, run)| !passes(name, run)).count();
    let installed: Vec<_> =
        chosen.iter().filter(|(_, scenario)| !matches!(scenario, Alone(_))).map(|(name, _)| *name).collect();
    let ended = if installed.is_empty() { Ok(()) } else { shared(&installed) };
    ensure!(failed == 0, "{failed} failed");
    ended
}

/// Brings up the shared cluster and runs this program in its network, from where nothing can be fetched.
fn shared(names: &[&str]) -> Result<()> {
    Helm::new()?;
    s3::binary()?;
    kafka::Judge::prepare()?;
    promtool::program("prometheus")?;
    let begin = Begin::now();
    let name = shared_name();
    let cluster = Cluster::up(&name)?;
    say(&format!("the cluster is up after {:.1} s", begin.seconds()));
    let own = std::env::current_exe()?;
    let ended = cluster.command(own).args(names).env(WITHIN, "1").status();
    if std::env::var_os("ONCEWARD_KEEP").is_none() {
        drop(cluster);
        Cluster::down(&name)?;
    }
    ensure!(ended?.success(), "scenarios on the cluster failed");
    Ok(())
}

/// In the network of the shared cluster.
fn within(chosen: &Chosen) -> Result<()> {
    let stand = Stand::begin(Cluster::find(&shared_name())?)?;
    if !passes("the_chart_installs_and_its_controllers_become_ready", || installed::install(&stand)) {
        stand.describe();
        anyhow::bail!("the chart cannot be installed");
    }
    let mut failed = beside(chosen);
    for (name, scenario) in chosen {
        if let Installed(run) | Long(run) | Measured(run) = scenario
            && !passes(name, || run(&stand))
        {
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        stand.describe();
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Names of those that fail.
fn beside(chosen: &Chosen) -> Vec<&'static str> {
    let queue = Mutex::new(chosen.iter().filter_map(|(name, scenario)| match scenario {
        Beside(run) => Some((*name, *run)),
        Alone(_) | Installed(_) | Long(_) | Measured(_) => None,
    }));
    let failed = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((name, run)) = next() {
                    if !passes(name, || run(&Stand::begin(Cluster::find(&shared_name())?)?)) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn passes(name: &str, run: impl FnOnce() -> Result<()>) -> bool {
    let begin = Begin::now();
    let ended = run();
    let seconds = begin.seconds();
    match ended {
        Ok(()) => say(&format!("test {name} ... ok ({seconds:.1} s)")),
        Err(ref error) => say(&format!("test {name} ... FAILED ({seconds:.1} s): {error:#}")),
    }
    ended.is_ok()
}

/// When something began.
pub(crate) struct Begin(Duration);

impl Begin {
    pub(crate) fn now() -> Self {
        Self(since_start())
    }

    /// Until now.
    pub(crate) fn seconds(&self) -> f64 {
        since_start().saturating_sub(self.0).as_secs_f64()
    }
}

/// Of the machine.
fn since_start() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stdout(), "{what}");
}

/// A copy of this program.
pub(crate) fn again(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program")?);
    command.args(arguments);
    Ok(command)
}
