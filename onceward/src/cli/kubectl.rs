//! Arguments of `onceward kubectl`, which is `kubectl onceward`: those of the crate, and what needs the engine.

use clap::{Args, Parser, Subcommand};

use super::LintArgs;

/// The program's name, as kubectl looks for it.
pub const PLUGIN: &str = "kubectl-onceward";

/// The binary under the name `kubectl-onceward`: what kubectl runs for `kubectl onceward`.
#[derive(Debug, Parser)]
#[command(
    name = PLUGIN,
    bin_name = "kubectl onceward",
    about = "Look at the Pipelines of a cluster, and ask for things",
    version,
    max_term_width = 100
)]
pub struct KubectlCli {
    #[command(flatten)]
    pub args: KubectlArgs,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  kubectl onceward status                      every Pipeline of the namespace: healthy, degraded or failed
  kubectl onceward savepoint revenue           a checkpoint that is kept; prints its handle
  kubectl onceward logs revenue -f             of the worker, and of the one that replaces it
  kubectl onceward dashboard revenue           the worker's page, on this machine

`kubectl onceward` is this binary on the path under the name kubectl-onceward; `onceward kubectl` is the same.

Exit codes: 0 done, 1 not done, 2 the command line was refused; those of status are its own.")]
pub struct KubectlArgs {
    #[command(flatten)]
    pub reach: kubectl::Reach,

    #[command(subcommand)]
    pub verb: KubectlVerb,
}

#[derive(Debug, Subcommand)]
pub enum KubectlVerb {
    #[command(flatten)]
    Cluster(kubectl::Verb),
    /// Check manifests: every fault and every doubt, with its place and its fix
    Lint(LintArgs),
    /// What may come next on the command line, for kubectl
    #[command(name = "__complete", hide = true)]
    Complete {
        /// So far; the last one is not finished
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_plugins_command_line_is_consistent() {
        KubectlCli::command().debug_assert();
    }

    #[test]
    fn both_names_say_the_same() {
        let under_its_own = KubectlCli::try_parse_from(["kubectl-onceward", "status", "revenue", "-n", "shop"]);
        let args = under_its_own.expect("a command line").args;
        let Command::Kubectl(other) =
            Cli::try_parse_from(["onceward", "kubectl", "-n", "shop", "status", "revenue"]).expect("one, too").command
        else {
            panic!("another command");
        };
        assert_eq!(format!("{args:?}"), format!("{other:?}"));
    }

    #[test]
    fn whatever_is_to_be_completed_is_taken_as_it_is() {
        let words = ["kubectl-onceward", "__complete", "status", "-n", "shop", "--output=", ""];
        let KubectlVerb::Complete { words } = KubectlCli::try_parse_from(words).expect("a command line").args.verb
        else {
            panic!("another verb");
        };
        assert_eq!(words, ["status", "-n", "shop", "--output=", ""]);
    }

    #[test]
    fn what_is_of_no_use_together_is_refused() {
        for words in [
            &["status", "revenue", "-A"][..],
            &["wait", "revenue"],
            &["wait", "revenue", "--for=rain"],
            &["savepoint"],
            &["suspend", "revenue", "--timeout=1m", "--no-wait"],
            &["checkpoint", "revenue", "--timeout=soon"],
        ] {
            let line = ["kubectl-onceward"].iter().chain(words);
            let refused = KubectlCli::try_parse_from(line).expect_err("refused");
            assert_eq!(refused.exit_code(), 2, "{words:?}");
        }
    }
}
