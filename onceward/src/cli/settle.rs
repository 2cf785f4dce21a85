//! Arguments of the commands that finish commits and look at transactions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use super::{Output, parse_duration};

/// Which pipeline, and how it is reached.
#[derive(Debug, Args)]
pub struct Reach {
    /// Manifest of one Pipeline
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// Override a field; names of list entries are keys: sources.orders.files.path=x
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Folder of secrets, one folder each with a file for each key [default: `secrets` beside the manifest]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,

    /// text: for people; json: one object a line on standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

impl Reach {
    /// As given, or beside the manifest.
    pub fn secrets(&self) -> PathBuf {
        secrets_dir(&self.file, self.secrets_dir.as_deref())
    }
}

/// The folder of secrets of a manifest: as given, or beside it.
pub fn secrets_dir(file: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| file.parent().unwrap_or(Path::new("")).join("secrets"), Path::to_owned)
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward commit pipeline.yaml
  onceward commit pipeline.yaml --timeout 10m
  onceward commit pipeline.yaml -o json | jq .event

It takes the log over as a run would, so a run that is still alive is fenced (it ends with exit code 3). It commits what
the newest checkpoint decided, aborts what nobody decided, and writes both down. Works for every kind of sink. If nothing
is owed and nobody can be at work it says so and touches nothing.

Exit codes:
  0  settled, or nothing to settle
  1  output is lost, or not everything is committed after --timeout; nothing more is lost by trying again
  2  the manifest or the command line was refused
  3  fenced: a newer run has taken over")]
pub struct CommitArgs {
    #[command(flatten)]
    pub reach: Reach,

    /// Give up after this long; whatever is not committed by then stays decided
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:
  onceward transactions list pipeline.yaml
  onceward transactions describe pipeline.yaml ID
  onceward transactions commit pipeline.yaml --all
  onceward transactions abort pipeline.yaml ID --force --reason 'the topic was deleted'

See `onceward help transactions list`, and so on.",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct TransactionsArgs {
    #[command(subcommand)]
    pub command: TransactionsCommand,
}

#[derive(Debug, Subcommand)]
pub enum TransactionsCommand {
    /// List open transactions: age, time left, partitions, whether a checkpoint decided them, what would be right to do
    List(ListArgs),
    /// Tell everything about one of them
    Describe(DescribeArgs),
    /// Commit what a checkpoint decided; nothing else, and nobody is fenced
    Commit(CommitByHandArgs),
    /// Abort what no checkpoint decided; what one did, by force and with a reason
    Abort(AbortArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward transactions list pipeline.yaml
  onceward transactions list pipeline.yaml --prefix onceward/     of every pipeline on its clusters
  onceward transactions list pipeline.yaml -o json | jq -r 'select(.standing == \"decided\") | .id'

Nothing is claimed or changed. Ages are told by this machine's clock.

Exit codes:
  0  listed; also when there are none
  1  a cluster or the checkpoint store does not answer, or refuses
  2  the manifest or the command line was refused")]
pub struct ListArgs {
    #[command(flatten)]
    pub reach: Reach,

    /// Instead of this pipeline's: all whose id begins so, on the clusters that it writes to
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  onceward transactions describe pipeline.yaml onceward/0123456789abcdef0123456789abcdef/3/out/0/1

Exit codes:
  0  described
  1  nobody knows it; or a cluster or the checkpoint store does not answer, or refuses
  2  the manifest or the command line was refused")]
pub struct DescribeArgs {
    #[command(flatten)]
    pub reach: Reach,

    /// Transactional id, as `list` shows it
    #[arg(value_name = "ID")]
    pub id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward transactions commit pipeline.yaml ID
  onceward transactions commit pipeline.yaml --all

Only what a checkpoint decided is committed: for anything else there is no override. A run that lives is not disturbed; it
may have committed the same before. That the checkpoint is settled is written down by the next run, or by `onceward commit`.

Exit codes:
  0  committed, now or before
  1  output is lost, or not committed within --timeout, or a cluster does not answer
  2  the manifest or the command line was refused, or no checkpoint decided it")]
pub struct CommitByHandArgs {
    #[command(flatten)]
    pub reach: Reach,

    /// Transactional ids, as `list` shows them
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,

    /// Everything that the newest checkpoint decided
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,

    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward transactions abort pipeline.yaml ID
  onceward transactions abort pipeline.yaml --all --fence
  onceward transactions abort pipeline.yaml ID --force --reason 'the topic was deleted'

An abort takes the log over first, as a run would: only then nobody can decide the transaction any more. What is decided
by then is committed, and everything that nobody decided is aborted, also what was not named. An attempt that has not left
by itself may be at work: taking over from it needs --fence. If it lives, it ends with exit code 3.

--force aborts what a checkpoint decided: its records are lost for ever. The rest of that checkpoint is committed first;
the loss and its reason stand in the log, and the next run goes on. If this command dies in between, the next run stops
with CommitLost; the same command again finishes it.

Exit codes:
  0  aborted, or nothing was open
  1  other output is lost, or not done within --timeout, or a cluster does not answer
  2  refused: decided and no --force, settled, unknown, or --fence is needed; or the manifest or the command line
  3  fenced: a newer run has taken over")]
pub struct AbortArgs {
    #[command(flatten)]
    pub reach: Reach,

    /// Transactional ids, as `list` shows them
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,

    /// Everything open that no checkpoint decided
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,

    /// Take over from an attempt that may be at work
    #[arg(long)]
    pub fence: bool,

    /// Abort also what a checkpoint decided: its records are lost for ever (implies --fence)
    #[arg(long, requires = "reason", conflicts_with = "all")]
    pub force: bool,

    /// Why decided output is thrown away; stands in the checkpoint log for ever
    #[arg(long, value_name = "TEXT", requires = "force")]
    pub reason: Option<String>,

    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    fn parses(arguments: &[&str]) -> bool {
        Cli::try_parse_from(std::iter::once(&"onceward").chain(arguments)).is_ok()
    }

    #[test]
    fn force_needs_a_reason_and_names() {
        let abort = ["transactions", "abort", "f"];
        let with = |more: &[&str]| parses(&[&abort[..], more].concat());
        assert!(with(&["id"]) && with(&["--all"]) && with(&["id", "--force", "--reason", "x"]));
        assert!(!with(&[]) && !with(&["id", "--all"]) && !with(&["id", "--force"]));
        assert!(!with(&["id", "--reason", "x"]) && !with(&["--all", "--force", "--reason", "x"]));
    }

    #[test]
    fn a_commit_by_hand_knows_no_force() {
        let commit = ["transactions", "commit", "f"];
        let with = |more: &[&str]| parses(&[&commit[..], more].concat());
        assert!(with(&["a", "b"]) && with(&["--all", "--timeout", "3s"]));
        assert!(!with(&[]) && !with(&["a", "--force"]) && !with(&["a", "--force", "--reason", "x"]));
    }

    #[test]
    fn every_command_tells_its_exit_codes() {
        use clap::CommandFactory as _;
        let cli = Cli::command();
        let transactions = cli.find_subcommand("transactions").unwrap();
        for command in transactions.get_subcommands().chain(cli.find_subcommand("commit")) {
            let help = command.get_after_help().unwrap().to_string();
            assert!(help.contains("Exit codes:\n  0  ") && help.contains("\n  2  "), "{}", command.get_name());
            assert!(help.contains("onceward"), "{} has no example", command.get_name());
        }
    }
}
