//! What can be said. The binary adds `lint`, which needs the planner.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

/// Which cluster, and where in it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Reach {
    /// Namespace [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,

    /// Kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the service account of the pod]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,

    /// No colours, as with `NO_COLOR` in the environment
    #[arg(long, global = true)]
    pub no_color: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Show how Pipelines are: healthy, degraded or failed, and why
    Status(StatusArgs),
    /// Show the checkpoints that are known of a Pipeline
    Checkpoints(ShowArgs),
    /// Take a checkpoint now
    Checkpoint(AskArgs),
    /// Take a checkpoint now that is kept for ever, and print its handle
    Savepoint(AskArgs),
    /// Stop with a last checkpoint and finish its commits
    Suspend(AskArgs),
    /// Go on after a suspend
    Resume(AskArgs),
    /// Replace the worker after a last checkpoint, or start a failed Pipeline again
    Restart(AskArgs),
    /// Print the logs of a Pipeline's workers
    Logs(LogsArgs),
    /// Show decided output that is not visible yet, by sink
    Transactions(ShowArgs),
    /// Wait until something is so
    Wait(WaitArgs),
    /// Write what is known of a Pipeline into a zip archive, without secrets
    Report(ReportArgs),
    /// Show the worker's page under an address of this machine
    Dashboard(DashboardArgs),
    /// Show the versions of client, API server, controller and workers
    Version(VersionArgs),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  kubectl onceward status                 all Pipelines of the namespace, a line each
  kubectl onceward status revenue         everything about one
  kubectl onceward status -A -w           a line for each change
  kubectl onceward status revenue -o json | jq .health

Exit codes (of several Pipelines the worst):
  0  healthy: as the manifest wants it
  1  degraded: not yet, or not quite
  2  failed: it will not go on by itself; or there is no such Pipeline
  3  not reachable: nobody could be asked")]
pub struct StatusArgs {
    /// Name of a Pipeline [default: all of them, a line each]
    #[arg(conflicts_with = "all_namespaces")]
    pub name: Option<String>,

    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Go on with a line for each change, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,

    /// json: one object; with --watch one a line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:
  0  shown
  1  not shown")]
pub struct ShowArgs {
    /// Name of a Pipeline
    pub name: String,

    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It waits for the outcome and says on standard error what it waits for. Giving up takes nothing back: what was
asked for stays asked for.

Exit codes:
  0  done; with --no-wait: asked for
  1  not done"
)]
pub struct AskArgs {
    /// Name of a Pipeline
    pub name: String,

    /// How long to wait for the outcome
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,

    /// Ask for it, and do not wait
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  kubectl onceward wait revenue --for=ready
  kubectl onceward wait revenue --for=checkpoint --timeout=10m
  kubectl onceward wait revenue --for=suspended

Exit codes:
  0  it is so
  1  it is not so in time, or will never be")]
pub struct WaitArgs {
    /// Name of a Pipeline
    pub name: String,

    /// What to wait for
    #[arg(long = "for", value_enum, value_name = "WHAT")]
    pub what: Awaited,

    /// How long
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Awaited {
    /// It runs, by the newest spec
    Ready,
    /// One more checkpoint is completed than when the wait began
    Checkpoint,
    /// The newest savepoint that was asked for is taken
    Savepoint,
    /// Everything decided is visible
    Settled,
    /// It is suspended, and everything decided is visible
    Suspended,
    /// Every source has come to its end
    Finished,
    /// It is gone
    Deleted,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  kubectl onceward logs revenue --tail=50
  kubectl onceward logs revenue -f          goes on with the pod that replaces this one")]
pub struct LogsArgs {
    /// Name of a Pipeline
    pub name: String,

    /// Go on until Ctrl-C, also with pods that are made later
    #[arg(short, long)]
    pub follow: bool,

    /// The last lines of each pod only
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub tail: Option<u32>,

    /// Lines of the last so long only
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,

    /// Put the pod's name before each line
    #[arg(long)]
    pub prefix: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  kubectl onceward report revenue --file revenue.zip

In the archive: the Pipeline and its status, its events and those of its pods, the pods, the configuration, what the worker
shows, and the logs, cut to the last 5,000 lines of each pod. No Secret is read. What may be one is taken out: values of
environment variables, arguments of containers that are not the worker's, annotations of others, and whatever looks like
a credential; also where such a value comes up again. README.txt says what could not be had.")]
pub struct ReportArgs {
    /// Name of a Pipeline
    pub name: String,

    /// Where to write it; nothing is overwritten [default: onceward-NAMESPACE-NAME-TIME.zip here]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  kubectl onceward dashboard revenue --port 0     under any port that is free

The page only shows. It is reached through the API server, for which you need the right to create pods/portforward.")]
pub struct DashboardArgs {
    /// Name of a Pipeline
    pub name: String,

    /// Port of 127.0.0.1; 0: any that is free
    #[arg(long, value_name = "PORT", default_value_t = api::names::PORT)]
    pub port: u16,
}

#[derive(Clone, Debug, Args)]
pub struct VersionArgs {
    /// Name of a Pipeline whose worker is asked, too
    pub name: Option<String>,

    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `10s`, `100ms`, `1m30s`, as in manifests.
fn duration(text: &str) -> Result<Duration, String> {
    let read: Result<api::pipeline::Duration, _> = text.parse();
    read.map(api::pipeline::Duration::as_std).map_err(|error| error.to_string())
}
