//! The command line: what can be said, with an example for everything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use self::settle::{
    AbortArgs, CommitArgs, CommitByHandArgs, DescribeArgs, ListArgs, Reach, TransactionsArgs, TransactionsCommand,
    secrets_dir,
};

pub use self::controller::ControllerArgs;
pub use self::kubectl::{KubectlArgs, KubectlCli, KubectlVerb, PLUGIN};
pub use self::worker::{Purpose, WorkerArgs};

mod controller;
mod kubectl;
mod settle;
mod worker;

/// Exactly-once stream pipelines: SQL over files and streams, killed at any moment, nothing lost and nothing doubled.
#[derive(Debug, Parser)]
#[command(
    name = "onceward",
    version,
    propagate_version = true,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Examples:
  onceward demo                      see it killed again and again, with nothing lost
  onceward run pipeline.yaml         run; after any death run it again and it goes on
  onceward lint pipeline.yaml        every fault, with its place and its fix")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline; after any death, run it again: it goes on from the newest checkpoint
    Run(Box<RunArgs>),
    /// Kill a pipeline again and again, and let an independent checker compare input and output
    Demo(DemoArgs),
    /// Check manifests: every fault and every doubt, with its place and its fix
    Lint(LintArgs),
    /// List the checkpoints of a pipeline, and verify that they can be restored
    Checkpoints(CheckpointsArgs),
    /// Finish the commits of the newest checkpoint and leave: nothing is read or run
    Commit(CommitArgs),
    /// Look at the transactions of a pipeline's sinks, commit or abort them
    Transactions(TransactionsArgs),
    /// Look after the Pipelines of a Kubernetes cluster
    Controller(ControllerArgs),
    /// Look at the Pipelines of a Kubernetes cluster, and ask for things: also as `kubectl onceward`
    Kubectl(KubectlArgs),
    /// List the named steps at which a run can be made to die, for tests
    Crashpoints(CrashpointsArgs),
    /// Run a pipeline as a worker of a cluster: what a controller starts in a pod
    #[command(hide = true)]
    Worker(Box<WorkerArgs>),
    /// Print a shell completion script
    Completion(CompletionArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward run pipeline.yaml
  onceward run pipeline.yaml --set parallelism=4 --set sources.orders.files.path=other.jsonl
  onceward run pipeline.yaml --explain
  onceward run pipeline.yaml --output json | jq .event
  onceward run pipeline.yaml --metrics 127.0.0.1:9464
  onceward run pipeline.yaml --secrets-dir /etc/onceward/secrets
  onceward run pipeline.yaml --restore file:///data/state/0/attempts/3/17 --accept-duplicates
  onceward run pipeline.yaml --accept-loss 3/17 --reason 'the disk of the output died'

Exit codes:
  0  done, or already finished, or stopped by a signal with everything committed
  1  the pipeline failed
  2  the manifest or the command line was refused
  3  fenced: a newer run has taken over
  4  stopped before the last checkpoint was settled; the next run finishes it
  128 + signal  told twice to stop

Environment:
  ONCEWARD_LOG  what the engine logs to standard error: warn (default), info, runtime::coordinator=debug")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct RunArgs {
    /// Manifest of one Pipeline
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Override a field; names of list entries are keys: sources.orders.files.path=x
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Restore from this checkpoint (an address from `onceward checkpoints`)
    #[arg(long, value_name = "HANDLE", conflicts_with_all = ["rewind", "fresh"])]
    pub restore: Option<String>,

    /// Take back the newest checkpoint and go on from the one before; refused once a part of it is visible
    #[arg(long, conflicts_with = "fresh")]
    pub rewind: bool,

    /// With --restore of an old checkpoint: output that is visible already may be written a second time
    #[arg(long)]
    pub accept_duplicates: bool,

    /// Go on although the store ends before a checkpoint whose output is visible: that is written a second time
    #[arg(long)]
    pub accept_rewind: bool,

    /// Go on although commits of this checkpoint are proven lost
    #[arg(long, value_name = "ATTEMPT/EPOCH", requires = "reason", value_parser = parse_decision)]
    #[arg(conflicts_with_all = ["restore", "rewind", "fresh"])]
    pub accept_loss: Option<(u64, u64)>,

    /// Why the loss is accepted; stands in the checkpoint log for ever
    #[arg(long, value_name = "TEXT", requires = "accept_loss")]
    pub reason: Option<String>,

    /// Begin anew under another pipeline id; output of before stays visible
    #[arg(long)]
    pub fresh: bool,

    /// Folder of secrets, one folder each with a file for each key [default: `secrets` beside the manifest]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,

    /// How long the last checkpoint may take after SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = parse_duration)]
    pub grace: std::time::Duration,

    /// Print the graph of operators and exchanges, and run nothing
    #[arg(long)]
    pub explain: bool,

    /// Serve Prometheus metrics here, e.g. 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,

    /// text: progress for people on standard error; json: also one object a line on standard output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward demo
  onceward demo --records 2000000 --kills 30
  onceward demo --seed 42 --dir /tmp/demo      the same data and the same choice of kills; files are kept")]
pub struct DemoArgs {
    /// Orders to make up
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub records: u64,

    /// How often to kill it: half at random moments, half at named steps
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub kills: u32,

    /// Seed of data and kills [default: drawn, and printed]
    #[arg(long)]
    pub seed: Option<u64>,

    /// Folder to work in, empty or absent [default: a fresh temporary one, kept only on failure]
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward lint pipeline.yaml
  onceward lint examples/*.yaml")]
pub struct LintArgs {
    /// Manifests
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// Override a field in all of them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward checkpoints pipeline.yaml
  onceward checkpoints .onceward/revenue --verify
  onceward checkpoints pipeline.yaml --output json | jq -r .handle")]
pub struct CheckpointsArgs {
    /// Manifest, or the folder of a checkpoint store
    #[arg(value_name = "FILE|STORE", value_hint = ValueHint::AnyPath)]
    pub target: PathBuf,

    /// Read every part and compare length and hash
    #[arg(long)]
    pub verify: bool,

    /// Folder of secrets, one folder each with a file for each key [default: `secrets` beside the manifest]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,

    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  ONCEWARD_CRASHPOINT='coordinator.decided:2=kill' onceward run pipeline.yaml")]
pub struct CrashpointsArgs {
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward completion bash > /etc/bash_completion.d/onceward
  onceward completion zsh > \"${fpath[1]}/_onceward\"
  onceward completion fish > ~/.config/fish/completions/onceward.fish")]
pub struct CompletionArgs {
    pub shell: clap_complete::Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

fn parse_decision(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once('/').and_then(|(attempt, epoch)| Some((attempt.parse().ok()?, epoch.parse().ok()?)));
    numbers.ok_or_else(|| "write ATTEMPT/EPOCH, as 3/17".to_owned())
}

/// `10s`, `100ms`, `1m30s`.
fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 25s, 500ms or 1m30s");
    let mut total = std::time::Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        let part = std::time::Duration::from_millis(millis.ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_takes_arguments_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("onceward"), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn durations_are_read_in_parts_and_never_overflow() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "5", "s", "1x", "-1s", "99999999999999999999s", "18446744073709551615h", "1 s", "ä"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_loss_is_accepted_only_with_a_reason() {
        assert!(Cli::try_parse_from(["onceward", "run", "f", "--accept-loss", "1/2"]).is_err());
        assert!(Cli::try_parse_from(["onceward", "run", "f", "--accept-loss", "1/2", "--reason", "x"]).is_ok());
        assert!(Cli::try_parse_from(["onceward", "run", "f", "--accept-loss", "one", "--reason", "x"]).is_err());
    }

    #[test]
    fn ways_to_go_back_exclude_each_other() {
        for pair in [["--fresh", "--rewind"], ["--fresh", "--restore=x"], ["--rewind", "--restore=x"]] {
            assert!(Cli::try_parse_from(["onceward", "run", "f", pair[0], pair[1]]).is_err(), "{pair:?}");
        }
        for back in ["--fresh", "--restore=x", "--rewind"] {
            let with = ["onceward", "run", "f", "--accept-loss=1/2", "--reason=x", back];
            assert!(Cli::try_parse_from(with).is_err(), "--accept-loss and {back}");
        }
    }
}
